"""An SSH connection to a partner: one pinned host key, one login, one time limit for everything.

Nothing of the user who runs it is used: no known_hosts, no agent, no keys in a home directory.
"""

import base64
import binascii
import hashlib
import io
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import paramiko  # type: ignore[import-untyped]  # publishes no types

from edi.transports.sftp_session import Session


class NotConnected(Exception):
    """No session could be opened, so no request was sent."""


@dataclass(frozen=True, slots=True)
class Pin:
    """The expected host key: its fingerprint, and its type if known."""

    fingerprint: str
    key_type: str | None = None

    @classmethod
    def parse(cls, host_key: str) -> "Pin":
        """Reads a public key as ssh-keyscan and *.pub files have it, or what `ssh-keygen -l` prints of one."""
        words = host_key.split()
        with suppress(binascii.Error, ValueError):
            if len(words) == 1 and words[0].startswith("SHA256:"):
                digest = words[0].removeprefix("SHA256:").rstrip("=")
                if len(base64.b64decode(digest + "=", validate=True)) == hashlib.sha256().digest_size:
                    return cls(f"SHA256:{digest}")
            elif len(words) > 1:
                key = base64.b64decode(words[1], validate=True)
                if key.startswith(len(words[0]).to_bytes(4, "big") + words[0].encode()):
                    digest = base64.b64encode(hashlib.sha256(key).digest()).decode().rstrip("=")
                    return cls(f"SHA256:{digest}", words[0])
        raise ValueError(
            "host_key is neither `SHA256:…` nor a public key such as `ssh-ed25519 AAAA…`; "
            "`ssh-keyscan HOST | ssh-keygen -lf -` prints it: compare it with the key that the warehouse gives you"
        )

    @property
    def algorithms(self) -> tuple[str, ...] | None:
        """The algorithms to ask for, because a server with several keys shows only one of them; None: any."""
        if self.key_type is None:
            return None
        return ("rsa-sha2-512", "rsa-sha2-256") if self.key_type == "ssh-rsa" else (self.key_type,)

    def __str__(self) -> str:
        return f"{self.key_type or 'a key'} {self.fingerprint}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SftpConfig:
    """A partner's SFTP server, its identity and our login. Secrets are given as values."""

    host: str
    port: int = 22
    user: str
    # The server's public key, or its fingerprint; the key if the server has several of different types.
    host_key: str
    # Exactly one of these two; the key as OpenSSH or PEM text.
    password: str | None = field(default=None, repr=False)
    private_key: str | None = field(default=None, repr=False)
    passphrase: str | None = field(default=None, repr=False)
    # Without a leading slash they are relative to the login folder.
    folder: str
    inbox: str | None = None
    # For one call as a whole, from the connection to the last answer; shorter than a claim's lease.
    timeout: float = 30.0

    def __post_init__(self) -> None:
        Pin.parse(self.host_key)
        if bool(self.password) == bool(self.private_key):
            found = "both" if self.password else "neither"
            raise ValueError(f"{self}: found {found} of password and private_key, expected one")
        if self.timeout <= 0:
            raise ValueError(f"{self}: timeout is {self.timeout}, expected more than 0 seconds")

    def __str__(self) -> str:
        return f"sftp://{self.user}@{self.host}:{self.port}"


@contextmanager
def connected(config: SftpConfig) -> Iterator[Session]:
    """Opens a session with the partner for the block; raises NotConnected if that fails."""
    started, describe = time.monotonic(), _describe
    with ExitStack() as stack:
        try:
            login = read_private_key(config)
            line = stack.enter_context(socket.create_connection((config.host, config.port), timeout=config.timeout))
            # Each request waits for its answer; Nagle's algorithm would add 40 ms twice to each login.
            line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            transport = paramiko.Transport(line)
            stack.callback(_end, transport, line)
            alarm = stack.enter_context(Alarm(transport, started + config.timeout - time.monotonic()))
            describe = alarm.describe
            _shake_hands(transport, config)
            _log_in(transport, config, login)
            alarm.channel = channel = transport.open_session()
            stack.callback(_close, channel)
            channel.invoke_subsystem("sftp")
            session = Session(channel, describe)
        except Exception as error:  # paramiko re-raises any error of its reader thread
            raise NotConnected(f"{config}: {describe(error)}") from error
        yield session


def _describe(error: Exception) -> str:
    return str(error) or ("the connection ended" if isinstance(error, EOFError) else type(error).__name__)


def read_private_key(config: SftpConfig) -> Any:
    """Returns the key to log in with, None without one; raises ValueError if it cannot be read."""
    if not config.private_key:
        return None
    with suppress(paramiko.SSHException, ValueError, StopIteration):
        kind = _kind_of_key(config.private_key)
        return kind.from_private_key(io.StringIO(config.private_key), password=config.passphrase or None)
    raise ValueError(
        "private_key cannot be read: expected an Ed25519, ECDSA or RSA key as OpenSSH or PEM text, and its passphrase "
        f"if it has one (found {'one' if config.passphrase else 'none'})"
    )


def _kind_of_key(text: str) -> Any:
    """Reads the type from the key: trying all is slow, because decrypting takes long by design."""
    title, *lines = text.strip().splitlines()
    # The open part of the OpenSSH format names the type; further on a comment may name another.
    start = base64.b64decode("".join(lines)[:256]) if "OPENSSH" in title else title.encode()
    kinds = {
        b"ssh-ed25519": paramiko.Ed25519Key,
        b"ecdsa-sha2-": paramiko.ECDSAKey,
        b"ssh-rsa": paramiko.RSAKey,
        b"BEGIN EC ": paramiko.ECDSAKey,
        b"BEGIN RSA ": paramiko.RSAKey,
    }
    return next(kind for mark, kind in kinds.items() if mark in start)


def _shake_hands(transport: Any, config: SftpConfig) -> None:
    """Negotiates, and raises ValueError unless the server proves that it holds the pinned key."""
    # paramiko's own limits; the alarm fires before them.
    transport.banner_timeout = transport.handshake_timeout = transport.auth_timeout = config.timeout + 1
    expected = Pin.parse(config.host_key)
    if expected.algorithms:
        transport.get_security_options().key_types = expected.algorithms
    transport.start_client()
    key = transport.get_remote_server_key()
    if key.fingerprint != expected.fingerprint:
        raise ValueError(f"host key refused: found {Pin(key.fingerprint, key.get_name())}, expected {expected}")


def _log_in(transport: Any, config: SftpConfig, key: Any) -> None:
    if key:
        missing = transport.auth_publickey(config.user, key)
    else:
        missing = transport.auth_password(config.user, config.password)
    if missing:
        raise ValueError(f"the server also asks for {' or '.join(missing)}")


def _close(channel: Any) -> None:
    """Closes the channel cleanly if the connection is still open."""
    with suppress(OSError, EOFError, paramiko.SSHException):
        channel.close()


def _end(transport: Any, line: socket.socket) -> None:
    """Ends the connection and what works on it: paramiko's thread, which the shutdown wakes, and its timer."""
    with suppress(OSError):
        line.shutdown(socket.SHUT_RDWR)
    transport.close()
    transport.packetizer.complete_handshake()
    if transport.is_alive():
        transport.join(1)


class Alarm:
    """Ends a connection when its time is up, because paramiko waits for some answers without a limit."""

    def __init__(self, transport: Any, seconds: float) -> None:
        self.channel: Any = None
        self._transport = transport
        self._seconds = max(seconds, 0.0)
        self._fired = False
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "Alarm":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def describe(self, error: Exception) -> str:
        """Returns what went wrong: the time limit, if the error comes from ending the connection."""
        return f"no answer within {self._seconds:.1f} seconds" if self._fired else _describe(error)

    def fire(self) -> None:
        """Ends the connection, and wakes paramiko if it waits."""
        self._fired = True
        self._transport.close()
        if self.channel is not None:
            self.channel.event.set()

    def _watch(self) -> None:
        patience = self._seconds
        while not self._over.wait(patience):
            self.fire()
            # Again: paramiko misses a wake-up, or a cut, that comes just before it begins to wait.
            patience = 1.0
