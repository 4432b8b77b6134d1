"""Payload templates in Liquid, for the desks that render their webhooks with it."""

from collections.abc import Mapping

from desks.config import DeskConfig
from desks.payload import payload_template


class LiquidConfig(DeskConfig):
    """What the file says of a desk whose payload is a Liquid template."""

    # False for an account whose Liquid has no `json` filter: then every text is only put into quotes.
    json_filter: bool = True


def liquid_template(config: LiquidConfig, expressions: Mapping[str, str], field: str) -> str:
    """Returns the payload template; `field` is how Liquid names a custom field, `{}` in it the desk's name of that."""

    def written(expression: str) -> str:
        # The filter writes the quotes too, and survives the quotes and line breaks that a customer typed.
        return f"{{{{{expression} | json}}}}" if config.json_filter else f'"{{{{{expression}}}}}"'

    return payload_template(
        {name: written(expression) for name, expression in expressions.items()},
        lambda name: written(field.format(name)),
        config.fields,
    )
