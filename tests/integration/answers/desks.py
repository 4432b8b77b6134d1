"""The desks that answers are delivered to in these tests, and an answer that stops on its way."""

from unittest.mock import patch

import pytest

import tasks.answers
from database.transactions import in_transaction
from orders import answers
from orders.answers import Leased
from tasks.answers import answer_one
from tests.helpdesks.chatwoot import FakeChatwoot
from tests.helpdesks.fake import FakeDesk
from tests.helpdesks.faults import HUGE, Fault, after_storing, hangs_up, says
from tests.helpdesks.freshdesk import FakeFreshdesk
from tests.helpdesks.gorgias import FakeGorgias
from tests.helpdesks.standard import FakeStandard
from tests.helpdesks.zammad import FakeZammad
from tests.helpdesks.zendesk import FakeZendesk
from tests.race.kills import stop_here

# A desk with tickets can be looked at, tagged, and named a ticket that it does not have.
WITH_TICKETS: list[type[FakeDesk]] = [FakeZendesk, FakeFreshdesk, FakeGorgias, FakeZammad, FakeChatwoot]


DESKS = [*WITH_TICKETS, FakeStandard]


every_desk_with_tickets = pytest.mark.parametrize("desk", WITH_TICKETS, indirect=True)


IMPATIENT = 1.0


PATIENCE_SECONDS = 30.0


def answer_up_to_the_call() -> None:
    with patch.object(tasks.answers, "_deliver", stop_here):
        answer_one()


def answer_up_to_the_settlement() -> None:
    with patch.object(answers, "confirm", stop_here):
        answer_one()


STORED: dict[str, Fault] = {
    "500": after_storing(says(500)),
    "the connection closed": after_storing(hangs_up),
    "a huge answer": after_storing(says(200, b" " * HUGE)),
}


NOT_STORED = [says(500), says(504), hangs_up]


def lease() -> Leased:
    leased = in_transaction(answers.lease)
    assert leased is not None
    return leased
