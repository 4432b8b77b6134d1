"""Everything that Countermand knows, in memory, and what can happen to it.

What is decided is the contract's. What that leaves open (pauses, leases, what an operator may) is as docs/states.md and
docs/partners.md say. Nothing of the product is imported.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from typing import Any

from tests.race.model.contract import (
    CHANGED,
    ESCALATING,
    Effect,
    Interchange,
    IsValid,
    Key,
    Order,
    Partner,
    Request,
    decision,
)

PATIENCE = 15 * 60
# Until somebody else may send the same bytes.
LEASE = 60
# How long an escalation keeps its order from export.
HOLD = 240 * 60
# What fails so often is parked, or dead.
TRIES = {"request": 5, "effect": 12}
# What has been due for so long is forgotten, says the audit.
FORGOTTEN = 5 * 60
# The longest back-off of a partner after failures in a row.
LONGEST_REST = 5 * 60


class Model:
    """Everything that Countermand knows; each method is something that happens to it."""

    def __init__(self, partners: Sequence[Partner], is_valid: IsValid) -> None:
        self.now = 0
        self.is_valid = is_valid
        self.partners = {partner.name: partner for partner in partners}
        self.orders: dict[str, Order] = {}
        self.requests: dict[Key, Request] = {}
        self.interchanges: list[Interchange] = []
        self.stock: Counter[str] = Counter()
        # Whose processing fails.
        self.poison: set[Key] = set()
        # What has happened, and how often.
        self.met: Counter[str] = Counter()

    # Orders

    def load(self, message: dict[str, Any], hold_until: int) -> list[str]:
        """Returns what became of it: new, validated, unchanged, different; it may be validated and different."""
        order = self.orders.get(message["number"])
        status = message["status"]
        if order is None:
            order = Order(message, status, hold_until, self.now if status == "validated" else None)
            order.addresses = {role: message[role] for role in CHANGED.values()}
            order.log("store", "loaded", after={"status": status})
            self.orders[message["number"]] = order
            self.revive(self.parked("unknown_order", message["number"]))
            return ["new"]
        became = []
        if (order.status, status) == ("pre_order", "validated"):
            order.status, order.validated_at = status, self.now
            order.log("store", "validated", before={"status": "pre_order"}, after={"status": status})
            became.append("validated")
        if message != {**order.message, **order.addresses, "status": order.status}:
            became.append("different")
        return became or ["unchanged"]

    # Requests

    def accept(self, event: dict[str, Any]) -> str:
        """Returns what became of it: new, repeated or a conflicting_duplicate."""
        known = self.requests.get((event["source"], event["id"]))
        if known is not None:
            return "repeated" if known.data == event["data"] else "conflicting_duplicate"
        request = Request(event, self.now, self.now)
        self.requests[request.key] = request
        return "new"

    def undecided(self, number: str) -> Iterator[Request]:
        """The requests for one order that wait, in the sequence of their acceptance."""
        return (one for one in self.requests.values() if one.data["order"] == number and one.state == "received")

    def next_ones(self, among: Collection[Key] | None = None) -> Iterator[Request]:
        """What is to be decided now, each to be decided (or to fail) before the following is asked for.

        While an order is in flight all its requests wait, also those that rule 1 will escalate whatever its outcome.
        """
        for number, order in self.orders.items():
            if order.edi != "claimed":
                for request in list(self.undecided(number)):
                    if request.due > self.now or not (among is None or request.key in among):
                        break
                    yield request
                    if request.state == "received":
                        break

    def decide_all(self, among: Collection[Key] | None = None) -> set[Key]:
        """Decides what is to be decided now; returns what was, and did not fail."""
        tried = []
        for request in self.next_ones(among):
            self.decide(request)
            tried.append(request)
        return {request.key for request in tried if request.state == "decided"}

    def decide(self, request: Request) -> None:
        """Decides the oldest undecided request of an order; or it fails, and waits longer each time."""
        order = self.orders[request.data["order"]]
        assert next(self.undecided(request.data["order"])) is request
        if request.key in self.poison:
            request.attempts += 1
            request.due, request.has_error = self.now + 2**request.attempts, True
            if request.attempts == TRIES["request"]:
                self._park(request, "failed_repeatedly")
            return
        request.outcome, request.reasons = decision(order, request, self.is_valid)
        assert request.outcome != "deferred"
        request.state, request.has_error = "decided", False
        self.met.update([request.outcome, *request.reasons])
        for reason in request.reasons:
            self._hold(order, reason)
            self._apply(order, request, reason)
        restocks = "order_cancelled" in request.reasons
        request.effects = [Effect(kind, self.now) for kind in (["restock"] if restocks else []) + ["notify"]]

    def _hold(self, order: Order, reason: str) -> None:
        """Once an order and reason; what is closed or sent cannot be held."""
        is_open = order.status in ("pre_order", "validated") and order.edi == "not_sent"
        if reason in ESCALATING and is_open and reason not in order.holds:
            order.holds[reason] = self.now + HOLD
            self.met["held"] += 1

    def _apply(self, order: Order, request: Request, reason: str) -> None:
        caused = {"request": request.key, "note": request.note}
        actor = f"helpdesk:{request.key[0]}"
        if closed := {"pre_order_abandoned": "abandoned", "order_cancelled": "cancelled"}.get(reason):
            order.log(actor, closed, before={"status": order.status}, after={"status": closed}, **caused)
            order.status = closed
        if role := CHANGED.get(reason):
            wanted = request.data["addresses"][role]
            order.log(actor, reason, before={role: order.addresses[role]}, after={role: wanted}, **caused)
            order.addresses[role], order.asked[role] = wanted, request.event["time"]

    def park_unknown(self) -> None:
        """Parks what has waited long enough for its order."""
        for one in self.requests.values():
            if one.state == "received" and one.data["order"] not in self.orders and self.now - one.since >= PATIENCE:
                self._park(one, "unknown_order")

    def _park(self, request: Request, reason: str) -> None:
        request.state, request.reasons, request.has_error = "parked", [reason], True
        request.parked_at = self.now
        self.met[reason] += 1

    def parked(self, reason: str | None = None, number: str | None = None) -> list[Request]:
        """Parked requests order by order, those of one order in the sequence of their acceptance."""
        found = [
            one
            for one in self.requests.values()
            if one.state == "parked" and reason in (None, *one.reasons) and number in (None, one.data["order"])
        ]
        return sorted(found, key=lambda one: one.data["order"])

    def previewed(self, parked: Sequence[Request]) -> list[tuple[str | None, list[str]]]:
        """What would be decided of parked requests, one after the other."""
        orders = {
            number: replace(one, addresses={**one.addresses}, asked={**one.asked}, changelog=[])
            for number, one in self.orders.items()
        }
        answers: list[tuple[str | None, list[str]]] = []
        for request in parked:
            if order := orders.get(request.data["order"]):
                answers.append(decision(order, request, self.is_valid))
                for reason in answers[-1][1]:
                    self._apply(order, request, reason)
            else:
                answers.append((None, ["unknown_order"]))
        return answers

    def revive(self, requests: Sequence[Request]) -> None:
        """Makes parked requests undecided again."""
        for request in requests:
            request.state, request.reasons, request.has_error, request.attempts = "received", [], False, 0
            request.since = request.due = self.now
            self.met["revived"] += 1

    # Effects

    def revive_dead(self) -> None:
        """Gives dead effects all their tries again."""
        for one in (effect for request in self.requests.values() for effect in request.effects):
            if one.state == "dead":
                one.state, one.attempts, one.due = "pending", 0, self.now

    def do(self, kind: str, among: Collection[Key] | None = None) -> None:
        """Does what is due of one kind."""
        for request in self.requests.values():
            for one in request.effects:
                is_due = (one.kind, one.state) == (kind, "pending") and one.due <= self.now
                if is_due and (among is None or request.key in among):
                    self._do(one, request)

    def _do(self, one: Effect, request: Request) -> None:
        if request.key in self.poison:
            one.attempts += 1
            one.due = self.now + min(2**one.attempts, PATIENCE)
            one.state = "dead" if one.attempts == TRIES["effect"] else "pending"
            return
        one.state = "done"
        if one.kind == "restock":
            for line in self.orders[request.data["order"]].message["lines"]:
                self.stock[line["sku"]] += line["quantity"]

    # Interchanges

    def in_flight(self, partner: Partner) -> Interchange | None:
        """The interchange that is on its way."""
        return next((one for one in self.interchanges if one.partner is partner and one.state == "claimed"), None)

    def bearer(self, partner: Partner, number: int) -> Interchange | None:
        """The interchange that bears a number; of a number that was taken back, the last one that bore it."""
        bore = [one for one in self.interchanges if one.partner is partner and one.number == number]
        return next((one for one in bore if not one.number_is_free), bore[-1] if bore else None)

    def claim(self, partner: Partner, *, only_resume: bool = False) -> tuple[Interchange, int] | None:
        """Claims what is due, or takes over; returns the interchange to be sent and which attempt at it this is."""
        if on_its_way := self.in_flight(partner):
            return (on_its_way, self._attempt(on_its_way)) if on_its_way.lease <= self.now else None
        orders = self._due(partner)[: partner.at_once]
        if only_resume or partner.rests_until > self.now or not orders:
            return None
        partner.last_number += 1
        made = Interchange(partner, partner.last_number, orders, self.now, self.now + LEASE)
        self.interchanges.append(made)
        self._move(made, "claimed", "edi_claimed")
        return made, 1

    def failures_to_look_into(self, partner: Partner) -> int:
        """The failures in a row after which an export first tries whether the partner can be reached."""
        is_free = partner.rests_until <= self.now and self.in_flight(partner) is None
        return partner.failures if is_free else 0

    def looked_into(self, partner: Partner, failures: int) -> None:
        """They are forgotten where nothing is due that could fail again."""
        if failures and partner.failures == failures and self.in_flight(partner) is None:
            partner.failures = partner.rests_until = 0

    def _due(self, partner: Partner) -> list[Order]:
        return [
            order
            for number, order in self.orders.items()
            if (order.status, order.edi) == ("validated", "not_sent")
            and order.message["warehouse"] in partner.warehouses
            and order.hold_until <= self.now
            and (order.validated_at or 0) + partner.grace <= self.now
            and not any(self.now - one.since < PATIENCE for one in self.undecided(number))
            # No desk answers here, so its ticket gets no note.
            and not any(
                self.now - one.parked_at < PATIENCE
                for one in self.parked(number=number)
                if one.data["kind"] == "cancel" and one.data.get("ticket")
            )
            and all(until <= self.now for until in order.holds.values())
        ]

    def _attempt(self, interchange: Interchange) -> int:
        interchange.attempts.append(False)
        self.met["taken over"] += 1
        interchange.lease, interchange.has_error = self.now + LEASE, False
        return len(interchange.attempts)

    def _move(self, interchange: Interchange, edi: str, action: str, actor: str | None = None, **more: Any) -> None:
        partner = interchange.partner
        document = {"partner": partner.name, "control_number": interchange.number}
        for order in interchange.orders:
            before, after = {"edi": order.edi}, {"edi": edi, **document}
            order.log(actor or f"edi:{partner.name}", action, before=before, after=after, **more)
            order.edi, order.interchange = edi, None if edi == "not_sent" else interchange
            order.freed_at = order.freed_at if edi == "claimed" else self.now
            self.met[f"{action} by an operator" if actor else action] += 1

    def _sent(self, interchange: Interchange, actor: str | None = None) -> None:
        interchange.state, interchange.has_error = "sent", False
        interchange.partner.failures = interchange.partner.rests_until = 0
        self._move(interchange, "sent", "edi_sent", actor)

    def _released(self, interchange: Interchange, actor: str | None = None, note: str | None = None) -> None:
        partner = interchange.partner
        interchange.state, interchange.has_error = "released", True
        self._move(interchange, "not_sent", "edi_released", actor, note=note)
        if partner.reuses_numbers:
            interchange.number_is_free, partner.last_number = True, interchange.number - 1

    def _failed(self, interchange: Interchange, attempt: int, *, delivered_nothing: bool) -> None:
        if interchange.is_held(attempt):
            interchange.has_error = True
            interchange.attempts[attempt - 1] = delivered_nothing and interchange.is_clean(attempt - 1)

    def sent(self, interchange: Interchange, attempt: int, how: str) -> str:
        """An attempt ends: `delivered`, `refused`, `conflict` or `unclear`; returns what its sender believes."""
        held = interchange.is_held(attempt)
        if how == "delivered":
            if held:
                self._sent(interchange)
            return interchange.state
        if how == "refused" and interchange.is_clean(attempt - 1):
            if held:
                self._released(interchange)
                partner = interchange.partner
                partner.failures += 1
                partner.rests_until = self.now + min(2**partner.failures, LONGEST_REST)
            return "released" if held else "claimed"
        self._failed(interchange, attempt, delivered_nothing=how != "unclear")
        return "claimed"

    def said(self, partner: Partner, number: int, verdict: str, reference: str, *, code: str) -> None:
        """The partner answers; whatever it says of an interchange, it has it."""
        interchange = self.bearer(partner, number)
        if interchange is None or interchange.state == "released":
            return
        is_same_file = (code, reference) in interchange.read
        interchange.read.add((code, reference))
        # What was said before it was sent again, only the same file says once more of the copy before.
        if is_same_file if interchange.state == "sent" else (verdict, reference) in interchange.said:
            return
        interchange.said.add((verdict, reference))
        if interchange.state == "claimed":
            self._sent(interchange)
        if verdict == "rejected" or interchange.state == "sent":
            interchange.state = verdict
            self.met[verdict] += 1

    def release(self, partner: Partner, number: int, *, asked: bool, stands: bool) -> bool:
        """An operator gives its orders free; False if that may not be."""
        interchange = self.bearer(partner, number)
        if interchange is None or interchange.state != "claimed" or self._is_being_sent(interchange):
            return False
        if stands or not (asked or interchange.is_clean(len(interchange.attempts))):
            return False
        self._attempt(interchange)
        note = "the partner says that it has not got it" if asked else "no attempt had delivered anything"
        self._released(interchange, "operator", note)
        partner.failures = partner.rests_until = 0
        return True

    def resend(self, partner: Partner, number: int, how: str) -> bool:
        """An operator sends it once more; False if that may not be."""
        interchange = self.bearer(partner, number)
        if interchange is None or interchange.state == "released" or self._is_being_sent(interchange):
            return False
        attempt = self._attempt(interchange)
        if how != "delivered":
            self._failed(interchange, attempt, delivered_nothing=how != "unclear")
        elif interchange.state == "claimed":
            self._sent(interchange, "operator")
        else:
            interchange.state = "sent" if interchange.state == "rejected" else interchange.state
            self._move(interchange, "sent", "edi_sent", "operator", note="sent again")
        return True

    def _is_being_sent(self, interchange: Interchange) -> bool:
        return interchange.state == "claimed" and not interchange.has_error and interchange.lease > self.now

    # Promises

    def neglected(self) -> set[int]:
        """The promises that the workers break by not looking for too long, or by giving up."""
        broken = {1 for request in self.requests.values() if request.state == "received" and self._is_left(request)}
        for one in (effect for request in self.requests.values() for effect in request.effects):
            if one.state == "dead" or (one.state == "pending" and self.now - one.due >= FORGOTTEN):
                broken.add(5 if one.kind == "restock" else 6)
        return broken

    def _is_left(self, request: Request) -> bool:
        order = self.orders.get(request.data["order"])
        waits_since = [request.due, request.since + PATIENCE]
        if order and order.freed_at is not None:
            waits_since.append(order.freed_at)
        if order and order.edi == "claimed" and order.interchange:
            waits_since.append(order.interchange.claimed_at + PATIENCE)
        return self.now - max(waits_since) >= FORGOTTEN
