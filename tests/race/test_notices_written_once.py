"""Two who put decisions into words: the second one's look is older than the first one's commit."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Event, get_ident
from typing import Any

import pytest
from sqlalchemy import Engine, event, text

from database.locks import claim_notices
from database.transactions import in_transaction
from tasks.effects import NOTIFY
from tasks.running.batches import run_batch
from tests.builders import a_request, an_order, decide_all, deliver, load
from tests.deliveries import configured
from tests.race.gates import observing

pytestmark = pytest.mark.usefixtures("system")

_GATE = 7


@contextmanager
def looking_before_locking(engine: Engine, thread: list[int]) -> Iterator[None]:
    """Lets a thread's claim stop at the gate between its look at the tables and its locks."""

    def gated(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> tuple[str, Any]:
        if get_ident() in thread and "SKIP LOCKED" in statement:
            gate = f"WHERE pg_advisory_xact_lock_shared({_GATE}) IS NOT NULL AND "
            statement = statement.replace("WHERE ", gate, 1)
        return statement, parameters

    event.listen(engine, "before_cursor_execute", gated, retval=True)
    try:
        yield
    finally:
        event.remove(engine, "before_cursor_execute", gated)


def test_a_decision_that_another_has_put_into_words_meanwhile_is_passed_by(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.effects.wake", lambda _: None)
    load(an_order())
    deliver(a_request())
    decide_all()
    late: list[int] = []

    def claim_late() -> list[int]:
        late.append(get_ident())
        return in_transaction(lambda connection: [row.id for row in claim_notices(connection, limit=9, among=None)])

    with (
        # A ticket that can be answered: till that is done nothing changes in the effect.
        configured(monkeypatch, tmp_path),
        looking_before_locking(engine, late),
        observing() as observer,
        ThreadPoolExecutor(1) as threads,
        engine.connect() as gatekeeper,
    ):
        gatekeeper.execute(text(f"SELECT pg_advisory_lock({_GATE})"))
        claimed = threads.submit(claim_late)
        waits = text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
        assert any(observer.scalar(waits) or Event().wait(0.01) for _ in range(3000))
        assert run_batch(NOTIFY) == 1
        gatekeeper.execute(text(f"SELECT pg_advisory_unlock({_GATE})"))
        assert claimed.result(timeout=30) == []
