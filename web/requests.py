"""`GET /requests/{source}/{id}`: what became of a request, for clients with the API token."""

from urllib.parse import unquote_to_bytes

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse

from database.transactions import reading
from orders.reading import show_request
from orders.views import to_json
from web.database import in_database
from web.room import a_place
from web.tokens import authorize


async def read_request(request: Request) -> JSONResponse:
    """Answers 200 with the shape of `requests show --json`, 404 for one that is not known; 401 without the token."""
    await authorize(request)
    key = _key(request.scope["raw_path"])
    if key is None:
        raise HTTPException(404, "expected /requests/{source}/{id}, each percent-encoded")
    source, request_id = key
    with a_place(request):
        shown = await in_database(reading, show_request, source, request_id)
    if shown is None:
        raise HTTPException(404, "this request is not known")
    return JSONResponse(to_json(shown))


def _key(raw_path: bytes) -> tuple[str, str] | None:
    """Takes source and id out of the path as it was sent: either may hold a slash, as %2F."""
    parts = raw_path.partition(b"?")[0].split(b"/")
    if len(parts) != 4:
        return None
    try:
        source, request_id = (unquote_to_bytes(part).decode() for part in parts[2:])
    except UnicodeDecodeError:
        return None
    # PostgreSQL knows no NUL, so no request has one.
    return None if "\0" in source + request_id else (source, request_id)
