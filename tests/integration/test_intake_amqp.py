"""The intake from a real RabbitMQ, named by COUNTERMAND_TEST_AMQP_URL; each test has queues of its own."""

import json
import os
import uuid
from collections.abc import Iterator, Sequence
from typing import Any

import kombu
import pytest
from sqlalchemy.exc import OperationalError

import tasks.intake
from configuration.outages import UnusableQueue
from configuration.settings import settings
from orders.inbox import Accepted, Delivery
from orders.messages import MAX_MESSAGE_BYTES
from tasks.intake import take
from tasks.running.wakeups import Waker
from tests.builders import a_request, encoded, rows
from tests.commands import Countermand
from workers import broker, intake_queue
from workers.broker import QueueBroker, broker_at, connection_to, declare_queues
from workers.intake import Stop, run, step
from workers.intake_queue import QueueSource

URL = os.environ.get("COUNTERMAND_TEST_AMQP_URL", "")

pytestmark = [
    pytest.mark.usefixtures("system"),
    pytest.mark.skipif(not URL, reason="COUNTERMAND_TEST_AMQP_URL names no RabbitMQ to test with"),
]


@pytest.fixture(autouse=True)
def queue(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Queues of this test's own, in the place of the product's and of the same make."""
    name = f"countermand-test-{uuid.uuid4().hex}"
    exchange = kombu.Exchange(f"{name}.dead", type="fanout", durable=True)
    product_dead, product = broker.DEAD_LETTER_QUEUE, broker.CHANGE_QUEUE
    dead = kombu.Queue(exchange.name, exchange, durable=True, queue_arguments=product_dead.queue_arguments)
    arguments = {**product.queue_arguments, "x-dead-letter-exchange": exchange.name}
    change = kombu.Queue(name, durable=product.durable, queue_arguments=arguments)
    for module in (broker, intake_queue):
        monkeypatch.setattr(module, "DEAD_LETTER_QUEUE", dead)
        monkeypatch.setattr(module, "QUEUE", name)
        monkeypatch.setattr(module, "CHANGE_QUEUE", change)
    # A message comes within milliseconds or not at all.
    monkeypatch.setattr(intake_queue, "_WAIT_SECONDS", 0.3)
    monkeypatch.setattr(tasks.intake, "wake", lambda _: None)
    yield name
    with connection_to(URL) as connection:
        channel = connection.default_channel
        for left in (name, dead.name):
            channel.queue_delete(left)
        channel.exchange_delete(exchange.name)


@pytest.fixture
def source() -> Iterator[QueueSource]:
    """An intake's side of the queue, whose connection ends with the test."""
    made = QueueSource(URL)
    yield made
    made.start_over()


def publish(*bodies: bytes | dict[str, Any]) -> None:
    raw = [body if isinstance(body, bytes) else encoded(body) for body in bodies]
    assert QueueBroker(URL).publish(raw) == len(bodies)


def requests(*ids: str) -> list[dict[str, Any]]:
    return [a_request(id=one) for one in ids]


def backlog() -> int:
    return QueueBroker(URL).backlog()


def left_over(source: QueueSource) -> int:
    """Ends the intake's connection, and counts what that gives back to the queue."""
    assert source._connection is not None
    source._connection.release()
    source.start_over()
    return backlog()


def drain(source: QueueSource, expected: int) -> None:
    """Takes until so many messages came."""
    came = 0
    for _ in range(20):
        came += step(source)
        if came >= expected:
            break
    assert came == expected


def taken() -> list[str]:
    return [row.external_id for row in rows("SELECT external_id FROM change_request ORDER BY id")]


def dead() -> list[tuple[str, bytes]]:
    return [(row.reason, row.raw) for row in rows("SELECT reason, raw FROM dead_letter ORDER BY id")]


def fail_to_take(monkeypatch: pytest.MonkeyPatch, *, times: int) -> None:
    """Makes taking fail as it does when the database is away, before anything is committed."""
    left = [None] * times

    def failing(deliveries: Sequence[Delivery], waker: Waker | None) -> Accepted:
        if not left:
            return take(deliveries, waker)
        left.pop()
        raise OperationalError("BEGIN", {}, Exception("connection refused"))

    monkeypatch.setattr("workers.intake.take", failing)


class Stopped(Stop):
    """Ends an intake once it has taken so many requests; does not wait in between."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self._after = after
        self.pauses: list[float] = []

    def is_set(self) -> bool:
        return len(taken()) >= self._after

    def wait(self, seconds: float) -> None:
        self.pauses.append(seconds)
        if len(self.pauses) > 20:
            raise AssertionError("the intake does not come back")


def test_what_was_published_before_the_first_intake_came_up_is_taken_in_sequence(source: QueueSource) -> None:
    ids = [str(place) for place in range(1, 1203)]
    publish(*requests(*ids))
    assert backlog() == len(ids)
    drain(source, len(ids))
    assert taken() == ids
    assert left_over(source) == 0


def test_an_empty_queue_gives_nothing(source: QueueSource) -> None:
    assert step(source) == 0
    publish(*requests("1"))
    drain(source, 1)
    assert taken() == ["1"]


def test_an_intake_holds_no_more_than_one_batch(source: QueueSource, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake_queue, "_BATCH", 5)
    publish(*requests(*"abcdefgh"))
    assert [len(source.receive()), len(source.receive())] == [5, 0]
    assert backlog() == 3
    source.acknowledge()
    assert len(source.receive()) == 3


def test_a_message_is_acknowledged_only_after_the_commit(source: QueueSource, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(*requests("1", "2"))
    fail_to_take(monkeypatch, times=1)
    with pytest.raises(OperationalError):
        step(source)
    assert taken() == []
    source.start_over()
    drain(source, 2)
    assert taken() == ["1", "2"]
    assert left_over(source) == 0


def test_what_was_committed_and_not_acknowledged_is_delivered_again_and_taken_once(source: QueueSource) -> None:
    publish(*requests("1", "2"), b"{")
    assert take(source.receive()) == Accepted(new=2, repeated=0, dead=1)
    source.start_over()
    assert take(source.receive()).repeated == 2
    source.acknowledge()
    assert (taken(), dead()) == (["1", "2"], [("not_json", b"{")])


def test_a_connection_that_breaks_before_the_acknowledgement_costs_nothing(source: QueueSource) -> None:
    publish(*requests("1"))
    received = source.receive()
    assert source._connection is not None
    source._connection.transport.close_connection(source._connection.connection)
    take(received)
    with pytest.raises(source.outages):
        source.acknowledge()
    source.start_over()
    drain(source, 1)
    assert taken() == ["1"]


def test_the_intake_waits_out_an_outage_of_the_database_and_loses_nothing(
    source: QueueSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(*requests("1", "2"), b"{", *requests("3"))
    fail_to_take(monkeypatch, times=2)
    stop = Stopped(after=3)
    run(source, stop)
    assert (taken(), dead(), stop.pauses) == (["1", "2", "3"], [("not_json", b"{")], [0.2, 0.5])
    assert left_over(source) == 0


def test_what_arrives_while_the_database_is_away_is_not_acknowledged_with_what_was_waiting_for_it(
    source: QueueSource,
) -> None:
    publish(*requests("1"))
    waiting = source.receive()
    publish(*requests("2"))
    for _ in range(100):
        source.keep_alive()
    take(waiting)
    source.acknowledge()
    drain(source, 1)
    assert taken() == ["1", "2"]
    assert left_over(source) == 0


def test_the_intake_goes_on_when_its_queue_is_deleted_under_it(source: QueueSource, queue: str) -> None:
    class Ended(Stopped):
        def wait(self, seconds: float) -> None:
            super().wait(seconds)
            publish(*requests("2"))

    publish(*requests("1"))
    drain(source, 1)
    with connection_to(URL) as connection:
        connection.default_channel.queue_delete(queue)
    run(source, Ended(after=2))
    assert taken() == ["1", "2"]


def test_the_intake_waits_for_a_broker_that_is_away() -> None:
    class Ended(Stopped):
        def is_set(self) -> bool:
            return len(self.pauses) == 1

    source, stop = QueueSource("amqp://guest:guest@127.0.0.1:1//"), Ended(after=1)
    run(source, stop)
    assert stop.pauses == [0.2]


# By what name, and in what encoding, a sender may say that its body is written.
HEADERS: list[dict[str, Any]] = [
    {"content_type": "application/json", "content_encoding": "utf-8"},
    {"content_type": "application/x-python-serialize", "content_encoding": "binary"},
    {"content_type": "application/x-yaml", "content_encoding": "no-such-encoding"},
    {"content_type": "text/plain", "content_encoding": "utf-16"},
    {"content_type": "application/data", "content_encoding": "gzip"},
    {"content_type": "", "content_encoding": ""},
    {"content_type": None, "content_encoding": None},
]
COMPRESSIONS = ["application/x-gzip", "no-such-compression", "\0", 7, None]


@pytest.mark.parametrize("properties", HEADERS, ids=lambda one: f"{one.get('content_type')}")
def test_a_body_is_taken_as_it_is_whatever_its_headers_say_of_it(
    source: QueueSource, queue: str, properties: dict[str, Any]
) -> None:
    garbage = [b"", b"\x80\x04N.", b"\xff\xfe\x00", "Köln".encode("latin-1")]
    good = encoded(a_request(id="good", note="Köln 東京"))
    with connection_to(URL, confirm_publish=True) as connection:
        declare_queues(connection)
        channel = connection.default_channel
        for body, compression in zip((*garbage, good), COMPRESSIONS, strict=True):
            message = channel.prepare_message(body, headers={"compression": compression}, **properties)
            channel.basic_publish(message, routing_key=queue)
    drain(source, 5)
    assert (taken(), dead()) == (["good"], [("not_json", body) for body in garbage])


def test_unreadable_messages_become_dead_letters_with_their_bytes_and_those_around_them_are_taken(
    source: QueueSource,
) -> None:
    large = encoded(a_request()).ljust(MAX_MESSAGE_BYTES + 1)
    conflicting = encoded(a_request("1002", id="1"))
    publish(*requests("1"), large, b"[]", conflicting, *requests("2"))
    drain(source, 5)
    assert taken() == ["1", "2"]
    assert dead() == [("too_large", large), ("invalid_message", b"[]"), ("conflicting_duplicate", conflicting)]


def test_the_queue_is_a_durable_quorum_queue_that_drops_nothing(queue: str) -> None:
    publish(*requests("1"))
    arguments = {
        "x-queue-type": "quorum",
        "x-dead-letter-exchange": f"{queue}.dead",
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",
    }
    with connection_to(URL) as connection:
        # RabbitMQ refuses to declare a queue that exists if anything of it is otherwise.
        kombu.Queue(queue, durable=True, queue_arguments=arguments)(connection.default_channel).queue_declare()


def test_what_the_broker_gives_up_on_is_kept_in_the_dead_letter_queue(queue: str) -> None:
    event = a_request()
    publish(event)
    with connection_to(URL) as connection:
        waiting = kombu.Consumer(connection.default_channel, [broker.CHANGE_QUEUE], on_message=lambda m: m.reject())
        kept: list[Any] = []
        given_up = kombu.Consumer(connection.default_channel, [broker.DEAD_LETTER_QUEUE], on_message=kept.append)
        with waiting, given_up:
            while not kept:
                connection.drain_events(timeout=10)
    assert (bytes(kept[0].body), backlog()) == (encoded(event), 0)


def given_up(*bodies: bytes | dict[str, Any], **properties: Any) -> None:
    """Puts messages where RabbitMQ moves what it gives up."""
    with connection_to(URL, confirm_publish=True) as connection:
        declare_queues(connection)
        for body in bodies:
            raw = body if isinstance(body, bytes) else encoded(body)
            message = connection.default_channel.prepare_message(raw, **properties)
            connection.default_channel.basic_publish(message, routing_key=broker.DEAD_LETTER_QUEUE.name)


def left_aside(source: QueueSource) -> int:
    """Ends the intake's connection, and counts what that leaves with the messages given up."""
    source.start_over()
    with connection_to(URL) as connection:
        dead_letters = broker.DEAD_LETTER_QUEUE(connection.default_channel)
        return int(dead_letters.queue_declare(passive=True).message_count)


def test_what_rabbitmq_delivered_too_often_becomes_a_dead_letter_that_can_be_requeued_and_taken(
    source: QueueSource, countermand: Countermand, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = {**broker.CHANGE_QUEUE.queue_arguments, "x-delivery-limit": 1}
    limited = kombu.Queue(broker.QUEUE, durable=True, queue_arguments=arguments)
    for module in (broker, intake_queue):
        monkeypatch.setattr(module, "CHANGE_QUEUE", limited)
    # RabbitMQ moves it when it gets to that: a look that came too early is not the last one for ten seconds.
    monkeypatch.setattr(intake_queue, "_LOOK_ASIDE_EVERY_SECONDS", 0.0)
    event = a_request()
    publish(event)
    for _ in range(2):
        assert [delivery.raw for delivery in source.receive()] == [encoded(event)]
        source.start_over()
    drain(source, 1)
    assert (taken(), left_over(source), left_aside(source)) == ([], 0, 0)
    monkeypatch.setenv("COUNTERMAND_BROKER_URL", URL)
    settings.cache_clear()
    [letter] = countermand("dead-letters", "list", "--json").json
    assert (letter["reason"], letter["state"]) == ("invalid_message", "new")
    assert letter["origin"] == f"queue:{broker.DEAD_LETTER_QUEUE.name}"
    assert letter["error"] == "RabbitMQ gave it up: it was delivered too often without being taken"
    assert countermand("dead-letters", "show", str(letter["id"]), "--json").json["text"] == json.dumps(event)
    assert countermand("dead-letters", "requeue", str(letter["id"])).code == 0
    drain(source, 1)
    assert taken() == [event["id"]]


def test_what_was_delivered_too_often_is_put_aside_unread(source: QueueSource, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake_queue, "_GIVEN_UP_AFTER", 2)
    event = a_request()
    publish(event)
    for _ in range(2):
        [delivery] = source.receive()
        assert delivery.given_up is None
        source.start_over()
    drain(source, 1)
    assert (taken(), left_over(source)) == ([], 0)
    assert dead() == [("invalid_message", encoded(event))]


def test_a_header_of_the_publisher_puts_nothing_aside(source: QueueSource) -> None:
    with connection_to(URL) as connection:
        declare_queues(connection)
        body = encoded(a_request(id="1"))
        connection.Producer().publish(body, routing_key=broker.QUEUE, headers={"x-delivery-count": 99})
    drain(source, 1)
    assert taken() == ["1"]


def test_what_was_given_up_is_acknowledged_only_after_the_commit(
    source: QueueSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    given_up(b"{", a_request())
    fail_to_take(monkeypatch, times=1)
    with pytest.raises(OperationalError):
        step(source)
    assert dead() == []
    source.start_over()
    drain(source, 2)
    assert [reason for reason, _ in dead()] == ["invalid_message", "invalid_message"]
    assert left_aside(source) == 0


def test_to_acknowledge_what_was_given_up_acknowledges_nothing_else(source: QueueSource) -> None:
    publish(*requests("1", "2"))
    given_up(b"{")
    assert step(source) == 1
    assert (taken(), left_over(source), left_aside(source)) == ([], 2, 0)
    given_up(b"[")
    assert [take(source.receive()).dead, take(source.receive()).new] == [1, 2]
    source.acknowledge()
    assert (taken(), left_over(source), left_aside(source)) == (["1", "2"], 0, 0)


def test_a_message_given_up_for_whatever_reason_says_so(source: QueueSource) -> None:
    given_up(b"1", headers={"x-first-death-reason": "expired"})
    given_up(b"2", headers={"x-first-death-reason": ["\x1b"]})
    given_up(b"3")
    drain(source, 3)
    unsaid = "RabbitMQ gave it up: it does not say why"
    errors = [row.error for row in rows("SELECT error FROM dead_letter ORDER BY id")]
    assert errors == ["RabbitMQ gave it up: it was not taken within its time to live", unsaid, unsaid]


def test_a_queue_that_exists_with_other_arguments_is_reported_and_left_as_it_is(source: QueueSource) -> None:
    with connection_to(URL) as connection:
        kombu.Queue(broker.QUEUE, durable=True)(connection.default_channel).queue_declare()
    for use in (source.receive, lambda: publish(b"{}"), backlog):
        with pytest.raises(UnusableQueue, match=f"queue {broker.QUEUE} has .*, expected ") as caught:
            use()
        assert "\n" not in str(caught.value)
    with connection_to(URL) as connection:
        kombu.Queue(broker.QUEUE, durable=True)(connection.default_channel).queue_declare()


def test_a_publish_ends_only_when_the_broker_has_the_message(monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = {**broker.CHANGE_QUEUE.queue_arguments, "x-max-length": 1}
    full = kombu.Queue(broker.QUEUE, durable=True, queue_arguments=arguments)
    monkeypatch.setattr(broker, "CHANGE_QUEUE", full)
    with pytest.raises(broker.QUEUE_OUTAGES):
        # A quorum queue counts late: a few more than its limit get in before it says no.
        publish(*([b"{}"] * 500))


def test_the_backlog_counts_what_no_intake_has_received(source: QueueSource) -> None:
    assert backlog() == 0
    publish(*requests("1", "2"))
    assert backlog() == 2
    drain(source, 2)
    assert backlog() == 0


def test_whoever_waits_is_told_of_requests_that_no_intake_has_taken(
    countermand: Countermand, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(*requests(*(str(number) for number in range(50))))
    monkeypatch.setenv("COUNTERMAND_BROKER_URL", URL)
    settings.cache_clear()
    ended = countermand("requests", "wait", "--timeout", "0", "--json")
    assert (ended.code, ended.json["settled"], ended.json["on_broker"], ended.json["received"]) == (1, False, 50, 0)


def test_the_broker_of_an_amqp_url_is_a_queue() -> None:
    assert isinstance(broker_at(URL), QueueBroker)
