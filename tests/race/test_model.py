"""Countermand does, step by step, what a model of its contract says: the real functions on the real database.

Whatever happens next (a rule of `Histories`) happens in the database and in the model (`tests.race.model`); then both
must say the same, and the audit must find what the model finds. COUNTERMAND_MODEL_EXAMPLES and COUNTERMAND_MODEL_SEED
say how many histories, and which; a failure prints the shortest one that fails.
"""

import os
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from datetime import timedelta
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
import structlog
from hypothesis import HealthCheck, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)

from database.transactions import in_transaction
from edi import interchanges
from edi.interchanges import Claim
from edi.operator_actions import NotPossible
from edi.partners import Partner
from edi.transports.transport import TransportError
from orders.effects import revive_dead
from orders.reading import count_requests, list_requests
from orders.reprocessing import Filter, find_parked, preview, revive
from tasks import export
from tasks.changes import apply_changes, park_unknown
from tasks.effects import NOTIFY, RESTOCK
from tasks.intake import store, take
from tasks.partners import address_check
from tasks.receipts import read_inbox
from tasks.running.batches import run_batch
from tests.acknowledgements import contrl
from tests.builders import DECIDING
from tests.race.model import clock, contract
from tests.race.model.both import Both, Held, Intake, Sent
from tests.race.model.made_up import CHANGES as OTHERWISE
from tests.race.model.made_up import DRAFTS, GARBAGE, NUMBERS, ORDERS, Garbage, changed, event
from tests.race.model.model import PATIENCE, TRIES
from tests.race.model.outbox import CUT_AFTER, CUT_BEFORE, REFUSED
from workers.embedded import Services

EXAMPLES = int(os.environ.get("COUNTERMAND_MODEL_EXAMPLES") or 40)
SEED = os.environ.get("COUNTERMAND_MODEL_SEED")
CHOSEN_SEED = 13
# If they have not met all that they should, so many more by the next seed, and so on.
MORE, ROUNDS = 10, 6
FEW_MEET = contract.OUTCOMES | {
    *("edi_claimed", "edi_sent", "edi_released", "taken over", "acknowledged", "rejected"),
    *("held", "order_cancelled", "order_is_closed", "edi_already_sent", "unknown_order", "revived", "redelivered"),
}
# So many histories meet everything.
MANY = 300

INTAKES = st.sampled_from((store, take))
NAMES = st.sampled_from(("NORTH", "NORTH", "SOUTH"))
LIMITS = st.sampled_from((None, None, 1, 2))
FAILURES = st.sampled_from((None, None, REFUSED, REFUSED, CUT_BEFORE, CUT_AFTER))
SELDOM = st.sampled_from((False, False, False, True))
# From the next number, so that 0 is one that nobody bears.
BACK = st.sampled_from((1, 1, 1, 2, 0))
# What CONTRL says, by its codes.
ANSWERS = {"7": "acknowledged", "8": "acknowledged", "4": "rejected"}
EFFECTS = {"restock": RESTOCK, "notify": NOTIFY}


@dataclass(frozen=True)
class Sender:
    """Who holds an interchange, or did: what it claimed, and which attempt of the model's interchange that is."""

    partner: Partner
    claim: Claim
    held: Held


something_is_open = precondition(lambda self: any(one.edi != "sent" for one in self.model.orders.values()))
something_was_claimed = precondition(lambda self: self.model.interchanges)


class Histories(RuleBasedStateMachine):
    """What may happen, in any sequence."""

    requests = Bundle("requests")
    senders = Bundle("senders")
    # What has happened in all histories together.
    met: ClassVar[Counter[str]] = Counter()

    def __init__(self) -> None:
        super().__init__()
        self.both = Both()
        self.model = self.both.model

    # The store and the desks

    @initialize(
        target=requests,
        orders=st.lists(ORDERS, min_size=3, max_size=5),
        drafts=st.lists(DRAFTS, min_size=4, max_size=16),
        by=INTAKES,
    )
    def a_day_begins(self, orders: list[dict[str, Any]], drafts: list[dict[str, Any]], by: Intake) -> Any:
        self.the_store_loads(orders)
        sent = [self.both.delivery(event(draft, self.both.new_id("r"))) for draft in drafts]
        self.both.deliver(by, *sent)
        return multiple(*sent)

    @rule(orders=st.lists(ORDERS, min_size=1, max_size=2))
    def the_store_loads(self, orders: list[dict[str, Any]]) -> None:
        """New orders, and known ones as they were or otherwise."""
        self.both.load(orders)

    @rule(
        target=requests,
        drafts=st.lists(DRAFTS, max_size=3),
        garbage=GARBAGE,
        earlier=requests,
        changes=OTHERWISE,
        by=INTAKES,
        twice=SELDOM,
        died=SELDOM,
    )
    def desks_send(
        self,
        drafts: list[dict[str, Any]],
        garbage: Garbage | None,
        earlier: Sent,
        changes: dict[str, Any] | None,
        by: Intake,
        twice: bool,
        died: bool,
    ) -> Any:
        """New requests; among them garbage, and an earlier one, as it was or otherwise; perhaps all of it twice.

        The first intake that has them in hand may have died before it took them.
        """
        new = [self.both.delivery(event(draft, self.both.new_id("r"))) for draft in drafts]
        again = [] if changes is None else [self.both.delivery(changed(earlier[1], changes))]
        unreadable = [self.both.garbage(garbage)] if garbage else []
        for times in range(1 + twice):
            self.both.deliver(by, *unreadable, *new, *again, is_redelivered=died or times > 0)
        return multiple(*new)

    # The workers

    @rule(limit=LIMITS)
    def a_batch_is_decided(self, limit: int | None) -> None:
        """Which requests are in a small batch the contract leaves open."""
        if limit is None or self.model.poison:
            run_batch(DECIDING)
            self.model.decide_all()
            return
        is_anything_due = any(self.model.next_ones())
        found = run_batch(replace(DECIDING, limit=limit))
        decided = {(one.source, one.id) for one in in_transaction(list_requests) if one.outcome}
        now = [one for one in self.model.requests.values() if one.state == "received" and one.key in decided]
        for request in now:
            self.model.decide(request)
        assert is_anything_due <= found == len(now) <= limit

    @rule(what=st.sampled_from(("all", "all", "restock", "notify", "unknown orders")))
    def a_worker_looks(self, what: str) -> None:
        """It decides and does what follows; or it picks up what a crashed one left."""
        if what == "all":
            apply_changes()
            decided = self.model.decide_all()
            for kind in EFFECTS:
                self.model.do(kind, decided)
        elif what == "unknown orders":
            park_unknown()
            self.model.park_unknown()
        else:
            run_batch(EFFECTS[what])
            self.model.do(what)

    @rule(one=requests, again_and_again=st.booleans())
    def a_request_begins_or_ceases_to_fail(self, one: Sent, again_and_again: bool) -> None:
        key = one[1]["source"], one[1]["id"]
        self.model.poison ^= {key}
        if again_and_again and key in self.model.poison:
            for _ in range(TRIES["request"]):
                self.a_batch_is_decided(None)
                self.both.let_pass(32)
            self.model.poison.clear()

    @precondition(lambda self: self.model.parked())
    @rule(reason=st.sampled_from((None, "unknown_order", "failed_repeatedly")), order=st.sampled_from((None, *NUMBERS)))
    def parked_requests_are_reprocessed(self, reason: str | None, order: str | None) -> None:
        expected = self.model.parked(reason, order)
        wanted = Filter(reason, order=order)
        previews = in_transaction(lambda connection: preview(connection, wanted, check=address_check())).shown
        assert [(one["source"], one["id"]) for one in previews] == [one.key for one in expected]
        assert [(one["outcome"], one["reasons"]) for one in previews] == self.model.previewed(expected)
        parked = in_transaction(lambda connection: find_parked(connection, wanted))
        assert in_transaction(lambda connection: revive(connection, parked)) == len(expected)
        self.model.revive(expected)
        if reason is order is None:
            in_transaction(lambda connection: revive_dead(connection, limit=10_000))
            self.model.revive_dead()

    @rule(seconds=st.sampled_from((1, 2, 4, 16, 60, 300, 600, 900, 1800, 15_000)))
    def time_passes(self, seconds: int) -> None:
        self.both.let_pass(seconds)

    # The exporters

    @something_is_open
    @rule(target=senders, name=NAMES, only_resume=SELDOM, looked=st.booleans(), asked=st.lists(DRAFTS, max_size=2))
    def an_exporter_claims(self, name: str, only_resume: bool, looked: bool, asked: list[dict[str, Any]]) -> Any:
        """Perhaps after a worker has looked, since what is undecided holds orders back; then it is asked for them."""
        if looked:
            self.a_worker_looks("all")
        partner, patience = self.both.partners[name], timedelta(seconds=PATIENCE)
        claim = in_transaction(
            lambda connection: interchanges.claim(connection, partner, patience=patience, only_resume=only_resume)
        )
        held = self.model.claim(self.model.partners[name], only_resume=only_resume)
        self.both.compare_claims(claim, held)
        if held is None:
            return multiple()
        for draft, order in zip(asked, held[0].orders, strict=False):
            made = event(draft, self.both.new_id("r"))
            self.both.deliver(take, self.both.delivery(changed(made, {"data": {"order": order.message["number"]}})))
        return Sender(partner, claim, held)

    @rule(sender=consumes(senders), fails=FAILURES, dies=SELDOM)
    def a_sender_delivers(self, sender: Sender, fails: str | None, dies: bool) -> None:
        """Perhaps late, when somebody else holds the interchange; or it dies after that."""
        way = self.both.outboxes[sender.partner.name]
        way.fails = fails
        if dies:
            assert sender.claim.interchange is not None
            way.try_to_put(sender.claim.interchange.filename, sender.claim.interchange.content)
        else:
            sent = export._send(sender.partner, sender.claim)
            assert sent.state == self.model.sent(*sender.held, way.ended.pop())

    @something_is_open
    @rule(name=NAMES, fails=FAILURES, looked=st.booleans())
    def an_export_runs(self, name: str, fails: str | None, looked: bool) -> None:
        if looked:
            self.a_worker_looks("all")
        way = self.both.outboxes[name]
        way.fails = fails
        partner = self.model.partners[name]
        failures = self.model.failures_to_look_into(partner)
        for step in export.iterate_export(self.both.partners[name]):
            held = self.model.claim(partner)
            self.both.compare_claims(step.claim, held)
            assert step.state == (self.model.sent(*held, way.ended.pop()) if held else None)
        self.model.looked_into(partner, failures)

    # The partners and the operators

    def number(self, name: str, back: int) -> int:
        """Returns one of the partner's last numbers, or its next."""
        return max(1, self.model.partners[name].last_number + 1 - back)

    @something_was_claimed
    @rule(name=NAMES, back=BACK, says=st.sampled_from((None, *ANSWERS)), reference=st.sampled_from("12"))
    def a_partner_collects_or_answers(self, name: str, back: int, says: str | None, reference: str) -> None:
        number, way = self.number(name, back), self.both.outboxes[name]
        if says is None:
            way.files.clear()
        else:
            way.inbox[f"{self.both.new_id('answer')}.edi"] = contrl(number, says, reference=reference)
            read_inbox(self.both.partners[name])
            self.model.said(self.model.partners[name], number, ANSWERS[says], reference, code=says)

    @something_was_claimed
    @rule(name=NAMES, back=BACK, asked=st.booleans())
    def an_operator_releases(self, name: str, back: int, asked: bool) -> None:
        number, partner = self.number(name, back), self.model.partners[name]
        bearer = self.model.bearer(partner, number)
        stands = bearer is not None and bearer.content in self.both.outboxes[name].files.values()
        may = self.model.release(partner, number, asked=asked, stands=stands)
        with nullcontext() if may else pytest.raises(NotPossible):
            export.release(self.both.partners[name], number, asked_the_partner=asked)

    @something_was_claimed
    @rule(name=NAMES, back=BACK, fails=FAILURES)
    def an_operator_sends_again(self, name: str, back: int, fails: str | None) -> None:
        number, way = self.number(name, back), self.both.outboxes[name]
        way.fails = fails
        error: Exception | None = None
        try:
            export.resend(self.both.partners[name], number)
        except (NotPossible, TransportError) as raised:
            error = raised
        may = not isinstance(error, NotPossible)
        assert may == self.model.resend(self.model.partners[name], number, way.ended.pop() if may else "not at all")

    # Both sides

    @invariant()
    def both_sides_say_the_same(self) -> None:
        self.both.compare()

    def teardown(self) -> None:
        """Goes on to the end, unless it is there by a failure."""
        try:
            if sys.exc_info()[0] is None:
                self.everything_comes_to_its_end()
                self.both.comparison.forget()
                self.both.compare()
                self.met.update(self.model.met + Counter(self.both.dead_letters.values()))
        finally:
            self.both.close()

    def everything_comes_to_its_end(self) -> None:
        """All workers run, all lines work, and the patience with unknown orders is over."""
        self.model.poison.clear()
        self.parked_requests_are_reprocessed(None, None)
        self.both.let_pass(PATIENCE)
        for name, way in self.both.outboxes.items():
            way.files.clear()
            self.an_export_runs(name, None, False)
        for what in ("unknown orders", "all", "restock", "notify"):
            self.a_worker_looks(what)
        counted = in_transaction(count_requests)
        assert (counted["received"], counted["effects_pending"]) == (0, 0)
        assert self.model.neglected() == set()


@pytest.fixture
def quiet(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nobody there to answer wake-ups, and nothing logged: histories fail on purpose, thousands of times."""
    monkeypatch.setattr("tasks.running.wakeups.current_app", SimpleNamespace(send_task=lambda *_, **__: None))
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger("critical"))
    yield
    structlog.reset_defaults()


@pytest.mark.usefixtures("quiet")
def test_whatever_happens_the_database_says_what_the_contract_says(system: Services) -> None:
    clock.install(system.database_url)
    Histories.met.clear()
    wanted = FEW_MEET | contract.REASONS if EXAMPLES >= MANY else FEW_MEET
    for place in range(ROUNDS):
        if place and wanted <= Histories.met.keys():
            break
        play(int(SEED or CHOSEN_SEED) + place, MORE if place else EXAMPLES)
    print(*(f"{times:7,} {what}" for what, times in sorted(Histories.met.items())), sep="\n")
    assert wanted - Histories.met.keys() == set()


def play(by: int, histories: int) -> None:
    """Plays so many histories, the same ones for the same seed."""
    seed(by)(Histories)
    chosen = settings(
        max_examples=histories,
        stateful_step_count=30,
        database=None,
        deadline=None,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(Histories, settings=chosen)
