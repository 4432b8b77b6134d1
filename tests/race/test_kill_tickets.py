"""Whoever notes, reads or lists tickets killed at each point: each form is once a request, or once a dead letter."""

import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from configuration.settings import settings
from database.transactions import in_transaction
from delivery.outcomes import DeliveryError
from desks.desk import Webhook
from orders import tickets
from tasks.helpdesks import helpdesks
from tasks.pulling import list_page
from tasks.running.wakeups import WakeUp, wake
from tasks.tickets import read_one, readable
from tasks.webhooks import Received, receive
from tests.builders import an_order, load, rows
from tests.deliveries import sign
from tests.helpdesks.desks_file import DesksFile, desks_file
from tests.helpdesks.faults import says
from tests.helpdesks.reading import FORM, let_time_pass, listing, read_all, unread
from tests.helpdesks.zendesk import FakeZendesk
from tests.race.cancellations import Record, kill_everywhere
from tests.race.commit_sites import kills_around
from tests.race.crash_points import has_passed
from workers.app import app
from workers.embedded import Services

pytestmark = pytest.mark.usefixtures("system")

SINCE = datetime(2026, 11, 23, 8, tzinfo=UTC)


# These run in the processes that are killed.


def noting() -> None:
    app.finalize()
    delivery = sign("zendesk", (settings().home / "body").read_bytes(), secret=FakeZendesk.webhook_secret)
    webhook = Webhook({name.lower(): value for name, value in delivery.headers.items()}, delivery.body, NOW)
    if receive(helpdesks().desks["zendesk"], webhook).received is Received.NOTED:
        wake(WakeUp.READ_TICKETS)


def reading_one() -> None:
    app.finalize()
    read_one(readable())


def listing_one() -> None:
    app.finalize()
    # A list that fails is told by whoever asked for it.
    with suppress(DeliveryError):
        list_page(helpdesks().desks["zendesk"], SINCE)


# These run here.

NOW = datetime.now(UTC)
LEASED, IGNORED, FAILED = (
    "lease a ticket: commit",
    "settle a ticket that asks nothing: commit",
    "note that a ticket failed: commit",
)
TAKEN, GIVEN_UP, NOTED = (
    "take a ticket's form: commit",
    "make a dead letter of a ticket's form: commit",
    "note a ticket: commit",
)
BEGUN = "begin a listing: commit"
LIST_FAILED = "note that a listing failed: commit"
LISTED = "note the listed tickets: commit"


class Reading:
    """A ticket of a number of its own, whose form is to be read."""

    form: dict[str, Any] = FORM
    requests, letters = 1, 0
    settled_by = TAKEN

    def __init__(self, desk: FakeZendesk, home: Path) -> None:
        self._numbers = count(1001)
        self._home = home
        home.mkdir(exist_ok=True)
        self.desk, self.number = desk, ""

    def prepare(self) -> None:
        rows("UPDATE ticket_to_read SET read = wanted RETURNING id")
        self.number = str(next(self._numbers))
        load(an_order(self.number))
        self.desk.fill_in(self.number, **self.form | {"order": self.number})
        self.begin()

    def begin(self) -> None:
        in_transaction(lambda connection: tickets.note(connection, self.desk.source, [self.number]))

    def look(self, passed: Sequence[str]) -> None:
        # In one transaction: never one without the other, whichever run has done it.
        is_read = not unread()
        assert is_read or not has_passed(self.settled_by, passed)
        assert self.found() == ((self.requests, self.letters) if is_read else (0, 0))

    def recover(self) -> None:
        """The lease runs out."""
        let_time_pass()

    def check(self) -> None:
        read_all()
        assert (self.found(), unread()) == ((self.requests, self.letters), [])

    def found(self) -> tuple[int, int]:
        raw = json.dumps({"ticket": self.number}).encode()
        return (
            len(rows("SELECT FROM change_request WHERE ticket = :ticket", ticket=self.number)),
            len(rows("SELECT FROM dead_letter WHERE raw = :raw", raw=raw)),
        )


class AskingNothing(Reading):
    """Its kind is blank."""

    form = FORM | {"kind": ""}
    requests = 0
    settled_by = IGNORED


class Unusable(Reading):
    """Its form is no request."""

    form = FORM | {"kind": "refund"}
    requests, letters = 0, 1
    settled_by = GIVEN_UP


class Failing(Reading):
    """The desk breaks at the first reading."""

    def begin(self) -> None:
        super().begin()
        self.desk.next("read", says(500))

    def look(self, passed: Sequence[str]) -> None:
        assert (len(unread()), self.found()) == (1, (0, 0))
        assert (unread()[0].error is not None) == has_passed(FAILED, passed)

    def check(self) -> None:
        let_time_pass()
        super().check()


class Noting(Reading):
    """A webhook names the ticket; a desk that has had no answer sends it once more."""

    def begin(self) -> None:
        (self._home / "body").write_text(json.dumps({"ticket": self.number}))

    def look(self, passed: Sequence[str]) -> None:
        assert len(unread()) == has_passed(NOTED, passed)


class Listing(Reading):
    """No webhook has come: the ticket is found in the list of those that have changed."""

    _minutes = count(1)

    def begin(self) -> None:
        rows("UPDATE desk_progress SET seen_until = :since, cursor = NULL RETURNING source", since=SINCE)
        self.desk.fill_in(self.number, at=SINCE + timedelta(minutes=next(self._minutes)))

    def look(self, passed: Sequence[str]) -> None:
        assert (self.number in [row.ticket for row in unread()]) == has_passed(LISTED, passed)
        assert self.has_moved() == has_passed(LISTED, passed)

    def has_moved(self) -> bool:
        found = rows("SELECT seen_until FROM desk_progress")
        return bool(found) and found[0].seen_until > SINCE


class ListingBroken(Listing):
    """The desk breaks at the list."""

    def begin(self) -> None:
        super().begin()
        self.desk.next("list", says(500))

    def look(self, passed: Sequence[str]) -> None:
        assert not self.has_moved()
        assert [row.ticket for row in unread()] == []

    def check(self) -> None:
        let_time_pass()
        list_page(helpdesks().desks["zendesk"], SINCE)
        assert listing(self.desk).error is None
        super().check()


@pytest.fixture
def file(system: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[DesksFile]:
    with desks_file(tmp_path, monkeypatch) as made:
        yield made


@pytest.fixture
def desk(file: DesksFile) -> FakeZendesk:
    fake = FakeZendesk()
    file.write(fake)
    return fake


@kills_around(NOTED)
def test_a_webhook_that_names_a_ticket_killed_anywhere_and_sent_again_is_one_request(
    desk: FakeZendesk, home: Path, record_property: Record
) -> None:
    kill_everywhere(noting, Noting(desk, home), record_property, "test: waking countermand.read_tickets")


@kills_around(LEASED, TAKEN)
def test_a_reader_killed_anywhere_takes_a_form_once(desk: FakeZendesk, home: Path, record_property: Record) -> None:
    kill_everywhere(reading_one, Reading(desk, home), record_property, crashes=2)


@kills_around(LEASED, IGNORED)
def test_a_reader_killed_anywhere_at_a_blank_form_takes_nothing(
    desk: FakeZendesk, home: Path, record_property: Record
) -> None:
    kill_everywhere(reading_one, AskingNothing(desk, home), record_property)


@kills_around(LEASED, GIVEN_UP)
def test_a_reader_killed_anywhere_at_a_form_that_is_no_request_leaves_one_dead_letter(
    desk: FakeZendesk, home: Path, record_property: Record
) -> None:
    kill_everywhere(reading_one, Unusable(desk, home), record_property)


@kills_around(LEASED, FAILED)
def test_a_reader_killed_anywhere_while_its_desk_is_away_loses_no_ticket(
    desk: FakeZendesk, home: Path, record_property: Record
) -> None:
    kill_everywhere(reading_one, Failing(desk, home), record_property)


@kills_around(BEGUN, LISTED)
def test_a_list_killed_anywhere_moves_on_only_with_what_it_has_found(
    desk: FakeZendesk, home: Path, record_property: Record
) -> None:
    kill_everywhere(listing_one, Listing(desk, home), record_property)


@kills_around(BEGUN, LIST_FAILED)
def test_a_list_that_fails_killed_anywhere_moves_nothing(
    desk: FakeZendesk, home: Path, record_property: Record
) -> None:
    kill_everywhere(listing_one, ListingBroken(desk, home), record_property)
