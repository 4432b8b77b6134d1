"""The commands that operate: `export`, `audit`, `reprocess` and `dead-letters`."""

import base64
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from tests.builders import a_request, an_order, deliver, load, rows, settle
from tests.commands import Countermand
from workers.broker import STREAM
from workers.embedded import Services


@pytest.mark.usefixtures("system")
def test_what_is_due_is_exported_once(countermand: Countermand, home: Path) -> None:
    load(*(an_order(str(number)) for number in range(3)))
    ended = countermand("export", "--partner", "WAREHOUSE", "--json")
    assert (ended.code, ended.json["exported"], ended.json["held_back"]) == (0, 3, 0)
    (interchange,) = ended.json["interchanges"]
    assert (interchange["state"], interchange["control_number"], interchange["orders"]) == ("sent", 1, 3)
    assert (home / "edi" / "WAREHOUSE" / interchange["filename"]).is_file()
    again = countermand("export")
    assert (again.code, again.out) == (0, "exported 0 orders in 0 interchanges\n")
    load(an_order("4"))
    assert countermand("export").out.splitlines()[-1] == "exported 1 order in 1 interchange"


@pytest.mark.usefixtures("system")
def test_an_export_that_must_leave_something_says_why_and_until_when_and_ends_with_1(
    countermand: Countermand, home: Path
) -> None:
    load(an_order())
    folder = home / "edi" / "WAREHOUSE"
    folder.parent.mkdir(parents=True)
    folder.touch()
    failed = countermand("export")
    assert (failed.code, "released" in failed.out) == (1, True)
    [(until,)] = rows("UPDATE partner SET not_before = now() + interval '1 hour' RETURNING not_before")
    waiting = countermand("export")
    assert waiting.code == 1
    line = waiting.out.splitlines()[-1]
    why = "WAREHOUSE: it backs off after 1 failed delivery: the folder "
    assert line.startswith(f"not all that is due could be exported: {why}")
    tried_again = datetime.fromisoformat(line.rpartition("; it is tried again after ")[2])
    assert timedelta(0) < tried_again - until <= timedelta(seconds=1)
    rows("UPDATE partner SET failures = 2 RETURNING name")
    assert "after 2 failed deliveries: " in countermand("export").out
    deliver(a_request())
    settle()
    nothing_is_due = countermand("export")
    assert (nothing_is_due.code, nothing_is_due.out) == (0, "exported 0 orders in 0 interchanges\n")


@pytest.mark.usefixtures("system")
def test_the_audit_has_the_contracts_shape_and_ends_with_1_when_a_promise_is_broken(countermand: Countermand) -> None:
    load(an_order())
    deliver(a_request())
    settle()
    ended = countermand("audit", "--json")
    assert (ended.code, ended.err, ended.json.keys(), ended.json["ok"]) == (0, "", {"ok", "checks"}, True)
    assert [check["promise"] for check in ended.json["checks"]] == list(range(1, 10))
    assert all(
        check.keys() == {"promise", "name", "checked", "violations", "examples"} for check in ended.json["checks"]
    )
    assert "every promise holds" in countermand("audit").out
    rows("UPDATE stock SET quantity = 0 WHERE sku = 'RED-1' RETURNING sku")
    broken = countermand("audit", "--json")
    assert (broken.code, broken.json["ok"]) == (1, False)
    assert [check["promise"] for check in broken.json["checks"] if check["violations"]] == [5]
    for_people = countermand("audit")
    assert for_people.code == 1
    assert "a promise is broken" in for_people.out


@pytest.mark.usefixtures("system")
def test_a_dry_run_of_reprocessing_says_what_would_be_decided_and_changes_nothing(countermand: Countermand) -> None:
    deliver(a_request("1", id="a"), a_request("1", id="b"), a_request("2", id="c"))
    load(an_order("1"))
    rows("UPDATE change_request SET state = 'parked', parked_at = now(), reasons = '{unknown_order}' RETURNING id")
    would = countermand("reprocess", "--dry-run", "--json")
    assert (would.code, would.err) == (0, "")
    assert [(one["id"], one["outcome"], one["reasons"]) for one in would.json["would_be_decided"]] == [
        ("a", "applied", ["order_cancelled"]),
        ("b", "unchanged", ["already_closed"]),
        ("c", None, ["unknown_order"]),
    ]
    assert countermand("reprocess", "--dry-run").code == 0
    assert countermand("requests", "list", "--state", "parked", "--json").out.count('"id"') == 3
    assert countermand("reprocess", "--order", "1", "--reason", "unknown_order", "--json").json == {
        "reprocessed": 2,
        "effects_revived": 0,
    }
    settle()
    decided = countermand("requests", "list", "--state", "decided", "--json").json
    assert [(one["id"], one["reasons"]) for one in decided] == [("a", ["order_cancelled"]), ("b", ["already_closed"])]
    assert countermand("reprocess", "--since", "2099-01-01T00:00:00Z", "--json").json["reprocessed"] == 0


def test_dead_letters_are_listed_shown_and_put_back_as_they_were(countermand: Countermand, system: Services) -> None:
    raw = [b'{"a": "K\xc3\xb6ln"}', b"\xff\x00", b"\x1b[31m[/]"]
    deliver(*raw)
    listed = countermand("dead-letters", "list", "--json")
    assert (listed.code, listed.err) == (0, "")
    keys = {"id", "at", "origin", "position", "reason", "error", "state", "repaired", "bytes"}
    assert all(one.keys() == keys for one in listed.json)
    assert [(one["reason"], one["state"], one["bytes"]) for one in listed.json] == [
        ("invalid_message", "new", 14),
        ("not_json", "new", 2),
        ("not_json", "new", 8),
    ]
    assert countermand("dead-letters", "list").code == 0
    ids = [str(one["id"]) for one in listed.json]
    shown = [countermand("dead-letters", "show", one, "--json").json for one in ids]
    assert [one["text"] for one in shown] == ['{"a": "Köln"}', None, None]
    assert [base64.b64decode(one["raw_base64"]) for one in shown] == raw
    for one in ids:
        for_people = countermand("dead-letters", "show", one)
        assert for_people.code == 0
        assert "\x1b" not in for_people.out
    assert countermand("dead-letters", "requeue", ids[1], "--json").json == {"id": int(ids[1]), "requeued": True}
    with Redis.from_url(system.broker_url) as client:
        entries: Any = client.xrange(STREAM)
    assert [fields[b"event"] for _, fields in entries] == [raw[1]]
    assert [one["state"] for one in countermand("dead-letters", "list", "--json").json] == ["new", "requeued", "new"]
