"""The API token: a client with a wrong one is slowed down, and counted in the log, which never has the token."""

import hmac
from collections import Counter
from time import monotonic

import structlog
from anyio import sleep
from pydantic import SecretStr
from starlette.exceptions import HTTPException
from starlette.requests import Request

from configuration.settings import settings

_log = structlog.get_logger()

_CHALLENGE = {"WWW-Authenticate": "Bearer"}
_SLOWED_SECONDS = 1.0
# At once, from one address and from all: beyond the first none is looked at, beyond the second none is slowed down.
_MOST_OF_AN_ADDRESS, _MOST = 10, 100
_LOG_EVERY_SECONDS = 60.0

_slowed: Counter[str] = Counter()


class _Refusals:
    """Counts wrong tokens for one line a minute."""

    def __init__(self) -> None:
        self.count, self.last = 0, -_LOG_EVERY_SECONDS

    def note(self, address: str) -> None:
        self.count += 1
        if monotonic() - self.last >= _LOG_EVERY_SECONDS:
            _log.warning("wrong API tokens were refused", times=self.count, last_from=address)
            self.count, self.last = 0, monotonic()


_refusals = _Refusals()


async def authorize(request: Request) -> None:
    """Lets a request with the API token pass. Raises HTTPException 401, a second later, or 429."""
    tokens = [token for token in (settings().api_token, settings().api_token_previous) if _is_set(token)]
    if not tokens:
        raise HTTPException(401, "reading requests is switched off: COUNTERMAND_API_TOKEN is not set", _CHALLENGE)
    address = request.client.host if request.client else ""
    if _slowed[address] >= _MOST_OF_AN_ADDRESS:
        raise HTTPException(429, "too many wrong API tokens from this address; try again", {"Retry-After": "5"})
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    # Each is compared, in constant time.
    fits = [hmac.compare_digest(given.strip().encode(), token.get_secret_value().encode()) for token in tokens if token]
    if scheme.lower() == "bearer" and any(fits):
        return
    if scheme:
        _refusals.note(address)
        await _slow_down(address)
    raise HTTPException(401, "expected header Authorization: Bearer and the API token", _CHALLENGE)


async def _slow_down(address: str) -> None:
    if _slowed.total() >= _MOST:
        return
    _slowed[address] += 1
    try:
        await sleep(_SLOWED_SECONDS)
    finally:
        _slowed[address] -= 1
        if not _slowed[address]:
            # Strangers' addresses are not kept.
            del _slowed[address]


def _is_set(token: SecretStr | None) -> bool:
    return token is not None and bool(token.get_secret_value())
