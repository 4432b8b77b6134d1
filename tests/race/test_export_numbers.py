"""Ten exporters at once, also dying ones: numbers without gap or repeat, and every order in one interchange."""

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

import pytest

import tasks.export
from database.transactions import in_transaction
from orders.audit import audit
from tasks.partners import partners
from tests.builders import an_order, load, rows
from tests.race.crash_points import has_passed
from tests.race.crashes import Runner
from workers.app import app

pytestmark = pytest.mark.usefixtures("system")

ORDERS = 400
PARTNERS = {"NORTH": ("edifact-orders-d96a", "UNOC", ".edi"), "SOUTH": ("x12-940-004010", "x12-basic", ".x12")}
NUMBERS_IN = re.compile(rb"(?:BGM\+[^+]*\+|W05\*[^*]*\*)([^+*'~]+)")
# Before the file is there, while it is hidden, when it can be seen; before and after all of it is sent.
DEATHS = (
    "directory._is_present: open",
    "directory._write: fsync",
    "directory._link: link",
    "directory._place: unlink",
    "confirm: commit",
)


# Looks of one exporter, most of which find another's interchange on its way; ten exporters need some hundreds.
MOST_LOOKS = 2000


def exporting_all() -> None:
    """Runs in processes of its own."""
    app.finalize()
    for _ in range(MOST_LOOKS):
        if not rows("SELECT 1 FROM orders WHERE edi_state <> 'sent' LIMIT 1"):
            return
        tasks.export.export()
    raise AssertionError("it comes to no end")


@pytest.fixture
def outboxes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """Two partners, of one standard each, and orders for both."""
    file = tmp_path / "partners.toml"
    file.write_text(
        "\n".join(
            f"""
            [partners.{name}]
            our_id = "STORE"
            our_qualifier = "ZZ"
            their_id = "{name}"
            their_qualifier = "ZZ"
            standard = "{standard}"
            character_set = "{character_set}"
            warehouses = ["{name}"]
            grace_minutes = 0
            orders_per_interchange = 5
            directory.outbox = "{tmp_path / name}"
            """
            for name, (standard, character_set, _) in PARTNERS.items()
        )
    )
    monkeypatch.setenv("COUNTERMAND_PARTNERS", str(file))
    load(*(an_order(str(number), warehouse=[*PARTNERS][number % 2]) for number in range(ORDERS)))
    return {name: tmp_path / name for name in PARTNERS}


@pytest.fixture
def exporters() -> Iterator[list[Runner]]:
    """Twenty processes, up and waiting for the word."""
    with ExitStack() as stack:
        yield [stack.enter_context(Runner(exporting_all)) for _ in range(20)]


def assert_that_every_order_went_once(outboxes: dict[str, Path]) -> None:
    for name, outbox in outboxes.items():
        sent = rows("SELECT * FROM interchange WHERE partner = :name ORDER BY control_number", name=name)
        assert [row.control_number for row in sent] == list(range(1, len(sent) + 1))
        assert {row.state for row in sent} == {"sent"}
        assert {file.name: file.read_bytes() for file in outbox.iterdir()} == {
            row.filename: row.content for row in sent
        }
        reported = [number.decode() for row in sent for number in NUMBERS_IN.findall(row.content)]
        mine = rows("SELECT number FROM orders WHERE warehouse = :name AND edi_state = 'sent' ORDER BY id", name=name)
        assert sorted(reported, key=int) == [row.number for row in mine]
        assert (sum(row.orders for row in sent), len(mine)) == (ORDERS // 2, ORDERS // 2)
    found = in_transaction(lambda connection: audit(connection, patience=timedelta(minutes=15)))
    assert [check for check in found["checks"] if check["violations"]] == []


def test_ten_exporters_at_once_give_each_number_and_each_order_once(
    outboxes: dict[str, Path], exporters: list[Runner]
) -> None:
    with ThreadPoolExecutor(10) as together:
        passed = list(together.map(Runner.run, exporters[:10]))
    assert sum(has_passed("directory._write: fsync", points) for points in passed) > 1, "they were not at it together"
    assert_that_every_order_went_once(outboxes)


def test_ten_exporters_that_die_on_the_way_leave_no_gap_and_nothing_twice(
    outboxes: dict[str, Path], exporters: list[Runner]
) -> None:
    # They die in the midst of it. Left to them, all may die at the first interchange, each where its own step is next.
    for partner in partners():
        assert next(tasks.export.iterate_export(partner)).state == "sent"
    with ThreadPoolExecutor(10) as together:
        dying = [together.submit(one.kill, DEATHS[index % 5]) for index, one in enumerate(exporters[:10])]
        for death in as_completed(dying):
            assert death.result()
            # Also the lease of one who lives and is sending just now: two then send the same.
            let_the_leases_run_out()
    [(left,)] = rows("SELECT count(*) FROM orders WHERE edi_state <> 'sent'")
    assert 0 < left < ORDERS
    let_the_leases_run_out()
    with ThreadPoolExecutor(10) as together:
        list(together.map(Runner.run, exporters[10:]))
    assert_that_every_order_went_once(outboxes)


def let_the_leases_run_out() -> None:
    rows("UPDATE interchange SET lease_until = now() - interval '1 second' WHERE state = 'claimed' RETURNING id")
