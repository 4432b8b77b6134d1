"""An answer for the customer that only a colleague can give him."""


def for_a_colleague(body: str, why: str) -> str:
    """Returns an internal note: what the customer is to be told, and why Countermand could not tell him."""
    return f"Please tell the customer the following yourself: {why}.\n\n{body}"
