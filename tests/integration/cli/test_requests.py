"""The commands for requests: `requests show`, `list`, `submit` and `wait`."""

import re
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from configuration.settings import settings
from tests.builders import a_request, an_address, an_order, decide_all, deliver, encoded, load, request, rows, settle
from tests.commands import Countermand, error_line, ndjson
from workers.broker import STREAM, StreamBroker
from workers.embedded import Services

REQUEST = {
    "source",
    "id",
    "order",
    "kind",
    "ticket",
    "state",
    "outcome",
    "reasons",
    "advice",
    "received_at",
    "decided_at",
    "error",
    "effects",
    "notification",
}


@pytest.mark.usefixtures("system")
def test_a_request_is_shown_in_the_contracts_shape(countermand: Countermand) -> None:
    load(an_order())
    event = a_request()
    deliver(event)
    undecided = countermand("requests", "show", event["source"], event["id"], "--json").json
    assert undecided.keys() == REQUEST
    assert (undecided["state"], undecided["outcome"], undecided["reasons"]) == ("received", None, [])
    assert (undecided["advice"], undecided["effects"], undecided["notification"]) == (None, [], None)
    settle()
    ended = countermand("requests", "show", event["source"], event["id"], "--json")
    assert (ended.code, ended.err) == (0, "")
    shown = ended.json
    assert shown.keys() == REQUEST
    assert (shown["state"], shown["outcome"], shown["reasons"]) == ("decided", "applied", ["order_cancelled"])
    assert {effect["kind"] for effect in shown["effects"]} == {"restock", "notify"}
    assert all(effect.keys() == {"kind", "state", "done_at"} for effect in shown["effects"])
    assert shown["notification"].keys() == {"channel", "visibility", "subject", "body", "state"}
    assert shown["received_at"].endswith("Z")
    assert shown["decided_at"].endswith("Z")
    for_people = countermand("requests", "show", event["source"], event["id"])
    assert (for_people.code, for_people.err) == (0, "")
    assert "applied: order_cancelled" in for_people.out


@pytest.mark.usefixtures("system")
def test_requests_are_listed_by_state_outcome_and_reason(countermand: Countermand) -> None:
    load(an_order("1"), an_order("2"))
    deliver(a_request("1", id="a"), a_request("2", id="b", note=" "), a_request("unknown", id="c"))
    settle()

    def listed(*options: str) -> list[str]:
        return [request["id"] for request in countermand("requests", "list", *options, "--json").json]

    assert listed() == ["a", "b", "c"]
    assert listed("--state", "received") == ["c"]
    assert listed("--outcome", "applied") == ["a"]
    assert listed("--reason", "note_required") == ["b"]
    assert listed("--limit", "1") == ["a"]
    assert listed("--order", "2") == ["b"]


@pytest.mark.usefixtures("system")
def test_requests_are_listed_by_ticket_which_is_how_a_helpdesk_names_them(countermand: Countermand) -> None:
    load(an_order("1"))
    deliver(a_request("1", id="a", ticket="7"), a_request("1", id="b", ticket="77"))
    assert [one["id"] for one in countermand("requests", "list", "--ticket", "7", "--json").json] == ["a"]
    assert [one["id"] for one in countermand("requests", "list", "--ticket", "7", "--order", "2", "--json").json] == []


@pytest.mark.usefixtures("system")
def test_lists_keep_each_long_id_in_one_piece_and_tell_what_is_long_on_a_line_below(countermand: Countermand) -> None:
    number, key = "A" * 64, "550e8400-e29b-41d4-a716-446655440000/" * 3
    load(an_order(number, shipping=an_address(name="東京")))
    deliver(a_request(number, id=key, note=None), b"{")
    settle()
    countermand("export")
    requests = countermand("requests", "list").out.splitlines()
    assert requests[0].split() == ["source", "id", "order", "kind", "state", "outcome"]
    assert requests[1:] == [f"zendesk:acme  {key}  {number}  cancel  decided  refused", "    note_required"]
    orders = countermand("orders", "list").out.splitlines()
    assert orders[1] == f"{number}  validated  not_sent  MAIN"
    assert orders[2].startswith("    held back from export: ")
    assert "東京" not in orders[2]
    [letter] = countermand("dead-letters", "list", "--json").json
    listed = countermand("dead-letters", "list").out.splitlines()
    moment = letter["at"][:19].replace("T", " ")
    assert listed[1:] == [f"{letter['id']}   {moment}  test  not_json  new    1", f"    {letter['error']}"]


def fail(kind: str, state: str, attempts: int) -> None:
    """Lets an effect be as its failures have left it."""
    rows(
        "UPDATE effect SET state = :state, attempts = :attempts, error = '[/] says 422' "
        "WHERE kind = :kind AND state = 'pending' RETURNING id",
        kind=kind,
        state=state,
        attempts=attempts,
    )


@pytest.mark.usefixtures("system")
def test_an_effect_that_fails_says_why_and_its_text_is_not_shown_as_told(countermand: Countermand) -> None:
    load(an_order("1"), an_order("2"))
    told_one, event = a_request("1"), a_request("2")
    deliver(told_one)
    settle()
    advice = request(told_one)["advice"]
    assert f"\n\n{advice[:20]}" in countermand("requests", "show", told_one["source"], told_one["id"]).out
    deliver(event)
    decide_all()
    of_it = ("requests", "show", event["source"], event["id"])
    fail("notify", "dead", 3)
    fail("restock", "pending", 1)
    shown = countermand(*of_it).out
    dead = "dead after 3 tries: [/] says 422"
    assert f"\nnotify: {dead}; `countermand reprocess` tries it again\n" in shown
    assert "\nrestock: pending after 1 try: [/] says 422; it is tried again\n" in shown
    assert f"\n\nnot sent yet: {advice[:20]}" in shown
    effects = {one.pop("kind"): one for one in countermand(*of_it, "--json").json["effects"]}
    failed = {"done_at": None, "error": "[/] says 422"}
    assert effects == {
        "notify": {"state": "dead", "attempts": 3, **failed},
        "restock": {"state": "pending", "attempts": 1, **failed},
    }
    listed = countermand("requests", "list", "--dead")
    assert listed.out.splitlines()[-1] == "    order_cancelled; notify is dead: [/] says 422"
    assert countermand("requests", "list", "--json").json[1]["dead_errors"] == {"notify": "[/] says 422"}
    assert "1 dead effect (restock, notify)" in countermand("reprocess").out


@pytest.mark.parametrize("home", ["file", "file/sub"])
def test_a_home_that_is_a_file_is_one_line_and_ends_with_2(
    countermand: Countermand, no_services: Path, home: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (no_services / "file").touch()
    what = "is a file" if home == "file" else "lies in a file"
    assert error_line(countermand("up", "--home", str(no_services / home)), 2) == (
        f"the home {no_services / home} {what}, expected a folder; name another with --home"
    )
    monkeypatch.setenv("COUNTERMAND_HOME", str(no_services / home))
    settings.cache_clear()
    assert "Not a directory" in error_line(countermand("orders", "list"), 2)


def test_readable_requests_of_a_file_are_submitted_and_the_others_reported(
    countermand: Countermand, system: Services, tmp_path: Path
) -> None:
    good = [a_request(), a_request()]
    file = ndjson(tmp_path / "requests", good[0], b"{", b"[]", good[1])
    ended = countermand("requests", "submit", file, "--json")
    assert (ended.code, ended.err, ended.json["submitted"]) == (1, "", 2)
    assert [(one["line"], one["reason"]) for one in ended.json["rejected"]] == [(2, "not_json"), (3, "invalid_message")]
    with Redis.from_url(system.broker_url) as client:
        entries: Any = client.xrange(STREAM)
    assert [fields[b"event"] for _, fields in entries] == [encoded(event) for event in good]
    for_people = countermand("requests", "submit", file)
    assert (for_people.code, for_people.out) == (1, "submitted 2, rejected 2\n")
    assert for_people.err.count("\n") == 2


def test_waiting_counts_in_the_contracts_shape(countermand: Countermand, system: Services) -> None:
    def waited() -> tuple[int, Any]:
        ended = countermand("requests", "wait", "--timeout", "0", "--json")
        assert ended.err == ""
        return ended.code, ended.json

    def counts(
        settled: bool, received: int, decided: int, parked: int, effects: int, on_broker: int = 0
    ) -> tuple[int, Any]:
        names = ("settled", "received", "decided", "parked", "effects_pending", "on_broker")
        values = (settled, received, decided, parked, effects, on_broker)
        return 0 if settled else 1, dict(zip(names, values, strict=True))

    assert waited() == counts(True, 0, 0, 0, 0)
    load(an_order())
    deliver(a_request(), a_request("unknown"))
    assert waited() == counts(False, 2, 0, 0, 0)
    decide_all()
    assert waited() == counts(False, 1, 1, 0, 2)
    settle()
    assert waited() == counts(True, 1, 1, 0, 0)
    assert StreamBroker(system.broker_url).publish([b"{}"]) == 1
    assert waited() == counts(False, 1, 1, 0, 0, on_broker=1)


def test_requests_that_no_intake_has_taken_are_counted_on_the_broker(
    countermand: Countermand, system: Services
) -> None:
    StreamBroker(system.broker_url).publish([encoded(a_request()) for _ in range(50)])
    ended = countermand("requests", "wait", "--timeout", "0")
    reported = "not settled after 0 s: on broker 50, received 0, decided 0, parked 0, effects pending 0\n"
    assert (ended.code, ended.out) == (1, reported)


@pytest.mark.usefixtures("system")
def test_the_examples_end_as_getting_started_shows_it(countermand: Countermand) -> None:
    root = Path(__file__).parents[3]
    page, examples = (root / "docs/getting-started.md").read_text("utf-8"), root / "docs" / "examples"
    submitted = countermand("requests", "submit", str(examples / "requests.ndjson"))
    deliver(*(examples / "requests.ndjson").read_bytes().splitlines())
    loaded = countermand("orders", "load", str(examples / "orders.ndjson"))
    settle()
    listed = countermand("requests", "list")
    assert [ended.code for ended in (submitted, loaded, listed)] == [0, 0, 0]
    assert listed.out.count("zendesk:acme") == 3
    for name, ended in (("requests submit", submitted), ("orders load", loaded), ("requests list", listed)):
        assert re.search(rf"\$ \.venv/bin/countermand {name}[^\n]*\n{re.escape(ended.out)}", page)
