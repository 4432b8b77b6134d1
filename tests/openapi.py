"""Holds real answers of the HTTP side against openapi.json, for any test that has one."""

import json
import re
from pathlib import Path
from typing import Any

import httpx2
import jsonschema  # type: ignore[import-untyped]  # it publishes no types

OPENAPI: dict[str, Any] = json.loads((Path(__file__).parents[1] / "openapi.json").read_text())
JSON, TEXT = "application/json", "text/plain"


def operation(method: str, path: str) -> dict[str, Any]:
    """Returns what is said of a method of a path, which may be one of the file's or as it is asked for."""
    for template, item in OPENAPI["paths"].items():
        pattern = re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(template))
        if re.fullmatch(pattern, path.partition("?")[0]) or path == template:
            found: dict[str, Any] = item[method.lower()]
            return found
    raise AssertionError(f"{path} is not in openapi.json")


def check_answer(method: str, path: str, status: int, body: Any) -> None:
    """Raises unless openapi.json describes this answer, each field of it; `body` is parsed JSON, or plain text."""
    documented = operation(method, path)["responses"]
    assert str(status) in documented, f"{method} {path} answers {status}; documented are {', '.join(documented)}"
    content = documented[str(status)]["content"]
    media_type = TEXT if isinstance(body, str) else JSON
    assert media_type in content, f"{method} {path} answers {status} as {media_type}; documented are {list(content)}"
    jsonschema.Draft202012Validator({**_CLOSED, **content[media_type]["schema"]}).validate(body)


def check_response(response: httpx2.Response) -> None:
    """Raises unless openapi.json describes this answer, its headers too."""
    method, path, status = response.request.method, response.url.raw_path.decode(), response.status_code
    media_type = response.headers["content-type"].partition(";")[0]
    assert media_type in (JSON, TEXT)
    check_answer(method, path, status, response.json() if media_type == JSON else response.text)
    reported = {"retry-after", "www-authenticate"} & {name.lower() for name in response.headers}
    headers = {name.lower() for name in operation(method, path)["responses"][str(status)].get("headers", {})}
    assert reported <= headers, f"{method} {path} answers {status} with {reported}; documented are {headers}"


def _closed(schema: Any) -> Any:
    """Forbids what is not named: clients pass over it, but here it is a field that nobody described."""
    if isinstance(schema, list):
        return [_closed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: _closed(one) for key, one in schema.items()}
    return {"additionalProperties": False, **closed} if isinstance(schema.get("properties"), dict) else closed


_CLOSED = {"components": {"schemas": _closed(OPENAPI["components"]["schemas"])}}
