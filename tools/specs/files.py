"""Writes asyncapi.yaml and openapi.json to the top level: `make specs`, after any change of what they are made from.

It is not part of the product, because it needs PyYAML, which only our tools use.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]  # it publishes no types

from tools.specs.asyncapi import asyncapi
from tools.specs.openapi import openapi

ROOT = Path(__file__).parents[2]


class _Dumper(yaml.SafeDumper):  # type: ignore[misc]  # see above
    def ignore_aliases(self, data: Any) -> bool:
        # Anchors for repeated parts would be correct, but hard to read.
        return True


def _text(dumper: Any, text: str) -> Any:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)


def dangling(document: Any) -> list[str]:
    """Returns the references of a document that lead nowhere in it, each once."""
    missing = [
        reference for reference in dict.fromkeys(_references(document)) if not _leads_somewhere(document, reference)
    ]
    return sorted(missing)


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, dict) and isinstance(value.get("$ref"), str):
        yield value["$ref"]
    for child in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _references(child)


def _leads_somewhere(document: Any, reference: str) -> bool:
    found = document
    for part in reference.removeprefix("#/").split("/"):
        if not (isinstance(found, dict) and part.replace("~1", "/") in found):
            return False
        found = found[part.replace("~1", "/")]
    return True


def texts() -> dict[str, str]:
    """Returns the files as they should be, by their names. Raises ValueError for a reference that leads nowhere."""
    for name, document in (("asyncapi.yaml", asyncapi()), ("openapi.json", openapi())):
        if missing := dangling(document):
            raise ValueError(f"{name} would refer to what it does not have: {', '.join(missing)}; nothing was written")
    layout = {"sort_keys": False, "allow_unicode": True, "width": 110}
    return {
        "asyncapi.yaml": f"# Made by `make specs`.\n{yaml.dump(asyncapi(), Dumper=_Dumper, **layout)}",
        "openapi.json": json.dumps(openapi(), indent=2, ensure_ascii=False) + "\n",
    }


if __name__ == "__main__":
    try:
        written = texts()
    except ValueError as error:
        sys.exit(f"specs: {error}")
    for name, text in written.items():
        (ROOT / name).write_text(text)
