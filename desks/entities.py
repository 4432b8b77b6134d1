"""Unescapes texts that a desk has escaped for HTML before it put them into JSON."""

import html
import re
from typing import Any

# Only what escaping produces. Other entities, such as `&copy` without a semicolon, were typed by somebody.
_ENTITY = re.compile(r"&(?:amp|lt|gt|quot|apos|nbsp|#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6});")


def unescaped(value: Any) -> Any:
    """Returns a parsed body with `O&#039;Neill` as O'Neill in all its texts, once: `&amp;amp;` is then `&amp;`."""
    if isinstance(value, str):
        return _ENTITY.sub(lambda found: html.unescape(found[0]), value)
    if isinstance(value, list):
        return [unescaped(one) for one in value]
    return {name: unescaped(one) for name, one in value.items()} if isinstance(value, dict) else value
