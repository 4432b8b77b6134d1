"""A partners file of two partners, one of each standard, as tests change it and point this process at it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from configuration.settings import settings
from edi.partners import Partner
from tasks.partners import _check_by, _configured, partners

Tables = Mapping[str, Mapping[str, Any]]


def north(folder: Path, **changes: Any) -> dict[str, Any]:
    """Returns a table in EDIFACT that leaves files in a folder; what is changed to None is left out."""
    return _table(
        {
            "our_id": "4012345000009",
            "our_qualifier": "14",
            "their_id": "4098765000006",
            "their_qualifier": "14",
            "standard": "edifact-orders-d96a",
            "character_set": "UNOC",
            "warehouses": ["NORTH"],
            "grace_minutes": 0,
            "directory": {"outbox": str(folder)},
        },
        changes,
    )


def south(folder: Path, **changes: Any) -> dict[str, Any]:
    """Returns a table in X12 likewise."""
    return _table(
        {
            "our_id": "SHOP01",
            "our_qualifier": "ZZ",
            "their_id": "WH02",
            "their_qualifier": "ZZ",
            "standard": "x12-940-004010",
            "character_set": "x12-extended",
            "warehouses": ["SOUTH"],
            "grace_minutes": 0,
            "directory": {"outbox": str(folder)},
        },
        changes,
    )


def _table(table: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in {**table, **changes}.items() if value is not None}


def toml(tables: Tables) -> str:
    """Writes the file's text."""
    return "".join(
        f"[partners.{name}]\n" + "".join(f"{key} = {_value(value)}\n" for key, value in table.items())
        for name, table in tables.items()
    )


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_value(inner)}" for key, inner in value.items()) + " }"
    # Texts, numbers and lists of them are the same in TOML as in JSON, but for infinity.
    return str(value) if isinstance(value, float) else json.dumps(value, ensure_ascii=False)


def configure(file: Path, tables: Tables, monkeypatch: pytest.MonkeyPatch) -> dict[str, Partner]:
    """Writes the file and points this process, and those that it starts, at it; returns the partners by name."""
    file.write_text(toml(tables), "utf-8")
    monkeypatch.setenv("COUNTERMAND_PARTNERS", str(file))
    settings.cache_clear()
    _configured.cache_clear()
    _check_by.cache_clear()
    return {partner.name: partner for partner in partners()}
