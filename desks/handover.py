"""Answers that only a colleague can deliver to the customer."""


def for_a_colleague(body: str, why: str) -> str:
    """Returns an internal note: the answer for the customer, and why Countermand could not send it."""
    return f"Please tell the customer the following yourself: {why}.\n\n{body}"
