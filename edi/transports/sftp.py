"""Delivery by SFTP: written under a hidden name, then renamed, so that no torn file is ever seen under the final name.

A rename whose answer is lost may have happened, and once the partner has collected the file, its absence proves
nothing. So NotDelivered is said only where the rename was not sent, or was refused in a way that leaves no doubt.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from posixpath import join

from edi.transports.sftp_packets import Code, Lost, Refused, SessionError
from edi.transports.sftp_session import Session
from edi.transports.ssh import NotConnected, SftpConfig, connected
from edi.transports.transport import (
    DONE,
    MOST_BYTES,
    MOST_NAMES,
    PROBE,
    DeliveryUnknown,
    NotDelivered,
    NotReady,
    NotReceived,
    NotTried,
    TransportError,
    archived_name,
    check_both_ways,
    conflict,
    described,
    is_leftover,
    is_probe,
    plain,
    probe_name,
    temporary_name,
    waits,
    waits_in,
)

__all__ = ["SftpConfig", "SftpTransport"]


@dataclass(frozen=True, slots=True)
class SftpTransport:
    """A partner's SFTP server; each call is a connection of its own.

    See `Transport` for what each method promises.
    """

    config: SftpConfig

    def __str__(self) -> str:
        return f"{self.config}, folder {self._folder}"

    def put(self, filename: str, content: bytes) -> None:
        """Delivers as durably as the server can; the folder must be there."""
        final = self._path(filename)
        with self._session(NotDelivered) as session:
            if not self._stands(session, final, content):
                self._place(session, filename, content)
            self._sweep(session, filename)

    def stands(self, filename: str, content: bytes) -> bool:
        """Looks at the final name."""
        with self._session(DeliveryUnknown) as session:
            return self._stands(session, self._path(filename), content)

    @property
    def has_inbox(self) -> bool:
        """True if there is a folder for it."""
        return self.config.inbox is not None

    def check(self) -> None:
        """Tries both ways."""
        check_both_ways(self.check_outbox, self.check_inbox)

    def check_outbox(self) -> None:
        """Delivers a file as any other and removes it, unless the server forbids to remove one."""
        with self._session(NotReady) as session:
            self._expect_folder(session, self._folder)
            self._probe(session)

    def check_inbox(self) -> None:
        """Lists it; while `done` is missing, makes and removes another folder, unless it may not remove one."""
        if self.config.inbox is None:
            return
        with self._session(NotReady) as session:
            inbox, done = self.config.inbox or ".", join(self.config.inbox, DONE)
            self._expect_folder(session, inbox)
            session.names(inbox, 1)
            if session.stat(done) is None:
                self._probe_folder(session, inbox)
            else:
                self._expect_folder(session, done)

    def list_outbox(self) -> list[str]:
        """Lists the folder."""
        with self._session(NotReceived) as session:
            return sorted(name for name in session.names(self._folder, MOST_NAMES) if not name.startswith("."))

    def list_inbox(self) -> list[str]:
        """Lists what the server does not call something else than a file."""
        if self.config.inbox is None:
            return []
        with self._session(NotReceived) as session:
            found = session.names(self.config.inbox or ".", MOST_NAMES)
        files = (name for name, attributes in found.items() if attributes.may_be_file)
        return sorted(name for name in files if waits_in(f"{self.config}, folder {self.config.inbox or '.'}", name))

    def read(self, name: str) -> bytes:
        """Reads no more than is allowed, whatever size the server says."""
        path = self._waiting(name)
        with self._session(NotReceived) as session:
            content = session.read(path, MOST_BYTES)
        if len(content) > MOST_BYTES:
            raise NotReceived(f"{self.config}: {path} is longer than {MOST_BYTES} bytes; it was left where it is")
        return content

    def archive(self, name: str) -> None:
        """Moves by the plain rename, which fails where the name is taken."""
        path = self._waiting(name)
        done = join(self.config.inbox or "", DONE)
        with self._session(NotReceived) as session:
            if session.stat(done) is None:
                session.make_folder(done)
            for attempt in count(1):
                target = join(done, archived_name(name, attempt))
                if session.stat(target) is None:
                    session.rename(path, target)
                    return

    @property
    def _folder(self) -> str:
        return self.config.folder or "."

    def _path(self, filename: str) -> str:
        return join(self._folder, plain(filename))

    def _waiting(self, name: str) -> str:
        if self.config.inbox is None or not waits(name):
            raise ValueError(f"{name!r} cannot be a file of the inbox {self.config.inbox}")
        return join(self.config.inbox, name)

    @contextmanager
    def _session(self, otherwise: type[TransportError]) -> Iterator[Session]:
        """Holds a session; what goes wrong in it and is not told more exactly is told as this kind of error."""
        try:
            with connected(self.config) as session:
                yield session
        except NotConnected as error:
            raise otherwise(str(error)) from error
        except SessionError as error:
            raise otherwise(f"{self.config}: {error}") from error

    def _expect_folder(self, session: Session, folder: str) -> None:
        there = session.stat(folder)
        if there is None or not there.may_be_folder:
            found = "nothing" if there is None else "no folder"
            raise NotReady(f"{self.config}: {folder}: found {found}, expected a folder")

    def _stands(self, session: Session, final: str, content: bytes) -> bool:
        """True if exactly this content is there, False if nothing is; anything else raises."""
        there = session.stat(final)
        if there is None:
            return False
        where = f"{self.config}: {final}"
        if there.size not in (None, len(content)):
            raise conflict(where, f"{there.size} bytes", content)
        try:
            found = session.read(final, len(content))
        except Refused as refused:
            raise DeliveryUnknown(f"{where} has the expected size, but cannot be read: {refused}") from refused
        if found != content:
            raise conflict(where, described(found), content)
        return True

    def _place(self, session: Session, filename: str, content: bytes) -> None:
        temporary = join(self._folder, temporary_name(filename))
        try:
            session.write_new(temporary, content)
            self._verify(session, temporary, content)
            self._rename(session, temporary, filename, content)
        except (SessionError, TransportError):
            with suppress(SessionError):
                session.remove(temporary)
            raise

    def _verify(self, session: Session, temporary: str, content: bytes) -> None:
        written = session.stat(temporary)
        if written is None:
            # Whoever collects hidden files as well has the whole of it; another attempt would have delivered it.
            raise DeliveryUnknown(f"{self.config}: {temporary} was written and is gone: someone has taken it away")
        if written.size != len(content):
            raise NotDelivered(
                f"{self.config}: {temporary} was not written whole: found {written.size} bytes, expected {len(content)}"
            )

    def _rename(self, session: Session, temporary: str, filename: str, content: bytes) -> None:
        final = self._path(filename)
        where = f"{self.config}: {final}"
        try:
            session.rename(temporary, final)
        except Lost as lost:
            raise DeliveryUnknown(f"{where} may be in place or not, the answer is missing: {lost}") from lost
        except Refused as refused:
            try:
                # The name may be taken by another attempt that delivers the same, and may have swept our file away.
                if self._stands(session, final, content):
                    return
            except SessionError as error:
                raise DeliveryUnknown(f"{where} was refused ({refused}), and cannot be looked at: {error}") from error
            if refused.code in (Code.PERMISSION_DENIED, Code.OP_UNSUPPORTED):
                raise NotDelivered(f"{where} cannot be put in place by a rename: {refused}") from refused
            # Version 3 has no code for `exists`: it may have been there a moment ago, and been collected.
            raise DeliveryUnknown(f"{where} was refused ({refused}), though nothing is there now") from refused

    def _sweep(self, session: Session, filename: str) -> None:
        """What was left of this delivery is taken away; receivers do not read hidden files, so failing is harmless."""
        with suppress(SessionError):
            for name in session.names(self._folder, MOST_NAMES):
                if is_leftover(name, filename):
                    session.remove(join(self._folder, name))

    def _probe_folder(self, session: Session, inbox: str) -> None:
        probe = join(inbox, probe_name())
        self._expect_removal(session.remove_folder, probe, f"whether `{DONE}` can be made in {inbox}")
        try:
            session.make_folder(probe)
        except Refused as refused:
            raise NotReady(f"{self.config}: {inbox}: `{DONE}` is not there and cannot be made: {refused}") from refused
        finally:
            # Also what a check left that was cut.
            self._sweep_probes(session, inbox, session.remove_folder)

    def _probe(self, session: Session) -> None:
        name = probe_name()
        final = self._path(name)
        self._expect_removal(session.remove, final, f"whether a file can be delivered to {self._folder}")
        try:
            self._place(session, name, PROBE)
        except Refused as refused:
            raise NotReady(
                f"{self.config}: a file cannot be written under the name that a delivery begins with, such as "
                f"{temporary_name(name)}: {refused}; "
                "the server has to allow names that begin with a dot and end in .part"
            ) from refused
        except TransportError as error:
            raise NotReady(str(error)) from error
        finally:
            # Also what a check left that was cut.
            with suppress(SessionError):
                session.remove(final)
            self._sweep_probes(session, self._folder, session.remove)
        if session.stat(final) is not None:
            raise NotTried(f"{self.config}: {final} can be delivered, but not removed again: ask the partner to do so")

    def _expect_removal(self, remove: Callable[[str], None], missing: str, what: str) -> None:
        """Raises NotTried where the server does not call a missing name missing: it may forbid removing."""
        try:
            remove(missing)
        except Refused as refused:
            if refused.code != Code.NO_SUCH_FILE:
                raise NotTried(
                    f"{self.config}: {what} was not tried: the server does not let us remove what a check would make "
                    f"({refused})"
                ) from refused

    def _sweep_probes(self, session: Session, folder: str, remove: Callable[[str], None]) -> None:
        with suppress(SessionError):
            for name in filter(is_probe, session.names(folder, MOST_NAMES)):
                remove(join(folder, name))
