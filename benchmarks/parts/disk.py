"""Disk: what an order, a request and an order's export leave in the tables and write to PostgreSQL's log."""

from dataclasses import dataclass

from sqlalchemy import text

from benchmarks.backlog import prove, work_off
from benchmarks.made import cancel_requests, load_orders, open_numbers
from benchmarks.progress import print_progress
from benchmarks.run import Figures, Run
from benchmarks.system import broker_is_known, our_programs, tidy_up
from database.transactions import in_transaction
from tasks.export import iterate_export
from tasks.partners import partners

_WAL = text("SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint")
_TABLES = text(
    """
    SELECT relname AS name, pg_total_relation_size(oid) AS bytes FROM pg_class
    WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace
    """
)
_SESSIONS = text(
    """
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND application_name LIKE 'countermand-%' AND pid <> pg_backend_pid()
    """
)


@dataclass(frozen=True, slots=True)
class Used:
    """The log's position, and the bytes of each table with its indexes."""

    wal: int
    tables: dict[str, int]

    def each(self, since: "Used", count: int) -> Figures:
        """Returns what one of so many has used since."""
        grown = {name: (self.tables[name] - before) / count for name, before in since.tables.items()}
        by_table = {name: bytes_ for name, bytes_ in grown.items() if bytes_ >= 1}
        return {"bytes": sum(grown.values()), "wal_bytes": (self.wal - since.wal) / count, "bytes_by_table": by_table}


def measure(run: Run) -> Figures:
    """Returns the bytes of each; half of the orders are cancelled, by a request each, and the others exported."""
    count = run.sizes.backlog
    with run.system.fresh_database():
        empty = _used()
        in_transaction(lambda connection: load_orders(connection, open_orders=2 * count, held=False))
        loaded = _used()
        numbers = in_transaction(lambda connection: open_numbers(connection, count))
        with run.system.processes(our_programs()) as processes:
            work_off(processes, cancel_requests(numbers))
            sessions = in_transaction(lambda connection: connection.execute(_SESSIONS).scalar_one())
        prove(count)
        decided = _used()
        broker_is_known()
        (partner,) = partners()
        for _ in iterate_export(partner):
            pass
        exported = _used()
    figures = {
        "order": loaded.each(empty, 2 * count),
        "request": decided.each(loaded, count),
        "exported_order": exported.each(decided, count),
        "sessions": sessions,
    }
    for name in ("order", "request", "exported_order"):
        print_progress(
            f"  {name}: {figures[name]['bytes']:,.0f} bytes in tables, {figures[name]['wal_bytes']:,.0f} of log"
        )
    return figures


def _used() -> Used:
    wal = in_transaction(lambda connection: connection.execute(_WAL).scalar_one())
    tidy_up()
    tables = in_transaction(lambda connection: {row.name: row.bytes for row in connection.execute(_TABLES)})
    return Used(wal, tables)
