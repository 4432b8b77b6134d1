"""URLs of servers: whether their parts are unambiguous, how they are shown, and the secrets in them."""

import json
import re
from functools import lru_cache
from urllib.parse import quote, unquote

_PARTS = re.compile(r"(?P<scheme>[^:/?#]+://)(?P<authority>[^/]*)(?P<rest>.*)", re.DOTALL)
# Parameters of a query that are secrets: those of libpq, and of Redis.
_HIDDEN_PARAMETERS = r"(?:ssl_?)?password|oauth_client_secret"
_PARAMETER = re.compile(rf"(?<=[?&])({_HIDDEN_PARAMETERS})=([^&]*)")
# A shorter secret may be part of other words, so it is removed only as a whole word.
_LONG = 6
# A shorter part of a secret gives nothing away.
_SHORTEST_PIECE = 4
_SCRUBBED = "***"


def check_parts(url: str) -> None:
    """Raises ValueError if it is ambiguous where the user, the password and the host end; quotes none of them.

    Libraries read such a URL differently, and their errors quote a part of the password as the host or the port.
    """
    whole = _PARTS.fullmatch(url)
    if whole is None:
        raise ValueError("is not a URL such as scheme://user:password@host:port/name")
    authority, path = whole["authority"], whole["rest"].partition("?")[0]
    userinfo, _, hosts = authority.rpartition("@")
    if "@" in userinfo or "@" in path or "#" in url or re.search(r"[?\[\]]", userinfo):
        raise ValueError("has an @, /, #, ?, [ or ] in its user or password: write %40, %2F, %23, %3F, %5B or %5D")
    if ":" in userinfo.partition(":")[2]:
        raise ValueError("has a second : in its user and password: write %3A")
    if re.search(r"%(?![0-9A-Fa-f]{2})", userinfo):
        raise ValueError("has a % in its user or password that begins no code such as %40: write %25")
    for host in hosts.partition("?")[0].split(","):
        if not re.fullmatch(r"(\[[0-9A-Fa-f:.]+(%25[\w.~-]+)?\]|[^\[\]:#]*)(:\d*)?", host):
            raise ValueError("has a host or a port that cannot be read: expected host:5432, or [::1]:5432 for IPv6")


def without_password(url: str) -> str:
    """Returns a URL that can be shown."""
    whole = _PARTS.fullmatch(url)
    if whole is None:
        return _SCRUBBED
    userinfo, at, hosts = whole["authority"].rpartition("@")
    user = userinfo.partition(":")[0]
    rest = re.sub(r"[?&]+$", "", re.sub(rf"(?<=[?&])(?:{_HIDDEN_PARAMETERS})=[^&]*&?", "", whole["rest"]))
    return f"{whole['scheme']}{user}{at if user else ''}{hosts}{rest}"


def scrub(text: str, *urls: str | None) -> str:
    """Returns a text without the passwords of these URLs, well formed or not, and without parts of a password.

    The one place that knows how a library's error may quote a secret: as written, decoded, escaped for JSON or by
    repr(), or split at a URL's separators.
    """
    pattern = _secrets(urls)
    return pattern.sub(_SCRUBBED, text) if pattern else text


@lru_cache(maxsize=8)
def _secrets(urls: tuple[str | None, ...]) -> re.Pattern[str] | None:
    written = {piece for url in urls if url for piece in _pieces(url)}
    forms = {form for piece in written for form in _forms(piece)}
    return re.compile("|".join(map(_as_pattern, sorted(forms, key=len, reverse=True)))) if forms else None


def _pieces(url: str) -> set[str]:
    """Returns the passwords of a URL and the parts that a library may quote, except those that are public."""
    after = url.partition("://")[2] or url
    userinfo, at, hosts = after.rpartition("@")
    # Without an @, an apparent port may be a password whose host was forgotten.
    user, _, password = userinfo.partition(":") if at else after.partition("/")[0].partition(":")
    secrets = {password} if at or not password.partition(",")[0].isdigit() else set()
    secrets |= {value for _, value in _PARAMETER.findall(url)}
    # A database or a host with the same name as the password is public.
    public = {user, *re.split(r"[:/?,&=]", hosts)} if at else {user}
    cuts = (r"[@/#?:%\[\]&=]", r"%[0-9A-Fa-f]{2}|[@/#?:\[\]&=]")
    pieces = {piece for cut in cuts for secret in secrets for piece in re.split(cut, secret)}
    pieces = {piece for piece in pieces if len(piece) >= _SHORTEST_PIECE}
    return {piece for piece in secrets | pieces if piece and piece not in public}


def _forms(piece: str) -> set[str]:
    decoded = {piece, unquote(piece)}
    escaped = {form for one in decoded for form in (json.dumps(one)[1:-1], repr(one)[1:-1], quote(one, safe=""))}
    return decoded | escaped | {json.dumps(form)[1:-1] for form in escaped}


def _as_pattern(form: str) -> str:
    return re.escape(form) if len(form) >= _LONG else rf"(?<![A-Za-z0-9]){re.escape(form)}(?![A-Za-z0-9])"
