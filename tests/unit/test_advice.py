"""What the customer reads: a text for every reason, complete as it stands, in the order of the guide."""

import re

import pytest

from desks.advice import advice
from rules.model import ParkedReason, Reason

EVERY_REASON: tuple[Reason | ParkedReason, ...] = (*Reason, *ParkedReason)

AVAILABLE = r"available in the store|in stock"
PLACE_NEW = r"place a new"
CANCEL_OLD = r"cancel this one"


@pytest.mark.parametrize("reason", EVERY_REASON)
def test_every_reason_has_an_advice_of_whole_sentences(reason: Reason | ParkedReason) -> None:
    text = advice([reason])
    assert text == text.strip()
    assert re.fullmatch(r"[A-Z].*\.", text), text


@pytest.mark.parametrize("reason", EVERY_REASON)
def test_no_advice_has_a_placeholder_left_to_fill(reason: Reason | ParkedReason) -> None:
    assert not re.search(r"[{}<>\[\]$%_]|\b(TODO|TBD|FIXME|XXX)\b", advice([reason]))


@pytest.mark.parametrize("reason", EVERY_REASON)
def test_no_advice_is_written_across_paragraphs_or_with_doubled_blanks(reason: Reason | ParkedReason) -> None:
    assert " ".join(advice([reason]).split()) == advice([reason])


def test_no_two_reasons_have_the_same_advice() -> None:
    texts = [advice([reason]) for reason in EVERY_REASON]
    assert len(set(texts)) == len(texts)


def test_the_advice_for_several_reasons_is_one_paragraph_a_reason_in_their_order() -> None:
    first, second = Reason.SHIPPING_ADDRESS_CHANGED, Reason.BILLING_IS_INVOICED
    assert advice([first, second]) == f"{advice([first])}\n\n{advice([second])}"
    assert advice([second, first]) == f"{advice([second])}\n\n{advice([first])}"


def test_no_reason_is_no_advice() -> None:
    assert advice([]) == ""


@pytest.mark.parametrize(
    "reason", [Reason.ITEMS_ARE_FIXED, Reason.PAYMENT_IS_CHANGED_IN_STORE, Reason.ORDER_IS_ALREADY_CHARGED]
)
def test_the_way_round_is_availability_first_then_the_new_order_and_the_old_one_cancelled_last(reason: Reason) -> None:
    assert_in_order(reason, AVAILABLE, PLACE_NEW, CANCEL_OLD)


def test_the_payment_of_a_pre_order_is_first_sent_to_the_store_account_and_only_then_to_a_new_order() -> None:
    assert_in_order(Reason.PAYMENT_IS_CHANGED_IN_STORE, "store account", "manage order", "If that does not", PLACE_NEW)


def test_who_cannot_cancel_without_a_reason_is_told_to_place_the_new_order_first() -> None:
    assert_in_order(Reason.NOTE_REQUIRED, "short reason", "place the new, correct order first")


@pytest.mark.parametrize(
    "reason",
    [Reason.ITEMS_ARE_FIXED, Reason.ORDER_IS_ALREADY_CHARGED, Reason.NOTE_REQUIRED, Reason.BILLING_IS_INVOICED],
)
def test_what_is_still_possible_is_said_to_end_when_the_order_goes_to_the_warehouse(reason: Reason) -> None:
    assert re.search(r"as long as (it|the order) has not been sent to our warehouse", advice([reason]))


def test_the_billing_advice_names_the_invoice_and_the_address_that_can_still_be_changed() -> None:
    assert_in_order(Reason.BILLING_IS_INVOICED, "billing address cannot", "invoice", "shipping address can be changed")


def test_a_sent_order_is_said_to_be_neither_changed_nor_cancelled() -> None:
    assert_in_order(Reason.EDI_ALREADY_SENT, "already been sent", "neither change nor cancel")


@pytest.mark.parametrize(
    "reason",
    [Reason.REQUESTER_IS_NOT_THE_CUSTOMER, Reason.PARTIAL_CANCELLATION, Reason.COUNTRY_CHANGE_AFTER_CHARGE],
)
def test_an_escalation_says_that_a_colleague_looks_at_it_and_that_nothing_was_changed(reason: Reason) -> None:
    assert "colleague" in advice([reason])
    assert re.search(r"nothing (was|has been) changed|has not been changed so far", advice([reason]))


def assert_in_order(reason: Reason, *parts: str) -> None:
    text, at = advice([reason]), 0
    for part in parts:
        found = re.compile(part).search(text, at)
        assert found, f"{reason}: {part!r} is missing, or stands too early, in: {text}"
        at = found.end()
