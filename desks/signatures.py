"""Proves who sent a webhook: signatures over the raw bytes, and a time window if the scheme has a time."""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta


class Unauthorized(Exception):
    """Nothing proves that the desk sent the delivery; the message says what was expected and quotes no secret."""


def check_any(given: Iterable[str], expected: Iterable[str], what: str) -> None:
    """Raises Unauthorized unless one of the given values is one of the expected ones.

    All are compared, each in constant time: the time it takes reveals nothing about a secret.
    """
    wanted = [one.encode() for one in expected]
    # Header values are bytes that were read as Latin-1; a value that cannot be encoded matches nothing.
    matches = [hmac.compare_digest(one.encode("utf-8", "replace"), other) for one in given for other in wanted]
    if not any(matches):
        raise Unauthorized(f"{what} does not fit this body and any secret that is configured for this desk")


def hmac_hex(secret: bytes, message: bytes, algorithm: str = "sha256") -> str:
    """Returns an HMAC in lower-case hexadecimal."""
    return hmac.new(secret, message, algorithm).hexdigest()


def hmac_base64(secret: bytes, message: bytes) -> str:
    """Returns an HMAC-SHA256 in base64."""
    return base64.b64encode(hmac.new(secret, message, hashlib.sha256).digest()).decode()


def standard_secret(secret: str) -> bytes:
    """Returns the key in a Standard Webhooks secret: `whsec_` and base64 of 24 to 64 bytes. Raises ValueError.

    Standard Webhooks 1.0.0, "Signature scheme".
    """
    try:
        key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except binascii.Error as error:
        raise ValueError("is not `whsec_` followed by base64") from error
    if not 24 <= len(key) <= 64:
        raise ValueError(f"holds {len(key)} bytes; Standard Webhooks asks for 24 to 64")
    return key


def moment_of_seconds(text: str, header: str) -> datetime:
    """Reads seconds since 1970 (UTC). Raises Unauthorized."""
    # isdecimal alone would accept digits of other scripts, and numbers beyond any date.
    if not (text.isascii() and text.isdecimal() and len(text) <= 11):
        raise Unauthorized(f"header {header} is not a moment in seconds since 1970")
    return datetime.fromtimestamp(int(text), UTC)


def moment_of_iso(text: str, header: str) -> datetime:
    """Reads an ISO 8601 time with a zone. Raises Unauthorized."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise Unauthorized(f"header {header} is not a moment such as 2026-11-23T09:00:00Z") from None
    if moment.tzinfo is None:
        raise Unauthorized(f"header {header} is a moment without a zone; expected one such as 2026-11-23T09:00:00Z")
    return moment


def check_window(signed_at: datetime, now: datetime, tolerance: timedelta) -> None:
    """Raises Unauthorized for a delivery that was signed too long ago, or in the future: it may be a replay."""
    if abs(now - signed_at) > tolerance:
        raise Unauthorized(
            f"the delivery was signed more than {tolerance.total_seconds():.0f} seconds away from this server's time "
            f"({now:%Y-%m-%dT%H:%M:%SZ}); sign it anew, or set the clocks"
        )
