"""From the broker into the inbox: nothing is lost, nothing taken twice, and what cannot be taken stops nothing else."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import repeat
from typing import Any

import pytest
import redis
from sqlalchemy import Connection, Engine, create_engine
from sqlalchemy.exc import OperationalError

import tasks.intake
import workers.intake
from orders.changes import OpenOrder, claim_orders_of
from orders.inbox import Accepted, Delivery, IncomingRequest
from orders.messages import MAX_MESSAGE_BYTES
from tasks.intake import take
from tasks.running.wakeups import CoalescingWaker, Waker, WakeUp
from tests.builders import (
    a_request,
    an_address,
    an_order,
    deliver,
    encoded,
    load,
    request,
    rows,
)
from workers import intake, intake_stream
from workers.broker import FIELD, GROUP, STREAM, StreamBroker
from workers.embedded import Services
from workers.intake import Source, Stop, run
from workers.intake_stream import StreamSource

pytestmark = pytest.mark.usefixtures("system")


@pytest.fixture(autouse=True)
def woken(monkeypatch: pytest.MonkeyPatch) -> list[WakeUp]:
    """The wake-ups that were sent; nobody receives them."""
    heard: list[WakeUp] = []
    monkeypatch.setattr(tasks.intake, "wake", heard.append)
    return heard


def taken() -> list[str]:
    return [row.external_id for row in rows("SELECT external_id FROM change_request ORDER BY id")]


def dead() -> list[tuple[str, bytes]]:
    return [(row.reason, row.raw) for row in rows("SELECT reason, raw FROM dead_letter ORDER BY id")]


def delivered(*bodies: bytes | dict[str, Any]) -> list[Delivery]:
    raw = [body if isinstance(body, bytes) else encoded(body) for body in bodies]
    return [Delivery("test", str(place), body) for place, body in enumerate(raw)]


# The inbox


def test_a_repeat_in_the_same_batch_counts_as_repeated() -> None:
    event = a_request()
    assert deliver(event, a_request(), event, event) == Accepted(new=2, repeated=2, dead=0)
    assert len(taken()) == 2


def test_a_later_repeat_counts_as_repeated_however_it_is_written() -> None:
    event = a_request()
    deliver(event)
    rewritten = json.dumps(dict(reversed(event.items())), indent=1).encode()
    at_another_time = {**event, "time": "2026-11-24T09:00:00Z"}
    assert deliver(event, rewritten, at_another_time) == Accepted(new=0, repeated=3, dead=0)
    assert [bytes(row.body) for row in rows("SELECT body FROM change_request")] == [encoded(event)]


def test_a_body_is_kept_byte_for_byte() -> None:
    odd = r'"\u0000 \ud83d\ude00 ä 😀 \\ \" \n"'.encode()
    raw = b" \n\t" + encoded(a_request(extra="here")).replace(b'"here"', odd) + b"\r\n "
    assert odd in raw
    deliver(raw)
    assert [bytes(row.body) for row in rows("SELECT body FROM change_request")] == [raw]


def test_the_same_id_of_another_source_is_another_request() -> None:
    assert deliver(a_request(id="1"), a_request(id="1", source="freshdesk:acme")).new == 2


def test_a_conflict_becomes_a_dead_letter_and_the_first_stays() -> None:
    first, other = a_request(id="7"), a_request(id="7", note="Something else")
    assert deliver(first) == Accepted(new=1, repeated=0, dead=0)
    assert deliver(other, first) == Accepted(new=0, repeated=1, dead=1)
    assert [bytes(row.body) for row in rows("SELECT body FROM change_request")] == [encoded(first)]
    assert dead() == [("conflicting_duplicate", encoded(other))]


def test_a_conflict_within_one_batch_becomes_a_dead_letter_and_the_first_stays() -> None:
    first, other = a_request(id="7"), a_request("1002", id="7")
    assert deliver(first, other) == Accepted(new=1, repeated=0, dead=1)
    assert [row.order_number for row in rows("SELECT order_number FROM change_request")] == ["1001"]
    assert dead() == [("conflicting_duplicate", encoded(other))]


def test_unreadable_messages_become_dead_letters_with_their_bytes_and_those_around_them_are_taken() -> None:
    valid = encoded(a_request(id="valid"))
    bad = {
        b"": "not_json",
        b"\x00\xff\xfe": "not_json",
        valid.replace(b"Ordered", b"\x00"): "not_json",
        b"{}": "invalid_message",
        b"[]": "invalid_message",
        encoded(a_request(kind="refund")): "invalid_message",
        encoded(a_request(note="\0")): "invalid_message",
        encoded(a_request(kind="change_address", addresses={"shipping": an_address(**{"x\0": 1})})): "invalid_message",
        valid.ljust(MAX_MESSAGE_BYTES + 1): "too_large",
    }
    good = [a_request(id=str(place)) for place in range(len(bad) + 1)]
    mixed: list[Any] = [good[0]]
    for event, raw in zip(good[1:], bad, strict=True):
        mixed += [raw, event]
    assert deliver(*mixed) == Accepted(new=len(good), repeated=0, dead=len(bad))
    assert taken() == [event["id"] for event in good]
    assert dead() == [(reason, raw) for raw, reason in bad.items()]


def test_a_dead_letter_that_is_delivered_again_is_kept_once() -> None:
    for _ in range(2):
        take(delivered(b"{", b"{"))
    assert dead() == [("not_json", b"{"), ("not_json", b"{")]


def test_a_batch_of_nothing_but_unreadable_messages_rings_for_nobody(woken: list[WakeUp]) -> None:
    assert take(delivered(b"{", b"[")) == Accepted(new=0, repeated=0, dead=2)
    assert woken == []


def test_new_requests_ring_and_repeats_do_not(woken: list[WakeUp]) -> None:
    batch = delivered(a_request(), a_request())
    take(batch)
    assert woken == [WakeUp.APPLY_CHANGES]
    take(batch)
    assert woken == [WakeUp.APPLY_CHANGES]


def test_a_few_new_requests_are_decided_where_they_are_taken_and_a_worker_does_what_follows(
    woken: list[WakeUp],
) -> None:
    load(an_order("1"), an_order("2"))
    events = [a_request("1"), a_request("2")]
    take(delivered(*events))
    assert [request(event)["state"] for event in events] == ["decided", "decided"]
    assert woken == [WakeUp.EFFECTS]
    assert {effect["state"] for event in events for effect in request(event)["effects"]} == {"pending"}


def test_for_many_new_requests_a_worker_is_rung_for(woken: list[WakeUp]) -> None:
    load(an_order())
    event = a_request()
    take(delivered(event, *(a_request() for _ in range(200))))
    assert (request(event)["state"], woken) == ("received", [WakeUp.APPLY_CHANGES])


def test_a_worker_is_rung_for_when_one_of_a_few_could_not_be_decided_at_once(woken: list[WakeUp]) -> None:
    load(an_order())
    known, unknown = a_request(), a_request("unknown")
    take(delivered(known, unknown))
    assert (request(known)["state"], request(unknown)["state"]) == ("decided", "received")
    assert woken == [WakeUp.EFFECTS, WakeUp.APPLY_CHANGES]


def test_what_was_in_hand_before_is_kept_and_decided_by_a_worker(woken: list[WakeUp]) -> None:
    load(an_order())
    event = a_request()
    [delivery] = delivered(event)
    take([replace(delivery, is_redelivered=True)])
    assert (request(event)["state"], woken) == ("received", [WakeUp.APPLY_CHANGES])


def test_what_fails_to_be_decided_at_once_is_kept_and_left_to_a_worker(
    woken: list[WakeUp], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("tasks.changes.decide_requests", fail)
    load(an_order("1"), an_order("2"))
    events = [a_request("1"), a_request("2")]
    assert take(delivered(*events)).new == 2
    assert [request(event)["state"] for event in events] == ["received", "received"]
    assert woken == [WakeUp.APPLY_CHANGES]


def test_a_key_that_another_intake_takes_in_between_keeps_its_first_request_and_nothing_is_lost(
    woken: list[WakeUp], monkeypatch: pytest.MonkeyPatch
) -> None:
    load(an_order("1"), an_order("2"))
    ours, beside, rival = a_request("1", id="same"), a_request("1"), a_request("2", id="same")

    def after_a_rival(connection: Connection, arrived: Sequence[IncomingRequest]) -> list[OpenOrder[IncomingRequest]]:
        deliver(rival)
        return claim_orders_of(connection, arrived)

    monkeypatch.setattr("tasks.changes.claim_orders_of", after_a_rival)
    assert take(delivered(ours, beside)) == Accepted(new=1, repeated=0, dead=1)
    assert [(request(one)["order"], request(one)["state"]) for one in (rival, beside)] == [
        ("2", "received"),
        ("1", "received"),
    ]
    assert dead() == [("conflicting_duplicate", encoded(ours))]
    assert woken == [WakeUp.APPLY_CHANGES]


def test_ids_follow_the_sequence_of_delivery_whatever_of_it_is_decided_at_once(woken: list[WakeUp]) -> None:
    load(an_order("1"), an_order("3"))
    events = [a_request(number) for number in ("1", "unknown", "3", "1", "unknown", "3")]
    take(delivered(events[0], *events))
    assert taken() == [event["id"] for event in events]
    assert [request(event)["state"] for event in events[:3]] == ["decided", "received", "decided"]


def test_rings_are_held_back_while_more_is_there_but_not_for_long(
    client: redis.Redis, broker_url: str, woken: list[WakeUp], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.running.wakeups.wake", woken.append)
    load(*(an_order(number) for number in "123"))
    for number in "12":
        client.xadd(STREAM, {FIELD: encoded(a_request(number))})
    source, waker = StreamSource(broker_url, "one at a time"), CoalescingWaker(3600)
    for _ in range(2):
        # It is doubled with each read.
        source._count = 1
        assert step(source, waker=waker) == 1
        assert woken == []
    assert step(source, waker=waker) == 0
    assert woken == [WakeUp.EFFECTS]
    client.xadd(STREAM, {FIELD: encoded(a_request("3"))})
    assert step(source, waker=CoalescingWaker(0)) == 1
    assert woken == [WakeUp.EFFECTS] * 2


def test_what_was_accepted_before_is_not_decided_for_the_sake_of_a_new_one(woken: list[WakeUp]) -> None:
    load(an_order())
    older, newer = a_request(), a_request()
    deliver(older)
    take(delivered(newer))
    assert (request(older)["state"], request(newer)["state"]) == ("received", "received")
    assert woken == [WakeUp.APPLY_CHANGES]


def test_ids_follow_the_sequence_of_delivery() -> None:
    events = [a_request(str(place % 7), id=str(place)) for place in range(500)]
    deliver(*events)
    assert taken() == [str(place) for place in range(500)]


def test_a_message_that_the_database_refuses_is_put_aside_alone(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE change_request ADD CHECK (ticket <> 'poison')")
    events = [a_request(id=str(place), ticket="poison" if place in (3, 11) else "1") for place in range(16)]
    assert take(delivered(*events)) == Accepted(new=14, repeated=0, dead=2)
    assert taken() == [str(place) for place in range(16) if place not in (3, 11)]
    assert dead() == [("invalid_message", encoded(events[3])), ("invalid_message", encoded(events[11]))]


def test_when_the_database_is_away_nothing_is_taken_and_the_caller_is_told(
    monkeypatch: pytest.MonkeyPatch, woken: list[WakeUp]
) -> None:
    away = create_engine("postgresql+psycopg://nobody@127.0.0.1:1/nothing")
    with monkeypatch.context() as patch:
        patch.setattr("database.transactions.engine", lambda: away)
        with pytest.raises(OperationalError):
            take(delivered(a_request(), b"{"))
    assert (taken(), dead(), woken) == ([], [], [])


# The stream


class Stopped(Stop):
    """Ends an intake once it has taken so many requests; does not wait in between."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self._after = after
        self.pauses: list[float] = []

    def is_set(self) -> bool:
        return super().is_set() or len(taken()) >= self._after

    def wait(self, seconds: float) -> None:
        self.pauses.append(seconds)
        if len(self.pauses) > 20:
            raise AssertionError("the intake does not come back")


@pytest.fixture
def broker_url(request: pytest.FixtureRequest, system: Services, monkeypatch: pytest.MonkeyPatch) -> str:
    """The broker, spoken to in one version of the protocol; an empty stream is waited for but a moment."""
    monkeypatch.setattr(intake_stream, "_WAIT_MILLISECONDS", 20)
    return f"{system.broker_url}?protocol={getattr(request, 'param', 3)}"


in_both_protocols = pytest.mark.parametrize("broker_url", [2, 3], ids=["resp2", "resp3"], indirect=True)


@pytest.fixture
def client(system: Services) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(system.broker_url) as connected:
        yield connected


def publish(url: str, *bodies: bytes | dict[str, Any]) -> None:
    raw = [body if isinstance(body, bytes) else encoded(body) for body in bodies]
    assert StreamBroker(url).publish(raw) == len(bodies)


def pending(client: redis.Redis) -> int:
    answer: Any = client.xpending(STREAM, GROUP)
    return int(answer["pending"])


def step(source: Source, waker: CoalescingWaker | None = None) -> int:
    """Takes one batch and acknowledges it, which else the next read does."""
    count = intake.step(source, waker=waker)
    source.flush()
    return count


def requests(*ids: str) -> list[dict[str, Any]]:
    return [a_request(id=one) for one in ids]


def drain(source: StreamSource) -> int:
    """Takes all there is."""
    total = 0
    while more := step(source):
        total += more
    return total


def fail_to_take(monkeypatch: pytest.MonkeyPatch, *, times: int) -> None:
    """Makes taking fail as it does when the database is away, before anything is committed."""
    left = [None] * times

    def failing(deliveries: Sequence[Delivery], waker: Waker | None) -> Accepted:
        if not left:
            return take(deliveries, waker)
        left.pop()
        raise OperationalError("BEGIN", {}, Exception("connection refused"))

    monkeypatch.setattr("workers.intake.take", failing)


@in_both_protocols
def test_of_what_is_delivered_again_and_again_only_what_nobody_survives_is_put_aside(
    broker_url: str, client: redis.Redis
) -> None:
    good, poison = [a_request(id=str(place)) for place in range(6)], a_request(id="poison")
    publish(broker_url, *good[:3], poison, *good[3:])
    deaths, seen = 0, []
    while client.xlen(STREAM):
        source = StreamSource(broker_url, "dies")
        while deliveries := source.receive():
            seen.append(len(deliveries))
            if any(one.raw == encoded(poison) and one.given_up is None for one in deliveries):
                deaths += 1
                break
            take(deliveries)
            source.acknowledge()
    # Twice all together, then one by one: the others die of it no more.
    assert (deaths, seen) == (10, [7, 7, 1, 1, 1, *[1] * 8, 1, 1, 1, 1])
    assert taken() == [str(place) for place in range(6)]
    assert dead() == [("invalid_message", encoded(poison))]
    assert pending(client) == 0


@in_both_protocols
def test_what_was_published_before_the_first_intake_came_up_is_taken(broker_url: str, client: redis.Redis) -> None:
    publish(broker_url, *requests("1", "2", "3"))
    assert step(StreamSource(broker_url)) == 3
    assert taken() == ["1", "2", "3"]
    assert (client.xlen(STREAM), pending(client), StreamBroker(broker_url).backlog()) == (0, 0, 0)


@in_both_protocols
def test_an_empty_stream_gives_nothing(broker_url: str) -> None:
    source = StreamSource(broker_url)
    assert [step(source), step(source)] == [0, 0]
    publish(broker_url, *requests("1"))
    assert step(source) == 1


def test_more_entries_than_one_batch_are_taken_in_sequence(broker_url: str, client: redis.Redis) -> None:
    ids = [str(place) for place in range(1, 1203)]
    publish(broker_url, *requests(*ids))
    source = StreamSource(broker_url)
    counts = list(iter(lambda: step(source), 0))
    assert (sum(counts), max(counts), counts[:3]) == (1202, 500, [8, 16, 32])
    assert taken() == ids
    assert client.xlen(STREAM) == 0


def test_an_entry_is_acknowledged_only_after_the_commit(
    broker_url: str, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(broker_url, *requests("1", "2"))
    source = StreamSource(broker_url)
    fail_to_take(monkeypatch, times=1)
    with pytest.raises(OperationalError):
        step(source)
    assert (client.xlen(STREAM), pending(client), taken()) == (2, 2, [])
    source.start_over()
    assert step(source) == 2
    assert (client.xlen(STREAM), pending(client), taken()) == (0, 0, ["1", "2"])


@in_both_protocols
def test_a_batch_is_acknowledged_with_the_next_read(broker_url: str, client: redis.Redis) -> None:
    publish(broker_url, *requests("1", "2"))
    source = StreamSource(broker_url)
    assert intake.step(source) == 2
    assert (client.xlen(STREAM), pending(client), taken()) == (2, 2, ["1", "2"])
    publish(broker_url, *requests("3"))
    assert [one.raw for one in source.receive()] == [encoded(one) for one in requests("3")]
    assert (client.xlen(STREAM), pending(client)) == (1, 1)


@in_both_protocols
def test_an_intake_that_ends_acknowledges_its_last_batch(broker_url: str, client: redis.Redis) -> None:
    publish(broker_url, *requests("1", "2"))
    run(StreamSource(broker_url), Stopped(after=2))
    assert (client.xlen(STREAM), pending(client), taken()) == (0, 0, ["1", "2"])


def test_an_intake_that_ends_while_the_broker_is_away_leaves_its_last_batch_to_the_next(
    broker_url: str, client: redis.Redis, capsys: pytest.CaptureFixture[str]
) -> None:
    source = StreamSource(broker_url)

    class Alone(Stopped):
        def is_set(self) -> bool:
            if is_over := super().is_set():
                source._client = redis.Redis(port=1)
            return is_over

    publish(broker_url, *requests("1", "2"))
    run(source, Alone(after=2))
    assert "cannot take requests now, they stay on the broker" in capsys.readouterr().out
    assert (client.xlen(STREAM), pending(client)) == (2, 2)
    assert drain(StreamSource(broker_url)) == 2
    assert (client.xlen(STREAM), pending(client), taken()) == (0, 0, ["1", "2"])


def test_what_was_committed_and_not_acknowledged_is_repeated_and_taken_once(
    broker_url: str, client: redis.Redis
) -> None:
    publish(broker_url, *requests("1", "2"))
    take(StreamSource(broker_url, "same").receive())
    assert pending(client) == 2
    assert drain(StreamSource(broker_url, "same")) == 2
    assert (client.xlen(STREAM), taken()) == (0, ["1", "2"])


@in_both_protocols
def test_after_a_restart_a_consumer_first_gets_back_what_it_had_received(
    broker_url: str, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake_stream, "_FEWEST", 500)
    ids = [str(place) for place in range(600)]
    publish(broker_url, *requests(*ids))
    died = StreamSource(broker_url, "same")
    assert (len(died.receive()), len(died.receive())) == (500, 100)
    publish(broker_url, *requests("new"))
    assert drain(StreamSource(broker_url, "same")) == 601
    assert taken() == [*ids, "new"]
    assert (client.xlen(STREAM), pending(client)) == (0, 0)


def test_another_consumer_leaves_alone_what_one_has_just_received(broker_url: str) -> None:
    publish(broker_url, *requests("1"))
    StreamSource(broker_url, "one").receive()
    assert step(StreamSource(broker_url, "other")) == 0


@in_both_protocols
def test_another_consumer_takes_over_what_a_dead_one_has_left(
    broker_url: str, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake_stream, "_ABANDONED_AFTER_MILLISECONDS", 0)
    monkeypatch.setattr(intake_stream, "_FEWEST", 500)
    ids = [str(place) for place in range(600)]
    publish(broker_url, *requests(*ids))
    died = StreamSource(broker_url, "dead")
    assert (len(died.receive()), len(died.receive())) == (500, 100)
    assert drain(StreamSource(broker_url, "alive")) == 600
    assert taken() == ids
    assert (client.xlen(STREAM), pending(client)) == (0, 0)


@in_both_protocols
def test_an_entry_of_someone_else_becomes_a_dead_letter_with_all_its_fields(
    broker_url: str, client: redis.Redis
) -> None:
    publish(broker_url, *requests("1"))
    client.xadd(STREAM, {"payload": b"\xff\x00", "x": "{}"})
    publish(broker_url, *requests("2"))
    assert drain(StreamSource(broker_url)) == 3
    assert taken() == ["1", "2"]
    assert dead() == [("not_json", b"payload=\xff\x00\nx={}\n")]
    assert client.xlen(STREAM) == 0


def test_a_dead_letter_of_the_stream_names_its_entry(broker_url: str, client: redis.Redis) -> None:
    entry: Any = client.xadd(STREAM, {FIELD: b"{"})
    drain(StreamSource(broker_url))
    assert [tuple(row) for row in rows("SELECT origin, position FROM dead_letter")] == [
        (f"stream:{STREAM}", entry.decode())
    ]


@in_both_protocols
@pytest.mark.parametrize("deleted", [1, 3])
def test_an_entry_that_was_deleted_while_it_was_pending_holds_up_nothing(
    broker_url: str, client: redis.Redis, deleted: int
) -> None:
    publish(broker_url, *requests("1", "2", "3"))
    received = StreamSource(broker_url, "same").receive()
    client.xdel(STREAM, *(str(one.position) for one in received[:deleted]))
    publish(broker_url, *requests("new"))
    source = StreamSource(broker_url, "same")
    for _ in range(3):
        step(source)
    assert taken() == [*["1", "2", "3"][deleted:], "new"]
    assert (client.xlen(STREAM), pending(client)) == (0, 0)


def test_a_deleted_entry_of_a_dead_consumer_holds_up_nothing(
    broker_url: str, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake_stream, "_ABANDONED_AFTER_MILLISECONDS", 0)
    publish(broker_url, *requests("1", "2"))
    received = StreamSource(broker_url, "dead").receive()
    client.xdel(STREAM, str(received[0].position))
    source = StreamSource(broker_url, "alive")
    assert [step(source), step(source)] == [1, 0]
    assert (taken(), pending(client)) == (["2"], 0)


WIPES: dict[str, Callable[[redis.Redis], Any]] = {
    "flushdb": lambda client: client.flushdb(),
    "xgroup destroy": lambda client: client.xgroup_destroy(STREAM, GROUP),
    "del": lambda client: client.delete(STREAM),
}


@pytest.mark.parametrize("wipe", WIPES)
def test_an_intake_goes_on_when_the_stream_is_wiped_under_it(broker_url: str, client: redis.Redis, wipe: str) -> None:
    source = StreamSource(broker_url)
    publish(broker_url, *requests("before"))
    # What it has taken is acknowledged only after the wipe.
    intake.step(source)
    WIPES[wipe](client)
    publish(broker_url, *requests("after"))
    assert [step(source), step(source)] == [0, 1]
    assert (taken(), client.xlen(STREAM)) == (["before", "after"], 0)


def test_what_was_received_before_a_wipe_is_taken_all_the_same(broker_url: str, client: redis.Redis) -> None:
    publish(broker_url, *requests("1"))
    source = StreamSource(broker_url)
    received = source.receive()
    client.flushdb()
    take(received)
    source.acknowledge()
    publish(broker_url, *requests("2"))
    assert [step(source), step(source)] == [0, 1]
    assert taken() == ["1", "2"]


def test_a_key_of_another_type_in_the_streams_place_is_an_outage_that_is_waited_out(
    broker_url: str, client: redis.Redis
) -> None:
    client.set(STREAM, "not a stream")

    class Repaired(Stopped):
        def wait(self, seconds: float) -> None:
            super().wait(seconds)
            client.delete(STREAM)
            publish(broker_url, *requests("1"))

    stop = Repaired(after=1)
    run(StreamSource(broker_url), stop)
    assert (taken(), stop.pauses) == (["1"], [0.2])


# The process


def test_the_intake_waits_out_an_outage_of_the_database_and_loses_nothing(
    broker_url: str, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(broker_url, *requests("1", "2"), b"{", *requests("3"))
    fail_to_take(monkeypatch, times=2)
    stop = Stopped(after=3)
    run(StreamSource(broker_url), stop)
    assert (taken(), dead()) == (["1", "2", "3"], [("not_json", b"{")])
    assert stop.pauses == [0.2, 0.5]
    assert (client.xlen(STREAM), pending(client)) == (0, 0)


def test_the_intake_waits_out_a_database_that_does_not_answer(
    broker_url: str, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    away = create_engine("postgresql+psycopg://nobody@127.0.0.1:1/nothing")
    publish(broker_url, *requests("1"))

    class Repaired(Stopped):
        def is_set(self) -> bool:
            return len(self.pauses) == 2

        def wait(self, seconds: float) -> None:
            super().wait(seconds)
            assert client.xlen(STREAM) == 1

    with monkeypatch.context() as patch:
        patch.setattr("database.transactions.engine", lambda: away)
        source = StreamSource(broker_url)
        run(source, Repaired(after=1))
    assert taken() == []
    run(source, Stopped(after=1))
    assert (taken(), client.xlen(STREAM)) == (["1"], 0)


def test_the_pauses_of_an_outage_grow_to_five_seconds(broker_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(broker_url, *requests("1"))
    fail_to_take(monkeypatch, times=7)
    stop = Stopped(after=1)
    run(StreamSource(broker_url), stop)
    assert stop.pauses == [0.2, 0.5, 1.0, 2.0, 5.0, 5.0, 5.0]


def test_the_intake_waits_for_a_broker_that_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    class Ended(Stopped):
        def is_set(self) -> bool:
            return len(self.pauses) == 3

    stop = Ended(after=1)
    run(StreamSource("redis://127.0.0.1:1/0"), stop)
    assert stop.pauses == [0.2, 0.5, 1.0]


def test_a_fault_of_ours_ends_the_intake_and_acknowledges_nothing(
    broker_url: str, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: Sequence[Delivery], waker: Waker | None) -> Accepted:
        raise ZeroDivisionError

    publish(broker_url, *requests("1"))
    monkeypatch.setattr("workers.intake.take", broken)
    with pytest.raises(ZeroDivisionError):
        run(StreamSource(broker_url), Stopped(after=1))
    assert pending(client) == 1


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
