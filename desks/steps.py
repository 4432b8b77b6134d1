"""Wording that the steps of `countermand desks check` share among several desks."""

from desks.config import DeskConfig
from desks.payload import ADDRESS_FIELDS
from rules.model import Kind

# The kinds that a form without address fields can ask for.
KIND_LIST = ", ".join(kind for kind in Kind if kind is not Kind.CHANGE_ADDRESS)
NOTE_FIELD = "a text of several lines for the note (a validated order is not cancelled without one)"
ADDRESSES_HINT = (
    f"To change addresses too, add the kind {Kind.CHANGE_ADDRESS} and, in the same place, one text for each part of an "
    f"address: shipping_{', shipping_'.join(ADDRESS_FIELDS)}, and the same with billing_. An address must have name, "
    "line1, city and country (two letters, or the English name); leave out what you do not need."
)
LABELS_HINT = (
    "If your lists send labels of their own, translate them in the desk's table, such as "
    'kinds = { "Cancel order" = "cancel" } and countries = { "Deutschland" = "DE" }.'
)
AGENTS_ONLY_WARNING = (
    "A web form accepts any e-mail address as the sender's, so anyone who could fill in these fields there could make "
    "requests in the name of any customer."
)
KIND_LAST_HINT = (
    "fill in order, note and address first and choose the kind last, because that sends the request. For another "
    "request on the same ticket, clear the kind, change the rest, and choose the kind again."
)
# For a desk that does not know when the customer asked.
SAME_AGAIN_HINT = "To ask for the same change again on a ticket, write another note."
# The account that writes the answers.
OWN_ACCOUNT_HINT = "a separate account that no person works with, because anything done in its name asks for nothing"


def variable(name: str | None, key: str) -> str:
    """Returns the name of the environment variable for a secret."""
    return f"the variable {name}" if name else f"an environment variable that `{key}` in the desks file names"


def made_up_secret(config: DeskConfig) -> str:
    """Returns the step for a desk that does not generate a secret itself."""
    return (
        "Generate a secret with `openssl rand -hex 32`, and put it into "
        f"{variable(config.webhook_secret, 'webhook_secret')}."
    )
