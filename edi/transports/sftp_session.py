"""The requests of SFTP (protocol version 3) that a transport needs, one at a time, on an SSH channel.

paramiko's own client hides what decides here: whether a request left at all, the code of a refusal, an error at
closing, and what the server offers. One name that is not UTF-8 keeps it from listing a folder.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from struct import pack
from typing import Protocol

from paramiko import SSHException  # type: ignore[import-untyped]  # publishes no types

from edi.transports.sftp_packets import (
    Answer,
    Attributes,
    Code,
    Lost,
    Packet,
    Refused,
    SessionError,
    Unsent,
    string,
    text,
)

# The chunk that every server accepts in one request, and an upper bound for one answer.
_CHUNK = 32 * 1024
_LONGEST_ANSWER = 1024 * 1024
_FOR_READING = 0x01
_NEW_FOR_WRITING = 0x02 | 0x08 | 0x20  # WRITE, CREAT, EXCL


class Channel(Protocol):
    """The part of an SSH channel with a running `sftp` subsystem that a session needs."""

    def sendall(self, data: bytes) -> None:
        """Sends all of it or raises."""

    def recv(self, size: int) -> bytes:
        """Returns the bytes that have arrived, none at the end."""


class Session:
    """One session with a server. Unsent or Lost ends it; Refused leaves it usable."""

    def __init__(self, channel: Channel, describe: Callable[[Exception], str] = str) -> None:
        self._channel = channel
        self._describe = describe
        self._asked = 0
        self._offers_fsync = self._greet()

    def stat(self, path: str) -> Attributes | None:
        """Returns the attributes of a path, or None if nothing is there."""
        try:
            return self._ask(Packet.STAT, text(path), expect=Packet.ATTRS).attributes()
        except Refused as refused:
            if refused.code == Code.NO_SUCH_FILE:
                return None
            raise

    def write_new(self, path: str, content: bytes) -> None:
        """Writes a file that did not exist, as durably as the server can."""
        with self._opened(path, _NEW_FOR_WRITING) as handle:
            for start in range(0, len(content), _CHUNK):
                chunk = content[start : start + _CHUNK]
                self._ask(Packet.WRITE, string(handle), pack(">Q", start), string(chunk))
            if self._offers_fsync:
                self._ask(Packet.EXTENDED, string(b"fsync@openssh.com"), string(handle))

    def read(self, path: str, limit: int) -> bytes:
        """Returns the content, or more than `limit` bytes of its beginning."""
        content = bytearray()
        with self._opened(path, _FOR_READING) as handle, _until_the_end():
            while len(content) <= limit:
                at = pack(">QI", len(content), min(_CHUNK, limit + 1 - len(content)))
                content += self._ask(Packet.READ, string(handle), at, expect=Packet.DATA).data()
        return bytes(content)

    def names(self, folder: str, limit: int) -> dict[str, Attributes]:
        """Returns the entries of a folder, at most `limit` and the rest of the last answer."""
        found: dict[str, Attributes] = {}
        handle = self._ask(Packet.OPENDIR, text(folder), expect=Packet.HANDLE).string()
        with self._closing(handle), _until_the_end():
            while len(found) < limit:
                found |= self._ask(Packet.READDIR, string(handle), expect=Packet.NAME).entries()
        return found

    def rename(self, source: str, target: str) -> None:
        """Renames unless the target exists; uses the plain request, because the POSIX one replaces the target."""
        self._ask(Packet.RENAME, text(source), text(target))

    def remove(self, path: str) -> None:
        """Removes a file."""
        self._ask(Packet.REMOVE, text(path))

    def remove_folder(self, path: str) -> None:
        """Removes an empty folder."""
        self._ask(Packet.RMDIR, text(path))

    def make_folder(self, path: str) -> None:
        """Makes a folder."""
        self._ask(Packet.MKDIR, text(path), pack(">I", 0))

    @contextmanager
    def _opened(self, path: str, flags: int) -> Iterator[bytes]:
        handle = self._ask(Packet.OPEN, text(path), pack(">II", flags, 0), expect=Packet.HANDLE).string()
        with self._closing(handle):
            yield handle

    @contextmanager
    def _closing(self, handle: bytes) -> Iterator[None]:
        """Lets an error at closing through: a server on a network disk may report only then that it is full."""
        try:
            yield
        except SessionError:
            with suppress(SessionError):
                self._ask(Packet.CLOSE, string(handle))
            raise
        self._ask(Packet.CLOSE, string(handle))

    def _greet(self) -> bool:
        self._send(pack(">BI", Packet.INIT, 3))
        answer = self._receive()
        if answer.kind != Packet.VERSION:
            raise Lost(f"found packet type {answer.kind}, expected an SFTP version")
        answer.number()
        offers = False
        while not answer.is_read:
            offers |= answer.string() == b"fsync@openssh.com"
            answer.string()
        return offers

    def _ask(self, kind: Packet, *fields: bytes, expect: Packet = Packet.STATUS) -> Answer:
        self._asked += 1
        self._send(pack(">BI", kind, self._asked) + b"".join(fields))
        answer = self._receive()
        if (number := answer.number()) != self._asked:
            raise Lost(f"found the answer to request {number}, expected the one to {self._asked}")
        if answer.kind == Packet.STATUS and (refusal := answer.refusal()):
            raise refusal
        if answer.kind != expect:
            raise Lost(f"found packet type {answer.kind}, expected {expect}")
        return answer

    def _send(self, packet: bytes) -> None:
        try:
            self._channel.sendall(pack(">I", len(packet)) + packet)
        except (OSError, EOFError, SSHException) as error:
            raise Unsent(self._describe(error)) from error

    def _receive(self) -> Answer:
        size = int.from_bytes(self._exactly(4), "big")
        if not 0 < size <= _LONGEST_ANSWER:
            raise Lost(f"found an answer of {size} bytes, expected SFTP")
        return Answer(self._exactly(size))

    def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            try:
                more = self._channel.recv(size - len(data))
            except (OSError, EOFError, SSHException) as error:
                raise Lost(self._describe(error)) from error
            if not more:
                raise Lost(self._describe(EOFError("the connection ended")))
            data += more
        return data


@contextmanager
def _until_the_end() -> Iterator[None]:
    """Ends the block quietly at the end of a file or a folder, which the server reports as a refusal."""
    try:
        yield
    except Refused as refused:
        if refused.code != Code.EOF:
            raise
