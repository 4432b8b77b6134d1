"""What an operator can do to an interchange: look, send again, release; and what is refused."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from structlog.testing import capture_logs
from typer.testing import CliRunner

from cli.main import cli
from configuration.settings import settings
from database.transactions import engine, in_transaction
from edi import interchanges
from edi.interchanges import InFlight
from edi.partners import Partner
from edi.transports.directory import DirectoryTransport
from edi.transports.transport import MOST_BYTES
from orders.audit import audit
from tasks.export import iterate_export
from tasks.partners import partners
from tasks.receipts import read_inbox
from tests.acknowledgements import DESADV, contrl
from tests.builders import a_request, an_order, decide_all, deliver, load, order, request, rows, settle
from workers.errors import UsageError

pytestmark = pytest.mark.usefixtures("system")

_FILE = """
[partners.NORTH]
our_id = "SHOP01"
our_qualifier = "14"
their_id = "WH01"
their_qualifier = "14"
standard = "edifact-orders-d96a"
character_set = "UNOC"
grace_minutes = 0
{more}
[partners.NORTH.directory]
outbox = "{home}/out"
inbox = "{home}/in"
"""
NAME = "NORTH-000000001.edi"


@pytest.fixture
def partner(home: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[Partner]:
    """The one partner of a file; a parameter is what the file says more of it."""
    (home / "in").mkdir(parents=True)
    file = home / "partners.toml"
    file.write_text(_FILE.format(home=home, more=getattr(request, "param", "")))
    monkeypatch.setenv("COUNTERMAND_PARTNERS", str(file))
    settings.cache_clear()
    [one] = partners()
    yield one
    settings.cache_clear()


def run(*arguments: str) -> Any:
    """Runs `countermand interchanges …` and returns how it ended."""
    return CliRunner().invoke(cli, ["interchanges", *arguments], standalone_mode=False)


def notified(*arguments: str) -> str:
    """Returns what is wrong."""
    ended = run(*arguments)
    assert isinstance(ended.exception, UsageError), ended
    return ended.exception.format_message()


def as_json(*arguments: str) -> Any:
    ended = run(*arguments, "--json")
    assert (ended.exception, ended.return_value) == (None, 0)
    return json.loads(ended.stdout)


def out(partner: Partner) -> Path:
    assert isinstance(partner.transport, DirectoryTransport)
    return partner.transport.folder


def export(partner: Partner) -> list[str | None]:
    return [step.state for step in iterate_export(partner) if step.claim.interchange]


def claim(partner: Partner) -> InFlight:
    found = in_transaction(
        lambda connection: interchanges.claim(connection, partner, patience=settings().patience)
    ).interchange
    assert found is not None
    return found


def let_the_lease_run_out() -> None:
    rows("UPDATE interchange SET lease_until = now() - interval '1 second' RETURNING id")


def operators_entries() -> list[tuple[str, str | None]]:
    return [(entry["action"], entry["note"]) for entry in order()["changelog"] if entry["actor"] == "operator"]


def audited() -> dict[str, Any]:
    return in_transaction(lambda connection: audit(connection, patience=settings().patience))


def assert_that_every_promise_is_kept() -> None:
    assert [check for check in audited()["checks"] if check["violations"]] == []


# Looking


def test_interchanges_are_listed_newest_first_and_by_state_and_partner(partner: Partner) -> None:
    for number in ("1", "2"):
        load(an_order(number))
        export(partner)
    rows("UPDATE interchange SET state = 'acknowledged', answered_at = now() WHERE control_number = 1 RETURNING id")
    assert [one["control_number"] for one in as_json("list")] == [2, 1]
    assert [one["control_number"] for one in as_json("list", "--state", "acknowledged")] == [1]
    assert [one["control_number"] for one in as_json("list", "--limit", "1")] == [2]
    rows("INSERT INTO partner (name) VALUES ('FORMER') RETURNING name")
    assert as_json("list", "--partner", "FORMER") == []
    assert [one["control_number"] for one in as_json("list", "--partner", "NORTH")] == [2, 1]
    for shown in ("acknowledged", NAME[:5], "sent"):
        assert shown in run("list").stdout


def test_an_interchange_is_shown_with_its_orders_and_answers_and_its_document_alone(partner: Partner) -> None:
    load(an_order("1"), an_order("2"))
    export(partner)
    (out(partner).parent / "in" / "a.edi").write_bytes(contrl(1, "4+23"))
    with capture_logs():
        said = as_json("receive")
    said_nothing = {"files_again": 0, "unread": [], "problems": []}
    assert said == {"files": 1, "acknowledgements": 1, "settled": ["rejected"], **said_nothing}
    found = as_json("show", "NORTH", "1")
    assert (found["state"], found["filename"], found["orders"], found["attempts"]) == ("rejected", NAME, 2, 1)
    assert found["order_numbers"] == ["1", "2"]
    assert [one["verdict"] for one in found["acknowledgements"]] == ["rejected"]
    assert "unknown interchange sender" in run("show", "NORTH", "1").stdout
    assert run("show", "NORTH", "1", "--content").stdout_bytes == (out(partner) / NAME).read_bytes()
    assert "CONTRL 77 says of 1: rejected" in run("received").stdout
    assert [file["filename"] for file in as_json("received")] == ["a.edi"]


def test_what_is_not_there_is_reported(partner: Partner) -> None:
    for arguments in (("show", "NORTH", "7"), ("show", "NORTH", "7", "--content"), ("show", "NOBODY", "1")):
        assert notified(*arguments).endswith("`countermand interchanges list` lists those there are")
    for command in ("resend", "release"):
        assert notified(command, "NORTH", "7").startswith("NORTH has no interchange 7;")
        assert notified(command, "NOBODY", "1") == "partner NOBODY is not configured; configured: NORTH"
    rows("INSERT INTO partner (name) VALUES ('FORMER') RETURNING name")
    for command in ("list", "received"):
        assert notified(command, "--partner", "NOBODY") == "partner NOBODY is not known; known are: FORMER, NORTH"
        assert as_json(command, "--partner", "NORTH") == as_json(command, "--partner", "FORMER") == []
    assert notified("receive", "--partner", "NOBODY") == "partner NOBODY is not configured; configured: NORTH"


def test_receiving_what_cannot_be_read_ends_with_1_and_says_which_file(partner: Partner) -> None:
    (out(partner).parent / "in" / "bad.edi").write_bytes(b"nonsense")
    ended = run("receive")
    assert ended.return_value == 1
    assert "bad.edi of NORTH: begins with" in ended.stderr


def test_receiving_tells_in_its_summary_alone_what_was_rejected_not_matched_or_not_had(partner: Partner) -> None:
    load(an_order())
    export(partner)
    inbox = out(partner).parent / "in"
    (inbox / "a.edi").write_bytes(contrl(1, "4+23"))
    (inbox / "b.edi").write_bytes(contrl(7))
    (inbox / "c.edi").write_bytes(b"nonsense")
    (inbox / "d.edi").write_bytes(b"." * (MOST_BYTES + 1))
    with capture_logs() as logs:
        ended = run("receive")
    assert (ended.return_value, [one for one in logs if one["log_level"] != "debug"]) == (1, [])
    first, *others = ended.stdout.splitlines()
    assert first == "3 files with 2 acknowledgements"
    assert others[0].startswith("interchange 1 of NORTH is rejected: ")
    assert others[1] == "CONTRL 77 of NORTH says something of interchange 7, which was not sent"
    bad, large = ended.stderr.splitlines()
    assert bad.startswith("c.edi of NORTH: begins with")
    assert large.startswith("d.edi of NORTH: ")
    assert "it was left where it is" in large
    assert (inbox / "d.edi").exists()
    assert " (UTC)  NORTH  b.edi\n" in run("received").stdout


def test_receiving_names_what_is_not_read_and_counts_what_had_come_before(partner: Partner) -> None:
    load(an_order())
    export(partner)
    inbox = out(partner).parent / "in"
    (inbox / "a.edi").write_bytes(contrl(1))
    (inbox / "b.edi").write_bytes(DESADV)
    first = run("receive")
    assert (first.return_value, first.stdout.splitlines()) == (
        0,
        ["2 files with 1 acknowledgement", "b.edi of NORTH holds what we do not read, and is kept: DESADV"],
    )
    (inbox / "a.edi").write_bytes(contrl(1))
    (inbox / "bad.edi").write_bytes(b"nonsense")
    assert run("receive").stdout.splitlines()[0] == ("1 file with 0 acknowledgements, and 1 file that had come before")
    again = run("receive")
    assert again.return_value == 1
    assert again.stdout.splitlines()[0] == "0 files with 0 acknowledgements, and 1 file that had come before"
    assert "bad.edi of NORTH: begins with" in again.stderr


# Releasing


def test_an_interchange_that_may_have_been_delivered_is_released_only_after_asking(partner: Partner) -> None:
    load(an_order())
    claim(partner)
    let_the_lease_run_out()
    cancel = a_request()
    deliver(cancel)
    decide_all()
    assert notified("release", "NORTH", "1").startswith(
        f"interchange 1 of NORTH may have been delivered: ask NORTH whether it has {NAME}."
    )
    assert order()["edi"] == "claimed"
    assert as_json("release", "NORTH", "1", "--i-asked-the-partner") == {
        "partner": "NORTH",
        "control_number": 1,
        "state": "released",
        "orders": 1,
    }
    assert order()["edi"] == "not_sent"
    assert operators_entries() == [("edi_released", "the partner says that it has not got it")]
    settle()
    assert request(cancel)["reasons"] == ["order_cancelled"]
    assert_that_every_promise_is_kept()


def test_orders_of_a_released_interchange_go_out_at_once_with_the_next_number(partner: Partner) -> None:
    load(an_order())
    claim(partner)
    let_the_lease_run_out()
    said = run("release", "NORTH", "1", "--i-asked-the-partner").stdout
    assert said == "interchange 1 of NORTH is released; 1 order is free again\n"
    assert export(partner) == ["sent"]
    assert [(one["control_number"], one["state"]) for one in as_json("list")] == [(2, "sent"), (1, "released")]
    assert_that_every_promise_is_kept()


@pytest.mark.parametrize("partner", ["reuse_released_numbers = true"], indirect=True)
def test_a_partner_that_expects_the_next_number_gets_the_released_one(partner: Partner) -> None:
    load(an_order())
    claim(partner)
    let_the_lease_run_out()
    run("release", "NORTH", "1", "--i-asked-the-partner")
    assert_that_every_promise_is_kept()
    load(an_order("2"))
    assert export(partner) == ["sent"]
    assert [(one["control_number"], one["state"]) for one in as_json("list")] == [(1, "sent"), (1, "released")]
    assert as_json("show", "NORTH", "1")["order_numbers"] == ["1001", "2"]
    assert [file.name for file in out(partner).iterdir()] == [NAME]
    (out(partner).parent / "in" / "a.edi").write_bytes(contrl(1))
    read_inbox(partner)
    assert as_json("show", "NORTH", "1")["state"] == "acknowledged"
    assert_that_every_promise_is_kept()


def test_what_certainly_was_not_delivered_is_released_without_asking(partner: Partner) -> None:
    load(an_order())
    out(partner).mkdir()
    (out(partner) / NAME).write_bytes(b"of somebody else")
    for _ in range(2):
        # The second attempt finds the same, and excludes delivery as the first did.
        assert export(partner) == ["claimed"]
        let_the_lease_run_out()
    assert as_json("release", "NORTH", "1")["state"] == "released"
    assert operators_entries() == [("edi_released", "no attempt had delivered anything")]
    assert (out(partner) / NAME).read_bytes() == b"of somebody else"
    assert_that_every_promise_is_kept()


def test_after_an_attempt_of_unknown_outcome_a_certain_failure_excludes_nothing(partner: Partner) -> None:
    load(an_order())
    claim(partner)
    let_the_lease_run_out()
    out(partner).mkdir()
    (out(partner) / NAME).write_bytes(b"of somebody else")
    assert export(partner) == ["claimed"]
    assert "may have been delivered" in notified("release", "NORTH", "1")


def test_one_that_is_long_on_its_way_is_a_warning(partner: Partner) -> None:
    load(an_order())
    out(partner).mkdir()
    (out(partner) / NAME).write_bytes(b"of somebody else")
    export(partner)
    assert "warnings" not in audited()
    with engine().begin() as connection:
        connection.execute(text("ALTER TABLE interchange DISABLE TRIGGER USER"))
        connection.execute(text("UPDATE interchange SET claimed_at = claimed_at - interval '10 minutes'"))
        connection.execute(text("ALTER TABLE interchange ENABLE TRIGGER USER"))
    [warning] = audited()["warnings"]
    assert warning.startswith("interchange 1 of NORTH is on its way since ")
    assert "exists with other content" in warning


@pytest.mark.parametrize("command", [("release", "--i-asked-the-partner"), ("resend",)])
def test_while_an_attempt_is_under_way_nothing_is_done(partner: Partner, command: tuple[str, ...]) -> None:
    load(an_order())
    claim(partner)
    before = rows("SELECT * FROM interchange")
    assert notified(command[0], "NORTH", "1", *command[1:]).startswith(
        "interchange 1 of NORTH is being sent at this moment; try again after 2"
    )
    assert rows("SELECT * FROM interchange") == before


@pytest.mark.parametrize("state", ["sent", "acknowledged", "rejected"])
def test_what_was_sent_cannot_be_released(partner: Partner, state: str) -> None:
    load(an_order())
    export(partner)
    if state != "sent":
        rows(f"UPDATE interchange SET state = '{state}', answered_at = now() RETURNING id")
    assert notified("release", "NORTH", "1", "--i-asked-the-partner") == (
        f"interchange 1 of NORTH is {state}; only one that is still claimed can be released"
    )
    assert order()["edi"] == "sent"


# Sending again


def test_what_was_sent_is_sent_again_as_it_was_and_each_order_says_so(partner: Partner) -> None:
    load(an_order())
    export(partner)
    content = (out(partner) / NAME).read_bytes()
    sent_at = order()["interchange"]["sent_at"]
    (out(partner) / NAME).unlink()
    assert as_json("resend", "NORTH", "1")["filename"] == NAME
    assert (out(partner) / NAME).read_bytes() == content
    assert operators_entries() == [("edi_sent", "sent again")]
    assert (order()["interchange"]["state"], order()["interchange"]["sent_at"]) == ("sent", sent_at)
    assert_that_every_promise_is_kept()


def test_a_rejected_one_that_is_sent_again_can_be_acknowledged_and_an_old_rejection_says_nothing_new(
    partner: Partner,
) -> None:
    load(an_order())
    export(partner)
    inbox = out(partner).parent / "in"
    (inbox / "a.edi").write_bytes(contrl(1, "4+18", reference="1"))
    read_inbox(partner)
    assert as_json("show", "NORTH", "1")["state"] == "rejected"
    run("resend", "NORTH", "1")
    assert (as_json("show", "NORTH", "1")["state"], as_json("show", "NORTH", "1")["reasons"]) == ("sent", [])
    (inbox / "b.edi").write_bytes(contrl(1, "4+18", reference="1"))
    read_inbox(partner)
    assert as_json("show", "NORTH", "1")["state"] == "sent"
    (inbox / "c.edi").write_bytes(contrl(1, reference="2"))
    read_inbox(partner)
    assert as_json("show", "NORTH", "1")["state"] == "acknowledged"
    assert_that_every_promise_is_kept()


def test_a_copy_that_is_rejected_as_the_first_was_is_rejected_under_whatever_reference(partner: Partner) -> None:
    load(an_order())
    export(partner)
    inbox = out(partner).parent / "in"
    (inbox / "a.edi").write_bytes(contrl(1, "4+18", reference="1"))
    read_inbox(partner)
    run("resend", "NORTH", "1")
    (inbox / "b.edi").write_bytes(contrl(1, "4+18", reference="1").replace(b":0945+", b":1045+"))
    read_inbox(partner)
    shown = as_json("show", "NORTH", "1")
    assert (shown["state"], [one["state"] for one in shown["acknowledgements"]]) == ("rejected", ["matched"] * 2)
    assert_that_every_promise_is_kept()


def test_a_copy_of_a_rejected_one_that_they_call_a_duplicate_stays_rejected(partner: Partner) -> None:
    load(an_order())
    export(partner)
    inbox = out(partner).parent / "in"
    for reference, action in (("1", "4+18"), ("2", "4+26")):
        (inbox / f"{reference}.edi").write_bytes(contrl(1, action, reference=reference))
        read_inbox(partner)
        assert as_json("show", "NORTH", "1")["state"] == "rejected"
        run("resend", "NORTH", "1")
    assert as_json("show", "NORTH", "1")["state"] == "sent"


def test_sending_again_what_still_lies_there_does_not_claim_that_there_is_a_new_copy(partner: Partner) -> None:
    load(an_order())
    export(partner)
    assert run("resend", "NORTH", "1").stdout == f"interchange 1 of NORTH is in place as {NAME}\n"


def test_one_in_flight_whose_sender_is_gone_is_sent_by_the_operator(partner: Partner) -> None:
    load(an_order())
    first = claim(partner)
    let_the_lease_run_out()
    run("resend", "NORTH", "1")
    assert (out(partner) / NAME).read_bytes() == first.content
    assert order()["edi"] == "sent"
    assert operators_entries() == [("edi_sent", None)]
    assert_that_every_promise_is_kept()


def test_a_released_one_cannot_be_sent_again(partner: Partner) -> None:
    load(an_order())
    claim(partner)
    let_the_lease_run_out()
    run("release", "NORTH", "1", "--i-asked-the-partner")
    assert notified("resend", "NORTH", "1").startswith("interchange 1 of NORTH is released: its orders are free")
    assert not out(partner).exists()


def test_a_copy_that_cannot_be_delivered_ends_with_1_and_changes_nothing(partner: Partner) -> None:
    load(an_order())
    export(partner)
    (out(partner) / NAME).write_bytes(b"of somebody else")
    before = order()
    ended = run("resend", "NORTH", "1")
    assert ended.return_value == 1
    assert ended.stderr.startswith("interchange 1 of NORTH was not sent: ")
    assert "exists with other content" in ended.stderr
    assert "find out who wrote the file and move it away" in ended.stderr
    assert order() == before
    assert as_json("show", "NORTH", "1")["error"] is None
