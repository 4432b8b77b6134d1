"""What a fresh reading of the export and its answers found: each was a way to lose an order or to send one twice."""

import errno
import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import pytest
from sqlalchemy import Connection, text
from structlog.testing import capture_logs

from database.transactions import engine, in_transaction
from edi import acknowledgement_files, interchanges, operator_actions
from edi.interchanges import Claim
from edi.operator_actions import NotPossible
from edi.partners import Partner
from edi.transports.directory import DirectoryTransport
from edi.transports.transport import NotReady
from orders.audit import audit
from tasks.export import export, iterate_export, release, resend
from tasks.receipts import read_inbox
from tests.builders import an_order, load, order, rows
from tests.integration.test_receipts import (
    PATIENCE,
    audited,
    claim,
    contrl,
    interchange,
    partner,
    put,
    receive,
    received,
    send,
    states,
    waiting,
)

__all__ = ["partner"]

pytestmark = pytest.mark.usefixtures("system")


def let_the_lease_run_out() -> None:
    rows("UPDATE interchange SET lease_until = now() - interval '1 second' RETURNING id")


def folder_of(partner: Partner) -> DirectoryTransport:
    assert isinstance(partner.transport, DirectoryTransport)
    return partner.transport


# Answers


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


# Files that are still being written


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


# Delivery and release


def test_a_link_whose_answer_is_lost_may_have_arrived_and_releases_nothing(partner: Partner) -> None:
    load(an_order())
    link = os.link

    def link_and_collect(source: str, target: str, **options: Any) -> None:
        link(source, target, **options)
        os.unlink(target)
        raise OSError(errno.EIO, "Input/output error")

    with patch.object(os, "link", link_and_collect):
        step = next(iterate_export(partner))
    assert (step.state, order()["edi"]) == ("claimed", "claimed")


def test_what_still_lies_where_the_partner_collects_it_is_not_released(partner: Partner) -> None:
    on_its_way = claim(partner)
    let_the_lease_run_out()
    partner.transport.put(on_its_way.filename, on_its_way.content)
    with pytest.raises(NotPossible, match="is still where NORTH collects it"):
        release(partner, 1, asked_the_partner=True)
    (folder_of(partner).folder / on_its_way.filename).unlink()
    assert release(partner, 1, asked_the_partner=True) == 1


def released_meanwhile(partner: Partner) -> Callable[..., None]:
    """A transport that stalls until an operator has released what it then delivers."""
    deliver = DirectoryTransport.put

    def put_late(transport: DirectoryTransport, filename: str, content: bytes) -> None:
        let_the_lease_run_out()
        in_transaction(lambda connection: operator_actions.release(connection, partner, 1, asked_the_partner=True))
        deliver(transport, filename, content)

    return put_late


def test_a_delivery_after_the_release_is_an_error_in_the_log_and_a_warning_of_the_audit(partner: Partner) -> None:
    load(an_order())
    with patch.object(DirectoryTransport, "put", released_meanwhile(partner)), capture_logs() as logs:
        next(iterate_export(partner))
    assert [log["event"] for log in logs if log["log_level"] == "error"] == [
        "interchange delivered after its release: ask the partner, its orders may be sent twice"
    ]
    [warning] = audited()["warnings"]
    assert warning.startswith("interchange 1 of NORTH was delivered after its release")


def test_an_operator_whose_copy_is_overtaken_by_a_release_is_told_so(partner: Partner) -> None:
    claim(partner)
    let_the_lease_run_out()
    with (
        patch.object(DirectoryTransport, "put", released_meanwhile(partner)),
        pytest.raises(NotPossible, match="was released while it was being sent, and was delivered"),
    ):
        resend(partner, 1)
    assert len(audited()["warnings"]) == 1


def test_an_answer_that_comes_before_our_own_confirmation_is_no_failure(partner: Partner) -> None:
    load(an_order())
    deliver = DirectoryTransport.put

    def put_and_be_answered(transport: DirectoryTransport, filename: str, content: bytes) -> None:
        deliver(transport, filename, content)
        put(partner, "a.edi", contrl(1))
        read_inbox(partner)

    with patch.object(DirectoryTransport, "put", put_and_be_answered):
        step = next(iterate_export(partner))
    assert (step.state, step.error) == ("acknowledged", None)


# Partners apart


def test_a_partner_whose_export_fails_holds_up_no_other(partner: Partner, monkeypatch: pytest.MonkeyPatch) -> None:
    load(an_order("1", warehouse="B"))
    failing, well = (replace(partner, name=name, warehouses=frozenset(name)) for name in "AB")
    monkeypatch.setattr("tasks.export.partners", lambda: [failing, well])
    claim_for = interchanges.claim

    def claim_or_fail(connection: Connection, partner: Partner, **options: Any) -> Claim:
        if partner.name == "A":
            raise RuntimeError("canceling statement due to statement timeout")
        return claim_for(connection, partner, **options)

    monkeypatch.setattr(interchanges, "claim", claim_or_fail)
    with capture_logs() as logs:
        export()
    assert order("1")["edi"] == "sent"
    assert [log["partner"] for log in logs if log["log_level"] == "error"] == ["A"]


def test_the_newest_rejections_are_those_that_are_told(partner: Partner) -> None:
    for number in range(1, 8):
        send(partner, str(number))
        receive(partner, contrl(number, "4+18", reference=str(number)))
    warnings = audited()["warnings"]
    assert warnings[0].startswith("interchange 7 of NORTH was rejected")
    assert warnings[-1] == "… and 2 more like the last"


def test_an_interchange_of_a_partner_who_is_not_in_the_file_any_more_is_a_warning_that_says_why(
    partner: Partner,
) -> None:
    claim(partner)
    with engine().begin() as connection:
        connection.execute(text("ALTER TABLE interchange DISABLE TRIGGER USER"))
        connection.execute(text("UPDATE interchange SET claimed_at = claimed_at - interval '10 minutes'"))
        connection.execute(text("ALTER TABLE interchange ENABLE TRIGGER USER"))
    found = in_transaction(lambda connection: audit(connection, patience=PATIENCE, configured=["SOUTH"]))
    assert "no partner of this name is configured" in found["warnings"][0]


def test_a_file_system_without_hard_links_is_told_by_the_check_which_leaves_nothing(partner: Partner) -> None:
    transport = folder_of(partner)
    transport.check()
    with (
        patch.object(os, "link", side_effect=OSError(errno.EPERM, "Operation not permitted")),
        pytest.raises(NotReady, match="hard link"),
    ):
        transport.check()
    assert list(transport.folder.parent.glob(".*")) == []
