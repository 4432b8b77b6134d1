"""The partners file: one TOML table for each partner (`edi.partner_tables`), and what no two partners may share."""

from collections.abc import Iterator, Mapping
from itertools import combinations
from pathlib import Path
from typing import Annotated

from pydantic import Field

from configuration import ConfigurationError, Table, read_file
from edi.limits import Limits
from edi.partner_tables import Name, PartnerTable
from edi.partners import CharacterSet, Partner, Standard

_WHAT = "the partners file"


class PartnersFile(Table):
    """The whole file."""

    partners: Annotated[dict[Name, PartnerTable], Field(default_factory=dict)]


def open_partners(path: Path, environ: Mapping[str, str]) -> list[Partner]:
    """Reads the partners file and takes the secrets from the environment. Raises ConfigurationError."""
    tables = _read(path)
    partners = []
    for name, table in tables.items():
        try:
            partners.append(table.partner(name, _served_by_others(name, tables), environ))
        except ValueError as error:
            reason = str(error).removeprefix(f"partner {name}: ")
            raise ConfigurationError(f"{_WHAT} {path}: partners.{name}: {reason}") from error
    for (name, one), (other_name, other) in combinations(tables.items(), 2):
        if shared := [*_shared_names(name, other_name), *_shared(one, other)]:
            raise ConfigurationError(f"{_WHAT} {path}: {name} and {other_name} {'; they '.join(shared)}")
    return partners


def read_limits(path: Path) -> list[Limits]:
    """Reads from the partners file what limits the addresses in documents; needs no secret.

    Raises ConfigurationError.
    """
    tables = _read(path)
    return [
        Limits(
            Standard(table.standard),
            CharacterSet(table.character_set),
            None if table.warehouses is None else frozenset(table.warehouses),
            _served_by_others(name, tables),
        )
        for name, table in tables.items()
    ]


def _read(path: Path) -> Mapping[str, PartnerTable]:
    tables = read_file(path, PartnersFile, _WHAT).partners
    if not tables:
        raise ConfigurationError(f"{_WHAT} {path} names no partner; expected a table such as [partners.NORTH]")
    return tables


def _served_by_others(name: str, tables: Mapping[str, PartnerTable]) -> frozenset[str]:
    return frozenset(
        warehouse for other, table in tables.items() if other != name for warehouse in table.warehouses or ()
    )


def _shared_names(one: str, other: str) -> Iterator[str]:
    if one.lower() == other.lower():
        yield "differ only in upper and lower case, which many file systems ignore in file names"


def _shared(one: PartnerTable, other: PartnerTable) -> Iterator[str]:
    if one.warehouses is None and other.warehouses is None:
        yield "both have no `warehouses`, but only one can get what no other partner gets"
    if both := sorted({*(one.warehouses or ())} & {*(other.warehouses or ())}):
        yield f"both have {', '.join(both)} in `warehouses`, but an order goes to one partner only"
    if _envelope(one) == _envelope(other):
        # These and the number identify an interchange to its receiver, and each partner has its own numbers.
        yield "have the same ids and qualifiers, so numbers would repeat; use one partner for all their warehouses"
    if one.folders.inbox and (one.folders.server, one.folders.inbox) == (other.folders.server, other.folders.inbox):
        yield "have the same `inbox`, so each would take the other's answers"
    if any(
        mine.inbox and (mine.server, mine.inbox) == (theirs.server, theirs.outbox)
        for mine, theirs in ((one.folders, other.folders), (other.folders, one.folders))
    ):
        yield "use one folder as `inbox` and `outbox`: what is sent there would be read and moved away"


def _envelope(table: PartnerTable) -> tuple[object, ...]:
    ours, theirs = (table.our_qualifier, table.our_id), (table.their_qualifier, table.their_id)
    return ours, theirs, table.test, Standard(table.standard).is_x12
