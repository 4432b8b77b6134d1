"""Writes asyncapi.yaml and openapi.json to the top level: `make specs`, after any change of what they are made from.

It stands with the tests because it needs PyYAML, which is a tool of ours and no part of the product.
"""

import json
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]  # it publishes no types

from workers.specs.asyncapi import asyncapi
from workers.specs.openapi import openapi

ROOT = Path(__file__).parents[1]


class _Dumper(yaml.SafeDumper):  # type: ignore[misc]  # see above
    def ignore_aliases(self, data: Any) -> bool:
        # An anchor for what stands twice would be right, and hard to read.
        return True


def _text(dumper: Any, text: str) -> Any:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)


def texts() -> dict[str, str]:
    """Returns the files as they should be, by their names."""
    layout = {"sort_keys": False, "allow_unicode": True, "width": 110}
    return {
        "asyncapi.yaml": f"# Made by `make specs`.\n{yaml.dump(asyncapi(), Dumper=_Dumper, **layout)}",
        "openapi.json": json.dumps(openapi(), indent=2, ensure_ascii=False) + "\n",
    }


if __name__ == "__main__":
    for name, text in texts().items():
        (ROOT / name).write_text(text)
