"""The configured desks and their channels, from the desks file and the secrets in the environment."""

import importlib
import pkgutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError

import desks
from configuration import ConfigurationError, describe_problems
from desks.channels import Channel, LogChannel
from desks.config import DesksFile, read_file
from desks.desk import Desk, TicketChannel
from desks.mail import MailChannel
from desks.payload import FIELDS
from desks.store_texts import load_texts
from desks.texts import OUR_TEXTS, Texts


@cache
def kinds() -> dict[str, type[Desk]]:
    """Returns every kind of desk by its name, found among the modules of `desks/`."""
    for module in pkgutil.iter_modules(desks.__path__):
        importlib.import_module(f"desks.{module.name}")
    return {kind.kind: kind for kind in _subclasses(Desk) if hasattr(kind, "kind")}


def _subclasses(base: type[Any]) -> Iterator[type[Desk]]:
    for kind in base.__subclasses__():
        yield kind
        yield from _subclasses(kind)


@dataclass(frozen=True, slots=True)
class Helpdesks:
    """The desks by their names, and the mail channel for requests without a ticket."""

    desks: Mapping[str, Desk] = field(default_factory=dict)
    mail: MailChannel | None = None
    public_url: str | None = None
    # The name under the answers.
    shop: str | None = None

    def answering(self) -> list[str]:
        """Returns the sources whose tickets can be answered."""
        return [desk.source for desk in self.desks.values() if desk.config.answers]

    def channel_for(self, source: str, ticket: str | None) -> Channel:
        """Returns the channel for a request: its ticket if that can be answered, otherwise mail, otherwise the log."""
        if ticket is not None and source in self.answering():
            return self.channel("ticket", source)
        return self.mail or LogChannel()

    def channel(self, name: str, source: str) -> Channel:
        """Returns the channel that a notice was written for. Raises ConfigurationError if it no longer exists."""
        if name == LogChannel.name:
            return LogChannel()
        if name == MailChannel.name and self.mail is not None:
            return self.mail
        desk = next((desk for desk in self.desks.values() if desk.source == source and desk.config.answers), None)
        if name == TicketChannel.name and desk is not None:
            return TicketChannel(desk)
        raise ConfigurationError(f"the desks file has no longer what answers by {name} for {source}")


def open_desks(path: Path | None, environ: Mapping[str, str]) -> Helpdesks:
    """Reads the desks file, and the secrets from the environment; without a file there are no desks.

    Raises ConfigurationError.
    """
    if path is None:
        return Helpdesks()
    file = read_file(path)
    configured = {name: open_desk(path, file, name, environ) for name in file.desks}
    for desk in configured.values():
        desk.check_secrets()
    sources = [desk.source for desk in configured.values()]
    if doubled := {source for source in sources if sources.count(source) > 1}:
        raise ConfigurationError(
            f"the desks file {path}: source {', '.join(sorted(doubled))} belongs to more than one desk"
        )
    mail = MailChannel(file.mail, environ) if file.mail else None
    return Helpdesks(configured, mail, file.public_url, file.shop)


def texts_of(path: Path, file: DesksFile) -> Texts:
    """Returns the store's own texts over ours; `problems` lists those that cannot be used."""
    return load_texts(path.parent / file.texts) if file.texts is not None else OUR_TEXTS


def open_desk(path: Path, file: DesksFile, name: str, environ: Mapping[str, str]) -> Desk:
    """Creates a desk from its table. Raises ConfigurationError."""
    table = file.desks[name]
    # `desk` may have any type here, because only the kind's own model checks the table.
    kind = kinds().get(str(table.get("desk", name)))
    if kind is None:
        raise ConfigurationError(
            f"the desks file {path}: desks.{name} is no kind of desk; name it {', '.join(sorted(kinds()))}, "
            "or give it the key `desk`"
        )
    try:
        config = kind.config_type.model_validate({**({"proxy": file.proxy} if file.proxy else {}), **table})
    except ValidationError as invalid:
        known = f"; the keys of {kind.kind} are: {', '.join(kind.config_type.model_fields)}"
        has_unknown = any(error["type"] == "extra_forbidden" for error in invalid.errors(include_input=False))
        where = f"the desks file {path}: {describe_problems(invalid, 'desks', name)}"
        raise ConfigurationError(where + known * has_unknown) from None
    if unknown := config.fields.keys() - set(FIELDS):
        named = ", ".join(f"desks.{name}.fields.{field}" for field in sorted(unknown))
        raise ConfigurationError(f"the desks file {path}: {named} is not one of our fields: {', '.join(FIELDS)}")
    return kind(name, config, environ)
