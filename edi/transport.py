"""Delivery into a directory: a file appears under its final name whole or not at all, and never replaces another."""

import os
import secrets
from contextlib import suppress
from glob import escape
from hashlib import sha256
from pathlib import Path


class TransportError(Exception):
    """A delivery did not go through as it should have."""


class NotDelivered(TransportError):
    """This attempt has put nothing under the final name; of earlier attempts it says nothing."""


class DeliveryUnknown(TransportError):
    """The file may be under its final name or not: send the same bytes again."""


class DeliveryConflict(TransportError):
    """Other content stands under the final name; an operator must look."""


def put(folder: Path, filename: str, content: bytes) -> None:
    """The content is durably in the folder under this name when this returns; repeating it changes nothing.

    Raises NotDelivered, DeliveryUnknown or DeliveryConflict.
    """
    if not filename or Path(filename).name != filename:
        raise ValueError(f"{filename!r} is not a plain file name")
    final = folder / filename
    _make(folder)
    if not _stands(final, content):
        _place(final, content)
    try:
        _sync(folder)
    except OSError as error:
        raise DeliveryUnknown(f"{final} is in place, but may not survive a power failure: {error}") from error
    _sweep(final)


def _make(folder: Path) -> None:
    """A new folder is synced into its parent, else a power failure could take it away with what was delivered."""
    try:
        if not folder.is_dir():
            _make(folder.parent)
            folder.mkdir(mode=0o750, exist_ok=True)
            _sync(folder.parent)
    except OSError as error:
        raise NotDelivered(f"the folder {folder} cannot be made: {error}") from error


def _stands(final: Path, content: bytes) -> bool:
    """True if exactly this content is there, False if nothing is; anything else raises."""
    try:
        found = final.read_bytes()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise DeliveryUnknown(f"{final} cannot be read, so nobody knows what it holds: {error}") from error
    if found != content:
        raise DeliveryConflict(
            f"{final} exists with other content: found {_described(found)}, expected {_described(content)}. "
            "It was left as it is: find out who wrote it and move it away, then send again"
        )
    return True


def _described(content: bytes) -> str:
    return f"{len(content)} bytes with sha256 {sha256(content).hexdigest()}"


def _place(final: Path, content: bytes) -> None:
    # A name of its own for each attempt: a worker that stalled and the one that took over would share `.x.part`,
    # and the first could then link the file that the second has only half written.
    temporary = final.with_name(f".{final.name}.{secrets.token_hex(4)}.part")
    try:
        _write(temporary, content)
        _link(temporary, final, content)
    finally:
        with suppress(OSError):
            temporary.unlink()


def _write(temporary: Path, content: bytes) -> None:
    try:
        # Addresses are personal data: whoever collects them is the owner or in the group.
        with open(temporary, "xb", opener=lambda name, flags: os.open(name, flags, 0o640)) as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise NotDelivered(f"{temporary} cannot be written: {error}") from error


def _link(temporary: Path, final: Path, content: bytes) -> None:
    """A hard link, since it fails where the name is taken; a rename would replace what another put there meanwhile."""
    try:
        os.link(temporary, final)
    except OSError as error:
        # The name may be taken by another attempt that delivers the same, which may also have swept our file away.
        if _stands(final, content):
            return
        if isinstance(error, FileExistsError):
            raise DeliveryUnknown(f"{final} was there and is gone again: another attempt delivers it") from error
        raise NotDelivered(f"{final} cannot be put in place by a hard link: {error}") from error


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sweep(final: Path) -> None:
    """What a crash left of this delivery is taken away; receivers do not read dotfiles, so failing is harmless."""
    with suppress(OSError):
        for leftover in final.parent.glob(f".{escape(final.name)}.*.part"):
            leftover.unlink()
