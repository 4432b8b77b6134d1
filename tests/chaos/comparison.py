"""The books compared, once nothing moves any more: what is lost, doubled, or otherwise wrong."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.chaos.books import Books, answers_on, files_in, orders_in
from tests.chaos.house import House
from tests.chaos.ledger import Ledger
from tests.chaos.senders import Key, StreamSender, WebhookSender
from tests.chaos.traffic import Store
from tests.processes import log_of


@dataclass(frozen=True)
class Comparison:
    """Everything that the comparison looks at."""

    store: Store
    stream: StreamSender
    webhooks: WebhookSender
    house: House
    books: Books
    # The decisions as they were first seen.
    seen: dict[Key, Any]

    def fill(self, ledger: Ledger) -> None:
        """Writes into the ledger what is there, and what is wrong."""
        ledger.ended = self._ended()
        ledger.lost += [*self._untaken(), *self._undecided(), *self._unanswered(), *self._unsent()]
        ledger.doubled += [*self._answered_twice(), *self._sent_twice()]
        ledger.violations += [*self._audited(), *self._decided_anew(), *self._files(), *self._stock()]
        ledger.violations += self._failed()
        ledger.violations += self.webhooks.unexpected

    def _ended(self) -> dict[str, int]:
        counted = {
            "accepted": "SELECT count(*) FROM change_request",
            "decided": "SELECT count(*) FROM change_request WHERE state = 'decided'",
            "parked": "SELECT count(*) FROM change_request WHERE state = 'parked'",
            "dead letters": "SELECT count(*) FROM dead_letter",
            "orders": "SELECT count(*) FROM orders",
            "orders exported": "SELECT count(*) FROM orders WHERE edi_state = 'sent'",
            "orders closed": "SELECT count(*) FROM orders WHERE status IN ('abandoned', 'cancelled')",
            "interchanges sent": "SELECT count(*) FROM interchange WHERE state = 'sent'",
            "interchanges released": "SELECT count(*) FROM interchange WHERE state = 'released'",
            "interchanges sent again": "SELECT count(*) FROM interchange WHERE fence > 1",
        }
        numbers = {name: self.books.rows(sql)[0][0] for name, sql in counted.items()}
        return {**numbers, "answers at desks": answers_on(self.house).total()}

    # Lost

    def _untaken(self) -> Iterator[str]:
        taken = self.books.taken()
        for known in {*self.stream.published, *self.webhooks.refused} - taken:
            yield f"neither request nor dead letter: {known[:200]}"
        keys = {(row.source, row.external_id) for row in self.books.rows("SELECT * FROM change_request")}
        for key in self.webhooks.accepted.keys() - keys:
            yield f"answered 202 and not there: {key}"

    def _undecided(self) -> Iterator[str]:
        for row in self.books.rows("SELECT * FROM change_request WHERE state NOT IN ('decided', 'parked')"):
            yield f"request {row.external_id} of {row.source} is {row.state}"
        for row in self.books.rows("SELECT * FROM effect WHERE state <> 'done'"):
            yield f"effect {row.id} ({row.kind}) is {row.state}: {row.error}"

    def _expected_answers(self) -> set[Key]:
        answered = self.books.rows(
            "SELECT * FROM change_request WHERE state = 'decided' AND ticket IS NOT NULL AND source = ANY(:sources)",
            sources=[self.house.zendesk.source, self.house.standard.source],
        )
        return {(row.source, row.external_id) for row in answered}

    def _notes(self) -> set[Key]:
        """The notes for colleagues, by their marks: what stands on a ticket where nothing could be decided."""
        noted = self.books.rows("SELECT source, cause, key FROM ticket_note")
        return {(row.source, f"note:{row.cause}:{row.key}") for row in noted}

    def _unanswered(self) -> Iterator[str]:
        for key in self._expected_answers() - answers_on(self.house).keys():
            yield f"decided and not answered at its desk: {key}"

    def _unsent(self) -> Iterator[str]:
        sent = {number for content in self._contents().values() for number in orders_in(content)}
        for row in self.books.rows("SELECT number FROM orders WHERE edi_state = 'sent'"):
            if row.number not in sent:
                yield f"order {row.number} is sent and in no file"

    # Doubled

    def _answered_twice(self) -> Iterator[str]:
        expected = self._expected_answers() | self._notes()
        for key, times in answers_on(self.house).items():
            if times > 1 or key not in expected:
                yield f"answered {times} times at its desk: {key}"

    def _sent_twice(self) -> Iterator[str]:
        times = Counter(number for content in self._contents().values() for number in orders_in(content))
        sent = {row.number for row in self.books.rows("SELECT number FROM orders WHERE edi_state = 'sent'")}
        for number, files in times.items():
            if files > 1 or number not in sent:
                yield f"order {number} is in {files} files, and {'sent' if number in sent else 'not sent'}"

    # Otherwise wrong

    def _audited(self) -> Iterator[str]:
        code, printed = self.house.run("audit", "--json")
        if code not in (0, 1):
            yield f"the audit ended with {code}: {printed}"
            return
        for check in json.loads(printed)["checks"]:
            yield from (f"promise {check['promise']}: {example}" for example in check["examples"])

    def _decided_anew(self) -> Iterator[str]:
        last = self.books.decisions()
        for key, decision in self.seen.items():
            if last.get(key) != decision:
                yield f"request {key} was decided {decision}, then {last.get(key)}"
        for key, reported in self.webhooks.accepted.items():
            if reported and (reported["outcome"], tuple(reported["reasons"])) != last.get(key, ())[:2]:
                yield f"a webhook was answered {reported['outcome']} of {key}, now it is {last.get(key)}"

    def _contents(self) -> dict[str, bytes]:
        return files_in(self.house.north) | files_in(self.house.warehouse.drop)

    def _files(self) -> Iterator[str]:
        for partner, folder in (("NORTH", self.house.north), ("SOUTH", self.house.warehouse.drop)):
            stored = self.books.rows(
                "SELECT filename, content FROM interchange WHERE state = 'sent' AND partner = :partner", partner=partner
            )
            expected = {row.filename: bytes(row.content) for row in stored}
            found = files_in(folder)
            for name in sorted(expected.keys() | found.keys()):
                if expected.get(name) != found.get(name):
                    yield f"{partner}: {name} is not what was stored ({name in expected=}, {name in found=})"

    def _stock(self) -> Iterator[str]:
        expected: Counter[str] = Counter()
        for row in self.books.rows("SELECT number FROM orders WHERE status = 'cancelled'"):
            for line in self.store.orders[row.number]["lines"]:
                expected[line["sku"]] += line["quantity"]
        found = Counter({row.sku: row.quantity for row in self.books.rows("SELECT sku, quantity FROM stock")})
        for sku in sorted(expected.keys() | found.keys()):
            if expected[sku] != found[sku]:
                yield f"stock of {sku} is {found[sku]}, the cancelled orders had {expected[sku]}"

    def _failed(self) -> Iterator[str]:
        yield from failures_in(log_of(self.house.home).read_text())


# What is said where something of ours has failed, and not a server, a partner or a desk.
_FAILURES = (
    '"event": "failed"',
    '"event": "a delivery failed"',
    '"event": "the export to a partner failed',
    '"event": "what a partner answers could not be dealt with',
    "raised unexpected",
)
# This is one only as an error: a lock that another holds is none.
_MAY_BE = '"event": "not decided at once"'
_IS_ONE = '"level": "error"'


def failures_in(log: str) -> Iterator[str]:
    """Yields what a log tells of failures: an outage is nobody's, and nothing of what was sent cannot be done."""
    for line in log.splitlines():
        if any(said in line for said in _FAILURES) or (_MAY_BE in line and _IS_ONE in line):
            yield f"counted as a failure of the work: {line}"
