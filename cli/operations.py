"""The commands that run and look after the whole: up, migrate, export, audit."""

import re
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from sqlalchemy import Connection

from cli.advice import with_advice
from cli.partners import configured
from cli.terminal import (
    AsJson,
    counted,
    err,
    out,
    plain,
    print_json,
    print_list,
    progress,
    table,
)
from configuration.settings import settings
from database import migrate as schema
from database import roles
from database.server import server_warnings
from database.transactions import in_transaction
from edi.interchanges import retry_held_back
from edi.partners import served_warehouses
from orders.audit import audit as check_promises
from orders.audit import with_contradictions
from tasks.export import DELIVERED, Exported, iterate_export
from tasks.outboxes import compare_outboxes
from tasks.partners import partners
from workers.accounts import work_as_owner_of
from workers.app import app
from workers.discovery import find_database, find_services
from workers.errors import UsageError


def up(
    home: Annotated[Path | None, typer.Option(help="Where everything is kept. [default: $COUNTERMAND_HOME]")] = None,
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Port of HTTP. [default: $COUNTERMAND_HTTP_PORT or 8000]")
    ] = None,
    as_root: Annotated[
        bool, typer.Option("--as-root", help="Started by root, let the processes stay root all the same.")
    ] = False,
) -> int:
    """Run everything in the foreground: worker, exporter, beat, intake, HTTP, and the services they need."""
    from cli.up import up as run_up  # supervisor is not needed for anything else

    run_up((home or settings().home).resolve(), port, as_root=as_root)
    return 0


def migrate(
    with_roles: Annotated[
        bool, typer.Option("--roles", help="Also make the database's roles, each with just what its processes need.")
    ] = False,
    prefix: Annotated[
        str, typer.Option("--role-prefix", help="What their names begin with: roles belong to the whole server.")
    ] = "countermand",
) -> int:
    """Bring the database schema up to date."""
    if not re.fullmatch("[a-z][a-z0-9_]{0,39}", prefix):
        raise UsageError(f"--role-prefix {prefix}: expected up to 40 small letters, digits and _, a letter first")
    find_database()

    def work(connection: Connection) -> tuple[str, list[str], list[str]]:
        revision = schema.migrate(connection)
        made = roles.make_roles(connection, prefix) if with_roles else []
        return revision, made, server_warnings(connection)

    try:
        revision, made, warnings = in_transaction(work)
    except roles.NotAllowed as refused:
        raise UsageError(str(refused)) from None
    out.print(f"the schema is at revision {revision}")
    print_warnings(warnings)
    if with_roles:
        _print_roles(prefix, made)
    return 0


def _print_roles(prefix: str, made: list[str]) -> None:
    listed = table("role", "", "its privileges are those of")
    for role, run_as in roles.RUN_AS.items():
        name = roles.role_name(prefix, role)
        listed.add_row(name, "made" if name in made else "was there", run_as)
    out.print(listed)
    worker = roles.role_name(prefix, roles.Role.WORKER)
    out.print("Nobody logs in by these. A login user of a role, say for the workers:\n", highlight=False)
    out.print("  CREATE ROLE countermand_1 LOGIN PASSWORD '…';", highlight=False, soft_wrap=True)
    out.print(f"  GRANT {worker} TO countermand_1;", highlight=False, soft_wrap=True)


def export(
    partner: Annotated[str | None, typer.Option(help="Only to this partner.")] = None, as_json: AsJson = False
) -> int:
    """Export what is due now, to all partners or to one, without waiting for the cut-offs of their schedules."""
    find_services()
    work_as_owner_of(settings().home)
    app.finalize()
    wanted = [configured(partner)] if partner else partners()
    in_transaction(retry_held_back)
    steps: list[Exported] = []
    waits: list[str] = []
    # A process with threads makes no drafts ahead.
    with progress(auto_refresh=False) as bar:
        task = bar.add_task("exporting", total=None)
        for one in wanted:
            for step in iterate_export(one):
                steps.append(step)
                waits += [f"{one.name}: {step.claim.waits_for}"] if step.claim.waits_for else []
                bar.update(task, description=f"exporting: {_exported(steps):,} orders", refresh=True)
    if as_json:
        print_json(_export_as_json(steps, waits))
    else:
        _print_export(steps, waits)
    return 1 if any(step.error or step.claim.held_back for step in steps) else 0


def _exported(steps: list[Exported]) -> int:
    return sum(step.claim.interchange.orders for step in steps if step.claim.interchange and step.state in DELIVERED)


def _export_as_json(steps: list[Exported], waits: list[str]) -> dict[str, Any]:
    sent = [(step, step.claim.interchange) for step in steps if step.claim.interchange]
    return {
        "exported": _exported(steps),
        "held_back": sum(step.claim.held_back for step in steps),
        "waits_for": waits,
        "interchanges": [
            {
                "partner": interchange.partner,
                "control_number": interchange.control_number,
                "filename": interchange.filename,
                "orders": interchange.orders,
                "state": step.state,
                "error": step.error,
            }
            for step, interchange in sent
        ],
    }


def _print_export(steps: list[Exported], waits: list[str]) -> None:
    export_result = _export_as_json(steps, waits)
    if export_result["interchanges"]:
        names = ("partner", "control_number", "filename", "orders", "state")
        print_list(
            ("partner", "number", "file", "orders", "state"),
            (([one[name] for name in names], with_advice(one["error"] or "")) for one in export_result["interchanges"]),
        )
    interchanges = counted(len(export_result["interchanges"]), "interchange")
    out.print(f"exported {counted(export_result['exported'], 'order')} in {interchanges}", highlight=False)
    if export_result["held_back"]:
        held_back = counted(export_result["held_back"], "order")
        out.print(f"held back {held_back} that cannot be rendered; `countermand orders list` says why", soft_wrap=True)
    for reason in waits:
        out.print(plain(f"not all that is due could be exported: {reason}"), highlight=False, soft_wrap=True)


def audit(as_json: AsJson = False) -> int:
    """Check the nine promises on the live database; exit 1 if one is broken."""
    find_database()
    with err.status("looking at the outboxes of the partners …"):
        # Before the database, which then knows every file that is found.
        contradictions, unseen = compare_outboxes(partners())
    with err.status("checking the promises …"):
        found = in_transaction(
            partial(
                check_promises,
                patience=settings().patience,
                served=served_warehouses(partners()),
                configured=[partner.name for partner in partners()],
            )
        )
    result = with_contradictions(found, contradictions, unseen)
    if as_json:
        print_json(result)
    else:
        print_audit(result)
    return 0 if result["ok"] else 1


def print_audit(result: dict[str, Any]) -> None:
    """Prints the result of an audit for a person."""
    listed = table("#", "promise", "checked", "violations")
    for check in result["checks"]:
        style = "red" if check["violations"] else "green"
        cells = (str(check["promise"]), check["name"], f"{check['checked']:,}")
        listed.add_row(*cells, f"[{style}]{check['violations']:,}[/]")
    out.print(listed)
    for check in result["checks"]:
        for example in check["examples"]:
            out.print(plain(f"promise {check['promise']}: {example}"), style="red")
    print_warnings(result.get("warnings", []))
    out.print("[green]every promise holds[/]" if result["ok"] else "[red]a promise is broken[/]")


def print_warnings(warnings: list[str]) -> None:
    """Prints warnings for a person."""
    for warning in warnings:
        out.print(plain(f"warning: {warning}"), style="yellow", soft_wrap=True)


COMMANDS = (up, migrate, export, audit)
