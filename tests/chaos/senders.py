"""The senders: each keeps the list of what it has sent, and repeats it until the server confirms that it was stored."""

from collections import Counter, deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from threading import Event, RLock
from typing import Any

import httpx2
import redis
from sqlalchemy.exc import InterfaceError, OperationalError

from tests.builders import EMAIL, encoded
from tests.chaos.traffic import Asking, token
from tests.deliveries import Delivery, sign
from tests.helpdesks.standard import FakeStandard
from tests.helpdesks.zendesk import FakeZendesk
from workers.broker import QUEUE_OUTAGES, broker_at

Key = tuple[str, str]

OUTAGES = (redis.RedisError, OperationalError, InterfaceError, httpx2.HTTPError, *QUEUE_OUTAGES)
_AGAIN_SECONDS = 0.3
_TICK_SECONDS = 0.25


def patiently(work: Callable[[], object], minutes: float = 5) -> None:
    """Does it again until no server is away; what stays away for minutes is an error."""
    for _ in range(int(minutes * 60 / _AGAIN_SECONDS)):
        with suppress(*OUTAGES):
            work()
            return
        Event().wait(_AGAIN_SECONDS)
    work()


class StreamSender:
    """An integration that publishes to the broker, with repeats, conflicting repeats and garbage."""

    def __init__(self, url: str, asking: Asking) -> None:
        self._broker, self._asking = broker_at(url), asking
        self._chance = asking.chance
        self._recent: deque[dict[str, Any]] = deque(maxlen=40)
        # By token, in the sequence of their publishing: all that has to be in the tables in the end.
        self.published: dict[str, bytes] = {}
        self.counts: Counter[str] = Counter()
        # Held by whoever publishes, or must not be published beside.
        self.lock = RLock()

    def run(self, stop: Event) -> None:
        """Publishes a few messages a tick until stopped; what was begun is brought to its end."""
        while not stop.wait(_TICK_SECONDS):
            self.publish(self._chance.randrange(2, 7))

    def publish(self, count: int) -> None:
        """Publishes so many messages, again and again until the broker has confirmed them."""
        with self.lock:
            bodies = [self._next() for _ in range(count)]
            self.republish(bodies)
            self.published |= {token(body): body for body in bodies if token(body) not in self.published}

    def republish(self, bodies: Sequence[bytes]) -> None:
        """Publishes messages as they are."""
        with self.lock:
            patiently(lambda: self._broker.publish(bodies))

    def _next(self) -> bytes:
        dice = self._chance.random()
        if dice < 0.04:
            self.counts["garbage"] += 1
            return self._asking.garbage()
        if dice < 0.14 and self._recent:
            self.counts["duplicates"] += 1
            return encoded(self._chance.choice(self._recent))
        if dice < 0.18 and self._recent:
            self.counts["conflicts"] += 1
            return encoded(self._asking.conflicting(self._chance.choice(self._recent)))
        self.counts["requests by the broker"] += 1
        self._recent.append(self._asking.event())
        return encoded(self._recent[-1])


class WebhookSender:
    """A Zendesk and a sender of Standard Webhooks that try again until they are answered."""

    def __init__(self, url: str, asking: Asking) -> None:
        self._client = httpx2.Client(base_url=url, timeout=5)
        self._asking, self._chance = asking, asking.chance
        # Keys that a 202 or 200 has named, and what was said of the decision with a 200.
        self.accepted: dict[Key, dict[str, Any] | None] = {}
        # Tokens of what was answered 409, or 200 as a dead letter.
        self.refused: set[str] = set()
        self.unexpected: list[str] = []
        self.counts: Counter[str] = Counter()

    def run(self, stop: Event) -> None:
        """Sends one delivery after the other until stopped, and that one to its end."""
        acts = (self._zendesk, self._standard, self._garbage, self._forged)
        with self._client:
            while not stop.wait(self._chance.uniform(0, _TICK_SECONDS)):
                [act] = self._chance.choices(acts, weights=(4, 4, 1, 1))
                act()

    def _zendesk(self) -> None:
        event = self._asking.event()
        body = encoded({**event["data"], "ticket": self._asking.ticket(), "requester": EMAIL})
        self._send_a_request("zendesk", body)

    def _standard(self) -> None:
        event = self._asking.event("standard:acme")
        self._send_a_request("standard", encoded(event))
        if self._chance.random() < 0.2:
            self.counts["conflicts"] += 1
            self._send("standard", encoded(self._asking.conflicting(event)), 409)

    def _send_a_request(self, desk: str, body: bytes) -> None:
        self.counts["requests by webhook"] += 1
        self._send(desk, body, 202, 200)
        if self._chance.random() < 0.2:
            self.counts["duplicates"] += 1
            self._send(desk, body, 200)

    def _garbage(self) -> None:
        self.counts["garbage"] += 1
        self._send("standard", self._asking.garbage(), 200)

    def _forged(self) -> None:
        self.counts["garbage"] += 1
        body = encoded(self._asking.event("standard:acme"))
        self._send("standard", body, 401, secret=FakeStandard.wrong_token)

    def _send(self, desk: str, body: bytes, *expected: int, secret: str | None = None) -> None:
        patiently(lambda: self._try(desk, body, expected, secret))

    def _try(self, desk: str, body: bytes, expected: tuple[int, ...], secret: str | None) -> None:
        signed = _signed(desk, body, secret)
        answer = self._client.post(f"/webhooks/{desk}", content=body, headers=dict(signed.headers))
        if answer.status_code == 503:
            raise httpx2.ReadTimeout("the database is away")
        if answer.status_code not in expected:
            self.unexpected.append(f"webhook {desk}: answered {answer.status_code}, expected {expected}: {answer.text}")
        elif answer.status_code == 409 or answer.json().get("state") == "dead_letter":
            self.refused.add(token(body))
        elif answer.status_code in (200, 202):
            reported = answer.json()
            self.accepted[reported["source"], reported["id"]] = reported if reported.get("outcome") else None


def _signed(desk: str, body: bytes, secret: str | None) -> Delivery:
    if desk == "zendesk":
        return sign("zendesk", body, secret=FakeZendesk.webhook_secret)
    # `tests.deliveries` names its sender of Standard Webhooks so.
    return sign("shop", body, secret=secret or FakeStandard.webhook_secret)
