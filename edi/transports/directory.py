"""Delivery into a directory: a file appears under its final name whole or not at all, and never replaces another."""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path

from edi.transports.transport import (
    DONE,
    MOST_BYTES,
    MOST_NAMES,
    PROBE,
    DeliveryUnknown,
    InboxMissing,
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
    probe_name,
    temporary_name,
)

# Errors after which a hard link certainly does not exist. After any other (a lost answer of a network disk, a temporary
# file that the partner has collected) the file may be there, or may have been.
_REFUSED = (
    errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EMLINK, errno.ENOTSUP, errno.ENOSYS,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class DirectoryTransport:
    """A directory that a partner, or a program on its behalf, collects from, and another that it leaves files in.

    See `Transport` for what each method promises.
    """

    folder: Path
    inbox: Path | None = None

    def __str__(self) -> str:
        return str(self.folder)

    def put(self, filename: str, content: bytes) -> None:
        """Delivers durably, and makes the folder if it is missing."""
        final = self.folder / checked_name(filename)
        _make(self.folder)
        if not _is_present(final, content):
            _place(final, content)
        try:
            _sync(self.folder)
        except OSError as error:
            raise DeliveryUnknown(f"{final} is in place, but may not survive a power failure: {error}") from error
        _remove_leftovers(final)

    def is_present(self, filename: str, content: bytes) -> bool:
        """Reads what is under the final name."""
        return _is_present(self.folder / checked_name(filename), content)

    @property
    def has_inbox(self) -> bool:
        """True if an inbox is configured."""
        return self.inbox is not None

    def check(self) -> None:
        """Checks outbox and inbox."""
        check_both_ways(self.check_outbox, self.check_inbox)

    def check_outbox(self) -> None:
        """Delivers a file and removes it; if the folder is missing, checks that it can be made."""
        try:
            there = next(path for path in (self.folder, *self.folder.parents) if path.exists())
        except OSError as error:
            raise NotReady(f"{self.folder} cannot be looked at: {error}") from error
        _expect_folder(there, os.W_OK | os.X_OK)
        if there == self.folder:
            _test_delivery(there)
        else:
            _test_link(there, there)

    def check_inbox(self) -> None:
        """Checks permissions and a hard link into `done`, or within the inbox if `done` does not exist yet."""
        if self.inbox is None:
            return
        _expect_folder(self.inbox, os.R_OK | os.W_OK | os.X_OK)
        done = self.inbox / DONE
        # A dangling link also occupies the name.
        if not os.path.lexists(done):
            done = self.inbox
        _expect_folder(done, os.W_OK | os.X_OK)
        _test_link(self.inbox, done)

    def list_outbox(self) -> list[str]:
        """Lists nothing if the folder does not exist yet."""
        with _receiving(self.folder):
            if not self.folder.exists():
                return []
            with os.scandir(self.folder) as entries:
                return sorted(islice((one.name for one in entries if not one.name.startswith(".")), MOST_NAMES))

    def list_inbox(self) -> list[str]:
        """Lists regular files only: the partner did not leave what a link or a pipe leads to."""
        if self.inbox is None:
            return []
        with _receiving(self.inbox):
            if not self.inbox.exists():
                raise InboxMissing(self.inbox)
            with os.scandir(self.inbox) as entries:
                files = (entry.name for entry in entries if entry.is_file(follow_symlinks=False))
                return sorted(islice((name for name in files if is_complete_in(self.inbox, name)), MOST_NAMES))

    def read(self, name: str) -> bytes:
        """Reads the file without following a link."""
        path = self._inbox_path(name)
        with _receiving(path), open(path, "rb", opener=_open_regular) as file:
            content = file.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise NotReceived(f"{path} is longer than {MOST_BYTES} bytes; it was left where it is")
        return content

    def archive(self, name: str) -> None:
        """Moves by a hard link, because a rename would replace an existing file."""
        path = self._inbox_path(name)
        with _receiving(path):
            done = path.parent / DONE
            done.mkdir(mode=0o750, exist_ok=True)
            for attempt in count(1):
                target = done / archived_name(name, attempt)
                with suppress(FileExistsError):
                    os.link(path, target, follow_symlinks=False)
                    break
            path.unlink()

    def _inbox_path(self, name: str) -> Path:
        if self.inbox is None or not is_complete_name(name):
            raise ValueError(f"{name!r} cannot be a file of the inbox {self.inbox}")
        return self.inbox / name


def _expect_folder(path: Path, mode: int) -> None:
    if not path.is_dir():
        raise NotReady(f"{path} is {'no directory' if path.exists() else 'not there'}; expected a directory")
    if not os.access(path, mode):
        raise NotReady(f"the directory {path} lacks permissions that a transport needs")


def _test_delivery(folder: Path) -> None:
    final = folder / probe_name()
    try:
        _place(final, PROBE)
        _sync(folder)
    except (OSError, TransportError) as error:
        raise NotReady(f"{folder}: a file cannot be delivered: {error}") from error
    finally:
        with suppress(OSError):
            final.unlink()
    if left := [path for path in folder.iterdir() if final.name in path.name]:
        raise NotTried(
            f"{folder}: a file can be delivered, but {' and '.join(path.name for path in left)} could not be removed "
            "again: remove it, and allow countermand to remove files there"
        )


def _test_link(folder: Path, target: Path) -> None:
    """Some file systems (FAT, some network disks) have no hard links, and no hard link crosses file systems."""
    first, second = folder / temporary_name(probe_name()), target / temporary_name(probe_name())
    try:
        _write(first, PROBE)
        os.link(first, second)
    except (OSError, NotDelivered) as error:
        raise NotReady(f"{target}: a file cannot be put in place by a hard link: {error}") from error
    finally:
        for path in (first, second):
            with suppress(OSError):
                path.unlink()


@contextmanager
def _receiving(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise NotReceived(f"{path}: {error}") from error


def _open_regular(path: str, flags: int) -> int:
    # Without O_NONBLOCK, opening a pipe without a writer would block forever.
    descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError("not a regular file")
    return descriptor


def _make(folder: Path) -> None:
    """Makes a folder and syncs its parent, else a power failure could lose the folder and the deliveries in it."""
    try:
        if not folder.is_dir():
            _make(folder.parent)
            folder.mkdir(mode=0o750, exist_ok=True)
            _sync(folder.parent)
    except OSError as error:
        raise NotDelivered(f"the folder {folder} cannot be made: {error}") from error


def _is_present(final: Path, content: bytes) -> bool:
    """Returns True if exactly this content is there, False if nothing is; raises otherwise."""
    try:
        found = final.read_bytes()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise DeliveryUnknown(f"{final} cannot be read, so its content is unknown: {error}") from error
    if found != content:
        raise conflict(final, describe_content(found), content)
    return True


def _place(final: Path, content: bytes) -> None:
    temporary = final.with_name(temporary_name(final.name))
    try:
        _write(temporary, content)
        _link(temporary, final, content)
    finally:
        with suppress(OSError):
            temporary.unlink()


def _write(temporary: Path, content: bytes) -> None:
    try:
        # Addresses are personal data: only the owner and the group may read them.
        with open(temporary, "xb", opener=lambda name, flags: os.open(name, flags, 0o640)) as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise NotDelivered(f"{temporary} cannot be written: {error}") from error


def _link(temporary: Path, final: Path, content: bytes) -> None:
    """Uses a hard link, which fails if the name is taken; a rename would replace another attempt's file."""
    try:
        os.link(temporary, final)
    except OSError as error:
        # Another attempt at the same delivery may have taken the name, and may have removed our temporary file.
        if _is_present(final, content):
            return
        if isinstance(error, FileExistsError):
            raise DeliveryUnknown(f"{final} was there and is gone again: another attempt delivers it") from error
        if error.errno in _REFUSED:
            raise NotDelivered(f"{final} cannot be put in place by a hard link: {error}") from error
        raise DeliveryUnknown(f"{final} may have been put in place, or not: {error}") from error


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove_leftovers(final: Path) -> None:
    """Removes temporary files that crashes left; receivers ignore dotfiles, so a failure is harmless."""
    with suppress(OSError), os.scandir(final.parent) as entries:
        for entry in entries:
            if is_leftover(entry.name, final.name):
                os.unlink(entry.path)
