"""The configured desks and the channels out of them: what the desks file says, with the secrets of the environment."""

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
    """Returns every kind of desk by its name; a module of `desks/` that holds one is found by itself."""
    for module in pkgutil.iter_modules(desks.__path__):
        importlib.import_module(f"desks.{module.name}")
    return {kind.kind: kind for kind in _subclasses(Desk) if hasattr(kind, "kind")}


def _subclasses(base: type[Any]) -> Iterator[type[Desk]]:
    for kind in base.__subclasses__():
        yield kind
        yield from _subclasses(kind)


@dataclass(frozen=True, slots=True)
class Helpdesks:
    """The desks by their names, and the way out for what has no ticket."""

    desks: Mapping[str, Desk] = field(default_factory=dict)
    mail: MailChannel | None = None
    public_url: str | None = None
    # Who signs the answers.
    shop: str | None = None

    def answering(self) -> list[str]:
        """Returns the sources whose tickets can be answered."""
        return [desk.source for desk in self.desks.values() if desk.config.answers]

    def channel_for(self, source: str, ticket: str | None) -> Channel:
        """Returns the one channel for a request: its ticket where that can be answered, else mail, else the log."""
        if ticket is not None and source in self.answering():
            return self.channel("ticket", source)
        return self.mail or LogChannel()

    def channel(self, name: str, source: str) -> Channel:
        """Returns the channel that a notice was written for, by its name. Raises ConfigurationError if it is gone."""
        if name == LogChannel.name:
            return LogChannel()
        if name == MailChannel.name and self.mail is not None:
            return self.mail
        desk = next((desk for desk in self.desks.values() if desk.source == source and desk.config.answers), None)
        if name == TicketChannel.name and desk is not None:
            return TicketChannel(desk)
        raise ConfigurationError(f"the desks file has no longer what answers by {name} for {source}")


def open_desks(path: Path | None, environ: Mapping[str, str]) -> Helpdesks:
    """Reads the desks file and takes the secrets out of the environment; no file is no desks.

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
    """Returns the texts of a store: its own, else ours. What is wrong with its own is in `problems`."""
    return load_texts(path.parent / file.texts) if file.texts is not None else OUR_TEXTS


def open_desk(path: Path, file: DesksFile, name: str, environ: Mapping[str, str]) -> Desk:
    """Makes one desk of its table. Raises ConfigurationError."""
    table = file.desks[name]
    # Anything may stand there: a table is checked by its kind, and that is not known yet.
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
        raise ConfigurationError(f"the desks file {path}: {named} is no field of ours; these are: {', '.join(FIELDS)}")
    return kind(name, config, environ)
