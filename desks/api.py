"""Calls to a desk's API: time-outs, and what each response means for a notice that must be delivered once."""

import ssl
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import httpx2

from delivery.outcomes import NotDelivered, OutcomeUnknown, Refused
from desks.channels import MAX_CONNECT_SECONDS, MAX_SECONDS, Forbidden
from desks.config import is_loopback
from desks.parsing import parse_json

# Far larger than a page of a ticket's comments. An endless response must not fill the memory.
_MAX_ANSWER_BYTES = 8 * 1024 * 1024
# No desk needs longer, and a wrong header must not delay an answer forever.
_LONGEST_RETRY_AFTER = 3600.0

_UNAUTHORIZED, _FORBIDDEN, _CONFLICT, _TOO_MANY, _UNAVAILABLE = 401, 403, 409, 429, 503
_LATER = (_TOO_MANY, _UNAVAILABLE, 408, 425)


@cache
def _trusted() -> ssl.SSLContext:
    # Loading the CA certificates takes longer than the rest of a delivery.
    return httpx2.create_ssl_context()


def _for(url: str, proxy: str | None) -> str | None:
    """Returns the proxy, or None for a call to this machine, which may use http and must not pass a proxy elsewhere."""
    is_here, leads_away = is_loopback(_host(url)), proxy is not None and not is_loopback(_host(proxy))
    return None if is_here and leads_away else proxy


def _host(url: str) -> str:
    return urlsplit(url).hostname or ""


class Api:
    """A desk's REST API for the calls of one answer; leaving the `with` block closes it."""

    def __init__(
        self,
        url: str,
        *,
        timeout: float,
        proxy: str | None = None,
        auth: tuple[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self._url = url
        self._client = httpx2.Client(
            base_url=url,
            auth=auth,
            # No compression: a small response could unpack to one that fills the memory.
            headers={
                "User-Agent": "countermand",
                "Accept": "application/json",
                "Accept-Encoding": "identity",
                **(headers or {}),
            },
            verify=_trusted(),
            # Prevents: a proxy from the environment, not meant for this, reads the key from a call by http.
            trust_env=False,
            proxy=_for(url, proxy),
            # A redirect would send the key to the API somewhere else.
            follow_redirects=False,
        )
        self._timeout = timeout
        self._deadline = time.monotonic() + MAX_SECONDS
        # The last call, for error messages.
        self.called: str | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._client.close()

    def end_within(self, seconds: float) -> None:
        """Limits the time for all further calls together to this many seconds."""
        self._deadline = min(self._deadline, time.monotonic() + seconds)

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
        reads_json: bool = True,
    ) -> Any:
        """Sends one request, with `body` as JSON or `content` unchanged; returns the JSON in the response, if any.

        Raises NotDelivered, OutcomeUnknown or Refused, none of which quotes the request or the response.
        """
        what = self.called = f"{method} {path}"
        timeout = self._time_left(what)
        try:
            # Not by `base_url`, which adds a slash at the end that a receiver's URL may not have.
            with self._client.stream(
                method,
                f"{self._url}{path}",
                json=body,
                params=query,
                headers=headers,
                content=content,
                timeout=timeout,
            ) as response:
                raw = self._read(response, what)
                status, retry_after = response.status_code, response.headers.get("retry-after")
        except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout, httpx2.UnsupportedProtocol) as error:
            raise NotDelivered(
                f"{what}: no connection to {self._client.base_url.host} ({type(error).__name__})"
            ) from error
        except httpx2.HTTPError as error:
            # The request may have arrived, and only the response got lost.
            raise OutcomeUnknown(f"{what}: no answer ({type(error).__name__})", is_in_doubt=True) from error
        _check(what, status, retry_after)
        return _parsed(what, raw) if reads_json else None

    def _time_left(self, what: str) -> httpx2.Timeout:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise NotDelivered(f"{what}: no time was left for it", is_in_doubt=True)
        seconds = min(self._timeout, left)
        return httpx2.Timeout(seconds, connect=min(seconds, MAX_CONNECT_SECONDS))

    def _read(self, response: httpx2.Response, what: str) -> bytes:
        raw = bytearray()
        for chunk in response.iter_raw():
            raw += chunk
            if len(raw) > _MAX_ANSWER_BYTES or time.monotonic() > self._deadline:
                raise OutcomeUnknown(f"{what}: the answer is too long or too slow", is_in_doubt=True)
        return bytes(raw)


def _check(what: str, status: int, retry_after: str | None) -> None:
    if 200 <= status < 300:
        return
    message = f"{what}: answered {status}"
    # Either the key is wrong, and works once somebody corrects it, or it may not see this ticket.
    if status == _UNAUTHORIZED:
        raise NotDelivered(f"{message}: the key to the API is wrong", is_in_doubt=True)
    if status == _FORBIDDEN:
        raise Forbidden(f"{message}: the key to the API may not do this", is_in_doubt=True)
    if status in _LATER:
        raise NotDelivered(message, _seconds(retry_after))
    if status == _CONFLICT:
        raise NotDelivered(message, destination_works=True)
    if 300 <= status < 400:
        raise NotDelivered(f"{message}: the API has moved; correct `url` in the desks file", is_in_doubt=True)
    if status >= 500:
        raise OutcomeUnknown(message, is_in_doubt=True)
    raise Refused(message, destination_works=True)


def _parsed(what: str, raw: bytes) -> Any:
    if not raw.strip():
        return None
    try:
        return parse_json(raw)
    except ValueError as error:
        raise OutcomeUnknown(f"{what}: the answer is not JSON", is_in_doubt=True) from error


def a_list(answer: Any) -> list[Any]:
    """Returns a response that must be a list: anything else would look like one without our mark. Raises TypeError."""
    if not isinstance(answer, list):
        raise TypeError("not a list")
    return answer


def _seconds(retry_after: str | None) -> float | None:
    """Reads Retry-After, seconds or an HTTP date (RFC 9110, 10.2.3); None if it is not readable."""
    if retry_after is None:
        return None
    text = retry_after.strip()
    if text.isascii() and text.isdecimal():
        return min(float(text), _LONGEST_RETRY_AFTER)
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return min(max(0.0, (moment - datetime.now(UTC)).total_seconds()), _LONGEST_RETRY_AFTER)
