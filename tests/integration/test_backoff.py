"""The database computes the same pauses as Python does."""

import pytest
from sqlalchemy import Engine, select

from delivery.backoff import DESTINATION, ITEM, PARTNER, Backoff


@pytest.mark.parametrize("backoff", [ITEM, DESTINATION, PARTNER], ids=["item", "destination", "partner"])
def test_a_pause_is_the_same_in_the_database(engine: Engine, backoff: Backoff) -> None:
    failures = [*range(1, 13), 10_000]
    with engine.connect() as connection:
        found = connection.execute(select(*(backoff.pause_sql(count) for count in failures))).one()
        longer = connection.execute(select(backoff.pause_sql(1, at_least=3600))).scalar_one()
    assert list(found) == [backoff.pause(count) for count in failures]
    assert longer.total_seconds() == 3600
