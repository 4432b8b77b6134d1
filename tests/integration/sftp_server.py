"""A warehouse's SFTP server, of other hands than the client (asyncssh): it cuts, refuses, hangs and watches by step."""

import asyncio
import inspect
import os
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

import asyncssh
from asyncssh.sftp import SFTPAttrs, SFTPName

from edi.transports.ssh import SftpConfig

T = TypeVar("T")
USER, PASSWORD = "store", "correct horse"
NAME = "WAREHOUSE-000000042.edi"
# Three requests to write; most of them full.
CONTENT = b"UNA:+.? '" + bytes(range(32, 127)) * 800 + b"UNZ+1+42'"


class Moment(StrEnum):
    """When within a step the connection is cut."""

    BEFORE = "before it is carried out"
    UNANSWERED = "once it is carried out, before its answer"
    ANSWERED = "after its answer"


@dataclass(frozen=True, slots=True)
class Cut:
    """Where to cut: at the so-manieth time of a step."""

    step: str
    nth: int = 1
    moment: Moment = Moment.BEFORE

    def __str__(self) -> str:
        return f"{self.step} {self.nth}, {self.moment}"


@dataclass(slots=True)
class Warehouse:
    """The server's state and its orders for the test; `root` is all that clients see of the disk."""

    root: Path
    cut: Cut | None = None
    hangs_at: str | None = None
    # Called once it hangs.
    hanging: Callable[[], object] = lambda: None
    refusals: dict[str, Exception] = field(default_factory=dict)
    # What happens when a step has been carried out, before it is answered.
    then: dict[str, Callable[[], object]] = field(default_factory=dict)
    # Whether names that begin with a dot are refused, whatever is done to them.
    forbids_hidden: bool = False
    keys: tuple[asyncssh.SSHKey, ...] = ()
    journal: list[str] = field(default_factory=list)
    # Visible files that were not CONTENT, with the step at which they were seen.
    torn: list[str] = field(default_factory=list)
    has_cut: bool = False
    host_keys: tuple[asyncssh.SSHKey, ...] = field(
        default_factory=lambda: (asyncssh.generate_private_key("ssh-ed25519"),)
    )
    port: int = 0
    closing: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.drop.mkdir(parents=True)
        self.inbox.mkdir()

    @property
    def host_key(self) -> str:
        """The line of its first public key."""
        return self.host_keys[0].export_public_key().decode()

    @property
    def config(self) -> SftpConfig:
        """How a partner with a password is configured."""
        return SftpConfig(
            host="127.0.0.1",
            port=self.port,
            user=USER,
            password=PASSWORD,
            host_key=self.host_key,
            folder="drop",
            inbox="out",
        )

    @property
    def drop(self) -> Path:
        """Where interchanges are delivered."""
        return self.root / "drop"

    @property
    def inbox(self) -> Path:
        """Where the warehouse leaves files."""
        return self.root / "out"

    def files(self, folder: str = "drop") -> list[str]:
        """Returns all names in a folder."""
        return sorted(os.listdir(self.root / folder))

    def watch(self, step: str) -> None:
        """Notes every visible file in `drop` that is not whole."""
        for path in self.drop.glob("[!.]*"):
            if path.read_bytes() != CONTENT:
                self.torn.append(f"{path.name} at {step}")

    def meets(self, step: str) -> Moment | None:
        """Enters a step in the journal; returns when within it to cut."""
        self.journal.append(step)
        if self.cut and (self.cut.step, self.cut.nth) == (step, self.journal.count(step)):
            self.has_cut = True
            return self.cut.moment
        return None

    async def may_hang(self, step: str) -> None:
        """Keeps silent till the end, if it is to hang here."""
        if self.hangs_at == step:
            self.hanging()
            await self.closing.wait()

    @contextmanager
    def running(self) -> Iterator["Warehouse"]:
        """Runs the server in a thread of its own, on a free port of the loopback."""
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever)
        thread.start()
        try:
            acceptor = asyncio.run_coroutine_threadsafe(self._listen(), loop).result()
            yield self
            asyncio.run_coroutine_threadsafe(self._close(acceptor), loop).result()
        finally:
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()

    async def _listen(self) -> asyncssh.SSHAcceptor:
        acceptor = await asyncssh.create_server(
            lambda: _Login(self),
            "127.0.0.1",
            0,
            server_host_keys=list(self.host_keys),
            sftp_factory=lambda channel: _Sftp(self, channel),
        )
        self.port = acceptor.get_port()
        return acceptor

    async def _close(self, acceptor: asyncssh.SSHAcceptor) -> None:
        self.closing.set()
        acceptor.close()
        await acceptor.wait_closed()
        await asyncio.gather(*asyncio.all_tasks() - {asyncio.current_task()}, return_exceptions=True)
        await asyncio.get_running_loop().shutdown_default_executor()


class _Login(asyncssh.SSHServer):
    def __init__(self, warehouse: Warehouse) -> None:
        self._warehouse = warehouse

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._connection = conn
        self._step("connect")

    def password_auth_supported(self) -> bool:
        return True

    async def validate_password(self, username: str, password: str) -> bool:
        self._step("authenticate")
        await self._warehouse.may_hang("authenticate")
        return (username, password) == (USER, PASSWORD)

    def public_key_auth_supported(self) -> bool:
        return bool(self._warehouse.keys)

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        return username == USER and key in self._warehouse.keys

    def auth_completed(self) -> None:
        self._step("let in")

    def _step(self, step: str) -> None:
        if self._warehouse.meets(step):
            self._connection.abort()


class _Sftp(asyncssh.SFTPServer):
    def __init__(self, warehouse: Warehouse, channel: "asyncssh.SSHServerChannel[bytes]") -> None:
        super().__init__(channel, chroot=os.fsencode(warehouse.root))
        self._warehouse = warehouse
        if warehouse.meets("open session"):
            self.connection.abort()

    async def _step(
        self, step: str, carry_out: Callable[[], T | Awaitable[T]], torn: Callable[[], object] = lambda: None
    ) -> T:
        warehouse = self._warehouse
        moment = warehouse.meets(step)
        warehouse.watch(f"the beginning of {step}")
        await warehouse.may_hang(step)
        if step in warehouse.refusals:
            raise warehouse.refusals[step]
        if moment is Moment.BEFORE:
            torn()
            self.connection.abort()
            raise asyncssh.SFTPConnectionLost("cut")
        try:
            result = carry_out()
            return await result if inspect.isawaitable(result) else result
        finally:
            warehouse.watch(f"the end of {step}")
            warehouse.then.get(step, lambda: None)()
            if moment is Moment.UNANSWERED:
                self.connection.abort()
            if moment is Moment.ANSWERED:
                asyncio.get_running_loop().call_soon(self.connection.abort)

    def map_path(self, path: bytes) -> bytes:
        if self._warehouse.forbids_hidden and _kind(path) == "hidden":
            raise asyncssh.SFTPPermissionDenied("no such names")
        return bytes(super().map_path(path))

    async def open(self, path: bytes, pflags: int, attrs: SFTPAttrs) -> object:
        return await self._step(f"open {_kind(path)}", lambda: super(_Sftp, self).open(path, pflags, attrs))

    async def close(self, file_obj: object) -> None:
        close = super().close
        try:
            await self._step("close", lambda: close(file_obj))
        finally:
            close(file_obj)

    async def read(self, file_obj: object, offset: int, size: int) -> bytes:
        return await self._step("read", lambda: super(_Sftp, self).read(file_obj, offset, size))

    async def write(self, file_obj: object, offset: int, data: bytes) -> int:
        write = super().write
        torn = lambda: write(file_obj, offset, data[: len(data) // 2])  # noqa: E731
        return await self._step("write", lambda: write(file_obj, offset, data), torn)

    async def fsync(self, file_obj: object) -> None:
        await self._step("fsync", lambda: super(_Sftp, self).fsync(file_obj))

    async def stat(self, path: bytes) -> os.stat_result | SFTPAttrs:
        return await self._step(f"stat {_kind(path)}", lambda: super(_Sftp, self).stat(path))

    async def rename(self, oldpath: bytes, newpath: bytes) -> None:
        await self._step("rename", lambda: super(_Sftp, self).rename(oldpath, newpath))

    async def remove(self, path: bytes) -> None:
        await self._step("remove", lambda: super(_Sftp, self).remove(path))

    async def mkdir(self, path: bytes, attrs: SFTPAttrs) -> None:
        await self._step("mkdir", lambda: super(_Sftp, self).mkdir(path, attrs))

    async def rmdir(self, path: bytes) -> None:
        await self._step("rmdir", lambda: super(_Sftp, self).rmdir(path))

    async def scandir(self, path: bytes) -> AsyncIterator[SFTPName]:
        names = await self._step("list", lambda: super(_Sftp, self).scandir(path))
        async for name in names:
            yield name


def _kind(path: bytes) -> str:
    return "hidden" if os.path.basename(path).startswith(b".") else "visible"
