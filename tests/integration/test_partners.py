"""Who gets which orders, when, and under which numbers: what the partners file says, as the exporter does it."""

import errno
import os
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import pytest
from sqlalchemy import Connection, Engine, text
from structlog.testing import capture_logs

import tasks.export
from database import locks
from database.tables import InterchangeState
from database.transactions import engine, in_transaction
from edi import interchanges
from edi.documents.standards import largest_control_number
from edi.interchanges import Claim
from edi.partners import Partner
from edi.transports.directory import DirectoryTransport
from edi.transports.transport import NotDelivered
from orders.audit import audit
from tasks.export import export, iterate_export
from tests.acknowledgements import claim
from tests.builders import a_request, an_address, an_order, deliver, load, order, request, rows, settle
from tests.commands import Countermand
from tests.edi_checks import read_edifact, read_x12
from tests.partners_file import configure, north, south

pytestmark = pytest.mark.usefixtures("system")

PATIENCE = timedelta(minutes=15)
# Half a year away, whenever the tests run.
NOT_SOON = f"0 0 1 {(datetime.now(UTC).month + 5) % 12 + 1} *"
BOTH = pytest.mark.parametrize("kind", ["edifact", "x12"])

Configure = Callable[..., dict[str, Partner]]


@pytest.fixture
def partners_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Configure:
    """Configures the partners of these tables, each with a folder of its name."""
    return lambda **tables: configure(tmp_path / "partners.toml", tables, monkeypatch)


@pytest.fixture
def one_partner(partners_are: Configure, out: Path) -> Callable[..., Partner]:
    """Configures one partner of a standard, who gets everything."""

    def configured(kind: str, **changes: Any) -> Partner:
        [partner] = partners_are(ACME={"edifact": north, "x12": south}[kind](out, warehouses=None, **changes)).values()
        return partner

    return configured


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def files(folder: Path) -> dict[str, bytes]:
    """Everything in a partner's folder."""
    return {file.name: file.read_bytes() for file in sorted(folder.glob("*"))} if folder.is_dir() else {}


def orders_in(folder: Path) -> list[list[str]]:
    """The orders of each document in a partner's folder."""
    return [[one.number for one in _read(raw)] for raw in files(folder).values()]


def _read(raw: bytes) -> Any:
    if raw.startswith(b"ISA"):
        return read_x12(raw, release="004010", character_set="x12-extended", test=False)
    return read_edifact(raw, character_set="UNOC", test=False)


def control_numbers(raw: bytes) -> set[int]:
    """Every place of an interchange where its control number stands."""
    if raw.startswith(b"ISA"):
        segments = [segment.split("*") for segment in raw.decode("ascii").split("~")]
        places = {"ISA": 13, "GS": 6, "GE": 2, "IEA": 2}
    else:
        segments = [segment.split("+") for segment in raw.decode("latin-1").removeprefix("UNA:+.? '").split("'")]
        places = {"UNB": 5, "UNZ": 2}
    found = [int(segment[places[segment[0]]]) for segment in segments if segment[0] in places]
    assert len(found) == len(places)
    return set(found)


def promises() -> dict[str, Any]:
    """The audit's result, with every promise kept."""
    found = in_transaction(lambda connection: audit(connection, patience=PATIENCE))
    assert [check for check in found["checks"] if check["violations"]] == []
    return found


def steps(partner: Partner) -> list[tuple[InterchangeState | None, str | None]]:
    """Exports by hand; returns the states and errors of its steps."""
    return [(step.state, step.error) for step in iterate_export(partner)]


def let_the_rest_be_over() -> None:
    rows("UPDATE partner SET not_before = now() RETURNING name")


def move_back(what: str, **of: str) -> None:
    """Lets so much time pass as if it were gone: of a column of a table."""
    for table, column in of.items():
        rows(f"UPDATE {table} SET {column} = {column} - interval '{what}' RETURNING 1")


# Which partner


def test_an_order_goes_to_the_partner_of_its_warehouse_and_else_to_the_one_for_the_rest(
    partners_are: Configure, tmp_path: Path
) -> None:
    partners_are(
        NORTH=north(tmp_path / "north", warehouses=["NORTH", "EAST"]),
        REST=north(tmp_path / "rest", warehouses=None, their_id="4099999000008"),
        SOUTH=south(tmp_path / "south"),
    )
    load(*(an_order(name, warehouse=name) for name in ("NORTH", "SOUTH", "EAST", "MAIN", "north")))
    export()
    assert {name: orders_in(tmp_path / name) for name in ("north", "south", "rest")} == {
        "north": [["NORTH", "EAST"]],
        "south": [["SOUTH"]],
        "rest": [["MAIN", "north"]],
    }
    assert [order(name)["interchange"]["partner"] for name in ("EAST", "SOUTH", "MAIN")] == ["NORTH", "SOUTH", "REST"]
    promises()


def test_an_order_that_no_partner_serves_is_never_claimed_and_the_audit_warns_of_it(
    partners_are: Configure, tmp_path: Path, countermand: Countermand
) -> None:
    partners_are(NORTH=north(tmp_path / "north"), SOUTH=south(tmp_path / "south"))
    load(an_order("served", warehouse="NORTH"))
    assert "warnings" not in countermand("audit", "--json").json
    load(an_order("1", warehouse="LOST"))
    one = countermand("audit", "--json").json["warnings"]
    assert one == ["1 order is for warehouse LOST, which no partner serves"]
    load(
        an_order("2", warehouse="LOST"),
        an_order("3", warehouse="LOST", status="pre_order"),
    )
    export()
    assert countermand("export", "--json").json["exported"] == 0
    assert [order(number)["edi"] for number in ("served", "1", "2")] == ["sent", "not_sent", "not_sent"]
    ended = countermand("audit", "--json")
    assert (ended.code, ended.json["ok"]) == (0, True)
    assert ended.json["warnings"] == ["2 orders are for warehouse LOST, which no partner serves"]
    said = countermand("audit")
    assert (said.code, "warning: 2 orders are for warehouse LOST, which no partner serves" in said.out) == (0, True)


def test_an_order_that_nobody_served_goes_once_somebody_does(partners_are: Configure, tmp_path: Path) -> None:
    partners_are(NORTH=north(tmp_path / "north"))
    load(an_order(warehouse="SOUTH"))
    export()
    partners_are(NORTH=north(tmp_path / "north"), SOUTH=south(tmp_path / "south"))
    export()
    assert (orders_in(tmp_path / "north"), orders_in(tmp_path / "south")) == ([], [["1001"]])


# Grace


def test_an_order_waits_out_its_grace_from_when_it_was_loaded_as_validated(
    one_partner: Callable[..., Partner], out: Path
) -> None:
    partner = one_partner("edifact", grace_minutes=30)
    load(an_order("late"), an_order("early"))
    rows("UPDATE orders SET validated_at = now() - interval '29 minutes' WHERE number = 'late' RETURNING id")
    rows("UPDATE orders SET validated_at = now() - interval '30 minutes' WHERE number = 'early' RETURNING id")
    assert steps(partner) == [("sent", None), (None, None)]
    assert orders_in(out) == [["early"]]
    move_back("1 minute", orders="validated_at")
    steps(partner)
    assert orders_in(out) == [["early"], ["late"]]


def test_the_grace_of_a_pre_order_begins_when_it_is_validated(one_partner: Callable[..., Partner]) -> None:
    partner = one_partner("edifact", grace_minutes=30)
    load(an_order(status="pre_order"))
    load(an_order())
    steps(partner)
    assert order()["edi"] == "not_sent"
    # It was loaded long before.
    move_back("29 minutes", orders="validated_at")
    steps(partner)
    assert order()["edi"] == "not_sent"
    move_back("1 minute", orders="validated_at")
    steps(partner)
    assert order()["edi"] == "sent"


def test_what_is_asked_within_the_grace_is_done_and_then_the_order_goes(
    one_partner: Callable[..., Partner], out: Path
) -> None:
    partner = one_partner("edifact", grace_minutes=30)
    load(an_order("moved"), an_order("cancelled"))
    steps(partner)
    events = [
        a_request("moved", "change_address", addresses={"shipping": an_address(city="Bonn")}),
        a_request("cancelled"),
    ]
    deliver(*events)
    settle()
    assert [request(event)["outcome"] for event in events] == ["applied", "applied"]
    move_back("30 minutes", orders="validated_at")
    steps(partner)
    assert orders_in(out) == [["moved"]]
    assert b"Bonn" in next(iter(files(out).values()))
    promises()


# Schedule


@pytest.fixture
def scheduled(one_partner: Callable[..., Partner]) -> Partner:
    """A partner whose next cut-off is months away."""
    return one_partner("x12", schedule=[NOT_SOON], orders_per_interchange=1)


def let_a_cutoff_pass() -> None:
    """The one before the next was not more than a year ago."""
    move_back("1 year", partner="scheduled_until")


def edi_states(*numbers: str) -> list[str]:
    return [order(number)["edi"] for number in numbers]


def kept() -> datetime:
    until: datetime = rows("SELECT scheduled_until FROM partner")[0].scheduled_until
    return until


@pytest.mark.usefixtures("scheduled")
def test_nothing_goes_out_before_the_first_cutoff() -> None:
    load(an_order("1"))
    for _ in range(2):
        export()
    assert edi_states("1") == ["not_sent"]
    assert rows("SELECT count(*) FROM interchange") == [(0,)]


@pytest.mark.usefixtures("scheduled")
def test_what_is_due_goes_out_after_a_cutoff_and_what_comes_later_after_the_next() -> None:
    load(an_order("1"), an_order("2"))
    export()
    let_a_cutoff_pass()
    export()
    load(an_order("3"))
    export()
    assert edi_states("1", "2", "3") == ["sent", "sent", "not_sent"]
    let_a_cutoff_pass()
    export()
    assert edi_states("3") == ["sent"]
    promises()


@pytest.mark.usefixtures("scheduled")
def test_cutoffs_that_passed_while_no_worker_ran_are_kept_once() -> None:
    export()
    load(an_order("1"))
    move_back("5 years", partner="scheduled_until")
    export()
    load(an_order("2"))
    export()
    assert edi_states("1", "2") == ["sent", "not_sent"]


@pytest.mark.usefixtures("scheduled")
def test_a_cutoff_at_which_nothing_is_due_is_over_as_well() -> None:
    export()
    let_a_cutoff_pass()
    export()
    load(an_order("1"))
    export()
    assert edi_states("1") == ["not_sent"]


@pytest.mark.usefixtures("scheduled")
def test_a_cutoff_lasts_until_all_is_out_over_several_slices_of_time(monkeypatch: pytest.MonkeyPatch) -> None:
    # A slice has the time for two interchanges.
    seconds = count(step=3)
    monkeypatch.setattr(tasks.export, "time", SimpleNamespace(monotonic=lambda: next(seconds)))
    load(*(an_order(number) for number in "12345"))
    export()
    let_a_cutoff_pass()
    passed = kept()
    for sent in (2, 4):
        export()
        assert edi_states(*"12345").count("sent") == sent
        assert kept() == passed
    export()
    assert edi_states(*"12345").count("sent") == 5
    # Only when nothing is found any more, it is known to be all.
    export()
    assert kept() > passed
    load(an_order("6"))
    export()
    assert edi_states("6") == ["not_sent"]


def test_a_cutoff_lasts_while_the_partner_rests_after_failures(scheduled: Partner, out: Path) -> None:
    load(an_order("1"), an_order("2"))
    export()
    let_a_cutoff_pass()
    passed = kept()
    out.write_text("in the way")
    export()
    export()
    assert rows("SELECT failures FROM partner") == [(1,)]
    assert (edi_states("1", "2"), kept()) == (["not_sent", "not_sent"], passed)
    out.unlink()
    let_the_rest_be_over()
    export()
    assert edi_states("1", "2") == ["sent", "sent"]
    assert kept() > passed
    promises()


def test_a_cutoff_lasts_while_another_sender_has_an_interchange_on_its_way(scheduled: Partner) -> None:
    load(an_order("1"), an_order("2"))
    export()
    let_a_cutoff_pass()
    passed = kept()
    in_transaction(lambda connection: interchanges.claim(connection, scheduled, patience=PATIENCE))
    export()
    assert (edi_states("1", "2"), kept()) == (["claimed", "not_sent"], passed)
    rows("UPDATE interchange SET lease_until = now() RETURNING id")
    export()
    assert edi_states("1", "2") == ["sent", "sent"]
    assert kept() > passed


def test_a_cutoff_lasts_while_a_due_order_is_locked_by_someone_else(scheduled: Partner, engine: Engine) -> None:
    load(an_order("1"), an_order("2"))
    export()
    let_a_cutoff_pass()
    passed = kept()
    with engine.begin() as loading:
        # As a load does that finds the order known.
        locks.lock_orders_by_number(loading, ["1"])
        export()
        assert (edi_states("1", "2"), kept()) == (["not_sent", "sent"], passed)
    assert steps(scheduled)[0] == ("sent", None)
    export()
    assert kept() > passed


def test_what_a_dead_sender_left_is_brought_to_its_end_outside_the_schedule_and_nothing_else(
    scheduled: Partner, out: Path
) -> None:
    load(an_order("1"))
    export()
    in_transaction(lambda connection: interchanges.claim(connection, scheduled, patience=PATIENCE))
    load(an_order("2"))
    export()
    assert edi_states("1", "2") == ["claimed", "not_sent"]
    rows("UPDATE interchange SET lease_until = now() RETURNING id")
    export()
    assert edi_states("1", "2") == ["sent", "not_sent"]
    assert orders_in(out) == [["1"]]


@pytest.mark.usefixtures("scheduled")
def test_an_export_by_hand_does_not_wait_for_a_cutoff_and_takes_none_away(countermand: Countermand) -> None:
    load(an_order("1"))
    export()
    before = kept()
    assert countermand("export", "--json").json["exported"] == 1
    assert (edi_states("1"), kept()) == (["sent"], before)
    let_a_cutoff_pass()
    load(an_order("2"))
    export()
    assert edi_states("2") == ["sent"]
    assert "cut-off" in countermand("export", "--help").out


def test_a_partner_with_a_schedule_does_not_hold_up_one_without(partners_are: Configure, tmp_path: Path) -> None:
    partners_are(NORTH=north(tmp_path / "north", schedule=[NOT_SOON]), SOUTH=south(tmp_path / "south"))
    load(an_order("1", warehouse="NORTH"), an_order("2", warehouse="SOUTH"))
    export()
    assert edi_states("1", "2") == ["not_sent", "sent"]


# Numbers


@BOTH
def test_the_first_number_counts_before_the_first_interchange_and_never_after(
    one_partner: Callable[..., Partner], out: Path, kind: str
) -> None:
    load(an_order("1"))
    steps(one_partner(kind, first_control_number=4711))
    load(an_order("2"))
    steps(one_partner(kind, first_control_number=9))
    names, contents = zip(*files(out).items(), strict=True)
    assert [control_numbers(content) for content in contents] == [{4711}, {4712}]
    assert [Path(name).stem for name in names] == ["ACME-000004711", "ACME-000004712"]
    promises()


@BOTH
def test_when_the_numbers_are_used_up_nothing_is_claimed_and_the_reason_is_reported(
    one_partner: Callable[..., Partner], out: Path, countermand: Countermand, kind: str
) -> None:
    largest = largest_control_number(one_partner(kind).standard)
    partner = one_partner(kind, first_control_number=largest)
    load(an_order("1"))
    steps(partner)
    load(an_order("2"))
    export()
    reason = f"its control numbers are used up: {largest + 1} is beyond what {partner.standard} has"
    assert steps(partner) == [(None, reason)]
    assert [control_numbers(content) for content in files(out).values()] == [{largest}]
    assert order("2")["edi"] == "not_sent"
    ended = countermand("export")
    assert ended.code == 1
    assert reason in " ".join(ended.out.split())
    assert countermand("export", "--json").json["waits_for"] == [f"ACME: {reason}"]
    promises()


def test_the_first_number_may_be_changed_while_no_interchange_bears_one(
    one_partner: Callable[..., Partner], out: Path
) -> None:
    schedule = [NOT_SOON]
    for first in (1, 500):
        # Whoever looks whether something is due has made the partner's row.
        one_partner("x12", first_control_number=first, schedule=schedule)
        export()
    partner = one_partner("x12", first_control_number=9, reuse_released_numbers=True)
    assert steps(partner) == [(None, None)]
    load(an_order("1"))
    fail_and_mend(partner)
    promises()
    partner = one_partner("x12", first_control_number=70)
    steps(partner)
    assert list(files(out)) == ["ACME-000000070.x12"]
    promises()


def fail_and_mend(partner: Partner) -> None:
    """Exports while what is claimed is not delivered."""
    with patch.object(DirectoryTransport, "put", side_effect=NotDelivered("the disk is full")):
        assert steps(partner)[0][0] == "released"
    let_the_rest_be_over()


@BOTH
@pytest.mark.parametrize("reuse", [True, False], ids=["reused", "used up"])
def test_the_number_of_a_released_interchange_is_taken_again_only_by_the_partner_that_wants_it(
    one_partner: Callable[..., Partner], out: Path, kind: str, reuse: bool
) -> None:
    partner = one_partner(kind, reuse_released_numbers=reuse)
    load(an_order("1"))
    steps(partner)
    load(an_order("2"))
    for _ in range(2):
        fail_and_mend(partner)
        promises()
    load(an_order("3"))
    steps(partner)
    load(an_order("4"))
    steps(partner)
    expected = [1, 2, 3] if reuse else [1, 4, 5]
    found = files(out)
    assert [control_numbers(content) for content in found.values()] == [{number} for number in expected]
    assert list(found) == [f"ACME-{number:09d}{'.x12' if kind == 'x12' else '.edi'}" for number in expected]
    assert orders_in(out) == [["1"], ["2", "3"], ["4"]]
    reported = rows("SELECT control_number, state, number_is_free FROM interchange ORDER BY id")
    released = [(2, "released", True)] * 2 if reuse else [(2, "released", False), (3, "released", False)]
    assert reported == [(1, "sent", False), *released, *((number, "sent", False) for number in expected[1:])]
    # An order speaks of the interchange that holds it, not of the one whose number it had before.
    assert order("2")["interchange"] == order("3")["interchange"]
    promises()


def test_the_very_first_number_can_be_taken_again(one_partner: Callable[..., Partner], out: Path) -> None:
    partner = one_partner("x12", reuse_released_numbers=True, first_control_number=100)
    load(an_order("1"))
    fail_and_mend(partner)
    promises()
    steps(partner)
    assert list(files(out)) == ["ACME-000000100.x12"]
    promises()


def test_each_partner_has_numbers_of_its_own(partners_are: Configure, tmp_path: Path) -> None:
    partners_are(NORTH=north(tmp_path / "north"), SOUTH=south(tmp_path / "south", first_control_number=7))
    for turn in "12":
        load(an_order(f"N{turn}", warehouse="NORTH"), an_order(f"S{turn}", warehouse="SOUTH"))
        export()
    assert list(files(tmp_path / "north")) == ["NORTH-000000001.edi", "NORTH-000000002.edi"]
    assert list(files(tmp_path / "south")) == ["SOUTH-000000007.x12", "SOUTH-000000008.x12"]
    promises()


# Limits and marks


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({"orders_per_interchange": 2}, [["1", "2"], ["3", "4"], ["5"]]),
        # Each has two lines, but one that has five.
        ({"lines_per_interchange": 4}, [["1", "2"], ["3"], ["4", "5"]]),
        ({"lines_per_interchange": 1}, [["1"], ["2"], ["3"], ["4"], ["5"]]),
        ({"orders_per_interchange": 3, "lines_per_interchange": 9}, [["1", "2", "3"], ["4", "5"]]),
    ],
)
def test_an_interchange_holds_so_many_orders_and_lines_or_one_order(
    one_partner: Callable[..., Partner], out: Path, limits: dict[str, int], expected: list[list[str]]
) -> None:
    load(
        *(an_order(number) for number in "12"),
        an_order("3", lines=an_order()["lines"][:1] * 5),
        *(an_order(number) for number in "45"),
    )
    steps(one_partner("edifact", **limits))
    assert orders_in(out) == expected
    promises()


@pytest.mark.parametrize("test", [True, False], ids=["a test", "no test"])
def test_the_documents_say_whether_they_are_a_test(partners_are: Configure, tmp_path: Path, test: bool) -> None:
    partners_are(NORTH=north(tmp_path / "north", test=test), SOUTH=south(tmp_path / "south", test=test))
    load(an_order("1", warehouse="NORTH"), an_order("2", warehouse="SOUTH"))
    export()
    [edifact], [x12] = (files(tmp_path / name).values() for name in ("north", "south"))
    assert read_edifact(edifact, character_set="UNOC", test=test)
    assert read_x12(x12, release="004010", character_set="x12-extended", test=test)


def test_a_link_whose_answer_is_lost_may_have_arrived_and_releases_nothing(partner: Partner) -> None:
    load(an_order())
    link = os.link

    def link_and_collect(source: str, target: str, **options: Any) -> None:
        link(source, target, **options)
        os.unlink(target)
        raise OSError(errno.EIO, "Input/output error")

    with patch.object(os, "link", link_and_collect):
        step = next(iterate_export(partner))
    assert (step.state, order()["edi"]) == ("claimed", "claimed")


def test_a_partner_whose_export_fails_holds_up_no_other(partner: Partner, monkeypatch: pytest.MonkeyPatch) -> None:
    load(an_order("1", warehouse="B"))
    failing, well = (replace(partner, name=name, warehouses=frozenset(name)) for name in "AB")
    monkeypatch.setattr("tasks.export.partners", lambda: [failing, well])
    claim_for = interchanges.claim

    def claim_or_fail(connection: Connection, partner: Partner, **options: Any) -> Claim:
        if partner.name == "A":
            raise RuntimeError("canceling statement due to statement timeout")
        return claim_for(connection, partner, **options)

    monkeypatch.setattr(interchanges, "claim", claim_or_fail)
    with capture_logs() as logs:
        export()
    assert order("1")["edi"] == "sent"
    assert [log["partner"] for log in logs if log["log_level"] == "error"] == ["A"]


def test_an_interchange_of_a_partner_who_is_not_in_the_file_any_more_is_a_warning_that_says_why(
    partner: Partner,
) -> None:
    claim(partner)
    with engine().begin() as connection:
        connection.execute(text("ALTER TABLE interchange DISABLE TRIGGER USER"))
        connection.execute(text("UPDATE interchange SET claimed_at = claimed_at - interval '10 minutes'"))
        connection.execute(text("ALTER TABLE interchange ENABLE TRIGGER USER"))
    found = in_transaction(lambda connection: audit(connection, patience=PATIENCE, configured=["SOUTH"]))
    assert "no partner of this name is configured" in found["warnings"][0]
