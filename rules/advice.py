"""What the customer is told for each reason: what happened, what to do instead and in which order.

The advice is the back-office guide's; the words are ours. No text carries a name or an address, so that it may
be logged and quoted, and none promises what no process of ours does.
"""

from collections.abc import Iterable, Sequence

from rules.model import AddressFault, ParkedReason, Problem, Reason

_ADVICE: dict[Reason | ParkedReason, str] = {
    Reason.REQUESTER_IS_NOT_THE_CUSTOMER: (
        "This request did not come from the e-mail address that the order was placed with, so nothing was changed "
        "and a colleague has to look at it. If you are the customer, please write to us again from that address."
    ),
    Reason.ALREADY_CLOSED: "This order is already cancelled. There is nothing left for you to do.",
    Reason.ORDER_IS_CLOSED: (
        "This order is already cancelled, so it can no longer be changed. If you still want the items, please "
        "check that they are available in the store and place a new order."
    ),
    Reason.EDI_ALREADY_SENT: (
        "This order has already been sent to our warehouse. From that moment on we can neither change nor "
        "cancel it. Please wait for the delivery and contact us again then."
    ),
    Reason.EDI_IN_FLIGHT: (
        "This order is being sent to our warehouse at this moment. We will answer as soon as that is settled."
    ),
    Reason.PARTIAL_CANCELLATION: (
        "Cancelling a part of an order means a partial refund, which a colleague has to look at; nothing has been "
        "changed so far."
    ),
    Reason.ITEMS_ARE_FIXED: (
        "We cannot add items to an order or remove them from it. What you can do instead: first check that the "
        "items you want are available in the store, then place a new, correct order, and only then cancel this "
        "one, or ask us to cancel it. We can cancel it as a whole as long as it has not been sent to our warehouse."
    ),
    Reason.PAYMENT_IS_CHANGED_IN_STORE: (
        "You can change the payment method of a pre-order yourself: sign in to your store account and open the "
        "manage order section. If that does not work: first check that the items are in stock, then place a new "
        "order with the right payment method, and only then cancel this one, or ask us to cancel it."
    ),
    Reason.ORDER_IS_ALREADY_CHARGED: (
        "This order has already been charged, so its payment method can no longer be changed. What you can do "
        "instead: first check that the items are in stock and place a new order with the right payment method, "
        "then ask us to cancel this one. We can do so as long as it has not been sent to our warehouse."
    ),
    Reason.PRE_ORDER_ABANDONED: "Your pre-order is cancelled as a whole. There is nothing left for you to do.",
    Reason.NOTE_REQUIRED: (
        "An order is cancelled only with a note that says why, and none was given, so nothing has been changed. "
        "Please give us a short reason. The order can be cancelled as long as it has not been sent to our warehouse. "
        "If you want other items instead, please place the new, correct order first."
    ),
    Reason.ORDER_CANCELLED: (
        "Your order is cancelled as a whole and will not be shipped. There is nothing left for you to do."
    ),
    Reason.BILLING_IS_INVOICED: (
        "The billing address cannot be changed: the order has been charged and its invoice exists already. "
        "The shipping address can be changed as long as the order has not been sent to our warehouse."
    ),
    Reason.INVALID_ADDRESS: (
        "We could not use the new address: something is missing or is not written as the post of that country "
        "needs it. Please check street, city, postal code and country, and send us the complete address again."
    ),
    Reason.ADDRESS_IS_UNCHANGED: "The order already has the address that you sent us. Nothing had to be changed.",
    Reason.SUPERSEDED_BY_NEWER_REQUEST: (
        "A later request of yours has already changed this address, and we kept that one. If it is not right, "
        "please send us the correct address again."
    ),
    Reason.COUNTRY_CHANGE_AFTER_CHARGE: (
        "The order has been charged for delivery to another country, so a colleague has to look at this change "
        "of address; the address has not been changed so far."
    ),
    Reason.SHIPPING_ADDRESS_CHANGED: "The shipping address of your order is changed as you asked.",
    Reason.BILLING_ADDRESS_CHANGED: "The billing address of your order is changed as you asked.",
    ParkedReason.UNKNOWN_ORDER: (
        "We could not find this order, so nothing has been changed. Please make sure that the order number is right."
    ),
    ParkedReason.FAILED_REPEATEDLY: (
        "We could not work on this request yet, and a colleague has to look at it; nothing has been changed so far."
    ),
}


_PARTS = {"line1": "first line of the street", "line2": "second line of the street", "postal_code": "postal code"}
_PROBLEMS = {
    Problem.MISSING: "is missing",
    Problem.CHARACTERS: "has characters that cannot be written there; please use Latin letters",
    Problem.TOO_LONG: "is longer than fits (at most {} characters)",
    Problem.TOO_SHORT: "has fewer than {} characters",
}


def advice(reasons: Iterable[Reason | ParkedReason], faults: Sequence[AddressFault] = ()) -> str:
    """Returns the customer's text for these reasons, one paragraph a reason, in their order.

    With `faults`, `invalid_address` says what of the address it was.
    """
    told = {**_ADVICE, Reason.INVALID_ADDRESS: _faulty_address(faults)} if faults else _ADVICE
    return "\n\n".join(told[reason] for reason in reasons)


def _faulty_address(faults: Sequence[AddressFault]) -> str:
    listed = ". ".join(
        f"In the {fault.role} address, the {_PARTS.get(fault.part, fault.part)} "
        f"{_PROBLEMS[fault.problem].format(fault.limit)}"
        for fault in faults
    )
    return (
        "We could not use the new address, because we could not write it in the order to our warehouse. "
        f"{listed}. Please send us the complete address again, written so that it fits."
    )
