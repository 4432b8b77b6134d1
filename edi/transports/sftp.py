"""Delivery by SFTP: written under a hidden name, then renamed, so that the final name never shows a partial file.

A rename whose answer is lost may have happened, and once the partner has collected the file, its absence proves
nothing. So NotDelivered is raised only if the rename was not sent, or was refused in a way that leaves no doubt.
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
    checked_name,
    conflict,
    describe_content,
    is_complete_in,
    is_complete_name,
    is_leftover,
    is_probe,
    probe_name,
    temporary_name,
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
        """Delivers as durably as the server can; the folder must exist."""
        final = self._path(filename)
        with self._session(NotDelivered) as session:
            if not self._is_present(session, final, content):
                self._place(session, filename, content)
            self._remove_leftovers(session, filename)

    def is_present(self, filename: str, content: bytes) -> bool:
        """Reads what is under the final name."""
        with self._session(DeliveryUnknown) as session:
            return self._is_present(session, self._path(filename), content)

    @property
    def has_inbox(self) -> bool:
        """True if an inbox is configured."""
        return self.config.inbox is not None

    def check(self) -> None:
        """Checks outbox and inbox."""
        check_both_ways(self.check_outbox, self.check_inbox)

    def check_outbox(self) -> None:
        """Delivers a file and removes it, unless the server forbids removing files."""
        with self._session(NotReady) as session:
            self._expect_folder(session, self._folder)
            self._probe(session)

    def check_inbox(self) -> None:
        """Lists it; if `done` is missing, makes and removes a folder, unless the server forbids removing folders."""
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
        """Lists all that the server does not describe as something other than a file."""
        if self.config.inbox is None:
            return []
        with self._session(NotReceived) as session:
            found = session.names(self.config.inbox or ".", MOST_NAMES)
        files = (name for name, attributes in found.items() if attributes.may_be_file)
        return sorted(
            name for name in files if is_complete_in(f"{self.config}, folder {self.config.inbox or '.'}", name)
        )

    def read(self, name: str) -> bytes:
        """Reads at most the allowed size, whatever size the server reports."""
        path = self._inbox_path(name)
        with self._session(NotReceived) as session:
            content = session.read(path, MOST_BYTES)
        if len(content) > MOST_BYTES:
            raise NotReceived(f"{self.config}: {path} is longer than {MOST_BYTES} bytes; it was left where it is")
        return content

    def archive(self, name: str) -> None:
        """Moves by the plain rename, which fails if the name is taken."""
        path = self._inbox_path(name)
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
        return join(self._folder, checked_name(filename))

    def _inbox_path(self, name: str) -> str:
        if self.config.inbox is None or not is_complete_name(name):
            raise ValueError(f"{name!r} cannot be a file of the inbox {self.config.inbox}")
        return join(self.config.inbox, name)

    @contextmanager
    def _session(self, otherwise: type[TransportError]) -> Iterator[Session]:
        """Opens a session, and raises `otherwise` for its errors that are not handled more specifically."""
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

    def _is_present(self, session: Session, final: str, content: bytes) -> bool:
        """Returns True if exactly this content is there, False if nothing is; raises otherwise."""
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
            raise conflict(where, describe_content(found), content)
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
            # A receiver that collects hidden files has it whole; another attempt would have delivered it.
            raise DeliveryUnknown(f"{self.config}: {temporary} was written and is gone: collected or removed")
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
                # Another attempt at the same delivery may have taken the name, and may have removed our temporary file.
                if self._is_present(session, final, content):
                    return
            except SessionError as error:
                raise DeliveryUnknown(f"{where} was refused ({refused}), and cannot be looked at: {error}") from error
            if refused.code in (Code.PERMISSION_DENIED, Code.OP_UNSUPPORTED):
                raise NotDelivered(f"{where} cannot be put in place by a rename: {refused}") from refused
            # Version 3 has no code for `exists`: the file may have been there a moment ago, and been collected.
            raise DeliveryUnknown(f"{where} was refused ({refused}), though nothing is there now") from refused

    def _remove_leftovers(self, session: Session, filename: str) -> None:
        """Removes temporary files that crashes left; receivers ignore hidden files, so a failure is harmless."""
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
            # Also removes what an interrupted check left.
            self._remove_probes(session, inbox, session.remove_folder)

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
            # Also removes what an interrupted check left.
            with suppress(SessionError):
                session.remove(final)
            self._remove_probes(session, self._folder, session.remove)
        if session.stat(final) is not None:
            raise NotTried(f"{self.config}: {final} can be delivered, but not removed again: ask the partner to do so")

    def _expect_removal(self, remove: Callable[[str], None], missing: str, what: str) -> None:
        """Raises NotTried unless removing a missing name fails as missing: the server may forbid removing."""
        try:
            remove(missing)
        except Refused as refused:
            if refused.code != Code.NO_SUCH_FILE:
                raise NotTried(
                    f"{self.config}: {what} was not tried: the server forbids removing what a check would make "
                    f"({refused})"
                ) from refused

    def _remove_probes(self, session: Session, folder: str, remove: Callable[[str], None]) -> None:
        with suppress(SessionError):
            for name in filter(is_probe, session.names(folder, MOST_NAMES)):
                remove(join(folder, name))
