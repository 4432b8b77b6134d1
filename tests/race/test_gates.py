"""The harness itself: it runs every order there is, leaves out none that matters, and sees who waits."""

import pytest
from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from tests.builders import rows
from tests.race.gates import State, Work, observing, step_of
from tests.race.interleavings import Race, explore, race

pytestmark = pytest.mark.usefixtures("system")


def writing(*skus: str) -> Work:
    def work(connection: Connection) -> None:
        for sku in skus:
            connection.exec_driver_sql(
                "INSERT INTO stock VALUES (%s, 1) ON CONFLICT (sku) DO UPDATE SET quantity = stock.quantity + 1", (sku,)
            )

    return work


def reading(table: str) -> Work:
    return lambda connection: connection.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar_one()


def nothing(_: Race) -> None:
    pass


@pytest.mark.parametrize(
    ("statement", "locked"),
    [
        ("SELECT id FROM orders WHERE status = 'validated' ORDER BY id FOR NO KEY UPDATE SKIP LOCKED", {"orders"}),
        ("SELECT id FROM orders\nWHERE NOT EXISTS (SELECT FROM effect) FOR NO KEY UPDATE", {"orders"}),
        ("SELECT count(*) FROM (SELECT id FROM orders FOR NO KEY UPDATE) AS locked", {"orders"}),
        ("SELECT * FROM effect, change_request WHERE true FOR UPDATE", {"effect", "change_request"}),
        ("SELECT * FROM effect JOIN change_request USING (id) FOR NO KEY UPDATE OF effect SKIP LOCKED", {"effect"}),
        ("SELECT * FROM effect JOIN change_request USING (id) FOR UPDATE", {"effect", "change_request"}),
        ("SELECT * FROM effect AS one, change_request FOR UPDATE", {"effect", "change_request"}),
        ("SELECT id FROM orders WHERE status = 'validated'", set()),
    ],
)
def test_what_a_statement_locks_is_read_from_it(statement: str, locked: set[str]) -> None:
    assert step_of(statement, frozenset(), begins=False).locks == locked


def test_every_order_of_the_steps_of_two_sessions_is_run() -> None:
    # Two times three steps, with COMMIT: 6! / (3! 3!).
    runs = explore(lambda _: {"one": writing("a", "b"), "other": writing("c", "d")}, nothing, reduced=False)
    assert len(runs) == 20


def test_a_session_that_is_blocked_is_passed_by_until_it_is_free_again() -> None:
    # Of the six orders those two are missing in which the second to come would commit first.
    runs = explore(lambda _: {"one": writing("a"), "other": writing("a")}, nothing, reduced=False)
    assert len(runs) == 4


def test_orders_that_make_no_difference_are_left_out() -> None:
    works = {"one": reading("stock"), "other": reading("orders")}
    assert len(explore(lambda _: works, nothing)) < len(explore(lambda _: works, nothing, reduced=False)) == 6


def test_of_too_many_orders_some_are_run_and_the_same_ones_each_time() -> None:
    works = {"one": reading("stock"), "other": reading("orders")}
    some = explore(lambda _: works, nothing, reduced=False, at_most=4)
    assert len(some) == 4
    assert explore(lambda _: works, nothing, reduced=False, at_most=4) == some


@pytest.mark.parametrize("reduced", [True, False])
def test_a_reader_meets_a_writer_before_and_after_its_commit(reduced: bool) -> None:
    seen = []

    def check(this: Race) -> None:
        seen.append(this["read"] - this.index)

    explore(lambda index: {"read": reading("stock"), "write": writing(f"{index}")}, check, reduced=reduced)
    assert set(seen) == {0, 1}


def test_a_session_waits_for_a_lock_until_its_holder_commits() -> None:
    with observing() as observer, race({"one": writing("a"), "other": writing("a")}, observer) as this:
        one, other = this.sessions["one"], this.sessions["other"]
        assert one.step() is State.AT_GATE
        assert other.step() is State.BLOCKED
        assert other.look() is State.BLOCKED
        assert one.step() is State.DONE
        assert other.look() is State.AT_GATE
        assert other.next is not None
        assert other.next.commits
    assert rows("SELECT quantity FROM stock") == [(1,)]  # the other was not let go any more


def test_sessions_that_wait_for_one_another_are_reported_with_their_order() -> None:
    crosswise = {"one": writing("a", "b"), "other": writing("b", "a")}
    with pytest.raises(AssertionError, match="wait for one another") as found:
        explore(lambda _: crosswise, nothing)
    assert "one: test: INSERT stock" in "".join(found.value.__notes__)


def test_a_session_that_fails_once_it_is_unblocked_fails_its_run() -> None:
    def work(connection: Connection) -> None:
        connection.exec_driver_sql("INSERT INTO stock VALUES ('a', 1)")

    with pytest.raises(IntegrityError) as found:
        explore(lambda _: {"one": work, "other": work}, nothing, reduced=False)
    assert found.value.__notes__[-1].startswith("in this order:")


def test_a_session_that_may_fail_leaves_its_run_to_the_others() -> None:
    def work(connection: Connection) -> None:
        connection.exec_driver_sql("INSERT INTO stock VALUES ('a', 1)")

    def check(this: Race) -> None:
        [winner] = this.commits
        assert [type(error) for name, error in this.failures.items() if name != winner] == [IntegrityError]
        rows("DELETE FROM stock RETURNING sku")

    assert len(explore(lambda _: {"one": work, "other": work}, check, reduced=False, may_fail=(IntegrityError,))) == 4
