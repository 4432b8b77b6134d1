"""`countermand demo`: the main job, watched."""

from itertools import zip_longest
from typing import Annotated, Any

import typer
from rich.table import Table

from cli.demo.run import Result, run_demo
from cli.operations import print_audit
from cli.terminal import AsJson, counted, out, print_json
from workers.signals import stop_on_signals


def demo(
    orders: Annotated[int, typer.Option(min=1, max=100_000, help="How many orders to make up.")] = 500,
    requests: Annotated[int, typer.Option(min=1, max=200_000, help="How many change requests to make up.")] = 800,
    seed: Annotated[int, typer.Option(help="The same seed makes the same orders and requests.")] = 1,
    as_json: AsJson = False,
) -> int:
    """Let change requests race the EDI export on throw-away embedded services, and show what happened."""
    stop_on_signals()
    result = run_demo(orders=orders, requests=requests, seed=seed)
    if as_json:
        print_json(result.as_json)
    else:
        _print_result(result)
    return 0 if result.as_json["audit"]["ok"] else 1


def _print_result(result: Result) -> None:
    figures: dict[str, Any] = result.as_json
    out.print(
        f"[bold]{figures['requests']:,} change requests for {figures['orders']:,} orders[/], "
        f"published while the export ran; settled in {figures['seconds']:g} s",
        soft_wrap=True,
    )
    out.print(
        "  " + ", ".join(f"{outcome} {times:,}" for outcome, times in figures["outcomes"].items()), soft_wrap=True
    )
    out.print()
    out.print(_in_two_columns(figures["reasons"]))
    out.print()
    for name, text in (
        ("race", f"{result.won_against_the_export:,} changes won, {result.lost_to_the_export:,} came after EDI SENT"),
        ("export", f"{figures['exported']:,} orders in {figures['interchanges']:,} EDIFACT interchanges"),
        ("held", f"{counted(result.held_by_escalations, 'order')} held back, for a colleague has to decide first"),
        ("intake", f"{result.duplicates:,} duplicates recognised, {result.dead_letters:,} dead letters kept"),
    ):
        out.print(f"[bold]{name:<8}[/]{text}")
    out.print()
    print_audit(figures["audit"])


def _in_two_columns(reasons: dict[str, int]) -> Table:
    cells = [(reason, f"{times:,}") for reason, times in reasons.items()]
    half = (len(cells) + 1) // 2
    listed = Table.grid(padding=(0, 2))
    for one, other in zip_longest(cells[:half], cells[half:], fillvalue=("", "")):
        listed.add_row(*one, *other)
    return listed


COMMANDS = (demo,)
