"""`countermand dead-letters`: from an unreadable message to the decision of what was meant, and what can go wrong."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from configuration.settings import settings
from orders.messages import MAX_MESSAGE_BYTES
from tests.builders import (
    a_request,
    an_order,
    deliver,
    encoded,
    load,
    request,
    rows,
    settle,
)
from tests.commands import Countermand, Ended, error_line
from workers.broker import broker_at
from workers.embedded import Services
from workers.intake import step
from workers.intake_stream import StreamSource

pytestmark = pytest.mark.usefixtures("system")


def a_letter(raw: bytes = b"{", origin: str = "test") -> str:
    """Keeps one dead letter; returns its id."""
    deliver(raw)
    [[letter]] = rows("UPDATE dead_letter SET origin = :origin WHERE raw = :raw RETURNING id", raw=raw, origin=origin)
    return str(letter)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "repaired.json"


def take_all(system: Services) -> None:
    source = StreamSource(system.broker_url)
    while step(source):
        pass


def test_an_unreadable_message_is_shown_whole_repaired_requeued_and_decided(
    countermand: Countermand, system: Services, file: Path
) -> None:
    load(an_order())
    meant = a_request()
    came = json.dumps({**meant, "time": "yesterday"}, ensure_ascii=False).encode() + b"\n"
    broker_at(system.broker_url).publish([came])
    take_all(system)
    [letter] = countermand("dead-letters", "list", "--json").json
    assert (letter["reason"], letter["state"], letter["repaired"]) == ("invalid_message", "new", False)
    name = str(letter["id"])
    shown = countermand("dead-letters", "show", name, "--json").json
    assert (shown["text"].encode(), shown["repaired_text"]) == (came, None)
    file.write_text(json.dumps(meant, indent=2))
    kept = countermand("dead-letters", "repair", name, str(file))
    assert (kept.code, kept.err) == (0, "")
    assert kept.out == f"dead letter {name} is repaired; `countermand dead-letters requeue {name}` puts it back\n"
    assert "  new, repaired  " in countermand("dead-letters", "list").out
    shown = countermand("dead-letters", "show", name, "--json").json
    assert (shown["text"].encode(), shown["repaired"]) == (came, True)
    assert json.loads(shown["repaired_text"]) == meant
    ended = countermand("dead-letters", "requeue", name)
    assert (ended.code, ended.out, ended.err) == (0, f"dead letter {name} is back on the broker\n", "")
    take_all(system)
    settle()
    assert request(meant)["reasons"] == ["order_cancelled"]
    assert [one["state"] for one in countermand("dead-letters", "list", "--json").json] == ["requeued"]


def test_a_letter_that_is_repaired_again_is_put_back_as_it_was_repaired_last(
    countermand: Countermand, system: Services
) -> None:
    letter, first, last = a_letter(), a_request(), a_request()
    for event in (first, last):
        repaired = countermand("dead-letters", "repair", letter, "-", "--json", stdin=encoded(event))
        assert repaired.json == {"id": int(letter), "repaired": True}
    assert countermand("dead-letters", "requeue", letter).code == 0
    take_all(system)
    assert [row.external_id for row in rows("SELECT external_id FROM change_request")] == [last["id"]]


def test_a_letter_that_was_requeued_is_neither_requeued_nor_repaired_again(
    countermand: Countermand, system: Services
) -> None:
    letter = a_letter()
    assert countermand("dead-letters", "requeue", letter).code == 0
    line = f"dead letter {letter} was put back on the broker already"
    assert error_line(countermand("dead-letters", "requeue", letter), 2) == line
    assert error_line(countermand("dead-letters", "repair", letter, "-", stdin=encoded(a_request())), 2) == line
    assert broker_at(system.broker_url).backlog() == 1
    assert rows("SELECT repaired FROM dead_letter") == [(None,)]


@pytest.mark.parametrize("command", [["show"], ["repair"], ["requeue"]], ids=" ".join)
def test_a_letter_that_is_not_there_is_one_line_and_ends_with_2(countermand: Countermand, command: list[str]) -> None:
    file = ["-"] if command == ["repair"] else []
    ended = countermand("dead-letters", *command, "7", *file, stdin=encoded(a_request()))
    assert error_line(ended, 2) == "there is no dead letter 7; `countermand dead-letters list` lists them"


KNOWN = a_request(id="known")
BAD: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "not_json"),
    "no JSON": (b"{'order': 1}", "not_json"),
    "no request": (b"[]", "invalid_message"),
    "an unknown kind": (encoded(a_request(kind="refund")), "invalid_message"),
    "two requests": (encoded(a_request()) + b"\n" + encoded(a_request()), "not_json"),
    "too much": (encoded(a_request()).ljust(MAX_MESSAGE_BYTES + 1), "too_large"),
    "a conflict": (encoded({**KNOWN, "data": {**KNOWN["data"], "note": "Another"}}), "conflicting_duplicate"),
}


@pytest.mark.parametrize("bad", BAD)
def test_a_letter_is_not_repaired_by_what_would_be_a_dead_letter_too(
    countermand: Countermand, file: Path, bad: str
) -> None:
    body, reason = BAD[bad]
    deliver(KNOWN)
    letter = a_letter()
    file.write_bytes(body)
    line = error_line(countermand("dead-letters", "repair", letter, str(file)), 2)
    assert line.startswith(f"{file} would be a dead letter too ({reason}): ")
    assert line.endswith("; nothing was kept")
    assert rows("SELECT state, repaired FROM dead_letter") == [("new", None)]


def test_a_letter_is_not_repaired_by_a_file_that_cannot_be_read(countermand: Countermand, tmp_path: Path) -> None:
    cut = tmp_path / "cut.gz"
    cut.write_bytes(b"\x1f\x8b")
    letter = a_letter()
    for file, why in (
        (tmp_path / "none", "cannot be read: "),
        (tmp_path, "cannot be read: "),
        (cut, "cannot be read on"),
    ):
        assert error_line(countermand("dead-letters", "repair", letter, str(file)), 2).startswith(f"{file} {why}")


def test_a_letter_that_is_requeued_as_it_came_warns_that_it_will_be_one_again(
    countermand: Countermand, system: Services
) -> None:
    ended = countermand("dead-letters", "requeue", a_letter(b"["), "--json")
    assert ended.json["requeued"] is True
    assert ended.err.startswith("it still cannot be taken (not_json: ")
    assert ended.err.count("\n") == 1
    take_all(system)
    assert [row.state for row in rows("SELECT state FROM dead_letter ORDER BY id")] == ["requeued", "new"]


def test_a_letter_of_a_webhook_is_repaired_by_a_change_request_and_needs_no_desk(
    countermand: Countermand, system: Services
) -> None:
    letter, meant = a_letter(b"{}", origin="webhook:gone"), a_request()
    assert error_line(countermand("dead-letters", "requeue", letter), 2).endswith("desk gone, which is not configured")
    assert countermand("dead-letters", "repair", letter, "-", stdin=encoded(meant)).code == 0
    assert countermand("dead-letters", "requeue", letter).code == 0
    take_all(system)
    assert request(meant)["state"] == "received"


@pytest.mark.parametrize("broker", ["redis://127.0.0.1:1/0", "amqp://127.0.0.1:1//"])
def test_a_letter_stays_where_it_is_while_the_broker_is_away(
    countermand: Countermand, monkeypatch: pytest.MonkeyPatch, broker: str
) -> None:
    letter = a_letter()
    monkeypatch.setenv("COUNTERMAND_BROKER_URL", broker)
    settings.cache_clear()
    assert "cannot be reached" in error_line(countermand("dead-letters", "requeue", letter), 3)
    assert rows("SELECT state FROM dead_letter") == [("new",)]


def test_letters_are_listed_by_state_and_reason(countermand: Countermand) -> None:
    letters = [a_letter(raw) for raw in (b"{", b"[]", b"[")]
    assert countermand("dead-letters", "requeue", letters[0]).code == 0

    def listed(*options: str) -> list[str]:
        return [str(one["id"]) for one in countermand("dead-letters", "list", "--json", *options).json]

    assert listed() == letters
    assert listed("--state", "new") == letters[1:]
    assert listed("--reason", "not_json", "--state", "new") == letters[2:]
    assert listed("--limit", "1") == letters[:1]
    assert "'not_json'" in error_line(countermand("dead-letters", "list", "--reason", "nonsense"), 2)


def test_the_bytes_alone_are_written_as_they_came(countermand: Countermand) -> None:
    raw = b'{"a": "\xff\x00\x1b[31m"}\r\n'
    letter = a_letter(raw)
    command = [sys.executable, "-c", "from cli.main import main; main()", "dead-letters", "show", letter]
    ended: Any = subprocess.run([*command, "--raw"], capture_output=True, check=True, env=os.environ)
    assert (ended.stdout, ended.stderr) == (raw, b"")
    assert "without --json" in error_line(countermand("dead-letters", "show", letter, "--raw", "--json"), 2)


def test_a_dead_letter_that_is_requeued_already_is_one_line_and_ends_with_2(countermand: Countermand) -> None:
    deliver(b"{")
    [[letter]] = rows("SELECT id FROM dead_letter")
    assert countermand("dead-letters", "requeue", str(letter)).code == 0
    again = countermand("dead-letters", "requeue", str(letter))
    assert again == Ended(2, "", f"countermand: dead letter {letter} was put back on the broker already\n")
