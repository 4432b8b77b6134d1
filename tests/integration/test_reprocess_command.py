"""`countermand reprocess`: what it tells people and programs, before and after."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.builders import a_request, an_address, an_order, decide_all, deliver, load, rows
from tests.commands import Countermand, error_line

pytestmark = pytest.mark.usefixtures("system")


def park(*requests: dict[str, Any], reason: str = "unknown_order") -> None:
    deliver(*requests)
    rows(
        "UPDATE change_request SET state = 'parked', parked_at = now(), reasons = ARRAY[:reason]"
        " WHERE state = 'received' RETURNING id",
        reason=reason,
    )


def test_a_dry_run_shows_people_the_difference_that_each_decision_would_make(countermand: Countermand) -> None:
    load(an_order("1"))
    park(
        a_request("1", "change_address", id="move", addresses={"shipping": an_address(city="Bonn", line2="[/]")}),
        a_request("1", id="cancel"),
        a_request("2", id="lost"),
    )
    ended = countermand("reprocess", "--dry-run")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out == (
        "source        id      order  kind            is → would be\n"
        "zendesk:acme  move    1      change_address  parked → applied\n"
        "    unknown_order → shipping_address_changed\n"
        "    shipping city: Köln → Bonn\n"
        "    shipping line2: – → [/]\n"
        "zendesk:acme  cancel  1      cancel          parked → applied\n"
        "    unknown_order → order_cancelled\n"
        "    status: validated → cancelled\n"
        "zendesk:acme  lost    2      cancel          parked → parked again\n"
        "    unknown_order\n"
        "nothing was changed; would be decided anew: 3 requests\n"
    )
    assert countermand("requests", "list", "--state", "parked", "--json").out.count('"id"') == 3


def test_a_dry_run_of_many_shows_people_the_first_and_counts_them_all(countermand: Countermand) -> None:
    load(*(an_order(f"{number}") for number in range(10, 30)), an_order("99"))
    park(*(a_request(f"{number}", id=f"many {number}") for number in range(10, 35)))
    park(a_request("99", "change_items"), reason="failed_repeatedly")
    lines = [" ".join(line.split()) for line in countermand("reprocess", "--dry-run").out.splitlines()]
    assert len([line for line in lines if line.startswith("zendesk:acme")]) == 20
    assert lines[lines.index("… and 6 more requests; --json lists them all") :] == [
        "… and 6 more requests; --json lists them all",
        "",
        "parked for would be because requests",
        "unknown_order applied order_cancelled 20",
        "unknown_order parked again unknown_order 5",
        "failed_repeatedly refused items_are_fixed 1",
        "",
        "nothing was changed; would be decided anew: 26 requests",
    ]


def test_a_dry_run_tells_programs_each_decision_and_how_many_there_are_of_each(countermand: Countermand) -> None:
    load(an_order("1"))
    park(a_request("1", id="a"), a_request("1", id="b"), a_request("2", id="c"))
    reported = countermand("reprocess", "--dry-run", "--json").json
    keys = {"source", "id", "order", "kind", "was", "outcome", "reasons", "advice", "changes"}
    assert [one.keys() for one in reported["would_be_decided"]] == [keys] * 3
    parked, again = {"was": ["unknown_order"], "requests": 1}, ["unknown_order"]
    assert reported["summary"] == [
        {**parked, "outcome": "applied", "reasons": ["order_cancelled"]},
        {**parked, "outcome": "unchanged", "reasons": ["already_closed"]},
        {**parked, "outcome": None, "reasons": again},
    ]
    assert reported["dead_effects"] == 0


def test_a_dry_run_where_nothing_is_parked_says_so(countermand: Countermand) -> None:
    assert countermand("reprocess", "--dry-run").out == "nothing was changed; would be decided anew: 0 requests\n"
    reported = countermand("reprocess", "--dry-run", "--json").json
    assert reported == {"would_be_decided": [], "summary": [], "dead_effects": 0}
    assert countermand("reprocess").out == "to be decided anew: 0 requests\n"


def test_dead_effects_are_revived_without_a_filter_alone_and_a_dry_run_says_so(countermand: Countermand) -> None:
    load(an_order())
    deliver(a_request())
    decide_all()
    rows("UPDATE effect SET state = 'dead' RETURNING id")
    effects = "2 dead effects (restock, notify)"
    assert f"\nwould be tried again: {effects}\n" in countermand("reprocess", "--dry-run").out
    assert countermand("reprocess", "--dry-run", "--json").json["dead_effects"] == 2
    for dry_run in ([], ["--dry-run"]):
        assert "tried again" not in countermand("reprocess", "--order", "1001", *dry_run).out
    assert countermand("reprocess").out == f"to be decided anew: 0 requests\nto be tried again: {effects}\n"


@pytest.mark.parametrize("moment", ["monday", "2026-11-23", "2026-11-23T09:00:00", "1795424400", ""])
def test_a_moment_that_could_be_another_is_one_line_and_ends_with_2(countermand: Countermand, moment: str) -> None:
    line = f"--since {moment}: expected a moment such as 2026-11-23T09:00:00Z"
    assert error_line(countermand("reprocess", "--since", moment), 2) == line


@pytest.mark.parametrize("reason", ["order_cancelled", "nonsense"])
def test_a_reason_that_nothing_is_parked_for_is_one_line_and_ends_with_2(countermand: Countermand, reason: str) -> None:
    line = f"--reason {reason}: requests are parked for unknown_order or failed_repeatedly"
    assert error_line(countermand("reprocess", "--reason", reason), 2) == line


def test_a_run_that_is_interrupted_says_what_stays_done(
    countermand: Countermand, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slices(_: Any) -> Iterator[int]:
        yield 500
        raise KeyboardInterrupt

    monkeypatch.setattr("cli.reprocessing.iterate_reprocessing", slices)
    ended = countermand("reprocess")
    assert ended.code == 130
    assert ended.out == "to be decided anew: 500 requests\nthe others stay parked; run it again for them\n"
    assert countermand("reprocess", "--json").json == {"reprocessed": 500, "effects_revived": 0}


def test_where_no_bar_is_shown_a_line_for_every_so_many_requests_says_how_far_it_is(
    countermand: Countermand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cli.reprocessing._TOLD_EVERY", 2)
    monkeypatch.setattr("tasks.reprocessing._SLICE", 1)
    park(*(a_request(f"{number}") for number in range(5)))
    ended = countermand("reprocess", "--dry-run", "--json")
    assert ended.err.splitlines() == ["looking: 2 of 5 requests", "looking: 4 of 5 requests"]
    ended = countermand("reprocess")
    assert ended.err.splitlines() == ["reprocessing: 2 of 5 requests", "reprocessing: 4 of 5 requests"]
    assert ended.out == "to be decided anew: 5 requests\n"
