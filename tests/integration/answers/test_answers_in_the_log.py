"""What the log and the stored errors say of answers."""

import re
from io import StringIO
from itertools import product
from unittest.mock import patch

import pytest

from desks.desk import TicketChannel
from tasks.answers import answer_one
from tests.builders import EMAIL, encoded, rows
from tests.helpdesks.asking import ask, assert_answered_once, let_time_pass, standing, try_again
from tests.helpdesks.desks_file import DesksFile
from tests.helpdesks.fake import FakeDesk
from tests.helpdesks.faults import says
from tests.helpdesks.standard import FakeStandard
from tests.integration.answers.desks import STORED
from tests.logs import logging_as_in_production

pytestmark = pytest.mark.usefixtures("system")


def test_an_answer_whose_desk_is_gone_from_the_file_waits_for_it(desk: FakeDesk, file: DesksFile) -> None:
    event = ask(desk)
    file.write()
    answer_one()
    assert standing(event).state == "pending"
    assert "no longer" in standing(event).error
    file.write(desk)
    try_again()
    assert_answered_once(desk, event)


def test_neither_the_log_nor_the_stored_errors_say_anything_personal_or_secret(
    desk: FakeDesk, file: DesksFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COUNTERMAND_LOG", "json")
    quoting = encoded({"error": f"{EMAIL} 0221 4711", "ticket": [EMAIL], "data": EMAIL, "payload": [EMAIL]})
    broken = [says(422, quoting), says(503, quoting, Retry_After=EMAIL), says(200, quoting), says(200, EMAIL.encode())]
    with logging_as_in_production(StringIO()) as log:
        for action, fault in product((*desk.actions, "look"), broken):
            ask(desk, note="Call me on 0221 4711")
            if action == "look":
                desk.next("write", STORED["500"])
                answer_one()
                let_time_pass()
            desk.next(action, fault)
            answer_one()
            # Where it goes on from here is not asked; the next one is to be alone.
            let_time_pass()
            rows("UPDATE effect SET state = 'dead' WHERE state = 'pending' AND kind = 'notify' RETURNING id")
        ask(desk)
        with patch.object(TicketChannel, "_tag", side_effect=RuntimeError("a fault of ours")):
            answer_one()
        rows("UPDATE effect SET state = 'dead' WHERE state = 'pending' AND kind = 'notify' RETURNING id")
        let_time_pass()
        ask(desk)
        file.environment(**{desk.variable: desk.wrong_token})
        answer_one()
    # Any digits at all stand in the microseconds of a time.
    said, times = re.subn(r'"timestamp": "[^"]*"', "", log.getvalue())
    assert times
    # The libraries that call would log whole URLs, with whatever stands in them.
    assert "http://127.0.0.1" not in said
    assert ("not answered" in said, "a delivery broke" in said) == (True, True)
    assert ("API describes" in said) == (not isinstance(desk, FakeStandard))
    errors = {
        row.error for row in rows("SELECT error FROM effect UNION ALL SELECT error FROM destination") if row.error
    }
    private = [EMAIL, "Jane", "Doe", "Hofstraße", "50667", "4711", desk.token, desk.wrong_token, desk.webhook_secret]
    assert [(text, one) for text in private for one in (*said.splitlines(), *errors) if text in one] == []
