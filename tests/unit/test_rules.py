"""The decision table of the contract: row by row, row against row, and against a plain second reading of it."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rules.decide import decide
from rules.model import (
    Address,
    AddressRole,
    ChangeRequest,
    Decision,
    Edi,
    Effect,
    Kind,
    Order,
    OrderAddress,
    Outcome,
    Reason,
    Status,
)
from rules.table import ADDRESS_RULES, RULES

NINE = datetime(2026, 11, 23, 9, tzinfo=UTC)
EIGHT = NINE - timedelta(hours=1)
TEN = NINE + timedelta(hours=1)

BERLIN = Address("Jane Doe", "Torstr. 1", "Berlin", "DE", postal_code="10115")
BERLIN_WITH_BLANKS = Address(" Jane  Doe", "Torstr. 1 ", "Berlin", "DE", line2="", postal_code="10115")
HAMBURG = Address("Jane Doe", "Jungfernstieg 1", "Hamburg", "DE", postal_code="20095")
PARIS = Address("Jane Doe", "1 rue de Rivoli", "Paris", "FR", postal_code="75001")
HONG_KONG = Address("Jane Doe", "1 Queen's Road", "Hong Kong", "HK")
NO_POSTAL_CODE = replace(HAMBURG, postal_code=None)
NOWHERE = replace(HAMBURG, country="XX")

OPEN = [Status.PRE_ORDER, Status.VALIDATED]
CLOSED = [Status.ABANDONED, Status.CANCELLED]
NOTIFY = (Effect.NOTIFY,)

PRE_ORDER = Order(Status.PRE_ORDER, Edi.NOT_SENT, "jane@example.com", OrderAddress(BERLIN), OrderAddress(BERLIN))
VALIDATED = replace(PRE_ORDER, status=Status.VALIDATED)


def an_order(status: Status, edi: Edi = Edi.NOT_SENT) -> Order:
    return replace(PRE_ORDER, status=status, edi=edi)


def a_request(kind: Kind, requester: str | None = None, note: str | None = None) -> ChangeRequest:
    """A request that nothing but its kind stands against."""
    return ChangeRequest(kind, NINE, requester, note, shipping=HAMBURG if kind is Kind.CHANGE_ADDRESS else None)


def ships_to(address: Address, asked_at: datetime = NINE) -> ChangeRequest:
    return ChangeRequest(Kind.CHANGE_ADDRESS, asked_at, shipping=address)


def bills_to(address: Address, asked_at: datetime = NINE) -> ChangeRequest:
    return ChangeRequest(Kind.CHANGE_ADDRESS, asked_at, billing=address)


def assert_unchanged(order: Order, decision: Decision, outcome: Outcome, *reasons: Reason) -> None:
    effects = () if outcome is Outcome.DEFERRED else NOTIFY
    assert decision == Decision(outcome, reasons, order, effects)


# Row 1


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("edi", Edi)
@pytest.mark.parametrize("status", Status)
def test_a_strangers_request_is_escalated_whatever_it_asks_and_wherever_the_order_stands(
    status: Status, edi: Edi, kind: Kind
) -> None:
    order = an_order(status, edi)
    decision = decide(order, a_request(kind, requester="joe@example.com", note="moved"))
    assert_unchanged(order, decision, Outcome.ESCALATED, Reason.REQUESTER_IS_NOT_THE_CUSTOMER)


@pytest.mark.parametrize("requester", [None, "jane@example.com", "JANE@Example.COM", "  jane@example.com\t\n"])
def test_the_customer_is_known_by_the_address_whatever_the_blanks_around_it_and_the_case_of_its_letters(
    requester: str | None,
) -> None:
    assert decide(PRE_ORDER, a_request(Kind.CANCEL, requester)).outcome is Outcome.APPLIED


@pytest.mark.parametrize(
    ("customer", "requester"),
    [
        ("Jane@Example.com", "jane@example.com"),
        (" jane@example.com ", "jane@example.com"),
        ("jane@münchen.de", "jane@xn--mnchen-3ya.de"),
        ("jane@XN--STRAE-OQA.de", "jane@straße.de"),
    ],
)
def test_the_orders_own_email_is_read_in_the_same_way(customer: str, requester: str) -> None:
    order = replace(PRE_ORDER, customer_email=customer)
    assert decide(order, a_request(Kind.CANCEL, requester)).outcome is Outcome.APPLIED


@pytest.mark.parametrize(
    "requester", ["", "  ", "jane@example.co", "jane @example.com", "Jane <jane@example.com>", "\u017fane@example.com"]
)
def test_a_requester_that_is_given_but_only_resembles_the_customer_is_a_stranger(requester: str) -> None:
    decision = decide(PRE_ORDER, a_request(Kind.CANCEL, requester))
    assert decision.reasons == (Reason.REQUESTER_IS_NOT_THE_CUSTOMER,)


# Rows 2a and 2b


@pytest.mark.parametrize("note", [None, "again"])
@pytest.mark.parametrize("edi", Edi)
@pytest.mark.parametrize("status", CLOSED)
def test_a_cancel_of_a_closed_order_leaves_it_unchanged(status: Status, edi: Edi, note: str | None) -> None:
    order = an_order(status, edi)
    assert_unchanged(order, decide(order, a_request(Kind.CANCEL, note=note)), Outcome.UNCHANGED, Reason.ALREADY_CLOSED)


@pytest.mark.parametrize("kind", [kind for kind in Kind if kind is not Kind.CANCEL])
@pytest.mark.parametrize("edi", Edi)
@pytest.mark.parametrize("status", CLOSED)
def test_anything_but_a_cancel_is_refused_on_a_closed_order(status: Status, edi: Edi, kind: Kind) -> None:
    order = an_order(status, edi)
    assert_unchanged(order, decide(order, a_request(kind)), Outcome.REFUSED, Reason.ORDER_IS_CLOSED)


@pytest.mark.parametrize("address", [BERLIN, NO_POSTAL_CODE, NOWHERE])
def test_an_address_is_not_even_looked_at_on_a_closed_order(address: Address) -> None:
    assert decide(an_order(Status.ABANDONED), ships_to(address)).reasons == (Reason.ORDER_IS_CLOSED,)


# Rows 3 and 4


@pytest.mark.parametrize("note", [None, "moved"])
@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("status", OPEN)
def test_everything_is_refused_once_the_order_is_sent(status: Status, kind: Kind, note: str | None) -> None:
    order = an_order(status, Edi.SENT)
    assert_unchanged(order, decide(order, a_request(kind, note=note)), Outcome.REFUSED, Reason.EDI_ALREADY_SENT)


@pytest.mark.parametrize("note", [None, "moved"])
@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("status", OPEN)
def test_everything_is_deferred_and_nobody_is_told_while_an_interchange_holds_the_order(
    status: Status, kind: Kind, note: str | None
) -> None:
    order = an_order(status, Edi.CLAIMED)
    assert_unchanged(order, decide(order, a_request(kind, note=note)), Outcome.DEFERRED, Reason.EDI_IN_FLIGHT)


@pytest.mark.parametrize(("edi", "reason"), [(Edi.SENT, Reason.EDI_ALREADY_SENT), (Edi.CLAIMED, Reason.EDI_IN_FLIGHT)])
@pytest.mark.parametrize("address", [BERLIN, NO_POSTAL_CODE, PARIS])
def test_an_address_is_not_even_looked_at_once_an_interchange_has_the_order(
    edi: Edi, reason: Reason, address: Address
) -> None:
    order = an_order(Status.VALIDATED, edi)
    request = ChangeRequest(Kind.CHANGE_ADDRESS, NINE, shipping=address, billing=address)
    assert decide(order, request).reasons == (reason,)


# Rows 5 to 7


@pytest.mark.parametrize(
    ("kind", "status", "outcome", "reason"),
    [
        (Kind.PARTIAL_CANCEL, Status.PRE_ORDER, Outcome.ESCALATED, Reason.PARTIAL_CANCELLATION),
        (Kind.PARTIAL_CANCEL, Status.VALIDATED, Outcome.ESCALATED, Reason.PARTIAL_CANCELLATION),
        (Kind.CHANGE_ITEMS, Status.PRE_ORDER, Outcome.REFUSED, Reason.ITEMS_ARE_FIXED),
        (Kind.CHANGE_ITEMS, Status.VALIDATED, Outcome.REFUSED, Reason.ITEMS_ARE_FIXED),
        (Kind.CHANGE_PAYMENT, Status.PRE_ORDER, Outcome.REFUSED, Reason.PAYMENT_IS_CHANGED_IN_STORE),
        (Kind.CHANGE_PAYMENT, Status.VALIDATED, Outcome.REFUSED, Reason.ORDER_IS_ALREADY_CHARGED),
    ],
)
@pytest.mark.parametrize("note", [None, "please"])
def test_parts_items_and_payment_are_never_changed_here(
    kind: Kind, status: Status, outcome: Outcome, reason: Reason, note: str | None
) -> None:
    order = an_order(status)
    assert_unchanged(order, decide(order, a_request(kind, note=note)), outcome, reason)


# Rows 8a to 8c


@pytest.mark.parametrize("note", [None, "", "  ", "ordered twice"])
def test_a_cancel_of_a_pre_order_abandons_it_with_or_without_a_note_and_restocks_nothing(note: str | None) -> None:
    abandoned = replace(PRE_ORDER, status=Status.ABANDONED)
    assert decide(PRE_ORDER, a_request(Kind.CANCEL, note=note)) == Decision(
        Outcome.APPLIED, (Reason.PRE_ORDER_ABANDONED,), abandoned, NOTIFY
    )


@pytest.mark.parametrize("note", [None, "", "  ", "\t\n", "\N{NO-BREAK SPACE}"])
def test_a_cancel_without_a_note_is_refused_on_a_validated_order(note: str | None) -> None:
    assert_unchanged(
        VALIDATED, decide(VALIDATED, a_request(Kind.CANCEL, note=note)), Outcome.REFUSED, Reason.NOTE_REQUIRED
    )


def test_a_cancel_with_a_note_cancels_a_validated_order_and_restocks_before_it_notifies() -> None:
    cancelled = replace(VALIDATED, status=Status.CANCELLED)
    assert decide(VALIDATED, a_request(Kind.CANCEL, note=" x ")) == Decision(
        Outcome.APPLIED, (Reason.ORDER_CANCELLED,), cancelled, (Effect.RESTOCK, Effect.NOTIFY)
    )


def test_addresses_in_a_request_of_another_kind_mean_nothing() -> None:
    request = replace(a_request(Kind.CANCEL), shipping=HAMBURG, billing=NOWHERE)
    assert decide(PRE_ORDER, request) == decide(PRE_ORDER, a_request(Kind.CANCEL))


# Row 9, one address


@pytest.mark.parametrize("status", OPEN)
def test_a_shipping_address_is_changed_on_a_pre_order_and_on_a_validated_order(status: Status) -> None:
    after = replace(an_order(status), shipping=OrderAddress(HAMBURG, NINE))
    assert decide(an_order(status), ships_to(HAMBURG)) == Decision(
        Outcome.APPLIED, (Reason.SHIPPING_ADDRESS_CHANGED,), after, NOTIFY
    )


def test_a_billing_address_is_changed_on_a_pre_order() -> None:
    after = replace(PRE_ORDER, billing=OrderAddress(HAMBURG, NINE))
    assert decide(PRE_ORDER, bills_to(HAMBURG)) == Decision(
        Outcome.APPLIED, (Reason.BILLING_ADDRESS_CHANGED,), after, NOTIFY
    )


@pytest.mark.parametrize("address", [HAMBURG, PARIS, NO_POSTAL_CODE, NOWHERE, BERLIN])
@pytest.mark.parametrize("asked_at", [EIGHT, TEN])
def test_a_billing_address_of_a_validated_order_is_invoiced_before_anything_else_is_asked(
    address: Address, asked_at: datetime
) -> None:
    order = replace(VALIDATED, billing=OrderAddress(BERLIN, NINE))
    decision = decide(order, bills_to(address, asked_at))
    assert_unchanged(order, decision, Outcome.REFUSED, Reason.BILLING_IS_INVOICED)


@pytest.mark.parametrize(
    "address", [NO_POSTAL_CODE, NOWHERE, replace(PARIS, postal_code="1"), replace(PARIS, line1="")]
)
@pytest.mark.parametrize("status", OPEN)
def test_an_invalid_address_is_refused_before_it_is_compared_dated_or_escalated(
    status: Status, address: Address
) -> None:
    for today in (BERLIN, address):
        order = replace(an_order(status), shipping=OrderAddress(today, TEN))
        decision = decide(order, ships_to(address, EIGHT))
        assert_unchanged(order, decision, Outcome.REFUSED, Reason.INVALID_ADDRESS)


def test_an_invalid_billing_address_of_a_pre_order_is_refused() -> None:
    decision = decide(PRE_ORDER, bills_to(NO_POSTAL_CODE))
    assert_unchanged(PRE_ORDER, decision, Outcome.REFUSED, Reason.INVALID_ADDRESS)


@pytest.mark.parametrize("address", [BERLIN, BERLIN_WITH_BLANKS])
@pytest.mark.parametrize("asked_at", [EIGHT, NINE, TEN])
@pytest.mark.parametrize("status", OPEN)
def test_todays_address_is_unchanged_however_late_it_was_asked_for(
    status: Status, asked_at: datetime, address: Address
) -> None:
    order = replace(an_order(status), shipping=OrderAddress(BERLIN, NINE))
    decision = decide(order, ships_to(address, asked_at))
    assert_unchanged(order, decision, Outcome.UNCHANGED, Reason.ADDRESS_IS_UNCHANGED)


@pytest.mark.parametrize("address", [HAMBURG, PARIS])
@pytest.mark.parametrize("status", OPEN)
def test_an_older_request_is_superseded_before_its_country_is_looked_at(status: Status, address: Address) -> None:
    order = replace(an_order(status), shipping=OrderAddress(BERLIN, NINE))
    decision = decide(order, ships_to(address, NINE - timedelta(microseconds=1)))
    assert_unchanged(order, decision, Outcome.REFUSED, Reason.SUPERSEDED_BY_NEWER_REQUEST)


def test_a_request_of_the_same_time_is_not_older_and_is_applied() -> None:
    order = replace(PRE_ORDER, shipping=OrderAddress(BERLIN, NINE))
    assert decide(order, ships_to(HAMBURG, NINE)).order.shipping == OrderAddress(HAMBURG, NINE)


def test_a_request_of_the_same_instant_written_in_another_time_zone_is_not_older() -> None:
    order = replace(PRE_ORDER, shipping=OrderAddress(BERLIN, datetime.fromisoformat("2026-11-23T11:00:00+02:00")))
    assert decide(order, ships_to(HAMBURG, NINE)).outcome is Outcome.APPLIED


def test_each_address_is_dated_by_itself() -> None:
    order = replace(PRE_ORDER, shipping=OrderAddress(BERLIN, TEN))
    assert decide(order, bills_to(HAMBURG, NINE)).reasons == (Reason.BILLING_ADDRESS_CHANGED,)


@pytest.mark.parametrize("address", [PARIS, HONG_KONG])
def test_another_country_is_escalated_on_a_validated_order(address: Address) -> None:
    decision = decide(VALIDATED, ships_to(address))
    assert_unchanged(VALIDATED, decision, Outcome.ESCALATED, Reason.COUNTRY_CHANGE_AFTER_CHARGE)


@pytest.mark.parametrize("country", ["de", " DE "])
def test_a_country_that_is_only_written_differently_is_not_another_country(country: str) -> None:
    decision = decide(VALIDATED, ships_to(replace(HAMBURG, country=country)))
    assert decision.reasons != (Reason.COUNTRY_CHANGE_AFTER_CHARGE,)


@pytest.mark.parametrize("address", [PARIS, HONG_KONG])
def test_another_country_is_applied_to_both_addresses_of_a_pre_order(address: Address) -> None:
    assert decide(PRE_ORDER, ships_to(address)).order.shipping.address == address
    assert decide(PRE_ORDER, bills_to(address)).order.billing.address == address


@pytest.mark.parametrize("region", [None, "", "Hamburg", "TX", "no such region"])
@pytest.mark.parametrize("status", OPEN)
def test_a_region_is_never_a_reason(status: Status, region: str | None) -> None:
    assert decide(an_order(status), ships_to(replace(HAMBURG, region=region))).outcome is Outcome.APPLIED


def test_a_request_for_no_address_at_all_is_a_fault_of_the_caller() -> None:
    with pytest.raises(ValueError, match="neither"):
        decide(PRE_ORDER, ChangeRequest(Kind.CHANGE_ADDRESS, NINE))


# Row 9, two addresses: every pair of answers that there can be

CHANGED_S, CHANGED_B = Reason.SHIPPING_ADDRESS_CHANGED, Reason.BILLING_ADDRESS_CHANGED
INVALID, SAME = Reason.INVALID_ADDRESS, Reason.ADDRESS_IS_UNCHANGED
ABROAD, INVOICED = Reason.COUNTRY_CHANGE_AFTER_CHARGE, Reason.BILLING_IS_INVOICED


@pytest.mark.parametrize(
    ("order", "shipping", "billing", "outcome", "reasons"),
    [
        (PRE_ORDER, HAMBURG, PARIS, Outcome.APPLIED, (CHANGED_S, CHANGED_B)),
        (PRE_ORDER, HAMBURG, NOWHERE, Outcome.PARTLY_APPLIED, (CHANGED_S, INVALID)),
        (PRE_ORDER, HAMBURG, BERLIN, Outcome.PARTLY_APPLIED, (CHANGED_S, SAME)),
        (PRE_ORDER, NOWHERE, HAMBURG, Outcome.PARTLY_APPLIED, (INVALID, CHANGED_B)),
        (PRE_ORDER, NOWHERE, NOWHERE, Outcome.REFUSED, (INVALID, INVALID)),
        (PRE_ORDER, NOWHERE, BERLIN, Outcome.REFUSED, (INVALID, SAME)),
        (PRE_ORDER, BERLIN, HAMBURG, Outcome.PARTLY_APPLIED, (SAME, CHANGED_B)),
        (PRE_ORDER, BERLIN, NOWHERE, Outcome.REFUSED, (SAME, INVALID)),
        (PRE_ORDER, BERLIN, BERLIN, Outcome.UNCHANGED, (SAME, SAME)),
        (VALIDATED, HAMBURG, HAMBURG, Outcome.PARTLY_APPLIED, (CHANGED_S, INVOICED)),
        (VALIDATED, PARIS, HAMBURG, Outcome.ESCALATED, (ABROAD, INVOICED)),
        (VALIDATED, NOWHERE, HAMBURG, Outcome.REFUSED, (INVALID, INVOICED)),
        (VALIDATED, BERLIN, HAMBURG, Outcome.REFUSED, (SAME, INVOICED)),
    ],
)
def test_two_addresses_are_answered_one_by_one_shipping_first(
    order: Order, shipping: Address, billing: Address, outcome: Outcome, reasons: tuple[Reason, Reason]
) -> None:
    decision = decide(order, ChangeRequest(Kind.CHANGE_ADDRESS, NINE, shipping=shipping, billing=billing))
    after = order
    if CHANGED_S in reasons:
        after = replace(after, shipping=OrderAddress(shipping, NINE))
    if CHANGED_B in reasons:
        after = replace(after, billing=OrderAddress(billing, NINE))
    assert decision == Decision(outcome, reasons, after, NOTIFY)


# The decided order is what the next request finds


@pytest.mark.parametrize("order", [PRE_ORDER, VALIDATED])
def test_an_order_that_one_request_closed_is_closed_for_the_next(order: Order) -> None:
    closed = decide(order, a_request(Kind.CANCEL, note="ordered twice")).order
    assert decide(closed, a_request(Kind.CANCEL)).reasons == (Reason.ALREADY_CLOSED,)
    assert decide(closed, ships_to(HAMBURG)).reasons == (Reason.ORDER_IS_CLOSED,)


def test_a_request_finds_the_address_and_the_time_that_the_one_before_it_left() -> None:
    changed = decide(PRE_ORDER, ships_to(HAMBURG, NINE)).order
    assert decide(changed, ships_to(PARIS, EIGHT)).reasons == (Reason.SUPERSEDED_BY_NEWER_REQUEST,)
    assert decide(changed, ships_to(HAMBURG, EIGHT)).reasons == (Reason.ADDRESS_IS_UNCHANGED,)
    assert decide(changed, ships_to(BERLIN, TEN)).order.shipping == OrderAddress(BERLIN, TEN)


@pytest.mark.parametrize("first", [ships_to(BERLIN, TEN), ships_to(NOWHERE, TEN), ships_to(PARIS, TEN)])
def test_a_newer_request_that_was_not_applied_supersedes_nothing(first: ChangeRequest) -> None:
    between = decide(VALIDATED, first)
    assert between.outcome is not Outcome.APPLIED
    assert decide(between.order, ships_to(HAMBURG, NINE)).outcome is Outcome.APPLIED


# The table as such


def test_every_reason_is_given_by_some_row() -> None:
    given_by_rows = {rule.reason for rule in RULES}
    given_by_rows |= {rule.reason(role) for rule in ADDRESS_RULES for role in AddressRole}
    assert given_by_rows == set(Reason)


def test_the_numbers_of_the_rows_are_unique_and_in_order() -> None:
    numbers = [rule.number for rule in RULES] + [rule.number for rule in ADDRESS_RULES]
    assert len(set(numbers)) == len(numbers)
    assert numbers == sorted(numbers)


# A second reading of the contract, sharing nothing with the table

POSTAL = [BERLIN, BERLIN_WITH_BLANKS, HAMBURG, PARIS, HONG_KONG]
ADDRESSES = [*POSTAL, NO_POSTAL_CODE, NOWHERE]
TIMES = [EIGHT, NINE, TEN]


def second_reading(order: Order, request: ChangeRequest) -> Decision:
    def unless_changed(outcome: str, reason: str) -> Decision:
        effects = () if outcome == "deferred" else NOTIFY
        return Decision(Outcome(outcome), (Reason(reason),), order, effects)

    if request.requester is not None and request.requester.strip().lower() != "jane@example.com":
        return unless_changed("escalated", "requester_is_not_the_customer")
    if order.status in ("abandoned", "cancelled"):
        if request.kind == "cancel":
            return unless_changed("unchanged", "already_closed")
        return unless_changed("refused", "order_is_closed")
    if order.edi == "sent":
        return unless_changed("refused", "edi_already_sent")
    if order.edi == "claimed":
        return unless_changed("deferred", "edi_in_flight")
    if request.kind == "partial_cancel":
        return unless_changed("escalated", "partial_cancellation")
    if request.kind == "change_items":
        return unless_changed("refused", "items_are_fixed")
    if request.kind == "change_payment":
        if order.status == "pre_order":
            return unless_changed("refused", "payment_is_changed_in_store")
        return unless_changed("refused", "order_is_already_charged")
    if request.kind == "cancel":
        if order.status == "pre_order":
            abandoned = replace(order, status=Status("abandoned"))
            return Decision(Outcome("applied"), (Reason("pre_order_abandoned"),), abandoned, NOTIFY)
        if request.note is None or request.note.isspace() or request.note == "":
            return unless_changed("refused", "note_required")
        cancelled = replace(order, status=Status("cancelled"))
        effects = (Effect("restock"), Effect("notify"))
        return Decision(Outcome("applied"), (Reason("order_cancelled"),), cancelled, effects)
    return second_reading_of_addresses(order, request)


def second_reading_of_addresses(order: Order, request: ChangeRequest) -> Decision:
    answers: list[tuple[str, str]] = []
    after = order
    if request.shipping is not None:
        answers.append(second_reading_of_shipping(order, request.shipping, request.asked_at))
        if answers[-1][0] == "applied":
            after = replace(after, shipping=OrderAddress(request.shipping, request.asked_at))
    if request.billing is not None:
        answers.append(second_reading_of_billing(order, request.billing, request.asked_at))
        if answers[-1][0] == "applied":
            after = replace(after, billing=OrderAddress(request.billing, request.asked_at))
    outcomes = [outcome for outcome, _ in answers]
    if all(outcome == "applied" for outcome in outcomes):
        overall = "applied"
    elif any(outcome == "applied" for outcome in outcomes):
        overall = "partly_applied"
    elif "escalated" in outcomes:
        overall = "escalated"
    elif "refused" in outcomes:
        overall = "refused"
    else:
        overall = "unchanged"
    return Decision(Outcome(overall), tuple(Reason(reason) for _, reason in answers), after, NOTIFY)


def second_reading_of_shipping(order: Order, wanted: Address, asked_at: datetime) -> tuple[str, str]:
    if wanted not in POSTAL:
        return "refused", "invalid_address"
    if without_blanks(wanted) == without_blanks(order.shipping.address):
        return "unchanged", "address_is_unchanged"
    if order.shipping.asked_at is not None and asked_at < order.shipping.asked_at:
        return "refused", "superseded_by_newer_request"
    if order.status == "validated" and wanted.country != order.shipping.address.country:
        return "escalated", "country_change_after_charge"
    return "applied", "shipping_address_changed"


def second_reading_of_billing(order: Order, wanted: Address, asked_at: datetime) -> tuple[str, str]:
    if order.status == "validated":
        return "refused", "billing_is_invoiced"
    if wanted not in POSTAL:
        return "refused", "invalid_address"
    if without_blanks(wanted) == without_blanks(order.billing.address):
        return "unchanged", "address_is_unchanged"
    if order.billing.asked_at is not None and asked_at < order.billing.asked_at:
        return "refused", "superseded_by_newer_request"
    return "applied", "billing_address_changed"


def without_blanks(address: Address) -> Address:
    return BERLIN if address == BERLIN_WITH_BLANKS else address


an_address = st.sampled_from(ADDRESSES)
a_time = st.sampled_from(TIMES)
an_order_address = st.builds(OrderAddress, an_address, st.none() | a_time)
orders = st.builds(
    Order,
    st.sampled_from([*Status, *OPEN, *OPEN]),
    st.sampled_from([*Edi, *[Edi.NOT_SENT] * 4]),
    st.sampled_from(["jane@example.com", " Jane@Example.com"]),
    an_order_address,
    an_order_address,
)
a_requester = st.sampled_from([None, None, "jane@example.com", "JANE@example.com ", "joe@example.com", ""])
a_note = st.sampled_from([None, "", " \t", "ordered twice"])
requests = st.one_of(
    st.builds(ChangeRequest, st.sampled_from(Kind), a_time, a_requester, a_note, an_address, st.none() | an_address),
    st.builds(ChangeRequest, st.sampled_from(Kind), a_time, a_requester, a_note, st.none(), an_address),
    st.builds(
        ChangeRequest, st.sampled_from([kind for kind in Kind if kind != "change_address"]), a_time, a_requester, a_note
    ),
)


@settings(max_examples=600, deadline=None)
@given(orders, requests)
def test_every_decision_is_the_one_that_a_second_reading_of_the_contract_gives(
    order: Order, request: ChangeRequest
) -> None:
    assert decide(order, request) == second_reading(order, request)


@settings(max_examples=200, deadline=None)
@given(orders, requests)
def test_the_same_question_always_gets_the_same_answer(order: Order, request: ChangeRequest) -> None:
    assert decide(order, request) == decide(replace(order), replace(request))


@settings(max_examples=300, deadline=None)
@given(orders, st.lists(requests, min_size=1, max_size=4))
def test_through_any_series_of_requests_the_order_changes_only_by_what_is_applied_and_never_once_sent_or_closed(
    order: Order, series: list[ChangeRequest]
) -> None:
    for request in series:
        decision = decide(order, request)
        changed = decision.order != order
        assert changed == (decision.outcome in (Outcome.APPLIED, Outcome.PARTLY_APPLIED))
        assert not (changed and (order.status in CLOSED or order.edi is not Edi.NOT_SENT))
        assert (Effect.RESTOCK in decision.effects) == (
            order.status is Status.VALIDATED and decision.order.status is Status.CANCELLED
        )
        assert (Effect.NOTIFY in decision.effects) == (decision.outcome is not Outcome.DEFERRED)
        assert (decision.order.edi, decision.order.customer_email) == (order.edi, order.customer_email)
        order = decision.order
