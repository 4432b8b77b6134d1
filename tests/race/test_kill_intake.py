"""Deliveries that are kept without a decision, killed at each point: each is once a request or once a dead letter."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest
import redis
from sqlalchemy import Engine

from configuration.settings import settings
from desks.desk import Webhook
from tasks.helpdesks import helpdesks
from tasks.running.wakeups import WakeUp, wake
from tasks.webhooks import Received, receive
from tests.builders import a_request, an_order, encoded, load, rows
from tests.deliveries import a_delivery, configured, sign
from tests.race.cancellations import Cancellation, Record, kill_everywhere
from tests.race.commit_sites import kills_around
from tests.race.crash_points import has_passed
from tests.race.taking import WITH_THE_NEXT, Taking, is_acknowledged, taking
from workers.app import app
from workers.broker import FIELD, STREAM
from workers.embedded import Services

pytestmark = pytest.mark.usefixtures("system")

DESK = "zammad"


# This runs in the processes that are killed.


def receiving() -> None:
    app.finalize()
    delivery = sign(DESK, (settings().home / "body").read_bytes())
    webhook = Webhook({name.lower(): value for name, value in delivery.headers.items()}, delivery.body, NOW)
    if receive(helpdesks().desks[DESK], webhook).received is Received.NEW:
        wake(WakeUp.APPLY_CHANGES)


# These run here.

NOW = datetime.now(UTC)


@pytest.fixture
def _desks(system: Services, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    with configured(monkeypatch, tmp_path):
        yield


class ByWebhook(Cancellation):
    """A desk that has had no answer sends it once more: that is the next run."""

    def __init__(self, home: Path) -> None:
        super().__init__()
        self._body = home / "body"
        home.mkdir(exist_ok=True)

    def begin(self) -> None:
        load(an_order(self.number))
        self._body.write_bytes(a_delivery(DESK, ticket=self.number, order=self.number).body)
        self.event = {"source": "zammad:acme", "id": ""}

    def look(self, passed: Sequence[str]) -> None:
        assert len(self.requests()) == has_passed("store: commit", passed)

    def check(self) -> None:
        [self.event["id"]] = self.requests()
        super().check()

    def requests(self) -> list[str]:
        found = rows("SELECT external_id FROM change_request WHERE order_number = :number", number=self.number)
        return [row.external_id for row in found]


class Unusable(ByWebhook):
    """What no desk's module can read is kept once, however often it is sent."""

    def begin(self) -> None:
        self._body.write_bytes(b"%s is no JSON" % self.number.encode())

    def look(self, passed: Sequence[str]) -> None:
        assert self.dead_letters() == ("new",) * has_passed("make a dead letter of a webhook: commit", passed)

    def check(self) -> None:
        assert self.dead_letters() == ("new",)


class Refused(Taking):
    """The database refuses the one delivery; the broker's entry is over once the dead letter is kept."""

    def begin(self) -> None:
        self._broker.delete(STREAM)
        self._broker.xadd(STREAM, {FIELD: encoded(a_request(self.number, ticket="poison"))})

    def look(self, passed: Sequence[str]) -> None:
        assert self.dead_letters() == ("new",) * has_passed(
            "make a dead letter of what the database refuses: commit", passed
        )
        assert self._broker.xlen(STREAM) == (not is_acknowledged(passed))

    def check(self) -> None:
        assert (self._broker.xlen(STREAM), self.dead_letters(), self.tries()) == (0, ("new",), [])


@kills_around("store: commit")
@pytest.mark.usefixtures("_desks")
def test_a_webhook_killed_anywhere_and_sent_again_is_kept_once(home: Path, record_property: Record) -> None:
    kill_everywhere(receiving, ByWebhook(home), record_property, "test: waking countermand.apply_changes")


@kills_around("make a dead letter of a webhook: commit")
@pytest.mark.usefixtures("_desks")
def test_a_webhook_that_cannot_be_read_killed_anywhere_is_one_dead_letter(home: Path, record_property: Record) -> None:
    kill_everywhere(receiving, Unusable(home), record_property)


@kills_around("make a dead letter of what the database refuses: commit")
def test_an_intake_killed_anywhere_puts_what_the_database_refuses_aside_once(
    engine: Engine, broker: redis.Redis, record_property: Record
) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE change_request ADD CHECK (ticket <> 'poison')")
    kill_everywhere(taking, Refused(broker), record_property, WITH_THE_NEXT)
