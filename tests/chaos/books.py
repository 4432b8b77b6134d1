"""What the tables, the warehouses and the desks say, read by nothing of the code under test."""

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import redis
from sqlalchemy import create_engine, make_url, text

from orders.loading import load_orders
from orders.messages import OrderMessage
from tests.chaos.house import House
from tests.chaos.senders import Key
from tests.chaos.traffic import TICKETS, token
from workers.broker import FIELD, STREAM

_NUMBER = re.compile(rb"CHAOS\d{6}")
_MARK = re.compile(r"\[countermand:([^\]/]+)/([^\]]+)\]")


class Books:
    """Reads the tables, and sets back clocks in them."""

    def __init__(self, database_url: str, broker_url: str) -> None:
        self._engine = create_engine(make_url(database_url), pool_pre_ping=True)
        self._broker_url = broker_url

    def close(self) -> None:
        """Ends its connections."""
        self._engine.dispose()

    def rows(self, sql: str, **parameters: Any) -> list[Any]:
        """Runs one statement in a transaction of its own and returns its rows."""
        with self._engine.begin() as connection:
            result = connection.execute(text(sql), parameters)
            return list(result) if result.returns_rows else []

    def load(self, orders: Iterable[dict[str, Any]]) -> None:
        """Loads orders, as the store's import does."""
        messages = [OrderMessage.model_validate(order, strict=False) for order in orders]
        with self._engine.begin() as connection:
            load_orders(connection, messages)

    def on_the_broker(self) -> list[bytes]:
        """Returns the messages that the stream has."""
        with redis.Redis.from_url(self._broker_url) as client:
            entries: Any = client.xrange(STREAM)
        return [fields[FIELD.encode()] for _, fields in entries]

    def taken(self) -> set[str]:
        """Returns the tokens of all requests and all dead letters."""
        found = self.rows("SELECT body AS raw FROM change_request UNION ALL SELECT raw FROM dead_letter")
        return {token(bytes(row.raw)) for row in found}

    def decisions(self) -> dict[Key, tuple[str, tuple[str, ...], Any]]:
        """Returns every decision there is."""
        found = self.rows("SELECT * FROM change_request WHERE state = 'decided'")
        return {(row.source, row.external_id): (row.outcome, tuple(row.reasons), row.decided_at) for row in found}


def answers_on(house: House) -> Counter[Key]:
    """Returns how often each decision stands at its desk."""
    standing = [comment.text + comment.mark for ticket in TICKETS for comment in house.zendesk.comments(str(ticket))]
    marks = [match.groups() for comment in standing for match in _MARK.finditer(comment)]
    marks += [match.groups() for mark in house.standard.received if (match := _MARK.fullmatch(mark))]
    return Counter((unquote(source), unquote(request)) for source, request in marks)


def files_in(folder: Path) -> dict[str, bytes]:
    """Returns the files that a partner sees."""
    return {path.name: path.read_bytes() for path in folder.glob("[!.]*")}


def orders_in(content: bytes) -> set[str]:
    """Returns the numbers of the orders that a document names."""
    return {number.decode() for number in _NUMBER.findall(content)}
