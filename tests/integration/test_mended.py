"""What reviewers found and was mended: one test each, so that it stays mended."""

import io
import json
import os
import signal
import subprocess
import sys
import traceback
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import repeat
from pathlib import Path
from threading import Event, Thread
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from sqlalchemy import create_engine
from sqlalchemy.exc import DBAPIError, OperationalError

import database.session
import database.transactions
import edi.drafts
import orders.reprocessing
import tasks.intake
import workers.intake
from cli import terminal
from configuration.settings import settings
from configuration.urls import without_password
from edi.documents.edifact import Message, render_order
from edi.documents.order import CannotRender, OrderDocument
from edi.partners import Partner
from orders.inbox import Accepted, Delivery
from orders.messages import parse_change
from orders.reprocessing import Filter
from rules.decide import Faults, decide
from rules.model import ChangeRequest, Decision, Order
from tasks.export import iterate_export
from tasks.intake import take
from tasks.partners import partners
from tasks.reprocessing import iterate_previews
from tasks.running.batches import drain
from tasks.running.wakeups import Waker
from tests.builders import (
    DECIDING,
    EMAIL,
    a_request,
    an_address,
    an_order,
    decide_all,
    deliver,
    encoded,
    load,
    rows,
    settle,
)
from tests.commands import Countermand, Ended
from tests.integration.test_audit import broken, meddle
from workers import intake_stream
from workers.broker import StreamBroker
from workers.embedded import Services
from workers.intake_stream import StreamSource
from workers.supervisor import end_earlier, programs, supervised

pytestmark = pytest.mark.usefixtures("system")


@pytest.fixture(autouse=True)
def _nobody_gets_the_wake_ups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.running.wakeups.current_app", SimpleNamespace(send_task=lambda *_, **__: None))


# The database


def test_an_error_of_the_database_does_not_quote_the_values_of_its_statement() -> None:
    with pytest.raises(DBAPIError) as error:
        rows("SELECT 1 / 0 WHERE :name <> ''", name="Jane Doe")
    assert "SELECT 1 / 0" in str(error.value)
    assert "Jane Doe" not in str(error.value)


def test_an_error_of_the_database_does_not_quote_the_row_that_it_refuses() -> None:
    load(an_order())
    with pytest.raises(DBAPIError) as error:
        rows("UPDATE orders SET status = 'cancelled', edi_state = 'sent' RETURNING id")
    logged = "".join(traceback.format_exception(error.value))
    assert "orders_closed_is_not_sent" in logged
    assert [private for private in ("Jane", EMAIL, "Hofstraße", "50667") if private in logged] == []


# Batches


def test_a_request_that_someone_holds_waits_alone_and_is_neither_counted_nor_parked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(database.session.SESSION, "lock_timeout", "100ms")
    numbers = ["1", "2", "3", "4", "5"]
    load(*map(an_order, numbers))
    deliver(*(a_request(number, id=number) for number in numbers))
    with database.transactions.engine().connect() as rival:
        rival.exec_driver_sql("SELECT FROM change_request WHERE external_id = '3' FOR UPDATE")
        assert not drain(DECIDING, seconds=30)
        decided = rows("SELECT external_id FROM change_request WHERE state = 'decided' ORDER BY id")
        assert [row.external_id for row in decided] == ["1", "2", "4", "5"]
        held = rows("SELECT state, attempts, error FROM change_request WHERE external_id = '3'")
        assert held == [("received", 0, None)]
    drain(DECIDING, seconds=30)
    assert rows("SELECT state, attempts FROM change_request WHERE external_id = '3'") == [("decided", 0)]


# Taking


def test_deliveries_that_are_large_together_are_taken_in_sequence_in_several_transactions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bodies = [encoded(a_request(id=f"{place}")) for place in range(8)]
    monkeypatch.setattr(tasks.intake, "_MAX_BYTES", 2 * len(bodies[0]))
    assert take([Delivery("test", None, body) for body in bodies]) == Accepted(new=8, repeated=0, dead=0)
    taken = rows("SELECT external_id, xmin::text AS transaction FROM change_request ORDER BY id")
    assert [row.external_id for row in taken] == [str(place) for place in range(8)]
    assert len({row.transaction for row in taken}) == 4


def test_reads_of_a_stream_become_fewer_while_entries_are_large_and_grow_again(
    system: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake_stream, "_MUCH_BYTES", 2000)
    monkeypatch.setattr(intake_stream, "_FEWEST", 2)
    small, large = b"x", b"x" * 1500
    StreamBroker(system.broker_url).publish([small] * 14 + [large] * 32 + [small] * 14)
    source = StreamSource(system.broker_url)
    read = []
    for _ in range(11):
        read.append(len(source.receive()))
        source.acknowledge()
    assert read == [2, 4, 8, 16, 8, 4, 2, 2, 2, 4, 8]


@dataclass
class FakeSource:
    """A broker with one batch, that notes what it is asked for."""

    stop: workers.intake.Stop
    calls: list[str] = field(default_factory=list)
    outages: tuple[type[Exception], ...] = (ConnectionError,)

    def receive(self, *, wait: bool = True) -> list[Delivery]:
        self.calls.append("receive")
        return [Delivery("test", None, encoded(a_request(id="in hand")))]

    def acknowledge(self) -> None:
        self.calls.append("acknowledge")
        self.stop.set()

    def flush(self) -> None:
        self.calls.append("flush")

    def start_over(self) -> None:
        self.calls.append("start over")

    def keep_alive(self) -> None:
        self.calls.append("keep alive")


def test_an_intake_keeps_its_batch_in_hand_while_the_database_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    away = create_engine("postgresql+psycopg://nobody@127.0.0.1:1/nothing")
    tries: list[Sequence[Delivery]] = []

    def take_at_the_third_try(deliveries: Sequence[Delivery], waker: Waker | None) -> Accepted:
        tries.append(deliveries)
        if len(tries) < 3:
            away.connect()
        return take(deliveries, waker)

    with pytest.raises(OperationalError):
        away.connect()
    monkeypatch.setattr(workers.intake, "take", take_at_the_third_try)
    monkeypatch.setattr(workers.intake, "_pauses", lambda: repeat(0.0))
    stop = workers.intake.Stop()
    source = FakeSource(stop)
    workers.intake.run(source, stop)
    assert source.calls == ["receive", "keep alive", "keep alive", "acknowledge", "flush"]
    assert [row.external_id for row in rows("SELECT external_id FROM change_request")] == ["in hand"]


def sha256(**extra: Any) -> str:
    return parse_change(encoded(a_request(**extra))).data_sha256()


def test_data_are_the_same_with_unknown_fields_in_another_order_and_other_with_other_values() -> None:
    first = sha256(channel={"name": "chat", "agent": "Kim"}, urgent=True)
    assert sha256(urgent=True, channel={"agent": "Kim", "name": "chat"}) == first
    assert sha256(channel={"name": "chat", "agent": "Lee"}, urgent=True) != first
    assert sha256(channel={"name": "chat", "agent": "Kim"}) != first
    shipping = {"shipping": an_address()}
    two, three = ([{"sku": "RED-1", "quantity": 1, "gift": gift}] for gift in ("two", "three"))
    assert sha256(lines=two, addresses=shipping) != sha256(lines=three, addresses=shipping)


# Exporting


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


# The audit


@pytest.mark.parametrize(("kind", "promise"), [("restock", 5), ("notify", 6)])
def test_an_effect_that_is_due_for_long_breaks_its_promise(kind: str, promise: int) -> None:
    load(an_order())
    deliver(a_request())
    decide_all()
    assert broken() == {}
    meddle(f"UPDATE effect SET not_before = now() - interval '1 day' WHERE kind = '{kind}'")
    assert set(broken()) == {promise}


def test_a_request_decided_while_an_earlier_one_of_its_order_is_undecided_breaks_the_seventh_promise() -> None:
    load(an_order())
    deliver(a_request(id="first", kind="change_items"), a_request(id="second", kind="change_items"))
    settle()
    assert broken() == {}
    first = "(SELECT id FROM change_request WHERE external_id = 'first')"
    meddle(
        f"DELETE FROM notification WHERE change_request_id = {first}",
        f"DELETE FROM effect WHERE change_request_id = {first}",
        "UPDATE change_request SET state = 'received', outcome = NULL, reasons = '{}', decided_at = NULL,"
        " decided_place = NULL WHERE external_id = 'first'",
    )
    assert broken() == {7: ["request second of zendesk:acme for order 1001 was decided before an earlier one"]}


# Reprocessing


def test_a_dead_restock_breaks_its_promise_until_it_is_reprocessed(countermand: Countermand) -> None:
    load(an_order())
    deliver(a_request())
    decide_all()
    meddle("UPDATE effect SET state = 'dead', attempts = 12 WHERE kind = 'restock'")
    settle()
    assert set(broken()) == {5}
    ended = countermand("reprocess", "--json")
    assert (ended.code, json.loads(ended.out)) == (0, {"reprocessed": 0, "effects_revived": 1})
    settle()
    assert broken() == {}
    assert rows("SELECT sum(quantity) FROM stock") == [(4,)]


def test_a_preview_goes_on_past_a_request_whose_decision_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[ChangeRequest] = []

    def fail_at_the_first(order: Order, request: ChangeRequest, faults: Faults) -> Decision:
        asked.append(request)
        if len(asked) == 1:
            raise ZeroDivisionError
        return decide(order, request, faults)

    load(an_order())
    deliver(a_request(id="first"), a_request(id="second"))
    rows("UPDATE change_request SET state = 'parked', parked_at = now(), reasons = '{unknown_order}' RETURNING id")
    monkeypatch.setattr(orders.reprocessing, "decide", fail_at_the_first)
    assert [(one["id"], one["outcome"], one["reasons"], one.get("error")) for one in iterate_previews(Filter())] == [
        ("first", None, ["failed_repeatedly"], "ZeroDivisionError"),
        ("second", "applied", ["order_cancelled"], None),
    ]


# The command


def test_a_dead_letter_that_is_requeued_already_is_one_line_and_ends_with_2(countermand: Countermand) -> None:
    deliver(b"{")
    [[letter]] = rows("SELECT id FROM dead_letter")
    assert countermand("dead-letters", "requeue", str(letter)).code == 0
    again = countermand("dead-letters", "requeue", str(letter))
    assert again == Ended(2, "", f"countermand: dead letter {letter} was put back on the broker already\n")


def test_a_file_may_be_a_pipe(countermand: Countermand, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    line = encoded({"order": {**an_order(), "edi": "not_sent"}, "request": a_request()}) + b"\n"
    writer = Thread(target=lambda: pipe.write_bytes(line * 300))
    writer.start()
    ended = countermand("decide", str(pipe))
    writer.join(timeout=30)
    assert (ended.code, ended.err) == (0, "")
    assert [json.loads(one)["outcome"] for one in ended.out.splitlines()] == ["applied"] * 300


def test_the_complete_lines_of_a_file_that_breaks_off_are_loaded_and_told(
    countermand: Countermand, tmp_path: Path
) -> None:
    lines = [encoded(an_order(f"{place}")) + b"\n" for place in range(6)]
    gzip = zlib.compressobj(wbits=31)
    cut = gzip.compress(b"".join(lines)[: -len(lines[-1]) // 2]) + gzip.flush(zlib.Z_SYNC_FLUSH)
    file = tmp_path / "cut.gz"
    file.write_bytes(cut)
    ended = countermand("orders", "load", str(file))
    assert ended.code == 2
    assert ended.out.startswith("loaded 5, ")
    assert ended.err.startswith(f"countermand: {file} cannot be read on: ")
    assert ended.err.count("\n") == 1
    assert rows("SELECT count(*) FROM orders") == [(5,)]


def test_a_command_that_only_reads_needs_no_broker(countermand: Countermand, monkeypatch: pytest.MonkeyPatch) -> None:
    load(an_order())
    monkeypatch.delenv("COUNTERMAND_BROKER_URL")
    settings.cache_clear()
    listed, audited = countermand("orders", "list", "--json"), countermand("audit", "--json")
    assert (listed.code, listed.err, audited.code, audited.err) == (0, "", 0, "")
    assert [order["number"] for order in json.loads(listed.out)] == ["1001"]
    assert json.loads(audited.out)["ok"]


# Running everything


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://jane:geheim@db.example:5432/store",
        "postgresql+psycopg://jane:ge%40heim@db.example/store",
        "postgresql://db.example/store?user=jane&password=geheim&sslmode=require",
        "redis://:geheim@db.example:6379/0",
        "rediss://db.example:6379/0?password=geheim",
        "amqp://guest:geheim@db.example:5672//",
    ],
)
def test_a_url_is_shown_without_its_password(url: str) -> None:
    shown = without_password(url)
    assert "heim" not in shown
    assert shown.startswith(url.partition(":")[0])
    assert "db.example" in shown


_SUPERVISING = """
import signal, sys
from pathlib import Path
from workers.supervisor import supervised
with supervised(Path(sys.argv[1]), {"nap": ["sleep", "600"]}) as supervisord:
    print(supervisord.pid, flush=True)
    signal.pause()
"""


def runs(process: psutil.Process) -> bool:
    return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)


@pytest.fixture
def left_behind(home: Path) -> Iterator[tuple[psutil.Process, psutil.Process]]:
    """A supervisord and what it runs, whose `up` was killed."""
    home.mkdir()
    with subprocess.Popen(
        [sys.executable, "-c", _SUPERVISING, str(home)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as up:
        assert up.stdout is not None
        supervisord = psutil.Process(int(up.stdout.readline()))
        try:
            for _ in range(1000):
                if naps := [one for one in supervisord.children() if one.cmdline() == ["sleep", "600"]]:
                    break
                Event().wait(0.01)
        finally:
            up.send_signal(signal.SIGKILL)
    yield supervisord, naps[0]
    for process in (supervisord, naps[0]):
        if runs(process):
            process.kill()


def test_what_a_killed_up_has_left_running_is_ended(
    home: Path, left_behind: tuple[psutil.Process, psutil.Process]
) -> None:
    assert [runs(process) for process in left_behind] == [True, True]
    end_earlier(home)
    assert [runs(process) for process in left_behind] == [False, False]


def test_what_follows_decisions_leaves_the_processors_to_the_intake_and_the_export(home: Path) -> None:
    home.mkdir()
    ours = os.nice(0)
    later = min(ours + 10, 19)
    expected = {"intake": ours, "http": ours, "exporter": ours, "worker": later, "answerer": later, "beat": later}
    assert expected.keys() == programs().keys()
    commands = {name: ["sleep", str(600 + place)] for place, name in enumerate(expected)}
    names = {tuple(command): name for name, command in commands.items()}
    with supervised(home, commands, log_folder=home) as supervisord:
        for _ in range(1000):
            running = psutil.Process(supervisord.pid).children()
            # Before it is the program it is `nice`, and before that supervisord.
            started = {tuple(one.cmdline()): one.nice() for one in running}
            found = {names[command]: nice for command, nice in started.items() if command in names}
            if len(found) == len(expected):
                break
            Event().wait(0.01)
    assert found == expected


def test_a_line_without_end_is_read_only_as_far_as_shows_that_it_is_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terminal, "MAX_ORDER_BYTES", 10)
    file = io.BytesIO(b"a\n" + b"b" * 40 + b"\n" + b"c" * 9 + b"\n" + b"d" * 12 + b"\ne")
    assert [len(line) for line in terminal._bounded_lines(file)] == [2, 12, 10, 12, 1]
