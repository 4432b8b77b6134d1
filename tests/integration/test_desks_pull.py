"""`countermand desks pull`: what no webhook has brought is fetched once, and a hindrance is reported in one line."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.builders import an_order, load
from tests.commands import Countermand, error_line
from tests.helpdesks.desks_file import desks_file
from tests.helpdesks.faults import says
from tests.helpdesks.freshdesk import FakeFreshdesk
from tests.helpdesks.reading import FORM, taken
from tests.helpdesks.standard import FakeStandard

pytestmark = pytest.mark.usefixtures("system")
SINCE = ("--since", "2026-11-23T08:00")


@pytest.fixture
def desk(system: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeFreshdesk]:
    with desks_file(tmp_path, monkeypatch) as file:
        fake = FakeFreshdesk()
        file.write(fake, FakeStandard())
        yield fake


def test_forms_that_were_missed_are_taken_once_and_counted(desk: FakeFreshdesk, countermand: Countermand) -> None:
    load(an_order())
    desk.fill_in(**FORM)
    desk.fill_in("2", **FORM | {"order": "1002"})
    first = countermand("desks", "pull", "freshdesk", *SINCE)
    assert (first.code, first.out) == (0, "2 tickets may ask for something: 2 taken\n")
    again = countermand("desks", "pull", "freshdesk", *SINCE, "--json").json
    assert (again["listed"], again["known"], again["taken"], again["left"]) == (2, 2, 0, 0)
    assert len(taken()) == 2


def test_a_form_that_is_no_request_is_reported_and_ends_with_1(desk: FakeFreshdesk, countermand: Countermand) -> None:
    desk.fill_in(**FORM | {"kind": "refund"})
    ended = countermand("desks", "pull", "freshdesk", *SINCE)
    assert (ended.code, ended.out) == (
        1,
        "1 ticket may ask for something: 1 no requests (`countermand dead-letters list`)\n",
    )
    assert countermand("dead-letters", "requeue", "1").out == "dead letter 1 names a ticket, which is read anew\n"
    desk.fill_in(**FORM)
    assert countermand("desks", "pull", "freshdesk").out == "0 tickets may ask for something: 1 taken\n"


def test_a_desk_that_is_away_is_one_line_and_ends_with_3(desk: FakeFreshdesk, countermand: Countermand) -> None:
    desk.next("list", says(503))
    line = error_line(countermand("desks", "pull", "freshdesk", *SINCE), 3)
    assert line.startswith("desk freshdesk: GET /tickets: answered 503; the tickets found so far are kept")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["helpscout"], "the desks file has no desk helpscout; it has: freshdesk, standard"),
        (["standard"], "desk standard cannot be pulled from: standard has no tickets to read"),
        (["freshdesk"], "the tickets of desk freshdesk were never listed: give a time, such as --since 2026-11-23"),
    ],
)
def test_what_cannot_be_pulled_from_is_one_line_and_ends_with_2(
    desk: FakeFreshdesk, countermand: Countermand, arguments: list[str], line: str
) -> None:
    assert error_line(countermand("desks", "pull", *arguments), 2) == line
