"""What the steps of `countermand desks check` say of several desks."""

from desks.config import DeskConfig
from desks.payload import ADDRESS_FIELDS
from rules.model import Kind

# What a form can ask for that has no field for an address.
KIND_LIST = ", ".join(kind for kind in Kind if kind is not Kind.CHANGE_ADDRESS)
NOTE_FIELD = "a text of several lines for the note (a validated order is not cancelled without one)"
ADDRESSES_HINT = (
    f"If addresses are to be changed too: one more kind, {Kind.CHANGE_ADDRESS}, and in the same place one text for "
    f"each part of an address: shipping_{', shipping_'.join(ADDRESS_FIELDS)}, and the same with billing_. An address "
    "must have name, line1, city and country, that as two letters or in English; leave out what you do not need."
)
LABELS_HINT = (
    "Where your lists hand over labels of their own, say in the desk's table what they mean, such as "
    'kinds = { "Cancel order" = "cancel" } and countries = { "Deutschland" = "DE" }.'
)
# Of the fields of a form.
AGENTS_ONLY_WARNING = (
    "A web form takes any e-mail address for the sender's: somebody who could fill these fields in there could ask in "
    "the name of any customer."
)
KIND_LAST_HINT = (
    "fill in order, note and address first and choose the kind last, for that sends the request; for another request "
    "on the same ticket take the kind away, change the rest, and choose it again."
)
# Of a desk that cannot tell when the customer asked.
SAME_AGAIN_HINT = "To ask for the very same change again on a ticket, write another note."
# Of the account in whose name answers are written.
OWN_ACCOUNT_HINT = "an account of its own, which no person works with: what it does is taken for ours and asks nothing"


def variable(name: str | None, key: str) -> str:
    """Names the environment variable that a secret goes into."""
    return f"the variable {name}" if name else f"an environment variable, which `{key}` in the desks file names"


def made_up_secret(config: DeskConfig) -> str:
    """The step for a desk that has no secret of its own to show."""
    return (
        "Make up a secret, with `openssl rand -hex 32`, and put it into "
        f"{variable(config.webhook_secret, 'webhook_secret')}."
    )
