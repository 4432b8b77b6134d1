"""What partners put into our inboxes: kept as it is, applied once, and reported where it cannot be applied."""

import math
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import pytest
from structlog.testing import capture_logs

import edi.transports.directory
from configuration.settings import settings
from database.transactions import in_transaction
from delivery.leases import LostFence
from edi import acknowledgement_files, outcomes, partner_state
from edi.partners import Partner
from edi.transports.directory import DirectoryTransport
from edi.transports.transport import NotReceived
from tasks.receipts import ROUND_SECONDS, read_inbox, read_inboxes
from tests.acknowledgements import (
    DESADV,
    audited,
    claim,
    contrl,
    functional,
    interchange,
    put,
    receive,
    received,
    send,
    states,
    the_partner,
    waiting,
    x12,
)
from tests.builders import a_request, decide_all, deliver, order, request, rows, settle
from tests.race.kills import kill_at_the_point, stop_here

pytestmark = pytest.mark.usefixtures("system")


def test_an_interchange_is_acknowledged_and_its_file_kept_and_moved_away(partner: Partner) -> None:
    send(partner)
    raw = contrl(1)
    receive(partner, raw)
    found = interchange(partner)
    assert (found["state"], found["reasons"]) == ("acknowledged", [])
    assert found["answered_at"] >= found["sent_at"]
    [one] = found["acknowledgements"]
    assert (one["kind"], one["reference"], one["verdict"], one["state"]) == ("CONTRL", "77", "acknowledged", "matched")
    assert [bytes(row.content) for row in rows("SELECT content FROM partner_file")] == [raw]
    assert isinstance(partner.transport, DirectoryTransport)
    assert partner.transport.inbox is not None
    assert [file.read_bytes() for file in (partner.transport.inbox / "done").iterdir()] == [raw]
    assert order()["interchange"]["state"] == "acknowledged"
    assert order()["edi"] == "sent"
    assert "warnings" not in audited()


def test_a_rejection_gives_its_reasons_and_leaves_the_orders_sent_and_the_audit_warns(partner: Partner) -> None:
    send(partner)
    with capture_logs() as logs:
        receive(partner, contrl(1, "4+23"))
    assert interchange(partner)["state"] == "rejected"
    assert interchange(partner)["reasons"] == ["the interchange is rejected: code 23, unknown interchange sender"]
    assert [log["log_level"] for log in logs if log["event"] == "interchange rejected"] == ["error"]
    assert order()["edi"] == "sent"
    assert audited()["warnings"] == [
        "interchange 1 of NORTH was rejected: the interchange is rejected: code 23, unknown interchange sender"
    ]


def test_a_rejection_may_follow_an_acknowledgement_and_nothing_undoes_it(partner: Partner) -> None:
    send(partner)
    receive(partner, contrl(1, "8", reference="1"))
    assert interchange(partner)["state"] == "acknowledged"
    receive(partner, contrl(1, "4+18", reference="2"))
    assert interchange(partner)["state"] == "rejected"
    receive(partner, contrl(1, "7", reference="3"), contrl(1, "4+26", reference="4"))
    assert interchange(partner)["state"] == "rejected"
    assert states() == ["matched"] * 4


def test_an_x12_partner_accepts_the_envelope_by_a_ta1_and_refuses_the_group_by_a_997(x12_partner: Partner) -> None:
    send(x12_partner)
    receive(x12_partner, x12("TA1*000000001*261123*0930*A*000~", groups=0))
    assert interchange(x12_partner)["state"] == "acknowledged"
    receive(x12_partner, functional("R", 1))
    found = interchange(x12_partner)
    assert (found["state"], [one["kind"] for one in found["acknowledgements"]]) == ("rejected", ["TA1", "997"])


def test_several_answers_in_one_file_are_each_applied(x12_partner: Partner) -> None:
    send(x12_partner, "1")
    send(x12_partner, "2")
    receive(
        x12_partner,
        x12("TA1*000000001*261123*0930*A*000~TA1*000000002*261123*0930*R*009~", groups=0),
    )
    assert [interchange(x12_partner, number)["state"] for number in (1, 2)] == ["acknowledged", "rejected"]


@pytest.mark.parametrize(
    ("action", "state"), [("7", "acknowledged"), ("8", "acknowledged"), ("4+18", "rejected"), ("4+26", "rejected")]
)
def test_any_answer_proves_that_an_interchange_in_flight_has_arrived(partner: Partner, action: str, state: str) -> None:
    late = claim(partner)
    cancel = a_request()
    deliver(cancel)
    decide_all()
    assert request(cancel)["state"] == "received"
    with patch("tasks.receipts.wake") as woken:
        receive(partner, contrl(1, action))
    assert woken.called
    assert interchange(partner)["state"] == state
    assert order()["edi"] == "sent"
    with pytest.raises(LostFence, match=r"is (acknowledged|rejected) at fence 1"):
        in_transaction(lambda connection: outcomes.confirm(connection, late))
    settle()
    assert request(cancel)["reasons"] == ["edi_already_sent"]
    audited()


def test_a_duplicate_says_of_an_interchange_what_was_said_of_it_before(partner: Partner) -> None:
    send(partner)
    receive(partner, contrl(1, "7", reference="1"), contrl(1, "4+26", reference="2"))
    assert interchange(partner)["state"] == "acknowledged"
    assert [one["verdict"] for one in interchange(partner)["acknowledgements"]] == ["acknowledged", "duplicate"]


def test_an_answer_that_comes_again_is_kept_and_changes_nothing(partner: Partner) -> None:
    send(partner)
    receive(partner, contrl(1))
    before = interchange(partner)["answered_at"]
    receive(partner, contrl(1))
    assert states() == ["matched", "repeated"]
    assert interchange(partner)["answered_at"] == before


def test_an_answer_to_a_number_that_was_not_sent_is_kept_as_unmatched(partner: Partner) -> None:
    send(partner)
    with capture_logs() as logs:
        receive(partner, contrl(7))
    assert states() == ["unmatched"]
    assert interchange(partner)["state"] == "sent"
    assert "acknowledgement of an interchange that was not sent" in [log["event"] for log in logs]


def test_an_answer_to_what_was_released_is_a_warning(partner: Partner) -> None:
    undelivered = claim(partner)
    in_transaction(lambda connection: outcomes.release(connection, undelivered, "the folder is gone"))
    receive(partner, contrl(1))
    assert states() == ["unmatched"]
    assert interchange(partner)["state"] == "released"
    assert audited()["warnings"] == [
        "NORTH answers interchange 1, which was released: ask it, its orders may have been sent twice"
    ]


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"", "is empty"),
        (b"\x00\xff" * 50, "expected UNA or UNB"),
        (contrl(1)[:-5], ""),
        (contrl(1).replace(b"WH01:14+SHOP01", b"WH09:14+SHOP01"), ""),
    ],
)
def test_what_cannot_be_read_is_kept_with_its_reason_and_holds_up_nothing(
    partner: Partner, raw: bytes, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    send(partner)
    put(partner, "a.edi", raw)
    put(partner, "b.edi", contrl(1))
    [(_, bad), (_, good)] = read_inbox(partner)
    assert bad.error is not None
    assert why in bad.error
    assert good.error is None
    assert interchange(partner)["state"] == "acknowledged"
    # It may still be being written.
    with capture_logs() as logs:
        [(_, again)] = read_inbox(partner)
    assert (again.again, again.error, again.is_whole, logs) == (True, bad.error, False, [])
    assert waiting(partner) == ["a.edi"]
    monkeypatch.setattr(acknowledgement_files, "STILL_WRITTEN", timedelta(0))
    assert [kept.is_whole for _, kept in read_inbox(partner)] == [True]
    assert waiting(partner) == []
    assert [(file["filename"], file["error"]) for file in received()] == [("a.edi", bad.error), ("b.edi", None)]
    assert [bytes(row.content) for row in rows("SELECT content FROM partner_file ORDER BY id")] == [raw, contrl(1)]


def test_a_message_of_another_kind_is_kept_and_named(partner: Partner) -> None:
    with capture_logs() as logs:
        receive(partner, DESADV)
    assert [file["error"] for file in received()] == ["holds what we do not read: DESADV"]
    [log] = logs
    assert (log["event"], log["log_level"], log["holds"]) == (
        "what the partner sent is stored and not read",
        "warning",
        ("DESADV",),
    )


def test_the_same_file_under_the_same_name_is_told_to_have_come_before_and_moved_away(partner: Partner) -> None:
    send(partner)
    put(partner, "a.edi", contrl(1))
    read_inbox(partner)
    put(partner, "a.edi", contrl(1))
    with capture_logs() as logs:
        [(_, kept)] = read_inbox(partner)
    assert (kept.again, kept.applied, waiting(partner)) == (True, (), [])
    assert [(log["log_level"], log["file"]) for log in logs] == [("info", "a.edi")]
    assert (len(received()), states()) == (1, ["matched"])


def test_a_file_that_cannot_be_had_stays_and_holds_up_no_other(
    partner: Partner, monkeypatch: pytest.MonkeyPatch
) -> None:
    send(partner)
    monkeypatch.setattr(edi.transports.directory, "MOST_BYTES", 1000)
    put(partner, "a.edi", b"x" * 1001)
    put(partner, "b.edi", contrl(1))
    with capture_logs() as logs:
        read_inbox(partner)
    assert [log["event"] for log in logs if log["log_level"] == "error"] == [
        "a file of the inbox could not be received"
    ]
    assert waiting(partner) == ["a.edi"]
    assert interchange(partner)["state"] == "acknowledged"


# These run in processes that are killed.


def _receive(point: str) -> None:
    with patch.object(DirectoryTransport, point, stop_here):
        read_inbox(the_partner(settings().home))


def receive_up_to_the_archive() -> None:
    _receive("archive")


def receive_up_to_the_reading() -> None:
    _receive("read")


@pytest.mark.parametrize(("killed", "kept"), [(receive_up_to_the_reading, 0), (receive_up_to_the_archive, 1)])
def test_a_reader_that_is_killed_leaves_the_file_to_the_next_which_applies_it_once(
    partner: Partner, killed: Callable[[], None], kept: int
) -> None:
    send(partner)
    put(partner, "a.edi", contrl(1))
    kill_at_the_point(killed)
    assert len(received()) == kept
    assert waiting(partner) == ["a.edi"]
    read_inbox(partner)
    assert (waiting(partner), states(), len(received())) == ([], ["matched"], 1)
    assert interchange(partner)["state"] == "acknowledged"


def test_a_late_acknowledgement_is_reported_once_by_the_log_and_by_every_audit_until_it_comes(
    partner: Partner, monkeypatch: pytest.MonkeyPatch
) -> None:
    send(partner)
    monkeypatch.setattr("tasks.receipts.partners", lambda: [partner])

    def notified() -> list[int]:
        with capture_logs() as logs:
            read_inboxes()
        return [log["control_number"] for log in logs if log["event"] == "not acknowledged in time"]

    assert notified() == []
    assert "warnings" not in audited()
    rows("UPDATE interchange SET sent_at = sent_at - interval '3 hours' RETURNING id")
    assert [notified(), notified()] == [[1], []]
    [warning] = audited()["warnings"]
    assert warning.startswith("interchange 1 of NORTH was sent at ")
    assert warning.endswith(" and is not acknowledged")
    put(partner, "a.edi", contrl(1))
    assert notified() == []
    assert "warnings" not in audited()


# In turn


def others(partner: Partner, *names: str) -> list[Partner]:
    """Partners of these names, each with an empty inbox of its own."""
    assert isinstance(partner.transport, DirectoryTransport)
    home = partner.transport.folder.parent
    made = []
    for name in names:
        (home / name).mkdir()
        made.append(replace(partner, name=name, transport=DirectoryTransport(home / "out", home / name)))
    return made


@pytest.fixture
def listed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the inboxes' folders, in the sequence in which they were listed."""
    seen: list[str] = []
    list_inbox = DirectoryTransport.list_inbox

    def list_and_note(transport: DirectoryTransport) -> list[str]:
        assert transport.inbox is not None
        seen.append(transport.inbox.name)
        return list_inbox(transport)

    monkeypatch.setattr(DirectoryTransport, "list_inbox", list_and_note)
    return seen


def away(partner: Partner) -> None:
    assert isinstance(partner.transport, DirectoryTransport)
    assert partner.transport.inbox is not None
    partner.transport.inbox.rmdir()


def let_the_rests_be_over() -> None:
    rows("UPDATE partner SET inbox_not_before = now() RETURNING name")


@pytest.mark.parametrize("fault", [NotReceived("the line is dead"), RuntimeError("a mistake of ours")])
def test_whatever_is_wrong_with_one_inbox_the_others_are_read(
    partner: Partner, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    send(partner)
    put(partner, "a.edi", contrl(1))
    [broken] = others(partner, "BROKEN")
    monkeypatch.setattr("tasks.receipts.partners", lambda: [broken, partner])
    list_inbox = DirectoryTransport.list_inbox

    def list_or_fail(transport: DirectoryTransport) -> list[str]:
        if transport == broken.transport:
            raise fault
        return list_inbox(transport)

    monkeypatch.setattr(DirectoryTransport, "list_inbox", list_or_fail)
    with capture_logs() as logs:
        read_inboxes()
    assert [log["partner"] for log in logs if log["log_level"] == "error"] == ["BROKEN"]
    assert interchange(partner)["state"] == "acknowledged"
    failures = rows("SELECT name, inbox_failures, inbox_not_before > now() FROM partner ORDER BY name")
    assert failures == [("BROKEN", 1, True), ("NORTH", 0, None)]


def test_late_acknowledgements_are_reported_also_while_no_inbox_can_be_read(
    partner: Partner, monkeypatch: pytest.MonkeyPatch
) -> None:
    send(partner)
    rows("UPDATE interchange SET sent_at = sent_at - interval '3 hours' RETURNING id")
    monkeypatch.setattr("tasks.receipts.partners", lambda: [partner])
    away(partner)
    with capture_logs() as logs:
        read_inboxes()
    assert [log["event"] for log in logs] == ["not acknowledged in time", "an inbox could not be read"]


def test_an_inbox_that_fails_rests_twice_as_long_each_time_and_is_well_once_it_is_read(
    partner: Partner, monkeypatch: pytest.MonkeyPatch, listed: list[str]
) -> None:
    monkeypatch.setattr("tasks.receipts.partners", lambda: [partner])
    away(partner)
    for failures, seconds in ((1, 2), (2, 4), (3, 8)):
        read_inboxes()
        read_inboxes()
        assert len(listed) == failures
        [(counted, rest)] = rows("SELECT inbox_failures, inbox_not_before - now() AS rest FROM partner")
        assert counted == failures
        assert timedelta(seconds=seconds - 1) < rest <= timedelta(seconds=seconds)
        let_the_rests_be_over()
    [warning] = audited()["warnings"]
    assert warning.startswith("the inbox of NORTH could not be read 3 times in a row: ")
    assert isinstance(partner.transport, DirectoryTransport)
    (partner.transport.folder.parent / "in").mkdir()
    read_inboxes()
    assert rows("SELECT inbox_failures, inbox_not_before, inbox_error FROM partner") == [(0, None, None)]
    assert "warnings" not in audited()


def test_the_inbox_that_has_waited_longest_is_read_first(
    partner: Partner, monkeypatch: pytest.MonkeyPatch, listed: list[str]
) -> None:
    three = others(partner, "A", "B", "C")
    monkeypatch.setattr("tasks.receipts.partners", lambda: three)
    with monkeypatch.context() as short:
        # The time is over after the first: the beginning, the first turn, its slice, the end.
        clock = iter([0.0, 0.0, 0.0, ROUND_SECONDS])
        short.setattr("tasks.receipts.time", SimpleNamespace(monotonic=clock.__next__))
        read_inboxes()
    assert listed == ["A"]
    read_inboxes()
    assert listed == ["A", "B", "C", "A"]


def test_while_one_inbox_is_read_nobody_begins_with_another_until_the_reader_is_believed_dead(
    partner: Partner, monkeypatch: pytest.MonkeyPatch, listed: list[str]
) -> None:
    both = others(partner, "A", "B")
    monkeypatch.setattr("tasks.receipts.partners", lambda: both)
    since = in_transaction(lambda connection: partner_state.begin_inbox_round(connection, both))
    dead = in_transaction(lambda connection: partner_state.take_inbox_turn(connection, ["A", "B"], since))
    assert dead is not None
    assert dead.partner == "A"
    read_inboxes()
    assert listed == []
    rows("UPDATE partner SET inbox_lease_until = now() WHERE name = 'A' RETURNING name")
    read_inboxes()
    assert listed == ["B", "A"]
    # Should it live, it ends nobody else's turn.
    in_transaction(lambda connection: partner_state.end_inbox_turn(connection, dead, "came too late"))
    assert rows("SELECT sum(inbox_failures) AS n FROM partner") == [(0,)]


def test_a_line_that_hangs_at_a_file_lets_the_inbox_rest(partner: Partner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.receipts.partners", lambda: [partner])
    monkeypatch.setattr(edi.transports.directory, "MOST_BYTES", 1000)
    put(partner, "a.edi", b"x" * 1001)
    read_inboxes()
    assert rows("SELECT inbox_failures FROM partner") == [(0,)]
    # The time is over before the file that cannot be had.
    read = DirectoryTransport.read

    def read_slowly(transport: DirectoryTransport, name: str) -> bytes:
        monkeypatch.setattr("tasks.receipts.time", SimpleNamespace(monotonic=lambda: math.inf))
        return read(transport, name)

    monkeypatch.setattr(DirectoryTransport, "read", read_slowly)
    read_inboxes()
    assert rows("SELECT inbox_failures FROM partner") == [(1,)]


def test_a_partner_without_an_inbox_has_no_turn(partner: Partner, monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(partner.transport, DirectoryTransport)
    without = replace(partner, transport=DirectoryTransport(partner.transport.folder))
    monkeypatch.setattr("tasks.receipts.partners", lambda: [without])
    read_inboxes()
    assert rows("SELECT inbox_read_at FROM partner") == []


def test_a_duplicate_of_the_only_copy_is_another_interchange_and_a_rejection_of_ours(partner: Partner) -> None:
    send(partner)
    receive(partner, contrl(1, "4+26"))
    assert interchange(partner)["state"] == "rejected"
    assert "interchange 1 of NORTH was rejected" in audited()["warnings"][0]


def test_a_rejection_under_the_reference_of_an_earlier_receipt_is_news(partner: Partner) -> None:
    send(partner)
    receive(partner, contrl(1, "8"))
    receive(partner, contrl(1, "4+18"))
    assert (interchange(partner)["state"], states()) == ("rejected", ["matched", "matched"])


def test_a_receipt_and_a_rejection_in_one_interchange_of_theirs_are_two_answers(partner: Partner) -> None:
    send(partner)
    rejection = b"UNH+2+CONTRL:D:3:UN'UCI+1+SHOP01:14+WH01:14+4+18'UNT+3+2'UNZ+2+77'"
    receive(partner, contrl(1, "8").replace(b"UNZ+1+77'", rejection))
    assert interchange(partner)["state"] == "rejected"


def test_a_test_of_theirs_says_nothing_of_what_was_no_test(partner: Partner) -> None:
    send(partner)
    receive(partner, contrl(1).replace(b"+77'UNH", b"+77++++++1'UNH"))
    assert (interchange(partner)["state"], states()) == ("sent", ["unmatched"])


def test_a_file_that_is_half_there_is_read_again_when_it_is_whole(partner: Partner) -> None:
    send(partner)
    whole = contrl(1)
    put(partner, "a.edi", whole[:60])
    read_inbox(partner)
    assert waiting(partner) == ["a.edi"]
    put(partner, "a.edi", whole)
    read_inbox(partner)
    assert interchange(partner)["state"] == "acknowledged"
    assert waiting(partner) == []
    assert [file["error"] is None for file in received()] == [False, True]


def test_a_file_that_is_replaced_while_it_is_read_is_read_too(partner: Partner) -> None:
    send(partner)
    put(partner, "a.edi", contrl(7))
    keep = acknowledgement_files.store

    def keep_and_replace(*arguments: Any) -> Any:
        kept = keep(*arguments)
        put(partner, "a.edi", contrl(1))
        return kept

    with patch.object(acknowledgement_files, "store", keep_and_replace):
        read_inbox(partner)
    read_inbox(partner)
    assert states() == ["unmatched", "matched"]
    assert waiting(partner) == []


def test_the_newest_rejections_are_those_that_are_reported(partner: Partner) -> None:
    for number in range(1, 8):
        send(partner, str(number))
        receive(partner, contrl(number, "4+18", reference=str(number)))
    warnings = audited()["warnings"]
    assert warnings[0].startswith("interchange 7 of NORTH was rejected")
    assert warnings[-1] == "… and 2 more like the last"
