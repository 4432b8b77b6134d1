"""`python -m tests.chaos --minutes 5 --seed 7`: prints the ledger; exits 1 if something is wrong."""

import argparse
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

from rich.console import Console

from tests.chaos.run import run
from tests.processes import let_children_be_ended


def main() -> int:
    """Runs it once; the folder of a run that went wrong is kept."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5, help="how long, once every fault has happened (5)")
    parser.add_argument("--seed", type=int, default=1, help="of the load and of the schedule of faults (1)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    given = parser.parse_args()
    let_children_be_ended()
    # Not in a folder that only its owner may pass through: as root, PostgreSQL is another user.
    folder = Path(tempfile.mkdtemp(prefix="countermand-chaos-"))
    try:
        amqp_url = os.environ.get("COUNTERMAND_TEST_AMQP_URL")
        ledger = run(folder, given.seed, minutes=given.minutes, amqp_url=amqp_url)
    except BaseException:
        print(f"seed {given.seed}; everything is kept in {folder}", file=sys.stderr)
        raise
    if given.json:
        print(json.dumps(ledger.as_json()))
    else:
        Console().print(ledger.as_table())
    for reported in (*ledger.lost, *ledger.doubled, *ledger.violations):
        print(reported, file=sys.stderr)
    if ledger.is_clean:
        shutil.rmtree(folder)
        return 0
    print(f"everything is kept in {folder}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
