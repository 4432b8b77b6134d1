"""The partners file: what it may say, and how every mistake in it is reported."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from configuration import ConfigurationError
from edi.config import open_partners
from edi.documents.standards import largest_control_number
from edi.interchanges import LEASE
from edi.partner_tables import DirectoryTable, PartnerTable, SftpTable
from edi.partners import CharacterSet, Partner, Standard
from edi.transports.directory import DirectoryTransport
from edi.transports.sftp import SftpTransport
from tests.partners_file import Tables, north, south, toml

SECRET = "sk-live-9f8a7b6c5d"  # stands wherever a secret could be pasted by mistake; no message may quote it
PASSPHRASE = "p-" + SECRET
KEY = asyncssh.generate_private_key("ssh-ed25519")
KEYS = {
    "KEY": KEY.export_private_key("openssh").decode(),
    "LOCKED": KEY.export_private_key("openssh", PASSPHRASE, rounds=16, ignore_few_rounds=True).decode(),
    "PASSPHRASE": PASSPHRASE,
}
ENVIRON = {**KEYS, "PASSWORD": SECRET, "NO_KEY": f"-----BEGIN OPENSSH PRIVATE KEY-----\n{SECRET}\n", "EMPTY": ""}
FINGERPRINT = "SHA256:" + "A" * 43
OUT = Path("/srv/edi/out")


def sftp(**changes: Any) -> dict[str, Any]:
    """Returns a partner's keys with an SFTP server in place of a folder; what is changed to None is left out."""
    table = {
        "host": "sftp.warehouse.example",
        "user": "shop01",
        "host_key": FINGERPRINT,
        "password": "PASSWORD",
        "outbox": "in/940",
        **changes,
    }
    return {"directory": None, "sftp": {key: value for key, value in table.items() if value is not None}}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "partners.toml"


def opened(file: Path, tables: Tables, **environ: str) -> dict[str, Partner]:
    file.write_text(toml(tables), "utf-8")
    return {partner.name: partner for partner in open_partners(file, {**ENVIRON, **environ})}


def notified(file: Path, tables: Tables | None = None, **environ: str) -> str:
    """Returns the one line that a file is refused with, without its beginning; it quotes no secret."""
    if tables is not None:
        file.write_text(toml(tables), "utf-8")
    with pytest.raises(ConfigurationError) as error:
        open_partners(file, {**ENVIRON, **environ})
    line = str(error.value)
    assert len(line.splitlines()) == 1
    assert SECRET not in line
    assert line.startswith(f"the partners file {file}")
    return line.removeprefix(f"the partners file {file}").removeprefix(": ")


# Good files


def test_what_a_table_leaves_out_has_its_default(file: Path) -> None:
    found = opened(file, {"NORTH": north(OUT, warehouses=None, grace_minutes=None)})["NORTH"]
    assert found == Partner(
        name="NORTH",
        our_id="4012345000009",
        our_qualifier="14",
        their_id="4098765000006",
        their_qualifier="14",
        transport=DirectoryTransport(OUT),
        grace=timedelta(minutes=30),
    )


def test_every_key_is_understood(file: Path) -> None:
    tables = {
        "NORTH": north(
            OUT,
            test=True,
            orders_per_interchange=1000,
            lines_per_interchange=100_000,
            grace_minutes=2.5,
            schedule=["30 9,14 * * mon-fri", "0 11 * * sat"],
            time_zone="Europe/Rome",
            first_control_number=42,
            reuse_released_numbers=True,
            acknowledged_within_minutes=90,
            directory={"outbox": "/srv/edi/out/", "inbox": "/srv/edi/in"},
        ),
        "SOUTH_2": south(
            OUT,
            standard="x12-940-005010",
            character_set="x12-basic",
            warehouses=["SOUTH", "OUTLET"],
            **sftp(port=2222, inbox="out/997", timeout_seconds=50),
        ),
        "rest-1": north(OUT, their_id="4099999000008", character_set="UNOA", warehouses=None),
    }
    found = opened(file, tables)
    first, second, rest = found.values()
    assert list(found) == ["NORTH", "SOUTH_2", "rest-1"]
    assert first.transport == DirectoryTransport(OUT, Path("/srv/edi/in"))
    assert (first.test, first.orders_per_interchange, first.lines_per_interchange) == (True, 1000, 100_000)
    assert (first.grace, first.acknowledged_within) == (timedelta(seconds=150), timedelta(minutes=90))
    assert (first.first_control_number, first.reuses_released_numbers) == (42, True)
    assert first.schedule is not None
    assert first.schedule.next_after(datetime(2026, 11, 20, 14, 0, tzinfo=UTC)) == datetime(
        2026, 11, 21, 10, 0, tzinfo=UTC
    )
    assert (second.standard, second.character_set) == (Standard.X12_940_005010, CharacterSet.X12_BASIC)
    assert isinstance(second.transport, SftpTransport)
    config = second.transport.config
    assert (config.host, config.port, config.user, config.password) == (
        "sftp.warehouse.example",
        2222,
        "shop01",
        SECRET,
    )
    assert (config.folder, config.inbox, config.timeout) == ("in/940", "out/997", 50)
    assert [one.warehouses for one in found.values()] == [{"NORTH"}, {"SOUTH", "OUTLET"}, None]
    assert rest.others == {"NORTH", "SOUTH", "OUTLET"}
    assert first.others == {"SOUTH", "OUTLET"}


@pytest.mark.parametrize("login", [{"private_key": "KEY"}, {"private_key": "LOCKED", "passphrase": "PASSPHRASE"}])
def test_a_private_key_takes_the_place_of_a_password(file: Path, login: dict[str, str]) -> None:
    found = opened(file, {"SOUTH": south(OUT, **sftp(password=None, **login))})["SOUTH"]
    assert isinstance(found.transport, SftpTransport)
    assert found.transport.config.private_key == KEYS[login["private_key"]]


def test_two_partners_may_have_the_same_ids_if_one_of_them_is_a_test_or_of_another_standard(file: Path) -> None:
    names = {"our_id": "SHOP", "our_qualifier": "ZZ", "their_id": "WH", "their_qualifier": "ZZ"}
    opened(
        file,
        {
            "ONE": north(OUT, **names),
            "TRY": north(OUT, **names, test=True, warehouses=["TRY"]),
            "TWO": south(OUT, **names),
        },
    )


@pytest.mark.parametrize("page", ["docs/connecting.md", "docs/partners.md"])
def test_the_example_of_a_page_is_a_good_file(file: Path, page: str) -> None:
    text = Path(__file__).parents[2].joinpath(page).read_text("utf-8")
    (example,) = re.findall(r"^```toml\n(\[partners\..*?)^```", text, re.MULTILINE | re.DOTALL)
    file.write_text(example.replace("SHA256:…", FINGERPRINT), "utf-8")
    passphrases = dict.fromkeys(re.findall(r"\w+_PASSPHRASE", example), PASSPHRASE)
    key = KEYS["LOCKED" if passphrases else "KEY"]
    keys = dict.fromkeys(re.findall(r"\w+_PRIVATE_KEY", example), key)
    found = open_partners(file, {**ENVIRON, **keys, **passphrases})
    assert found[0].grace == timedelta(minutes=30)
    assert any(isinstance(partner.transport, SftpTransport) for partner in found)


def test_the_documents_name_every_key() -> None:
    text = Path(__file__).parents[2].joinpath("docs/partners.md").read_text("utf-8")
    keys = {name for table in (PartnerTable, DirectoryTable, SftpTable) for name in table.model_fields}
    assert [key for key in sorted(keys) if not re.search(rf"\b{key}( =|\])", text)] == []


# Files that cannot be read


def test_a_missing_file_and_a_folder_are_reported_by_their_names(file: Path) -> None:
    assert notified(file) == " cannot be read: No such file or directory"
    file.mkdir()
    assert notified(file) == " cannot be read: Is a directory"


@pytest.mark.parametrize(
    "content", [b"[partners.NORTH", f"password = {SECRET}".encode(), b'our_id = "\xff"', b"\x00", b"{}"]
)
def test_a_file_that_is_not_toml_is_reported_by_its_name(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    assert notified(file).startswith(" is not TOML: ")


@pytest.mark.parametrize("content", ["", "# NORTH\n", "[partners]"])
def test_a_file_without_partners_is_reported(file: Path, content: str) -> None:
    file.write_text(content, "utf-8")
    assert notified(file) == " names no partner; expected a table such as [partners.NORTH]"


def test_partners_that_are_no_tables_are_reported(file: Path) -> None:
    for content in ("partners = []", f'[partners]\nNORTH = "{SECRET}"'):
        file.write_text(content, "utf-8")
        assert notified(file).startswith("partners")


# Mistakes in one table

MISTAKES: dict[str, tuple[str, dict[str, Any]]] = {
    # Where it is reported, and what is changed in SOUTH's table.
    "a key that we do not know": ("warehouse", {"warehouse": "SOUTH"}),
    "no id of ours": ("our_id", {"our_id": None}),
    "no qualifier of ours": ("our_qualifier", {"our_qualifier": None}),
    "no id of theirs": ("their_id", {"their_id": None}),
    "no qualifier of theirs": ("their_qualifier", {"their_qualifier": None}),
    "no standard": ("standard", {"standard": None}),
    "no character set": ("character_set", {"character_set": None}),
    "an empty id": ("their_id", {"their_id": ""}),
    "an id that is a number": ("their_id", {"their_id": 12}),
    "an unknown standard": ("standard", {"standard": "x12-850"}),
    "an unknown character set": ("character_set", {"character_set": "utf-8"}),
    "a warehouse that is no list": ("warehouses", {"warehouses": "SOUTH"}),
    "no warehouse in the list": ("warehouses", {"warehouses": []}),
    "a warehouse without a name": ("warehouses.0", {"warehouses": [""]}),
    "a test that is a text": ("test", {"test": "yes"}),
    "no orders at all": ("orders_per_interchange", {"orders_per_interchange": 0}),
    "too many orders": ("orders_per_interchange", {"orders_per_interchange": 1001}),
    "half an order": ("orders_per_interchange", {"orders_per_interchange": 1.5}),
    "no lines at all": ("lines_per_interchange", {"lines_per_interchange": 0}),
    "too many lines": ("lines_per_interchange", {"lines_per_interchange": 100_001}),
    "a negative grace": ("grace_minutes", {"grace_minutes": -1}),
    "a grace without an end": ("grace_minutes", {"grace_minutes": float("inf")}),
    "a grace that is no number": ("grace_minutes", {"grace_minutes": float("nan")}),
    "an empty schedule": ("schedule", {"schedule": []}),
    "a schedule that is no list": ("schedule", {"schedule": "0 9 * * *"}),
    "a cut-off that is a time": ("schedule.1", {"schedule": ["0 9 * * *", "09:00"]}),
    "a cut-off that never comes": ("schedule.0", {"schedule": ["0 9 30 2 *"]}),
    "a cut-off at 24 o'clock": ("schedule.0", {"schedule": ["0 24 * * *"]}),
    "a cut-off of six fields": ("schedule.0", {"schedule": ["0 0 9 * * *"]}),
    "a time zone that nobody knows": ("time_zone", {"time_zone": "Europe/Naples"}),
    "a time zone that is a folder": ("time_zone", {"time_zone": "Europe"}),
    "a time zone that is a file elsewhere": ("time_zone", {"time_zone": "../../etc/passwd"}),
    "no time zone": ("time_zone", {"time_zone": ""}),
    "number nought": ("first_control_number", {"first_control_number": 0}),
    "a number that ISA13 cannot hold": ("first_control_number", {"first_control_number": 10**9}),
    "a policy that is a text": ("reuse_released_numbers", {"reuse_released_numbers": "no"}),
    "no time to acknowledge": ("acknowledged_within_minutes", {"acknowledged_within_minutes": 0}),
    "an acknowledgement that can come nowhere": ("acknowledged_within_minutes", {"acknowledged_within_minutes": 9}),
    "a folder without a name": ("directory.outbox", {"directory": {"outbox": ""}}),
    "no folder": ("directory.outbox", {"directory": {}}),
    "a folder that counts from anywhere": ("directory.outbox", {"directory": {"outbox": "edi/out"}}),
    "an inbox that counts from anywhere": ("directory.inbox", {"directory": {"outbox": "/out", "inbox": "~/in"}}),
    "one folder for both ways": ("inbox", {"directory": {"outbox": "/out", "inbox": "/out/"}}),
    "a key of the other transport": ("directory.host", {"directory": {"outbox": "/out", "host": SECRET}}),
    "no host": ("sftp.host", sftp(host=None)),
    "no user": ("sftp.user", sftp(user=None)),
    "no host key": ("sftp.host_key", sftp(host_key=None)),
    "no folder there": ("sftp.outbox", sftp(outbox=None)),
    "one folder there for both ways": ("inbox", sftp(inbox="in/940")),
    "port nought": ("sftp.port", sftp(port=0)),
    "a port in quotes": ("sftp.port", sftp(port="22")),
    "a time limit as long as a lease": ("sftp.timeout_seconds", sftp(timeout_seconds=60)),
    "no time limit": ("sftp.timeout_seconds", sftp(timeout_seconds=0)),
    "a time limit that is no number": ("sftp.timeout_seconds", sftp(timeout_seconds=float("nan"))),
    "the password itself": ("sftp.password", sftp(password=SECRET)),
    "the private key itself": ("sftp.private_key", sftp(password=None, private_key=ENVIRON["NO_KEY"])),
    "a host key that is none": ("host_key", sftp(host_key=SECRET)),
    "a key of SFTP that we do not know": ("sftp.hots", sftp(hots=SECRET)),
    "a password and a key": ("private_key", sftp(private_key="KEY")),
    "neither password nor key": ("private_key", sftp(password=None)),
    "a variable that is not there": ("ABSENT", sftp(password="ABSENT")),
    "a variable that is empty": ("EMPTY", sftp(password="EMPTY")),
    "a passphrase that is empty": ("EMPTY", sftp(password=None, private_key="LOCKED", passphrase="EMPTY")),
    "a key that is none": ("private_key", sftp(password=None, private_key="NO_KEY")),
    "a key without its passphrase": ("private_key", sftp(password=None, private_key="LOCKED")),
    "a key with another's passphrase": (
        "private_key",
        sftp(password=None, private_key="LOCKED", passphrase="PASSWORD"),
    ),
    "two transports": ("`directory` and `sftp`", {"sftp": sftp()["sftp"]}),
    "no transport": ("`directory` and `sftp`", {"directory": None}),
    "an id that ISA cannot hold": ("their_id", {"their_id": "W" * 16}),
    "an id that is too short for GS": ("our_id", {"our_id": "S"}),
    "a qualifier that ISA cannot hold": ("their_qualifier", {"their_qualifier": "ZZZ"}),
    "an id with a delimiter": ("our_id", {"our_id": "SHOP*1"}),
    "an EDIFACT character set for X12": ("character set", {"character_set": "UNOC"}),
    "an X12 character set for EDIFACT": ("character set", {"standard": "edifact-orders-d96a"}),
    "small letters in UNOA": (
        "our_id",
        {"standard": "edifact-orders-d96a", "character_set": "UNOA", "our_id": "Shop"},
    ),
    "an id that UNB cannot hold": (
        "our_id",
        {"standard": "edifact-orders-d96a", "character_set": "UNOC", "our_id": "S" * 36},
    ),
    "a qualifier that UNB cannot hold": (
        "our_qualifier",
        {"standard": "edifact-orders-d96a", "character_set": "UNOC", "our_qualifier": "14141"},
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_reported_in_one_line_with_file_partner_and_key(file: Path, mistake: str) -> None:
    place, changes = MISTAKES[mistake]
    line = notified(file, {"NORTH": north(OUT), "SOUTH": south(OUT, **changes)})
    assert line.startswith("partners.SOUTH")
    assert re.search(rf"(?<!\w){re.escape(place)}(?!\w)", line), line
    assert "NORTH" not in line


def test_a_bad_cutoff_is_answered_with_a_good_one(file: Path) -> None:
    line = notified(file, {"SOUTH": south(OUT, schedule=["at nine"])})
    assert line.startswith("partners.SOUTH.schedule.0: 'at nine' is not a crontab line such as '30 9,14 * * mon-fri': ")


@pytest.mark.parametrize(("key", "known"), [("standard", Standard), ("character_set", CharacterSet)])
def test_an_unknown_word_is_answered_with_the_known_ones(
    file: Path, key: str, known: type[Standard] | type[CharacterSet]
) -> None:
    line = notified(file, {"SOUTH": south(OUT, **{key: "x"})})
    assert all(word in line for word in known)


@pytest.mark.parametrize("kind", Standard)
def test_the_largest_first_number_is_the_standards_largest(file: Path, kind: Standard) -> None:
    table = south if kind.is_x12 else north
    largest = largest_control_number(kind)
    assert opened(file, {"A": table(OUT, standard=kind.value, first_control_number=largest)})
    assert notified(file, {"A": table(OUT, standard=kind.value, first_control_number=largest + 1)}) == (
        f"partners.A: first_control_number must be at most {largest}"
    )


@pytest.mark.parametrize("name", ["-north", "NORTH.1", "a b", "../x", "N" * 36, "", "Nörd"])
def test_a_name_that_could_not_stand_in_the_name_of_a_file_is_refused(file: Path, name: str) -> None:
    file.write_text(toml({f'"{name}"': north(OUT)}), "utf-8")
    assert notified(file).startswith("partners.")


def test_several_mistakes_are_reported_together(file: Path) -> None:
    tables = {"NORTH": north(OUT, our_id=None), "SOUTH": south(OUT, tset=True, their_id="", our_qualifier=14)}
    assert notified(file, tables).split("; ") == [
        "partners.NORTH.our_id: field required",
        "partners.SOUTH.our_qualifier: must be in quotes",
        "partners.SOUTH.their_id: must not be empty",
        "partners.SOUTH.tset is not a key that we know",
    ]


def test_the_longest_delivery_is_shorter_than_the_lease_of_an_interchange() -> None:
    (bound,) = [meta.le for meta in SftpTable.model_fields["timeout_seconds"].metadata if getattr(meta, "le", 60) < 60]
    assert timedelta(seconds=bound) < LEASE


# What two partners must not share

SHARED: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    # What is reported of both, and what is changed in the tables of NORTH and of SOUTH.
    "a warehouse": (
        "both have SOUTH, WEST in `warehouses`, but an order goes to one partner only",
        {"warehouses": ["SOUTH", "NORTH", "WEST"]},
        {"warehouses": ["WEST", "SOUTH"]},
    ),
    "the rest": (
        "both have no `warehouses`, but only one can get what no other partner gets",
        {"warehouses": None},
        {"warehouses": None},
    ),
    "numbers": (
        "have the same ids and qualifiers, so numbers would repeat; use one partner for all their warehouses",
        {},
        {key: value for key, value in north(OUT).items() if key != "warehouses"},
    ),
    "an inbox": (
        "have the same `inbox`, so each would take the other's answers",
        {"directory": {"outbox": "/out", "inbox": "/in"}},
        {"directory": {"outbox": "/out", "inbox": "/in/"}},
    ),
    "an inbox on a server": (
        "have the same `inbox`, so each would take the other's answers",
        sftp(inbox="answers"),
        sftp(inbox="./answers"),
    ),
}


@pytest.mark.parametrize("shared", SHARED)
def test_what_two_partners_must_not_share_is_reported_with_both(file: Path, shared: str) -> None:
    expected, first, second = SHARED[shared]
    line = notified(file, {"NORTH": north(OUT, **first), "SOUTH": south(OUT, **second)})
    assert line == f"NORTH and SOUTH {expected}"


def test_names_that_differ_by_capitals_alone_are_refused(file: Path) -> None:
    line = notified(file, {"North": north(OUT), "NORTH": south(OUT)})
    assert line.startswith("North and NORTH differ only in upper and lower case")


def test_a_warehouse_that_is_named_twice_by_one_partner_is_no_harm(file: Path) -> None:
    assert opened(file, {"NORTH": north(OUT, warehouses=["A", "A"])})["NORTH"].warehouses == frozenset("A")


def test_two_folders_of_one_name_on_two_servers_are_two(file: Path) -> None:
    assert opened(
        file, {"NORTH": north(OUT, **sftp(inbox="answers")), "SOUTH": south(OUT, **sftp(inbox="answers", user="other"))}
    )
