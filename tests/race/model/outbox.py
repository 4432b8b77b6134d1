"""A way to a partner, in memory, that fails when it is told to."""

from contextlib import suppress

from edi.transports.transport import DeliveryConflict, DeliveryUnknown, NotDelivered, NotReceived, TransportError

REFUSED, CUT_BEFORE, CUT_AFTER = "refused", "cut before", "cut after"


class Outbox:
    """What the partner has and has not collected, what it has left for us, and how each attempt ended."""

    def __init__(self) -> None:
        self.fails: str | None = None
        self.ended: list[str] = []
        self.files: dict[str, bytes] = {}
        self.inbox: dict[str, bytes] = {}

    def put(self, filename: str, content: bytes) -> None:
        """Delivers, or fails as `fails` says: refused, or cut before or after the file was in place."""
        if self.fails == REFUSED:
            self.ended.append("refused")
            raise NotDelivered("the line is dead")
        if self.fails == CUT_BEFORE:
            self.ended.append("unclear")
            raise DeliveryUnknown("the line was cut")
        if self.files.setdefault(filename, content) != content:
            self.ended.append("conflict")
            raise DeliveryConflict("something else stands there")
        if self.fails == CUT_AFTER:
            self.ended.append("unclear")
            raise DeliveryUnknown("the answer is missing")
        self.ended.append("delivered")

    def try_to_put(self, filename: str, content: bytes) -> None:
        """Delivers for somebody who does not live to see how that ends."""
        with suppress(TransportError):
            self.put(filename, content)
        self.ended.pop()

    def is_present(self, filename: str, content: bytes) -> bool:
        """True if this is there."""
        if self.files.get(filename, content) != content:
            raise DeliveryConflict("something else stands there")
        return filename in self.files

    has_inbox = True

    def check(self) -> None:
        """There is nothing to check."""

    def check_outbox(self) -> None:
        """There is nothing to check."""

    def list_outbox(self) -> list[str]:
        """The names of what the partner has not collected."""
        return sorted(self.files)

    def list_inbox(self) -> list[str]:
        """The names of what the partner has left."""
        return sorted(self.inbox)

    def read(self, name: str) -> bytes:
        """One file of these."""
        if name not in self.inbox:
            raise NotReceived(f"{name} is gone")
        return self.inbox[name]

    def archive(self, name: str) -> None:
        """Takes it away."""
        del self.inbox[name]
