"""What a transport to a partner does, and what its errors say about a delivery."""

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

# Longer files in an inbox are refused.
MOST_BYTES = 8 * 1024 * 1024
# At most this many names of a folder are listed; the others follow once these are archived.
MOST_NAMES = 10_000
# The folder inside the inbox that archived files go to.
DONE = "done"
# Suffixes that programs use while they write a file: ours, curl, rsync, WinSCP, browsers, Windows, editors.
_UNFINISHED = (
    ".part", ".partial", ".tmp", ".temp", ".filepart", ".upload", ".uploading", ".crdownload", ".download",
    ".opdownload", ".inprogress", ".in_progress", ".incomplete", ".writing", ".transfer", ".lock", ".lck", ".swp",
    ".aria2", "~",
)  # fmt: skip
_UNFINISHED_BEGINS = ("~", ".")
# The content of a check's file: long enough that writing it fails on a full disk.
PROBE = b"written by `countermand partners check`, to be removed at once\n"
_PROBE = "countermand-check"
_PROBES = re.compile(rf"\.?{_PROBE}[.-][0-9a-f]{{8}}\.part(\.[0-9a-f]{{8}}\.part)?")


# Part of the message of each DeliveryConflict, by which a stored error can be recognised.
OTHER_CONTENT = "exists with other content"


class TransportError(DeliveryError):
    """A transport did not do what it should have."""


class NotDelivered(TransportError, outcomes.NotDelivered):
    """This attempt has put nothing under the final name; of earlier attempts it says nothing."""


class DeliveryUnknown(TransportError, OutcomeUnknown):
    """The file may be under its final name or not: send the same bytes again."""


class DeliveryConflict(TransportError):
    """The final name is taken by other content; an operator must look."""

    delivered_nothing = True


class NotReady(TransportError):
    """A check found that the transport cannot work."""


class NotTried(TransportError):
    """A check was inconclusive, because the file or folder that it makes could not be removed again."""


class NotReceived(TransportError):
    """The inbox could not be listed, or a file in it could not be read or archived; listing it again is safe."""


class InboxMissing(NotReceived):
    """The inbox does not exist."""

    def __init__(self, inbox: object) -> None:
        super().__init__(f"{inbox} does not exist")
        self.inbox = inbox


class Transport(Protocol):
    """Sends files to one partner and receives files from it. A ValueError is a mistake of the caller."""

    def put(self, filename: str, content: bytes) -> None:
        """Delivers the content durably under this name; repeating it changes nothing.

        Raises NotDelivered, DeliveryUnknown or DeliveryConflict.
        """

    def is_present(self, filename: str, content: bytes) -> bool:
        """Returns True if exactly this content is there, and False if nothing is: the partner may have collected it.

        Raises DeliveryUnknown or DeliveryConflict.
        """

    @property
    def has_inbox(self) -> bool:
        """True if the partner has a folder where it leaves files for us."""

    def check(self) -> None:
        """Checks outbox and inbox, and leaves nothing behind; raises NotReady or NotTried."""

    def check_outbox(self) -> None:
        """Delivers a test file and removes it; raises NotReady or NotTried."""

    def list_outbox(self) -> list[str]:
        """Returns the visible names in the outbox, sorted, at most MOST_NAMES. Raises NotReceived."""

    def list_inbox(self) -> list[str]:
        """Returns the names of the complete files in the inbox, sorted; none without an inbox. Raises NotReceived."""

    def read(self, name: str) -> bytes:
        """Returns the content of a file in the inbox; raises NotReceived, also if it is longer than MOST_BYTES."""

    def archive(self, name: str) -> None:
        """Moves a file of the inbox into its folder `done`, under another name if its own is taken.

        Raises NotReceived.
        """


def checked_name(name: str) -> str:
    """Returns the name if it is a visible file name without a path, else raises ValueError."""
    if not _is_plain(name):
        raise ValueError(f"{name!r} is not a plain file name")
    return name


def is_complete_name(name: str) -> bool:
    """Returns True if the name belongs to a file that the partner has finished writing and that is safe to handle."""
    is_finished = not name.lower().endswith(_UNFINISHED) and not name.startswith(_UNFINISHED_BEGINS)
    return _is_plain(name) and name != DONE and is_finished


def is_complete_in(inbox: object, name: str) -> bool:
    """Returns what `is_complete_name` does, and logs a visible name that is not safe to handle."""
    if not (_is_plain(name) or name.startswith(".")):
        _warn_of_unsafe_name(str(inbox), name)
    return is_complete_name(name)


# Cached so that a process warns once: an inbox is listed every half a minute.
@lru_cache(MOST_NAMES)
def _warn_of_unsafe_name(inbox: str, name: str) -> None:
    _log.warning("file in the inbox skipped: its name is not safe", inbox=inbox, file=ascii(name))


def _is_plain(name: str) -> bool:
    # No separators, no control characters, and no bytes outside UTF-8, whose surrogates are not printable.
    return bool(name) and name.isprintable() and not name.startswith(".") and not set(name) & {"/", "\\"}


def temporary_name(filename: str) -> str:
    """Returns a hidden name for one attempt to deliver this file, which no other attempt shares.

    If a stalled worker and the one that took over shared `.x.part`, the first could put in place a file that the second
    has only half written.
    """
    return f".{filename}.{secrets.token_hex(4)}.part"


def probe_name() -> str:
    """Returns a name for the file of one check.

    It is visible, like the names of deliveries, but has an unfinished file's suffix, so that no receiver collects it.
    """
    return f"{_PROBE}-{secrets.token_hex(4)}.part"


def is_probe(name: str) -> bool:
    """Returns True if an interrupted check left this file, under its final or its temporary name."""
    return _PROBES.fullmatch(name) is not None


def check_both_ways(check_outbox: Callable[[], None], check_inbox: Callable[[], None]) -> None:
    """Runs both checks even if the first is inconclusive; a failure of the second then takes precedence."""
    try:
        check_outbox()
    except NotTried:
        check_inbox()
        raise
    check_inbox()


def is_leftover(name: str, filename: str) -> bool:
    """Returns True if this is the temporary name of an attempt to deliver exactly this file."""
    return re.fullmatch(rf"\.{re.escape(filename)}\.[0-9a-f]{{8}}\.part", name) is not None


def archived_name(name: str, attempt: int) -> str:
    """Returns the name to archive a file under at the given attempt, counted from 1."""
    return name if attempt == 1 else f"{name}.{attempt}"


def describe_content(content: bytes) -> str:
    """Returns the length and the hash of the content, and quotes none of it."""
    return f"{len(content)} bytes with sha256 {sha256(content).hexdigest()}"


def conflict(final: object, found: str, content: bytes) -> DeliveryConflict:
    """Returns the error for a final name that is taken by other content."""
    return DeliveryConflict(
        f"{final} {OTHER_CONTENT}: found {found}, expected {describe_content(content)}; it was left as it is"
    )
