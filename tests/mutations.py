"""Damage to deliveries, from a seeded generator: in their JSON, in their bytes, in their heads and on the wire."""

import json
import re
import string
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from orders.messages import MAX_MESSAGE_BYTES

# Values in the place of others.
_JUNK: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 7, 2**31, 2**63, 2**64, 10**25, 10**4200, 1.5, -0.0, 1e308, 1e-320),
    *(float("nan"), float("inf"), float("-inf")),
    *(
        "",
        " ",
        "\t\n",
        "0",
        "null",
        "\0",
        "a\0b",
        "\ud800",
        "\udfff\ud800",
        "\U0010ffff",
        "\x7f\x1b[31m",
        "\u2028",
        "é",
    ),
    *("x" * 64, "x" * 65, "x" * 256, "x" * 5000, " 1001 ", "10\n01", "%s%n{0}${x}{{7*7}}", "'; DROP TABLE orders; --"),
    *("cancel", "countermand_cancel", "change_address", "CANCEL", "refund", "jane@example.com", "[countermand:x/1]"),
    *("2026-11-23T09:00:00Z", "2026-11-23", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "24:00"),
    *([], {}, [[]], [{}], {"": None}, {"a": {"b": []}}, [1, "two", None], {"shipping": {}}, {"\ud800": 1}),
)
_STRANGE = tuple(one for one in _JUNK if isinstance(one, str))
# Bytes among others.
_TOKENS = (
    *(
        b"\0",
        b"\xff",
        b"\xed\xa0\x80",
        b"\xef\xbb\xbf",
        b"\xff\xfe",
        b"\\",
        b'"',
        b'\\"',
        b"\n",
        b"\r\n",
        b"\x01",
        b"\x7f",
    ),
    *(b"{", b"}", b"[", b"]", b",", b":", b"{}", b"[]", b"null", b"NaN", b"-", b"1e9999", b"9" * 5000, b"/*", b"#{x}"),
    *(
        b'"order":1,',
        b'"requester":"",',
        b'"\\u0000"',
        b'"\\ud800"',
        b'"\\udc00\\ud800"',
        b"\xc2\x85",
        b"\xf4\x90\x80\x80",
    ),
    *(b"[" * 2000, b'{"a":' * 2000, b"[" * 100_000, b'"' + b"\\u0001" * 2000 + b'"'),
)
_HEADER_CHARACTERS = string.ascii_letters + string.digits + " ,;:=.+-_/\"'\\%\t\u00e9\u00ff\u00b2"
_METHODS = ("GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "post", "PROPFIND", "X")
_PATH_PARTS = (
    *("/", "//", "%2F", "%2f", "%", "%zz", "%00", "%0A", "%C3%A9", "%FF", "%ED%A0%80", "..", "%2e%2e", ".", "~", "+"),
    *(
        "webhooks",
        "requests",
        "healthz",
        "readyz",
        "zendesk",
        "zendesk:acme",
        "ZENDESK",
        "shop",
        "1",
        "x" * 3000,
        ";",
        "@",
    ),
    *("'", '"', "<>", "{desk}", "\\", "|", "^", "`", "*", "$", "!", "(", "=", "&", ","),
)

Header = tuple[bytes, bytes]


class Mutations:
    """What can happen to a delivery; the same seed does the same damage."""

    def __init__(self, random: Random) -> None:
        self._random = random

    def value(self, value: Any) -> Any:
        """Returns a JSON value with one to three of its parts changed."""
        for _ in range(self._random.choice((1, 1, 2, 3))):
            value = self._changed(value)
        return value

    def _changed(self, value: Any) -> Any:
        random = self._random
        inside: Sequence[Any] = (
            list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
        )
        if inside and random.random() < 0.85:
            key = random.choice(inside)
            changed = value.copy()
            match random.randrange(8):
                case 0:
                    del changed[key]
                case 1 if isinstance(changed, dict):
                    changed[random.choice(_STRANGE)] = changed[key]
                case 2 if isinstance(changed, dict):
                    changed[random.choice(list(changed))] = changed[key]
                case _:
                    changed[key] = self._changed(changed[key])
            return changed
        return self._in_place_of(value)

    def _in_place_of(self, value: Any) -> Any:
        random = self._random
        match random.randrange(6):
            case 0:
                return [value] * random.randrange(3)
            case 1:
                for _ in range(random.choice((1, 5, 100))):
                    value = [value] if random.random() < 0.5 else {"a": value}
                return value
            case 2 if isinstance(value, str):
                place = random.randint(0, len(value))
                return value[:place] + str(random.choice(_JUNK)) + value[place:]
            case _:
                return random.choice(_JUNK)

    def written(self, value: Any) -> bytes:
        """Writes a value as one of the many JSONs that it can be; halves of characters stay halves."""
        random = self._random
        keys_can_be_sorted = (
            random.random() < 0.2 and isinstance(value, dict) and all(isinstance(key, str) for key in value)
        )
        text = json.dumps(
            value,
            ensure_ascii=random.random() < 0.5,
            indent=random.choice((None, None, 1)),
            sort_keys=keys_can_be_sorted,
        )
        return text.encode("utf-8", "surrogatepass")

    def body(self, body: bytes, other: bytes) -> bytes:
        """Returns a body with some of its bytes changed; `other` is another, to be spliced with it."""
        random = self._random
        place = random.randint(0, len(body))
        match random.randrange(10):
            case 0:
                return body[:place]
            case 1:
                return body[place:]
            case 2:
                return body[:place] + other[random.randint(0, len(other)) :]
            case 3:
                return body[:place] + random.choice(_TOKENS) + body[place:]
            case 4 if body:
                changed = bytearray(body)
                for _ in range(random.choice((1, 2, 8))):
                    changed[random.randrange(len(changed))] ^= 1 << random.randrange(8)
                return bytes(changed)
            case 5:
                return re.sub(
                    rb'"\w+": ', lambda key: key[0] + b"null, " + key[0] if random.random() < 0.2 else key[0], body
                )
            case 6:
                return body.replace(b"{", b'{"order": "1", "requester": "", ', 1)
            case 7:
                return self._nested(body)
            case 8:
                return random.randbytes(random.choice((0, 1, 30, 3000)))
            case _:
                return body + b" " * (MAX_MESSAGE_BYTES if random.random() < 0.2 else 1)

    def _nested(self, body: bytes) -> bytes:
        random = self._random
        # Around the depths at which the parsers give up.
        depth = random.choice((random.randrange(180, 270), random.randrange(900, 1010)))
        opening, closing = random.choice(((b"[", b"]"), (b'{"a":', b"}")))
        texts = [text.span() for text in re.finditer(rb'(?<=: )"[^"]*"', body)]
        start, end = random.choice(texts or [(0, len(body))])
        return body[:start] + opening * depth + b"1" + closing * depth + body[end:]

    def text(self, text: str) -> str:
        """Returns a header's value with some of its characters changed."""
        random = self._random
        place = random.randint(0, len(text))
        match random.randrange(7):
            case 0:
                return text[:place]
            case 1:
                return text[:place] + random.choice(_HEADER_CHARACTERS) + text[place:]
            case 2:
                return text[:place] + random.choice(_HEADER_CHARACTERS) + text[place + 1 :]
            case 3:
                return text + random.choice((" ", ",", " v1,")) + text
            case 4:
                return "".join(random.choices(_HEADER_CHARACTERS, k=random.choice((0, 1, 10, 300))))
            case 5:
                return random.choice(
                    ("0", "-1", "9" * 30, "NaN", "2026-11-23T09:00:00", "0001-01-01T00:00:00+23:59", "v1,")
                )
            case _:
                return text.swapcase()

    def headers(self, headers: Sequence[Header]) -> list[Header]:
        """Returns headers with one of them lost, doubled or changed."""
        random = self._random
        changed = list(headers)
        place = random.randrange(len(changed))
        name, value = changed[place]
        match random.randrange(5):
            case 0:
                del changed[place]
            case 1:
                changed.insert(
                    random.randint(0, len(changed)), (name, self.text(value.decode("latin-1")).encode("latin-1"))
                )
            case 2:
                changed += [(b"x-%d" % number, b"y") for number in range(random.choice((1, 500)))]
            case 3:
                changed[place] = (random.choice([other for other, _ in changed]), value)
            case _:
                changed[place] = (name, self.text(value.decode("latin-1")).encode("latin-1"))
        return changed

    def path(self, path: str) -> str:
        """Returns a path with something lost, added or exchanged; of characters that a path may have on the wire."""
        random = self._random
        place = random.randint(0, len(path))
        match random.randrange(4):
            case 0:
                return "/" + path[:place].lstrip("/")
            case 1:
                return "/" + "".join(random.choices(_PATH_PARTS, k=random.randrange(6)))
            case _:
                return "/" + (path[:place] + random.choice(_PATH_PARTS) + path[place:]).lstrip("/")

    def query(self) -> str:
        """Returns a query."""
        return "".join(self._random.choices(_PATH_PARTS, k=self._random.randrange(4)))

    def method(self) -> str:
        """Returns a method that is not POST."""
        return self._random.choice(_METHODS)

    def chunks(self, body: bytes) -> list[bytes]:
        """Returns a body in the pieces in which it may arrive."""
        random = self._random
        cuts = sorted(random.randint(0, len(body)) for _ in range(random.choice((0, 0, 1, 5))))
        return [body[start:end] for start, end in zip([0, *cuts], [*cuts, len(body)], strict=True)]

    def wire(self, raw: bytes) -> bytes:
        """Returns a whole request as it goes over the wire, damaged where HTTP itself is read."""
        random = self._random
        head, _, body = raw.partition(b"\r\n\r\n")
        lines = head.split(b"\r\n")
        line = random.randrange(len(lines))
        damages: tuple[Callable[[], bytes], ...] = (
            lambda: raw[: random.randrange(len(raw))],
            lambda: b"\r\n".join(lines[:line] + lines[line + 1 :]) + b"\r\n\r\n" + body,
            lambda: b"\r\n".join([*lines, lines[line]]) + b"\r\n\r\n" + body,
            lambda: b"\n".join(lines) + b"\n\n" + body,
            lambda: head.replace(b": ", random.choice((b":", b" : ", b"", b"\0: ", b":\t")), 1) + b"\r\n\r\n" + body,
            lambda: (
                head.replace(b"HTTP/1.1", random.choice((b"HTTP/1.0", b"HTTP/2.0", b"HTTP/9", b"", b"http/1.1")))
                + b"\r\n\r\n"
                + body
            ),
            lambda: head + b"\r\nX: " + b"y" * random.choice((10_000, 70_000)) + b"\r\n\r\n" + body,
            lambda: (
                head
                + b"\r\nTransfer-Encoding: "
                + random.choice((b"chunked", b"gzip, chunked", b"x"))
                + b"\r\n\r\n"
                + body
            ),
            lambda: re.sub(rb"(?i)content-length: \d+", random.choice(_LENGTHS), head) + b"\r\n\r\n" + body,
            lambda: (
                re.sub(rb"(?i)content-length: \d+", b"Transfer-Encoding: chunked", head)
                + b"\r\n\r\n"
                + random.choice(_CHUNKS)
            ),
            lambda: head.replace(b" /", random.choice(_TARGETS), 1) + b"\r\n\r\n" + body,
            lambda: _flipped(random, raw, len(head)),
            lambda: random.choice(_OTHER_PROTOCOLS),
            lambda: random.randbytes(random.choice((1, 50, 2000))),
            lambda: raw + raw[: random.randrange(len(raw))],
        )
        return random.choice(damages)()


_LENGTHS = (
    *(
        b"Content-Length: -1",
        b"Content-Length: 0",
        b"Content-Length: 9",
        b"Content-Length: 999",
        b"Content-Length: 9, 9",
    ),
    *(
        b"Content-Length: 0x10",
        b"Content-Length: 99999999999999999999999",
        b"Content-Length:",
        b"Content-Length: 300000",
    ),
    *(b"Content-Length: 1\r\nContent-Length: 2", b"Content-Length: 5\r\nTransfer-Encoding: chunked", b"X: y"),
)
_CHUNKS = (
    *(b"0\r\n\r\n", b"5\r\nhello\r\n0\r\n\r\n", b"5\r\nhello", b"zz\r\n", b"-1\r\n\r\n", b"FFFFFFFFFFFFFFFFFFFFF\r\n"),
    *(b"5;ext=1\r\nhello\r\n0\r\nTrailer: x\r\n\r\n", b"5\r\nhelloX\r\n0\r\n\r\n", b"\r\n\r\n", b"1\n\n"),
)
_TARGETS = (
    b" ",
    b" http://other/",
    b" *",
    b" //",
    b" /\xc3\xa9",
    b" /\0",
    b" /%",
    b" / /",
    b"",
    b" /" + b"a" * 70_000,
    b" ?x",
)
_OTHER_PROTOCOLS = (
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"GET /healthz\r\n\r\n",
    b"\r\n\r\n\r\n",
    b"CONNECT other:443 HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /healthz HTTP/1.1\r\n\r\n",
    b"GET /healthz HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\n\r\n",
)


def _flipped(random: Random, raw: bytes, until: int) -> bytes:
    changed = bytearray(raw)
    changed[random.randrange(until)] ^= 1 << random.randrange(8)
    return bytes(changed)
