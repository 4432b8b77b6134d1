"""Deciding one request against one order: no clock, no database, the same answer every time."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from rules.model import (
    AddressFault,
    AddressRole,
    ChangeRequest,
    Decision,
    Effect,
    Order,
    OrderAddress,
    Outcome,
    Reason,
)
from rules.table import ADDRESS_RULES, RULES, Proposal

Faults = Mapping[AddressRole, Sequence[AddressFault]]
NO_FAULTS: Faults = MappingProxyType({})


def decide(order: Order, request: ChangeRequest, faults: Faults = NO_FAULTS) -> Decision:
    """Decides a request by the decision table of the back-office guide.

    `faults` are the parts of the requested addresses that the order's warehouse document could not hold.
    """
    for rule in RULES:
        if rule.matches(order, request):
            after = order if rule.becomes is None else replace(order, status=rule.becomes)
            return Decision(rule.outcome, (rule.reason,), after, rule.effects)
    return _change_addresses(order, request, faults)


def _change_addresses(order: Order, request: ChangeRequest, faults: Faults) -> Decision:
    after, outcomes, reasons = order, [], []
    refused_parts: list[AddressFault] = []
    for role, wanted, current in (
        (AddressRole.SHIPPING, request.shipping, order.shipping),
        (AddressRole.BILLING, request.billing, order.billing),
    ):
        if wanted is None:
            continue
        proposal = Proposal(role, wanted, current, order, request, faults.get(role, ()))
        rule = next(rule for rule in ADDRESS_RULES if rule.matches(proposal))
        outcomes.append(rule.outcome)
        reasons.append(rule.reason(role))
        refused_parts += proposal.faults if reasons[-1] is Reason.INVALID_ADDRESS else ()
        if rule.outcome is Outcome.APPLIED:
            changed = OrderAddress(wanted, request.asked_at)
            after = (
                replace(after, shipping=changed) if role is AddressRole.SHIPPING else replace(after, billing=changed)
            )
    if not outcomes:
        raise ValueError("a change_address request must carry a shipping or a billing address; it has neither")
    return Decision(_overall(outcomes), tuple(reasons), after, (Effect.NOTIFY,), tuple(refused_parts))


def _overall(outcomes: list[Outcome]) -> Outcome:
    if Outcome.APPLIED in outcomes:
        return Outcome.APPLIED if set(outcomes) == {Outcome.APPLIED} else Outcome.PARTLY_APPLIED
    return next(o for o in (Outcome.ESCALATED, Outcome.REFUSED, Outcome.UNCHANGED) if o in outcomes)
