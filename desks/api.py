"""Calling a desk's API: time-outs, and what each answer means for a notice that must be delivered once."""

import json
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Any, Self

import httpx2

from desks.channels import NotDelivered, Refused, Unclear

# A page of a ticket's comments is far smaller; an answer that never ends must not fill the memory.
_MAX_ANSWER_BYTES = 8 * 1024 * 1024
# All calls of one answer together; a desk that sends a byte now and then must not outlive the lease.
MAX_SECONDS = 40.0
# Nobody who is sane asks for longer, and a mistaken header must not bury an answer.
_LONGEST_RETRY_AFTER = 3600.0

_TOO_MANY, _UNAVAILABLE, _CONFLICT = 429, 503, 409
# The key to the API is wrong, or must not do this: somebody sets that right, and then it works.
_CREDENTIALS = (401, 403)
_LATER = (_TOO_MANY, _UNAVAILABLE, _CONFLICT, 408, 425, *_CREDENTIALS)


class Api:
    """A desk's REST API for the calls of one answer; close it by leaving its block."""

    def __init__(
        self,
        url: str,
        *,
        timeout: float,
        auth: tuple[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self._client = httpx2.Client(
            base_url=url,
            auth=auth,
            headers={"User-Agent": "countermand", "Accept": "application/json", **(headers or {})},
            timeout=timeout,
            # A redirect would take the key to the API to another place.
            follow_redirects=False,
        )
        self._deadline = time.monotonic() + MAX_SECONDS

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._client.close()

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
    ) -> Any:
        """Sends one request, with `body` as JSON or `content` as it is; returns the answer's JSON, None if it is empty.

        Raises NotDelivered, Unclear or Refused; none of them quotes what was sent or answered.
        """
        what = f"{method} {path}"
        try:
            with self._client.stream(
                method, path, json=body, params=query, headers=headers, content=content
            ) as response:
                raw = self._read(response, what)
                status, retry_after = response.status_code, response.headers.get("retry-after")
        except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout, httpx2.UnsupportedProtocol) as error:
            raise NotDelivered(
                f"{what}: no connection to {self._client.base_url.host} ({type(error).__name__})"
            ) from error
        except httpx2.HTTPError as error:
            # The request may have arrived and its answer got lost.
            raise Unclear(f"{what}: no answer ({type(error).__name__})") from error
        _check(what, status, retry_after)
        return _parsed(what, raw)

    def _read(self, response: httpx2.Response, what: str) -> bytes:
        raw = bytearray()
        for chunk in response.iter_bytes():
            raw += chunk
            if len(raw) > _MAX_ANSWER_BYTES or time.monotonic() > self._deadline:
                raise Unclear(f"{what}: the answer is too long or too slow")
        return bytes(raw)


def _check(what: str, status: int, retry_after: str | None) -> None:
    if 200 <= status < 300:
        return
    told = f"{what}: answered {status}"
    if status in _CREDENTIALS:
        raise NotDelivered(f"{told}: the key to the API is wrong, or may not do this")
    if status in _LATER:
        raise NotDelivered(told, _seconds(retry_after))
    if 300 <= status < 400:
        raise NotDelivered(f"{told}: the API has moved; correct `url` in the desks file")
    if status >= 500:
        raise Unclear(told)
    raise Refused(told)


def _parsed(what: str, raw: bytes) -> Any:
    if not raw.strip():
        return None
    try:
        return json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise Unclear(f"{what}: the answer is not JSON") from error


def _seconds(retry_after: str | None) -> float | None:
    """Reads Retry-After, seconds or an HTTP date (RFC 9110, 10.2.3); None if it says nothing that can be understood."""
    if retry_after is None:
        return None
    text = retry_after.strip()
    if text.isascii() and text.isdecimal():
        return min(float(text), _LONGEST_RETRY_AFTER)
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return min(max(0.0, (moment - datetime.now(UTC)).total_seconds()), _LONGEST_RETRY_AFTER)
