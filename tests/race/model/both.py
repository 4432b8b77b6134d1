"""The database and the model beside it: what happens to one happens to the other, and then both say the same."""

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta
from itertools import count
from typing import Any, TypeAlias
from unittest.mock import patch

from sqlalchemy import Connection, text

from database.tables import metadata
from database.transactions import in_transaction
from edi.interchanges import Claim
from edi.partners import Partner
from orders.audit import audit
from orders.inbox import Accepted, Delivery
from orders.loading import load_orders
from orders.messages import ChangeMessage, parse_change, parse_order
from orders.stock import restock
from tasks.intake import take
from tests.builders import encoded
from tests.race.model import clock, contract, made_up
from tests.race.model.contract import Interchange
from tests.race.model.made_up import Garbage
from tests.race.model.model import PATIENCE, Model
from tests.race.model.outbox import Outbox
from tests.race.model.sides import Comparison

# A delivery, with its event or with the reason why it cannot be taken.
Sent: TypeAlias = tuple[Delivery, Any]
Intake: TypeAlias = Callable[[Sequence[Delivery]], Accepted]
# An interchange of the model's, and which attempt to send it is meant.
Held: TypeAlias = tuple[Interchange, int]


def _empty(connection: Connection) -> None:
    """Takes everything out of the database; triggers and foreign keys do not say no to that."""
    connection.execute(text("SET LOCAL session_replication_role = replica"))
    connection.execute(text("; ".join(f"DELETE FROM {table}" for table in metadata.tables)))


class Both:
    """Both sides of one history, from its beginning."""

    def __init__(self) -> None:
        in_transaction(_empty)
        self.began = in_transaction(clock.start_again)
        self.outboxes = {"NORTH": Outbox(), "SOUTH": Outbox()}
        self.partners = {
            "NORTH": self._partner("NORTH", warehouses=frozenset({"NORTH"}), orders_per_interchange=2),
            "SOUTH": self._partner(
                "SOUTH", others=frozenset({"NORTH"}), grace=timedelta(minutes=10), reuses_released_numbers=True
            ),
        }
        said = (
            contract.Partner("NORTH", {"NORTH"}, at_once=2),
            contract.Partner("SOUTH", {"SOUTH", "EAST"}, grace=600, reuses_numbers=True),
        )
        self.model = Model(said, made_up.is_valid)
        self.dead_letters: dict[str, str] = {}
        self.comparison = Comparison(self.model, self.dead_letters)
        self._audited_at: int | None = None
        self._ids = count(1)
        self._poisoned = ExitStack()
        self._poisoned.enter_context(patch("orders.changes.parse_change", self._parse))
        self._poisoned.enter_context(patch("tasks.effects.parse_change", self._parse))
        self._poisoned.enter_context(patch("tasks.effects.restock_effects", self._restock))

    def close(self) -> None:
        """Lets nothing fail any more."""
        self._poisoned.close()

    def _partner(self, name: str, **terms: Any) -> Partner:
        return Partner(name, "SHOP01", "14", "WH01", "14", self.outboxes[name], **terms)

    def _parse(self, raw: bytes) -> ChangeMessage:
        found = parse_change(raw)
        if (found.source, found.id) in self.model.poison:
            raise ValueError("poison")
        return found

    def _restock(self, connection: Connection, effects: Sequence[int]) -> None:
        requests = text(
            "SELECT source, external_id FROM effect JOIN change_request AS request ON request.id = change_request_id "
            "WHERE effect.id = ANY(:effects)"
        )
        found = connection.execute(requests, {"effects": list(effects)})
        if any((row.source, row.external_id) in self.model.poison for row in found):
            raise ValueError("poison")
        restock(connection, effects)

    def new_id(self, letter: str) -> str:
        """Returns an id that nothing has had."""
        return f"{letter}{next(self._ids)}"

    def load(self, drafts: Sequence[dict[str, Any]]) -> None:
        """Loads orders, in one batch."""
        described = [self._described(draft) for draft in drafts]
        messages = [parse_order(encoded(message)) for message, _ in described]
        loaded = in_transaction(lambda connection: load_orders(connection, messages))
        became = Counter(word for one in described for word in self.model.load(*one))
        assert (loaded.new, loaded.validated, loaded.unchanged, len(loaded.differences)) == tuple(
            became[word] for word in ("new", "validated", "unchanged", "different")
        )

    def _described(self, draft: dict[str, Any]) -> tuple[dict[str, Any], int]:
        known = self.model.orders.get(draft["number"])
        if known is None or draft["again"] is None:
            return made_up.described(draft, self.began, self.model.now)
        return {**known.message, "status": draft["status"], **draft["again"]}, known.hold_until

    def delivery(self, event: dict[str, Any]) -> Sent:
        """Returns a message of a broker's."""
        return Delivery("test", self.new_id("p"), encoded(event)), event

    def garbage(self, garbage: Garbage) -> Sent:
        """Returns one that nobody can read."""
        return Delivery("test", self.new_id("p"), garbage.raw), garbage.why

    def deliver(self, by: Intake, *sent: Sent, is_redelivered: bool = False) -> None:
        """Hands deliveries over, in one batch; those that someone has had in hand before are kept for a worker."""
        became: Counter[str] = Counter()
        new = set()
        for delivery, event in sent:
            what = self.model.accept(event) if isinstance(event, dict) else event
            if what == "new":
                new.add((event["source"], event["id"]))
            elif what != "repeated":
                assert delivery.position is not None
                self.dead_letters[delivery.position], what = what, "dead"
            became[what] += 1
        accepted = by([replace(delivery, is_redelivered=is_redelivered) for delivery, _ in sent])
        assert accepted == Accepted(became["new"], became["repeated"], became["dead"])
        if by is take and is_redelivered:
            self.model.met["redelivered"] += len(new)
        elif by is take:
            self.model.decide_all(new)

    def let_pass(self, seconds: int) -> None:
        """Lets time pass."""
        in_transaction(lambda connection: clock.jump(connection, seconds))
        self.model.now += seconds

    def compare_claims(self, claim: Claim, held: Held | None) -> None:
        """What was claimed is what should be; the bytes say it, and are always the same."""
        found = claim.interchange
        if held is None or found is None:
            assert (held, found) == (None, None)
            return
        said, attempt = held
        assert (found.control_number, found.fence, found.orders) == (said.number, attempt, len(said.orders))
        assert found.is_undelivered == said.is_clean(attempt - 1)
        if said.content is None:
            said.content = found.content
            for number, order in self.model.orders.items():
                assert (number.encode() in found.content) == (order in said.orders)
            for order in said.orders:
                assert order.addresses["shipping"]["line1"].encode("latin-1") in found.content
        assert found.content == said.content

    def compare(self) -> None:
        """Both say the same, and the audit finds what the model finds."""
        is_new = in_transaction(self.comparison.run)
        if is_new or self._audited_at != self.model.now:
            self._audited_at = self.model.now
            found = in_transaction(lambda connection: audit(connection, patience=timedelta(seconds=PATIENCE)))
            broken = {one["promise"]: one["examples"] for one in found["checks"] if one["violations"]}
            assert broken.keys() == self.model.neglected(), broken
