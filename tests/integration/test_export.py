"""From due orders to interchanges in a partner's folder, and through everything that can go wrong on the way."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from pydifact.parser import Parser
from typer.testing import CliRunner

import edi.drafts
from cli.main import cli
from database.transactions import in_transaction
from delivery.leases import LostFence
from edi import interchanges, outcomes
from edi.documents.edifact import Message, render_order
from edi.documents.order import CannotRender, OrderDocument
from edi.interchanges import InFlight
from edi.partners import Partner
from edi.transports.directory import DirectoryTransport
from edi.transports.transport import NotDelivered
from orders.audit import audit
from orders.views import as_utc
from tasks.export import Exported, iterate_export
from tasks.partners import partners
from tests.builders import (
    a_request,
    an_address,
    an_order,
    deliver,
    load,
    order,
    request,
    rows,
    settle,
)
from tests.commands import Countermand
from tests.race.kills import kill_at_the_point, stop_here

pytestmark = [
    pytest.mark.usefixtures("system"),
    # pydifact's parser looks for a directory of segments that it does not ship.
    pytest.mark.filterwarnings("ignore:segments.xml not found"),
]

PATIENCE = timedelta(minutes=15)
FIRST = "WAREHOUSE-000000001.edi"


@pytest.fixture
def partner(system: object) -> Partner:
    """The partner of this test's home."""
    [default] = partners()
    return default


def folder_of(partner: Partner) -> Path:
    assert isinstance(partner.transport, DirectoryTransport)
    return partner.transport.folder


def export(partner: Partner) -> list[Exported]:
    return list(iterate_export(partner))


def claim(partner: Partner) -> InFlight:
    """Does the first third of an export; the process may die after it."""
    claimed = in_transaction(lambda connection: interchanges.claim(connection, partner, patience=PATIENCE)).interchange
    assert claimed is not None
    return claimed


def confirm(sent: InFlight) -> None:
    in_transaction(lambda connection: outcomes.confirm(connection, sent))


def let_the_lease_run_out() -> None:
    rows("UPDATE interchange SET lease_until = now() - interval '1 second' WHERE state = 'claimed' RETURNING id")


def files(partner: Partner) -> dict[str, bytes]:
    """Everything in the partner's folder, also what a crash would leave there."""
    return (
        {file.name: file.read_bytes() for file in folder_of(partner).glob("*")} if folder_of(partner).is_dir() else {}
    )


def stored() -> list[tuple[int, str, str, bytes]]:
    found = rows("SELECT control_number, state, filename, content FROM interchange ORDER BY control_number")
    return [tuple(row) for row in found]


def numbers_in(content: bytes) -> list[str]:
    """The orders that an interchange says it holds, read by somebody else's parser."""
    segments = list(Parser().parse(content.decode("latin-1")))
    numbers = [str(segment.elements[1]) for segment in segments if segment.tag == "BGM"]
    [trailer] = [segment.elements for segment in segments if segment.tag == "UNZ"]
    assert trailer[0] == str(len(numbers))
    return numbers


def assert_that_every_promise_is_kept() -> None:
    found = in_transaction(lambda connection: audit(connection, patience=PATIENCE))
    assert [check for check in found["checks"] if check["violations"]] == []


def test_what_is_sent_is_what_was_stored_and_names_the_orders(partner: Partner) -> None:
    load(an_order("1"), an_order("2"))
    sent, nothing_more = export(partner)
    assert (sent.state, sent.error, nothing_more) == ("sent", None, Exported(nothing_more.claim))
    [(number, state, filename, content)] = stored()
    assert (number, state, filename) == (1, "sent", FIRST)
    assert files(partner) == {FIRST: content}
    assert numbers_in(content) == ["1", "2"]
    for one in (order("1"), order("2")):
        assert one["edi"] == "sent"
        assert (one["interchange"]["control_number"], one["interchange"]["filename"]) == (1, FIRST)
        assert one["interchange"]["sent_at"] is not None
        assert [(e["action"], e["actor"]) for e in one["changelog"][1:]] == [
            ("edi_claimed", "edi:WAREHOUSE"),
            ("edi_sent", "edi:WAREHOUSE"),
        ]
    assert_that_every_promise_is_kept()


def test_what_is_sent_is_not_sent_again(partner: Partner) -> None:
    load(an_order("1"))
    export(partner)
    assert [step.state for step in export(partner)] == [None]
    load(an_order("2"))
    export(partner)
    assert [(number, numbers_in(content)) for number, _, _, content in stored()] == [(1, ["1"]), (2, ["2"])]
    assert_that_every_promise_is_kept()


def test_more_orders_than_an_interchange_holds_go_in_several(partner: Partner) -> None:
    load(*(an_order(str(number)) for number in range(partner.orders_per_interchange + 1)))
    assert [step.claim.interchange and step.claim.interchange.orders for step in export(partner)] == [500, 1, None]
    assert sum(len(numbers_in(content)) for content in files(partner).values()) == 501
    assert_that_every_promise_is_kept()


def test_an_order_on_hold_is_exported_once_its_time_has_come(partner: Partner) -> None:
    load(an_order(hold_until="2099-01-01T00:00:00Z"))
    export(partner)
    assert (order()["edi"], files(partner)) == ("not_sent", {})
    rows("UPDATE orders SET hold_until = now() - interval '1 second' RETURNING id")
    export(partner)
    assert order()["edi"] == "sent"


def test_a_pre_order_is_never_exported_before_it_is_validated(partner: Partner) -> None:
    load(an_order(status="pre_order"))
    export(partner)
    assert (order()["edi"], stored()) == ("not_sent", [])
    load(an_order())
    export(partner)
    assert order()["edi"] == "sent"


def test_a_closed_order_is_never_exported(partner: Partner) -> None:
    load(an_order())
    deliver(a_request())
    settle()
    export(partner)
    assert (order()["status"], order()["edi"], stored()) == ("cancelled", "not_sent", [])


def test_an_order_with_an_undecided_request_is_held_back_for_the_patience_and_no_longer(partner: Partner) -> None:
    load(an_order("asked"), an_order("other"))
    event = a_request("asked")
    deliver(event)
    export(partner)
    assert (order("asked")["edi"], order("other")["edi"]) == ("not_sent", "sent")
    rows("UPDATE change_request SET undecided_since = now() - interval '15 minutes' RETURNING id")
    export(partner)
    assert order("asked")["edi"] == "sent"
    settle()
    assert request(event)["reasons"] == ["edi_already_sent"]
    assert_that_every_promise_is_kept()


@pytest.mark.parametrize(
    ("broken", "explanation"),
    [
        ({"shipping": an_address(name="N" * 250)}, "shipping name does not fit, D.96A allows 5 times 35 characters"),
        (
            {"lines": [{"sku": "赤-1", "description": "Red mug", "quantity": 1, "unit_price": "1"}]},
            "line 1 sku '赤-1'",
        ),
    ],
    ids=["long name", "sku"],
)
def test_an_order_that_cannot_be_rendered_is_held_back_alone_and_says_why(
    partner: Partner, broken: dict[str, Any], explanation: str
) -> None:
    load(an_order("good"), an_order("bad", **broken), an_order("fine"))
    held, nothing_more = export(partner)
    assert (held.claim.held_back, nothing_more.claim.held_back) == (1, 0)
    assert numbers_in(files(partner)[FIRST]) == ["good", "fine"]
    assert order("bad")["edi"] == "not_sent"
    assert order("bad")["export_error"].startswith(f"order bad: {explanation}")
    assert "export_error" not in order("good")
    shown = CliRunner().invoke(cli, ["orders", "show", "bad"]).output
    assert "held back from export: order bad: " in shown
    assert_that_every_promise_is_kept()


def test_an_order_alone_that_cannot_be_rendered_uses_up_no_number(partner: Partner) -> None:
    load(an_order(shipping=an_address(name="N" * 250)))
    assert [(step.claim.held_back, step.claim.interchange) for step in export(partner)] == [(1, None), (0, None)]
    assert stored() == []
    assert_that_every_promise_is_kept()


def test_an_order_that_a_change_of_address_has_mended_is_exported(partner: Partner) -> None:
    load(an_order(shipping=an_address(name="N" * 250)))
    export(partner)
    deliver(a_request(kind="change_address", addresses={"shipping": an_address(name="Jane Doe", city="Bonn")}))
    settle()
    assert "export_error" not in order()
    export(partner)
    assert order()["edi"] == "sent"
    assert b"Bonn" in files(partner)[FIRST]
    assert_that_every_promise_is_kept()


def test_a_claim_whose_sender_is_gone_is_left_alone_while_its_lease_lives(partner: Partner) -> None:
    load(an_order("1"))
    claim(partner)
    load(an_order("2"))
    [waits] = export(partner)
    assert (waits.claim.interchange, waits.error) == (None, "interchange 1 is on its way")
    assert (order("1")["edi"], order("2")["edi"], files(partner)) == ("claimed", "not_sent", {})


def test_once_the_lease_has_run_out_the_same_bytes_are_sent_under_the_same_name_and_number(partner: Partner) -> None:
    load(an_order("1"))
    first = claim(partner)
    load(an_order("2"))
    let_the_lease_run_out()
    again, next_one, _ = export(partner)
    taken, new = again.claim.interchange, next_one.claim.interchange
    assert taken is not None
    assert new is not None
    assert (taken.control_number, taken.filename, taken.content) == (1, first.filename, first.content)
    assert (first.fence, taken.fence) == (1, 2)
    assert files(partner) == {first.filename: first.content, new.filename: new.content}
    assert [(number, state) for number, state, _, _ in stored()] == [(1, "sent"), (2, "sent")]
    assert_that_every_promise_is_kept()


def test_a_sender_that_comes_back_late_has_lost_the_fence_and_changes_nothing(partner: Partner) -> None:
    load(an_order())
    late = claim(partner)
    let_the_lease_run_out()
    second = claim(partner)
    for is_settled in (False, True):
        before = order(), stored(), rows("SELECT * FROM partner")
        with pytest.raises(LostFence, match=r"at fence 2; expected claimed at fence 1"):
            confirm(late)
        with pytest.raises(LostFence):
            in_transaction(lambda connection: outcomes.release(connection, late, "not delivered"))
        in_transaction(lambda connection: outcomes.note_error(connection, late, "not delivered"))
        assert (order(), stored(), rows("SELECT * FROM partner")) == before
        assert rows("SELECT error FROM interchange") == [(None,)]
        if not is_settled:
            confirm(second)
    assert [entry["action"] for entry in order()["changelog"]] == ["loaded", "edi_claimed", "edi_sent"]
    assert_that_every_promise_is_kept()


def test_a_file_that_was_put_in_place_before_a_crash_is_found_and_confirmed(partner: Partner) -> None:
    load(an_order())
    first = claim(partner)
    partner.transport.put(first.filename, first.content)
    inode = (folder_of(partner) / first.filename).stat().st_ino
    let_the_lease_run_out()
    assert export(partner)[0].state == "sent"
    assert files(partner) == {first.filename: first.content}
    assert (folder_of(partner) / first.filename).stat().st_ino == inode
    assert order()["edi"] == "sent"


def stand_in_the_way_of(folder: Path) -> None:
    """The tests may run as root, whom no permission stops: a file takes the folder's place."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.write_text("in the way")


def test_a_first_attempt_that_delivered_nothing_gives_the_orders_free_and_rests(partner: Partner) -> None:
    load(an_order())
    stand_in_the_way_of(folder_of(partner))
    released, waiting = export(partner)
    assert released.state == "released"
    assert released.error is not None
    assert released.error.startswith(f"the folder {folder_of(partner)} cannot be made")
    assert waiting.claim.interchange is None
    assert (waiting.error or "").startswith("it backs off after 1 failed delivery: the folder")
    assert (order()["edi"], order()["interchange"]) == ("not_sent", None)
    [entry] = [entry for entry in order()["changelog"] if entry["action"] == "edi_released"]
    assert (entry["actor"], entry["after"]["control_number"]) == ("edi:WAREHOUSE", 1)
    assert [(number, state) for number, state, _, _ in stored()] == [(1, "released")]
    assert_that_every_promise_is_kept()


def test_released_orders_go_again_after_the_rest_under_a_new_number(partner: Partner) -> None:
    load(an_order())
    stand_in_the_way_of(folder_of(partner))
    export(partner)
    folder_of(partner).unlink()
    assert [step.state for step in export(partner)] == [None]
    rows("UPDATE partner SET not_before = now() RETURNING name")
    assert export(partner)[0].state == "sent"
    assert [(number, state) for number, state, _, _ in stored()] == [(1, "released"), (2, "sent")]
    assert list(files(partner)) == ["WAREHOUSE-000000002.edi"]
    assert rows("SELECT failures, not_before, error FROM partner") == [(0, None, None)]
    assert_that_every_promise_is_kept()


def let_the_rest_be_over() -> None:
    rows("UPDATE partner SET not_before = now() RETURNING name")


def test_each_failure_in_a_row_makes_the_partner_rest_twice_as_long_and_claims_nothing_more(partner: Partner) -> None:
    load(an_order())
    stand_in_the_way_of(folder_of(partner))
    export(partner)
    written = rows("SELECT count(*) AS n FROM changelog")
    for failures, seconds in ((1, 2), (2, 4), (3, 8), (4, 16)):
        [(counted, rest)] = rows("SELECT failures, not_before - now() AS rest FROM partner")
        assert counted == failures
        assert timedelta(seconds=seconds - 1) < rest <= timedelta(seconds=seconds)
        let_the_rest_be_over()
        [waiting] = export(partner)
        assert (waiting.error or "").startswith(f"it backs off after {failures + 1} failed deliveries: ")
    assert [(number, state) for number, state, _, _ in stored()] == [(1, "released")]
    assert rows("SELECT count(*) AS n FROM changelog") == written
    assert (order()["edi"], order()["version"]) == ("not_sent", 3)
    assert_that_every_promise_is_kept()


def test_a_partner_that_can_be_reached_again_gets_the_number_after_the_one_that_failed(partner: Partner) -> None:
    load(an_order())
    stand_in_the_way_of(folder_of(partner))
    for _ in range(5):
        export(partner)
        let_the_rest_be_over()
    folder_of(partner).unlink()
    assert export(partner)[0].state == "sent"
    assert [(number, state) for number, state, _, _ in stored()] == [(1, "released"), (2, "sent")]
    assert rows("SELECT failures, failing_since, not_before, error FROM partner") == [(0, None, None, None)]


def test_a_way_that_works_and_delivers_nothing_counts_as_a_failure_all_the_same(partner: Partner) -> None:
    load(an_order())
    with patch.object(DirectoryTransport, "put", side_effect=NotDelivered("the disk is full")):
        for failures in (1, 2, 3):
            assert export(partner)[0].state == "released"
            assert rows("SELECT failures FROM partner") == [(failures,)]
            let_the_rest_be_over()


def test_a_partner_that_failed_and_for_whom_nothing_is_due_is_well_again_once_it_is_found_to_be(
    partner: Partner,
) -> None:
    load(an_order())
    stand_in_the_way_of(folder_of(partner))
    export(partner)
    deliver(a_request())
    settle()
    assert order()["status"] == "cancelled"
    # It backs off, but nothing waits for it.
    assert [(step.claim.interchange, step.error) for step in export(partner)] == [(None, None)]
    let_the_rest_be_over()
    export(partner)
    assert rows("SELECT failures FROM partner") == [(2,)]
    folder_of(partner).unlink()
    let_the_rest_be_over()
    export(partner)
    assert rows("SELECT failures, not_before, error FROM partner") == [(0, None, None)]


def test_while_one_exporter_tries_the_way_another_neither_tries_nor_claims(partner: Partner) -> None:
    load(an_order())
    stand_in_the_way_of(folder_of(partner))
    export(partner)
    folder_of(partner).unlink()
    let_the_rest_be_over()
    check, meanwhile = DirectoryTransport.check_outbox, []

    def check_beside_another(transport: DirectoryTransport) -> None:
        with patch.object(DirectoryTransport, "check_outbox", side_effect=AssertionError("tried twice")):
            meanwhile.extend(export(partner))
        check(transport)

    with patch.object(DirectoryTransport, "check_outbox", check_beside_another):
        assert export(partner)[0].state == "sent"
    assert [step.claim.interchange for step in meanwhile] == [None]
    assert [(number, state) for number, state, _, _ in stored()] == [(1, "released"), (2, "sent")]


def test_an_inbox_that_is_away_keeps_no_orders_back(partner: Partner) -> None:
    away = replace(partner, transport=DirectoryTransport(folder_of(partner), folder_of(partner).parent / "nowhere"))
    load(an_order())
    stand_in_the_way_of(folder_of(partner))
    export(away)
    folder_of(partner).unlink()
    let_the_rest_be_over()
    assert export(away)[0].state == "sent"


def test_the_audit_warns_of_a_partner_that_nothing_reaches_once_it_has_failed_three_times(partner: Partner) -> None:
    load(an_order())
    stand_in_the_way_of(folder_of(partner))
    reported = []
    for _ in range(3):
        export(partner)
        let_the_rest_be_over()
        reported.append(in_transaction(lambda c: audit(c, patience=PATIENCE)).get("warnings", []))
    [(since,)] = rows("SELECT to_char(failing_since, 'YYYY-MM-DD HH24:MI') FROM partner")
    error = f"{folder_of(partner)} is no directory; expected a directory"
    assert reported == [[], [], [f"nothing reaches WAREHOUSE since {since}: {error}"]]
    gone = in_transaction(lambda c: audit(c, patience=PATIENCE, configured=["ANOTHER"]))
    assert "warnings" not in gone
    folder_of(partner).unlink()
    assert export(partner)[0].state == "sent"
    assert "warnings" not in in_transaction(lambda c: audit(c, patience=PATIENCE))


def test_a_second_attempt_that_delivered_nothing_does_not_give_the_orders_free(partner: Partner) -> None:
    load(an_order())
    first = claim(partner)
    let_the_lease_run_out()
    stand_in_the_way_of(folder_of(partner))
    unsure, waits = export(partner)
    assert unsure.state == "claimed"
    [(until,)] = rows("SELECT date_trunc('second', lease_until) + interval '1 second' FROM interchange")
    again = f"it is tried again after {as_utc(until)}"
    assert (waits.claim.interchange, waits.error) == (None, f"interchange 1 is on its way ({unsure.error}); {again}")
    assert order()["edi"] == "claimed"
    assert rows("SELECT error FROM interchange") == [(unsure.error,)]
    folder_of(partner).unlink()
    let_the_lease_run_out()
    assert export(partner)[0].state == "sent"
    assert files(partner) == {first.filename: first.content}
    assert rows("SELECT error, fence FROM interchange") == [(None, 3)]
    assert_that_every_promise_is_kept()


def test_other_content_under_the_name_is_left_as_it_is_and_the_interchange_stays_claimed(partner: Partner) -> None:
    load(an_order())
    folder_of(partner).mkdir(parents=True)
    (folder_of(partner) / FIRST).write_bytes(b"somebody else's")
    conflict, _ = export(partner)
    assert conflict.state == "claimed"
    assert conflict.error is not None
    assert "exists with other content" in conflict.error
    assert rows("SELECT error FROM interchange") == [(conflict.error,)]
    assert order()["edi"] == "claimed"
    assert files(partner) == {FIRST: b"somebody else's"}
    (folder_of(partner) / FIRST).unlink()
    let_the_lease_run_out()
    assert export(partner)[0].state == "sent"
    assert_that_every_promise_is_kept()


def test_a_request_for_an_order_in_flight_waits_and_is_refused_once_it_is_sent(partner: Partner) -> None:
    load(an_order())
    sent = claim(partner)
    event = a_request()
    deliver(event)
    settle()
    assert request(event)["state"] == "received"
    confirm(sent)
    settle()
    assert (request(event)["outcome"], request(event)["reasons"]) == ("refused", ["edi_already_sent"])
    assert_that_every_promise_is_kept()


def test_a_request_for_an_order_in_flight_waits_and_is_applied_once_it_is_released(partner: Partner) -> None:
    load(an_order())
    undelivered = claim(partner)
    event = a_request()
    deliver(event)
    settle()
    in_transaction(lambda connection: outcomes.release(connection, undelivered, "not delivered"))
    settle()
    assert (request(event)["outcome"], order()["status"]) == ("applied", "cancelled")
    rows("UPDATE partner SET not_before = now() RETURNING name")
    assert export(partner)[0].claim.interchange is None
    assert_that_every_promise_is_kept()


def export_up_to_the_sending() -> None:
    """Runs in the process that is killed."""
    with patch.object(DirectoryTransport, "put", stop_here):
        for partner in partners():
            export(partner)


def test_after_a_sender_was_killed_before_it_sent_there_is_exactly_one_file_with_the_stored_bytes(
    partner: Partner,
) -> None:
    load(an_order())
    kill_at_the_point(export_up_to_the_sending)
    [(number, state, filename, content)] = stored()
    assert (number, state, order()["edi"], files(partner)) == (1, "claimed", "claimed", {})
    assert [step.state for step in export(partner)] == [None]
    let_the_lease_run_out()
    assert export(partner)[0].state == "sent"
    assert files(partner) == {filename: content}
    assert stored() == [(1, "sent", filename, content)]
    assert_that_every_promise_is_kept()


def an_order_of(number: str, lines: int) -> dict[str, Any]:
    line = {"sku": "RED-1", "description": "Red mug", "quantity": 1, "unit_price": "4.50"}
    return an_order(number, lines=[line] * lines)


def test_an_interchange_takes_so_many_lines_and_an_order_with_more_of_them_goes_alone() -> None:
    load(*(an_order_of(f"{place}", lines) for place, lines in enumerate([2, 2, 5, 1, 2])))
    partner = replace(partners()[0], lines_per_interchange=3)
    sent = [step.claim.interchange for step in iterate_export(partner) if step.claim.interchange]
    assert [interchange.orders for interchange in sent] == [1, 1, 1, 2]
    assert rows("SELECT count(*) FROM orders WHERE edi_state = 'sent'") == [(5,)]


def test_the_export_command_tries_an_order_that_was_held_back_again(
    countermand: Countermand, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[str] = []

    def render_at_the_second_export(order: OrderDocument, partner: Partner) -> Message:
        tries.append(order.number)
        # An export tries it before its claim, and once more under the locks.
        if len(tries) <= 2:
            raise CannotRender("it does not fit")
        return render_order(order, partner)

    monkeypatch.setattr(edi.drafts, "render_order", render_at_the_second_export)
    load(an_order())
    assert countermand("export").code == 1
    assert rows("SELECT edi_state, export_error FROM orders") == [("not_sent", "it does not fit")]
    assert countermand("export").code == 0
    assert rows("SELECT edi_state, export_error FROM orders") == [("sent", None)]
