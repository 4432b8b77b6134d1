"""Payload templates in Liquid, for the desks that render their webhooks with it."""

from collections.abc import Mapping

from desks.config import DeskConfig
from desks.payload import payload_template


class LiquidConfig(DeskConfig):
    """The table of a desk whose payload is a Liquid template."""

    # False for an account whose Liquid has no `json` filter: then texts are only put in quotes.
    json_filter: bool = True


def liquid_template(config: LiquidConfig, expressions: Mapping[str, str], field: str) -> str:
    """Returns the payload template; `field` is the Liquid name of a custom field, with `{}` for the desk's name."""

    def written(expression: str) -> str:
        # The filter adds the quotes, and escapes quotes and line breaks that a customer typed.
        return f"{{{{{expression} | json}}}}" if config.json_filter else f'"{{{{{expression}}}}}"'

    return payload_template(
        {name: written(expression) for name, expression in expressions.items()},
        lambda name: written(field.format(name)),
        config.fields,
    )
