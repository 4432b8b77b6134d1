"""The command: `python -m benchmarks [--quick] [--json] [PART …]`."""

import json
import logging
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.environment import environment
from benchmarks.parts import PARTS
from benchmarks.progress import print_progress
from benchmarks.report import as_table, judged
from benchmarks.run import Run
from benchmarks.sizes import FULL, QUICK
from benchmarks.system import running_system
from cli.terminal import AsJson, out, print_json
from workers.embedded import ServiceError
from workers.logs import configure_logs
from workers.signals import stop_on_signals


def main(
    parts: Annotated[list[str] | None, typer.Argument(help=f"{', '.join(PARTS)}. [default: all]")] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Small numbers: shows that it works, measures little.")
    ] = False,
    output: Annotated[Path, typer.Option(help="Where the JSON goes.")] = Path("build/benchmark.json"),
    as_json: AsJson = False,
) -> None:
    """Measure Countermand on throw-away services that wait for the disk, against pgbench and a naive worker."""
    stop_on_signals()
    configure_logs(level=logging.WARNING)
    unknown = set(parts or ()) - set(PARTS)
    if unknown:
        raise typer.BadParameter(f"no part is named {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    sizes = QUICK if quick else FULL
    with running_system() as system:
        run = Run(system, sizes, PARTS)
        where = environment(system)
        for part in parts or PARTS:
            run.measure(part)
    result = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "quick": quick,
        "environment": where,
        "targets": judged(run.figures),
        "parts": run.figures,
    }
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n")
    if as_json:
        print_json(result)
    else:
        out.print(as_table(run.figures))
    print_progress(f"written to {output}")


if __name__ == "__main__":
    try:
        typer.run(main)
    except ServiceError as error:
        sys.exit(f"benchmarks: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
