"""What a transport to a partner does, and what is known when it fails."""

import re
import secrets
from collections.abc import Callable
from functools import lru_cache
from hashlib import sha256
from typing import Protocol

import structlog

from delivery import outcomes
from delivery.outcomes import DeliveryError, OutcomeUnknown

_log = structlog.get_logger()

# The most that is read of one file of an inbox.
MOST_BYTES = 8 * 1024 * 1024
# The most names that are looked at in one folder; what lies beyond has its turn once these are archived.
MOST_NAMES = 10_000
# Where archived files go, inside the inbox.
DONE = "done"
# What programs add to the name of a file while they write it: our own, curl, rsync, WinSCP, browsers, Windows, editors.
_UNFINISHED = (
    ".part", ".partial", ".tmp", ".temp", ".filepart", ".upload", ".uploading", ".crdownload", ".download",
    ".opdownload", ".inprogress", ".in_progress", ".incomplete", ".writing", ".transfer", ".lock", ".lck", ".swp",
    ".aria2", "~",
)  # fmt: skip
_UNFINISHED_BEGINS = ("~", ".")
# What a check writes: long enough that a disk without any room has none for it.
PROBE = b"written by `countermand partners check`, to be removed at once\n"
_PROBE = "countermand-check"
_PROBES = re.compile(rf"\.?{_PROBE}[.-][0-9a-f]{{8}}\.part(\.[0-9a-f]{{8}}\.part)?")


class TransportError(DeliveryError):
    """A transport did not do what it should have."""


class NotDelivered(TransportError, outcomes.NotDelivered):
    """This attempt has put nothing under the final name; of earlier attempts it says nothing."""


class DeliveryUnknown(TransportError, OutcomeUnknown):
    """The file may be under its final name or not: send the same bytes again."""


class DeliveryConflict(TransportError):
    """Other content stands under the final name; an operator must look."""

    delivered_nothing = True


class NotReady(TransportError):
    """A check found something that would keep the transport from working."""


class NotTried(TransportError):
    """A check could not find out whether the transport works, since what it would make could not be removed again."""


class NotReceived(TransportError):
    """The inbox could not be listed, or a file in it not read or moved away; listing it again tells what is there."""


class Transport(Protocol):
    """A way to one partner. What raises ValueError is a mistake of the caller."""

    def put(self, filename: str, content: bytes) -> None:
        """The content was durably under this name when this returns; repeating it changes nothing.

        Raises NotDelivered, DeliveryUnknown or DeliveryConflict.
        """

    def stands(self, filename: str, content: bytes) -> bool:
        """True if exactly this is there now; False if nothing is, which proves nothing: it may have been collected.

        Raises DeliveryUnknown or DeliveryConflict.
        """

    @property
    def has_inbox(self) -> bool:
        """True if the partner leaves files for us."""

    def check(self) -> None:
        """Tries both ways, and leaves nothing behind; raises NotReady or NotTried."""

    def check_outbox(self) -> None:
        """Does all that a delivery does, with a file of its own that it removes; raises NotReady or NotTried."""

    def list_outbox(self) -> list[str]:
        """The visible names that lie where deliveries are put, sorted; up to MOST_NAMES. Raises NotReceived."""

    def list_inbox(self) -> list[str]:
        """The names of the files that wait in the inbox, sorted; none without an inbox. Raises NotReceived."""

    def read(self, name: str) -> bytes:
        """The whole content of a file in the inbox; raises NotReceived, also if it is longer than MOST_BYTES."""

    def archive(self, name: str) -> None:
        """Moves a file of the inbox into `done` inside it, under another name where its own is taken.

        Raises NotReceived.
        """


def plain(name: str) -> str:
    """Returns the name if it is that of one visible file in one folder, else raises ValueError."""
    if not _is_plain(name):
        raise ValueError(f"{name!r} is not a plain file name")
    return name


def waits(name: str) -> bool:
    """True for the names in an inbox that a partner has finished writing and that we can handle safely."""
    is_finished = not name.lower().endswith(_UNFINISHED) and not name.startswith(_UNFINISHED_BEGINS)
    return _is_plain(name) and name != DONE and is_finished


def waits_in(inbox: object, name: str) -> bool:
    """Returns what `waits` does; a visible name that we cannot handle safely, and so never will, is told to the log."""
    if not (_is_plain(name) or name.startswith(".")):
        _tell_unsafe(str(inbox), name)
    return waits(name)


# Once a process: an inbox is listed every half a minute.
@lru_cache(MOST_NAMES)
def _tell_unsafe(inbox: str, name: str) -> None:
    _log.warning("a file of the inbox is passed by, rename it", inbox=inbox, file=ascii(name))


def _is_plain(name: str) -> bool:
    # Neither separators nor control characters, nor bytes that were no UTF-8: surrogates are not printable.
    return bool(name) and name.isprintable() and not name.startswith(".") and not set(name) & {"/", "\\"}


def temporary_name(filename: str) -> str:
    """Returns a hidden name for one attempt to deliver this file.

    A worker that stalled and the one that took over would share `.x.part`, and the first could then put in place what
    the second has only half written.
    """
    return f".{filename}.{secrets.token_hex(4)}.part"


def probe_name() -> str:
    """Returns a name for the file of one check.

    It is visible, as those of deliveries are, and ends as an unfinished file does: whoever collects passes by it.
    """
    return f"{_PROBE}-{secrets.token_hex(4)}.part"


def is_probe(name: str) -> bool:
    """True for what a check has left that was cut, under its final name or its temporary one."""
    return _PROBES.fullmatch(name) is not None


def check_both_ways(check_outbox: Callable[[], None], check_inbox: Callable[[], None]) -> None:
    """Does both checks, also where the first could not find out; what does not work is raised before that."""
    try:
        check_outbox()
    except NotTried:
        check_inbox()
        raise
    check_inbox()


def is_leftover(name: str, filename: str) -> bool:
    """True if this is the temporary name of an attempt to deliver exactly this file."""
    return re.fullmatch(rf"\.{re.escape(filename)}\.[0-9a-f]{{8}}\.part", name) is not None


def archived_name(name: str, attempt: int) -> str:
    """Returns the name to archive a file under at the first, second … attempt."""
    return name if attempt == 1 else f"{name}.{attempt}"


def described(content: bytes) -> str:
    """Describes content without quoting any of it."""
    return f"{len(content)} bytes with sha256 {sha256(content).hexdigest()}"


def conflict(final: object, found: str, content: bytes) -> DeliveryConflict:
    """Returns the error that says what stands where this content should."""
    return DeliveryConflict(
        f"{final} exists with other content: found {found}, expected {described(content)}. "
        "It was left as it is: find out who wrote it and move it away, then send again; if an older backup was "
        "restored, it is an interchange that the backup does not know: see `countermand partners next-number`"
    )
