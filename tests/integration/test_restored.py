"""An older backup beside files that the partner has or will collect: it is reported, and numbers go on after theirs."""

from pathlib import Path
from typing import Any

import pytest

from database.transactions import in_transaction
from edi import numbers, partner_state
from edi.partners import Partner
from tasks import export
from tasks.outboxes import compare_outboxes
from tests.builders import an_order, load, order, rows
from tests.commands import Countermand, Ended
from tests.partners_file import configure, north, south

pytestmark = pytest.mark.usefixtures("system")


@pytest.fixture
def outbox(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def partner(outbox: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Partner:
    return configure(tmp_path / "partners.toml", {"NORTH": north(outbox)}, monkeypatch)["NORTH"]


def send(partner: Partner, *orders: str) -> list[export.Exported]:
    """Exports these orders, one interchange each."""
    steps = []
    for one in orders:
        load(an_order(one, warehouse="NORTH"))
        steps += [step for step in export.iterate_export(partner) if step.claim.interchange]
    return steps


def left_by_a_later_time(outbox: Path, *control_numbers: int) -> None:
    """What was sent after the backup that was restored."""
    outbox.mkdir(exist_ok=True)
    for number in control_numbers:
        (outbox / f"NORTH-{number:09d}.edi").write_bytes(b"UNB: what was sent later")


def the_ninth(ended: Ended) -> dict[str, Any]:
    [check] = [check for check in ended.json["checks"] if check["promise"] == 9]
    return dict(check)


def set_next(partner: Partner, number: int) -> None:
    in_transaction(lambda connection: numbers.set_next(connection, partner, number))


def next_number(partner: Partner) -> int:
    return in_transaction(lambda connection: partner_state.next_number(connection, partner))


def test_files_that_the_database_does_not_know_break_the_promise_of_numbers(
    countermand: Countermand, partner: Partner, outbox: Path
) -> None:
    send(partner, "1")
    assert countermand("audit", "--json").json["ok"]
    left_by_a_later_time(outbox, 2, 3)
    (outbox / "OTHER-000000009.edi").write_bytes(b"of somebody else")
    ended = countermand("audit", "--json")
    assert (ended.code, ended.json["ok"]) == (1, False)
    assert the_ninth(ended)["violations"] == 2
    assert the_ninth(ended)["examples"][0] == (
        "partner NORTH: NORTH-000000002.edi lies in its outbox, and the counter stands at 1: if an older backup was "
        "restored, see `countermand partners next-number`"
    )


def test_the_way_out_after_a_restore(countermand: Countermand, partner: Partner, outbox: Path) -> None:
    send(partner, "1")
    left_by_a_later_time(outbox, 2, 3)
    [stuck] = send(partner, "2")
    assert stuck.error is not None
    assert "exists with other content" in stuck.error
    assert "countermand" not in stuck.error.partition(" exists with ")[2]
    for shown in (countermand("interchanges", "show", "NORTH", "2"), countermand("interchanges", "list")):
        assert "see `countermand partners next-number`" in shown.out
    said = the_ninth(countermand("audit", "--json"))["examples"]
    assert any(
        "NORTH-000000002.edi in its outbox has other bytes than the interchange of this name" in one for one in said
    )

    ended = countermand("partners", "next-number", "NORTH", "--set", "4")
    assert ended.code == 0
    assert ended.out.splitlines()[0] == "the next interchange of NORTH bears 4; the last one bears 2"
    assert "an operator set it from 3 to 4" in ended.out
    assert countermand("interchanges", "release", "NORTH", "2").code == 0
    [sent] = [step for step in export.iterate_export(partner) if step.claim.interchange]
    assert sent.claim.interchange is not None
    assert (sent.claim.interchange.control_number, sent.state) == (4, "sent")
    assert order("2")["interchange"]["control_number"] == 4
    ended = countermand("audit", "--json")
    assert (ended.code, the_ninth(ended)["violations"]) == (0, 0)


@pytest.mark.parametrize("reuses", [False, True])
def test_a_released_interchange_takes_back_its_number_only_while_it_is_the_last(
    countermand: Countermand, outbox: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reuses: bool
) -> None:
    table = north(outbox, reuse_released_numbers=reuses)
    partner = configure(tmp_path / "partners.toml", {"NORTH": table}, monkeypatch)["NORTH"]
    left_by_a_later_time(outbox, 1)
    send(partner, "1")
    set_next(partner, 9)
    assert countermand("interchanges", "release", "NORTH", "1").code == 0
    assert next_number(partner) == 9
    assert the_ninth(countermand("audit", "--json"))["violations"] == 0
    [step] = [step for step in export.iterate_export(partner) if step.claim.interchange]
    assert step.claim.interchange is not None
    assert step.claim.interchange.control_number == 9
    assert the_ninth(countermand("audit", "--json"))["violations"] == 0


def test_what_was_skipped_is_no_gap_and_what_was_not_is(countermand: Countermand, partner: Partner) -> None:
    send(partner, "1")
    set_next(partner, 40)
    set_next(partner, 5)
    send(partner, "2", "3")
    set_next(partner, 100)
    assert [row.control_number for row in rows("SELECT control_number FROM interchange ORDER BY id")] == [1, 5, 6]
    assert the_ninth(countermand("audit", "--json"))["violations"] == 0
    rows("UPDATE partner SET last_control_number = 100 RETURNING name")
    assert the_ninth(countermand("audit", "--json"))["violations"] == 1


def test_it_never_goes_back_to_a_number_that_is_used(countermand: Countermand, partner: Partner) -> None:
    send(partner, "1", "2")
    set_next(partner, 50)
    for number in (1, 2):
        ended = countermand("partners", "next-number", "NORTH", "--set", str(number))
        assert ended.code == 2
        assert ended.err.strip() == (
            "countermand: interchange 2 of NORTH bears its number already: the next one can be 3 or later, "
            f"not {number}"
        )
    assert countermand("partners", "next-number", "NORTH", "--set", "3").code == 0
    assert next_number(partner) == 3


def test_setting_what_comes_next_anyway_writes_nothing(countermand: Countermand, partner: Partner) -> None:
    for _ in range(2):
        ended = countermand("partners", "next-number", "NORTH", "--set", "7", "--json")
        assert ended.json["next_control_number"] == 7
        assert [(one["before"], one["after"]) for one in ended.json["set"]] == [(1, 7)]
    assert ended.json["last_used"] is None
    send(partner, "1")
    assert the_ninth(countermand("audit", "--json"))["violations"] == 0


def test_without_a_number_it_only_shows(countermand: Countermand, partner: Partner) -> None:
    ended = countermand("partners", "next-number", "NORTH")
    assert (ended.code, ended.out.strip()) == (0, "the next interchange of NORTH bears 1; there has been none")
    assert rows("SELECT * FROM renumbering") == []


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["SOUTH"], "partner SOUTH is not configured; configured: NORTH"),
        (["NORTH", "--set", "100000000000000"], "is beyond the numbers of edifact-orders-d96a"),
        (["NORTH", "--set", "0"], "greater than or equal to 1"),
    ],
)
def test_what_cannot_be_set_is_refused_in_one_line(
    countermand: Countermand, partner: Partner, arguments: list[str], says: str
) -> None:
    ended = countermand("partners", "next-number", *arguments)
    assert ended.code == 2
    assert says in ended.err
    assert rows("SELECT * FROM renumbering") == []


def test_an_answer_to_a_number_that_is_still_to_come_is_a_warning(countermand: Countermand, partner: Partner) -> None:
    send(partner, "1")
    rows(
        "WITH file AS (INSERT INTO partner_file (partner, name, content, sha256)"
        " VALUES ('NORTH', 'contrl.edi', 'UNB', 'a hash') RETURNING id)"
        " INSERT INTO acknowledgement (partner_file_id, place, kind, reference, control_number, verdict, state)"
        " SELECT id, 1, 'CONTRL', '1', 3, 'acknowledged', 'unmatched' FROM file RETURNING id"
    )
    [warning] = countermand("audit", "--json").json["warnings"]
    assert warning.startswith(
        "NORTH answers interchange 3, and its counter stands at 1: if an older backup was restored"
    )


def test_an_outbox_that_cannot_be_looked_at_is_a_warning(outbox: Path, partner: Partner) -> None:
    outbox.write_bytes(b"no folder")
    found, [unseen] = compare_outboxes([partner])
    assert found == []
    assert unseen.startswith("the content of the outbox of NORTH was not compared: ")


def test_an_outbox_that_is_still_to_be_made_holds_nothing(
    tmp_path: Path, outbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    partners = configure(tmp_path / "p.toml", {"NORTH": north(outbox), "SOUTH": south(tmp_path / "s")}, monkeypatch)
    assert compare_outboxes(partners.values()) == ([], [])
