"""What an operator can do about an error: errors carry facts, and the commands that show them add the advice."""

from edi.transports.transport import OTHER_CONTENT, InboxMissing

_FOREIGN_FILE = (
    "find out who wrote the file and move it away, then send again; if an older backup was restored, it is an "
    "interchange that the backup does not know: see `countermand partners next-number`"
)
TRIED_AGAIN = "it is tried again when it changes, or by `countermand export`"
PERMIT_OR_STAY_ROOT = "grant it the permission, or keep root with --as-root"


def with_advice(error: Exception | str) -> str:
    """Returns an error with what to do about it, if we know that; a stored error is a text."""
    if isinstance(error, InboxMissing):
        return f"{error}; make it, for the user that runs countermand: mkdir -p {error.inbox}"
    return f"{error}; {_FOREIGN_FILE}" if OTHER_CONTENT in str(error) else str(error)
