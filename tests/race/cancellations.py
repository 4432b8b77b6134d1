"""A cancellation that somebody takes, decides or follows up, and what has to have become of it in the end."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from itertools import count
from typing import Any

from database.transactions import in_transaction
from orders.audit import audit
from tests.builders import a_request, an_order, deliver, load, order, request, rows, settle
from tests.race.crash_points import Work, has_passed
from tests.race.crashes import Scenario, crash_table

Record = Callable[[str, object], None]


def assert_that_every_promise_is_kept() -> None:
    """The audit finds nothing."""
    found = in_transaction(lambda connection: audit(connection, patience=timedelta(minutes=15)))
    assert [check for check in found["checks"] if check["violations"]] == []


def report(table: Sequence[str], record: Record) -> None:
    """Records how many crashes there were, and prints where."""
    record("crashes", len(table))
    print(f"{len(table)} crashes:", *table, sep="\n")


def kill_everywhere(work: Work, scenario: Scenario, record: Record, *steps: str, crashes: int = 1) -> None:
    """Records and prints where it was killed: after each of these steps, too."""
    table = crash_table(work, scenario, crashes=crashes)
    report(table, record)
    points = [point for row in table for point in row.split(", then ")]
    assert [step for step in steps if not has_passed(step, points)] == []


class Cancellation:
    """One order a row, of a number of its own, that is to be cancelled by one request."""

    expected_dead_letters: tuple[str, ...] = ()

    def __init__(self) -> None:
        self._numbers = count(1)
        self.number = ""
        self.event: dict[str, Any] = {}
        self._last_letter = 0

    def prepare(self) -> None:
        self.number = str(next(self._numbers))
        self.event = a_request(self.number)
        [(self._last_letter,)] = rows("SELECT coalesce(max(id), 0) FROM dead_letter")
        self.begin()

    def begin(self) -> None:
        load(an_order(self.number))
        deliver(self.event)

    def look(self, passed: Sequence[str]) -> None:
        pass

    def recover(self) -> None:
        pass

    def check(self) -> None:
        """Decided once, with one set of changes and effects."""
        settle()
        assert [entry["action"] for entry in order(self.number)["changelog"]] == ["loaded", "cancelled"]
        decided = request(self.event)
        assert (decided["state"], decided["outcome"], decided["reasons"]) == ("decided", "applied", ["order_cancelled"])
        assert self.effects() == {"restock": "done", "notify": "done"}
        assert self.restocked() == {("RED-1", 3), ("BLUE-2", 1)}
        assert self.notified() == 1
        assert self.dead_letters() == self.expected_dead_letters
        assert_that_every_promise_is_kept()

    def effects(self) -> dict[str, str]:
        return {effect["kind"]: effect["state"] for effect in request(self.event)["effects"]}

    def restocked(self) -> set[tuple[str, int]]:
        moved = rows(
            "SELECT sku, quantity FROM stock_movement JOIN orders ON orders.id = order_id WHERE number = :number",
            number=self.number,
        )
        assert len(set(moved)) == len(moved)
        return {(row.sku, row.quantity) for row in moved}

    def notified(self) -> int:
        notified = rows(
            "SELECT 1 FROM notification JOIN change_request ON change_request.id = change_request_id"
            " WHERE external_id = :id",
            id=self.event["id"],
        )
        return len(notified)

    def tries(self) -> list[int]:
        found = rows("SELECT attempts FROM change_request WHERE external_id = :id", id=self.event["id"])
        return [row.attempts for row in found]

    def dead_letters(self) -> tuple[str, ...]:
        letters = rows("SELECT state FROM dead_letter WHERE id > :last ORDER BY id", last=self._last_letter)
        return tuple(row.state for row in letters)
