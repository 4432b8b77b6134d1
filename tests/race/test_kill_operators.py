"""Commands of an operator and of the store killed at each of their points: given again, they do the rest, once."""

import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from unittest.mock import patch

import pytest
import redis

import cli.dead_letters
import cli.orders
from configuration.settings import settings
from tests.builders import an_order, deliver, encoded, load, order, request, rows
from tests.race.cancellations import Cancellation, Record, kill_everywhere
from tests.race.commit_sites import kills_around
from tests.race.crash_points import has_passed
from tests.race.taking import taking
from workers.broker import STREAM
from workers.errors import UsageError

pytestmark = pytest.mark.usefixtures("system")


# These run in the processes that are killed.


def repairing_and_requeuing() -> None:
    letter = json.loads((settings().home / "letter").read_text())
    # What the run before has done is refused.
    with suppress(UsageError):
        cli.dead_letters.repair(letter, str(settings().home / "repaired"))
    with suppress(UsageError):
        cli.dead_letters.requeue(letter)


def loading() -> None:
    with patch.object(cli.orders, "_BATCH", 1):
        cli.orders.load(str(settings().home / "orders"))


# These run here.


class Repairing(Cancellation):
    """A dead letter is mended and put back; it may be on the broker twice, and is taken once."""

    expected_dead_letters = ("requeued",)

    def __init__(self, broker: redis.Redis, home: Path) -> None:
        super().__init__()
        self._broker, self._home = broker, home
        home.mkdir(exist_ok=True)

    def begin(self) -> None:
        load(an_order(self.number))
        deliver(b"garbage %s" % self.number.encode())
        [(letter,)] = rows("SELECT max(id) FROM dead_letter")
        (self._home / "letter").write_text(str(letter))
        (self._home / "repaired").write_bytes(encoded(self.event))

    def look(self, passed: Sequence[str]) -> None:
        is_repaired = has_passed("repair a dead letter: commit", passed)
        [(repaired, state)] = rows("SELECT repaired, state FROM dead_letter ORDER BY id DESC LIMIT 1")
        assert repaired == (encoded(self.event) if is_repaired else None)
        is_noted = has_passed("requeue a dead letter: commit", passed)
        assert state == ("requeued" if is_noted else "new")
        # On the broker before it is noted: nothing is lost between the two.
        assert self._broker.xlen(STREAM) >= is_noted

    def check(self) -> None:
        assert self._broker.xlen(STREAM) in (1, 2)
        taking()
        assert (self.dead_letters(), self._broker.xlen(STREAM)) == (self.expected_dead_letters, 0)
        super().check()


class Loading(Cancellation):
    """The store's file is loaded order by order; the request that waited for one of them is decided."""

    def __init__(self, home: Path) -> None:
        super().__init__()
        self._home = home
        home.mkdir(exist_ok=True)

    def begin(self) -> None:
        deliver(self.event)
        self._orders = [an_order(f"{self.number}{suffix}") for suffix in ("", "b")]
        (self._home / "orders").write_bytes(b"\n".join(map(encoded, self._orders)))

    def look(self, passed: Sequence[str]) -> None:
        loaded = [has_passed(f"load orders: commit{nth}", passed) for nth in ("", ", 2")]
        known = rows("SELECT number FROM orders WHERE number LIKE :number || '%' ORDER BY id", number=self.number)
        assert [row.number for row in known] == [
            one["number"] for one, is_loaded in zip(self._orders, loaded, strict=True) if is_loaded
        ]
        assert request(self.event)["state"] == "received"

    def check(self) -> None:
        super().check()
        assert [entry["action"] for entry in order(f"{self.number}b")["changelog"]] == ["loaded"]


@kills_around("repair a dead letter: commit", "requeue a dead letter: commit")
def test_an_operator_killed_anywhere_puts_a_repaired_dead_letter_back_and_it_is_taken_once(
    broker: redis.Redis, home: Path, record_property: Record
) -> None:
    kill_everywhere(repairing_and_requeuing, Repairing(broker, home), record_property)


@kills_around("load orders: commit")
def test_a_load_killed_anywhere_and_given_again_loads_the_rest(home: Path, record_property: Record) -> None:
    steps = "load orders: commit, 2", "orders.load: waking countermand.apply_changes"
    kill_everywhere(loading, Loading(home), record_property, *steps)
