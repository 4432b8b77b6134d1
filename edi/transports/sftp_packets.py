"""SFTP packets, protocol version 3: requests, answers, and the ways in which a request can fail."""

from dataclasses import dataclass
from enum import IntEnum
from stat import S_ISDIR, S_ISREG
from struct import pack


class Packet(IntEnum):
    """The kinds of packets: ours up to RENAME and EXTENDED, the others the server's."""

    INIT = 1
    VERSION = 2
    OPEN = 3
    CLOSE = 4
    READ = 5
    WRITE = 6
    OPENDIR = 11
    READDIR = 12
    REMOVE = 13
    MKDIR = 14
    RMDIR = 15
    STAT = 17
    RENAME = 18
    STATUS = 101
    HANDLE = 102
    DATA = 103
    NAME = 104
    ATTRS = 105
    EXTENDED = 200


class Code(IntEnum):
    """The status codes that matter here; version 3 has none for `exists` or `disk full`."""

    OK = 0
    EOF = 1
    NO_SUCH_FILE = 2
    PERMISSION_DENIED = 3
    FAILURE = 4
    OP_UNSUPPORTED = 8


class SessionError(Exception):
    """A request did not succeed."""


class Unsent(SessionError):
    """The request was not sent completely, so the server cannot have carried it out."""


class Lost(SessionError):
    """The request was sent, but no valid answer came: the server may or may not have carried it out."""


class Refused(SessionError):
    """The server answered that it did not carry out the request."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"the server says {text!r} (code {code})")
        self.code = code


@dataclass(frozen=True, slots=True)
class Attributes:
    """The attributes that the server reports for a file; None where it reports none."""

    size: int | None
    mode: int | None

    @property
    def may_be_file(self) -> bool:
        """False for what is certainly no regular file."""
        return self.mode is None or S_ISREG(self.mode)

    @property
    def may_be_folder(self) -> bool:
        """False for what is certainly no folder."""
        return self.mode is None or S_ISDIR(self.mode)


class Answer:
    """A packet, read from front to back."""

    def __init__(self, packet: bytes) -> None:
        self.kind = packet[0]
        self._packet = packet
        self._at = 1

    @property
    def is_read(self) -> bool:
        """True once nothing is left."""
        return self._at == len(self._packet)

    def number(self, size: int = 4) -> int:
        """Takes a number."""
        return int.from_bytes(self._take(size), "big")

    def string(self) -> bytes:
        """Takes a string."""
        return self._take(self.number())

    def data(self) -> bytes:
        """Takes file content; no content counts as the end, else a server could be asked forever."""
        if data := self.string():
            return data
        raise Refused(Code.EOF, "no data")

    def refusal(self) -> Refused | None:
        """Takes a status; returns None for success."""
        if (code := self.number()) == Code.OK:
            return None
        return Refused(code, "" if self.is_read else self.string().decode(errors="replace")[:200])

    def attributes(self) -> Attributes:
        """Takes attributes."""
        flags = self.number()
        size = self.number(8) if flags & 0x1 else None
        self._take(8 if flags & 0x2 else 0)  # owner and group
        mode = self.number() if flags & 0x4 else None
        self._take(8 if flags & 0x8 else 0)  # times
        for _ in range(2 * self.number() if flags & 0x8000_0000 else 0):
            self.string()
        return Attributes(size, mode)

    def entries(self) -> dict[str, Attributes]:
        """Takes names with their attributes; bytes that are not UTF-8 become surrogates."""
        found = {}
        for _ in range(self.number()):
            name = self.string().decode(errors="surrogateescape")
            self.string()  # the line that `ls -l` would print
            found[name] = self.attributes()
        return found

    def _take(self, size: int) -> bytes:
        taken = self._packet[self._at : self._at + size]
        if len(taken) < size:
            raise Lost(f"found an answer of {len(self._packet)} bytes, too short for its contents")
        self._at += size
        return taken


def string(data: bytes) -> bytes:
    """Returns it as a field of a packet."""
    return pack(">I", len(data)) + data


def text(path: str) -> bytes:
    """Returns it as a field of a packet."""
    return string(path.encode())
