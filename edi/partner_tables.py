"""The tables of the partners file. It names secrets; their values are in the environment."""

from collections.abc import Mapping
from datetime import timedelta
from os.path import normpath
from pathlib import Path
from typing import Annotated, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from configuration import Seconds, Table, Variable, secret
from edi.documents.standards import check_partner, largest_control_number
from edi.partners import CharacterSet, Partner, Standard
from edi.schedule import Schedule
from edi.transports.directory import DirectoryTransport
from edi.transports.sftp import SftpConfig, SftpTransport
from edi.transports.ssh import read_private_key
from edi.transports.transport import Transport


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError("is not a time zone such as Europe/Rome") from None
    return name


def _cutoff(line: str) -> str:
    Schedule((line,), ZoneInfo("UTC"))
    return line


def _absolute(folder: str) -> str:
    if not Path(folder).is_absolute():
        raise ValueError("must begin with a slash: it is read by processes that run in different folders")
    return folder


def _standard(text: str) -> Standard:
    if text not in list(Standard):
        raise ValueError(f"must be one of {', '.join(Standard)}")
    return Standard(text)


def _character_set(text: str) -> CharacterSet:
    if text not in list(CharacterSet):
        raise ValueError(f"must be one of {', '.join(CharacterSet)}")
    return CharacterSet(text)


Text = Annotated[str, StringConstraints(min_length=1)]
# Part of file names and of the actor in changelog entries.
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$", max_length=35)]
Cutoff = Annotated[str, AfterValidator(_cutoff)]
Folder = Annotated[Text, AfterValidator(normpath)]
AbsoluteFolder = Annotated[Folder, AfterValidator(_absolute)]


class _Folders(Table):
    """The folder that our documents go to, and the one that the partner's answers come from."""

    outbox: Folder
    inbox: Folder | None = None

    @model_validator(mode="after")
    def _two_folders(self) -> Self:
        if self.inbox == self.outbox:
            raise ValueError("`inbox` must not be the folder of `outbox`: every file in it is read and moved away")
        return self


class DirectoryTable(_Folders):
    """Folders on this machine, which another program exchanges with the partner."""

    outbox: AbsoluteFolder
    inbox: AbsoluteFolder | None = None

    @property
    def server(self) -> str:
        """The server of the folders: two folders are the same only if their servers are."""
        return "this machine"

    def transport(self, _: Mapping[str, str]) -> Transport:
        """Returns the transport."""
        return DirectoryTransport(Path(self.outbox), Path(self.inbox) if self.inbox else None)


class SftpTable(_Folders):
    """The partner's SFTP server."""

    host: Text
    port: Annotated[int, Field(ge=1, le=65535)] = 22
    user: Text
    # The server's public key, or its fingerprint (SHA256:…); any other server is refused.
    host_key: Text
    password: Variable | None = None
    private_key: Variable | None = None
    passphrase: Variable | None = None
    # For a whole delivery; an interchange's lease (`edi.interchanges.LEASE`) must be longer.
    timeout_seconds: Annotated[Seconds, Field(le=50)] = 30

    @property
    def server(self) -> str:
        """The server of the folders: two folders are the same only if their servers are."""
        return f"{self.user}@{self.host}:{self.port}"

    def transport(self, environ: Mapping[str, str]) -> Transport:
        """Returns the transport. Raises ValueError for a missing secret or an invalid key."""
        secrets = {name: secret(environ, getattr(self, name)) for name in ("password", "private_key", "passphrase")}
        if missing := [getattr(self, name) for name, value in secrets.items() if getattr(self, name) and not value]:
            raise ValueError(f"{' and '.join(missing)} must be set in the environment")
        config = SftpConfig(
            host=self.host,
            port=self.port,
            user=self.user,
            host_key=self.host_key,
            folder=self.outbox,
            inbox=self.inbox,
            timeout=self.timeout_seconds,
            **secrets,
        )
        read_private_key(config)
        return SftpTransport(config)


class PartnerTable(Table):
    """The table of one partner."""

    our_id: Text
    our_qualifier: Text
    their_id: Text
    their_qualifier: Text
    standard: Annotated[str, AfterValidator(_standard)]
    character_set: Annotated[str, AfterValidator(_character_set)]
    # Without `warehouses` it gets the orders that no other partner gets.
    warehouses: Annotated[list[Text], Field(min_length=1)] | None = None
    test: bool = False
    orders_per_interchange: Annotated[int, Field(ge=1, le=1000)] = 500
    lines_per_interchange: Annotated[int, Field(ge=1, le=100_000)] = 10_000
    grace_minutes: Annotated[float, Field(ge=0, le=7 * 24 * 60)] = 30
    # Crontab lines; without them, due orders go out every COUNTERMAND_EXPORT_SECONDS.
    schedule: Annotated[list[Cutoff], Field(min_length=1)] | None = None
    time_zone: Annotated[str, AfterValidator(_zone)] = "UTC"
    # The first control number that the partner expects; without effect after the first interchange.
    first_control_number: Annotated[int, Field(ge=1)] = 1
    # For a partner that accepts only the next number: the next interchange reuses a released one.
    reuse_released_numbers: bool = False
    # How soon it acknowledges an interchange; needs an inbox.
    acknowledged_within_minutes: Annotated[float, Field(gt=0, le=7 * 24 * 60)] | None = None
    directory: DirectoryTable | None = None
    sftp: SftpTable | None = None

    @model_validator(mode="after")
    def _one_transport(self) -> Self:
        if (self.directory is None) == (self.sftp is None):
            raise ValueError("needs exactly one of the tables `directory` and `sftp`")
        return self

    @model_validator(mode="after")
    def _acknowledged_in_an_inbox(self) -> Self:
        if self.acknowledged_within_minutes is not None and self.folders.inbox is None:
            raise ValueError("`acknowledged_within_minutes` needs an `inbox`, where its acknowledgements are read")
        return self

    @property
    def folders(self) -> DirectoryTable | SftpTable:
        """The table of its transport."""
        table = self.directory or self.sftp
        assert table is not None  # noqa: S101  # for the type checker
        return table

    def partner(self, name: str, others: frozenset[str], environ: Mapping[str, str]) -> Partner:
        """Returns the partner. Raises ValueError if its settings contradict each other."""
        partner = Partner(
            name=name,
            our_id=self.our_id,
            our_qualifier=self.our_qualifier,
            their_id=self.their_id,
            their_qualifier=self.their_qualifier,
            transport=self.folders.transport(environ),
            standard=Standard(self.standard),
            character_set=CharacterSet(self.character_set),
            test=self.test,
            orders_per_interchange=self.orders_per_interchange,
            lines_per_interchange=self.lines_per_interchange,
            warehouses=None if self.warehouses is None else frozenset(self.warehouses),
            others=others,
            grace=timedelta(minutes=self.grace_minutes),
            schedule=Schedule(tuple(self.schedule), ZoneInfo(self.time_zone)) if self.schedule else None,
            first_control_number=self.first_control_number,
            reuses_released_numbers=self.reuse_released_numbers,
            acknowledged_within=None
            if self.acknowledged_within_minutes is None
            else timedelta(minutes=self.acknowledged_within_minutes),
        )
        check_partner(partner)
        if self.first_control_number > largest_control_number(partner.standard):
            raise ValueError(f"first_control_number must be at most {largest_control_number(partner.standard)}")
        return partner
