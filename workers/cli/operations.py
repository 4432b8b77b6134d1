"""The commands that run and look after the whole: up, migrate, export, reprocess, audit, demo."""

from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import AwareDatetime, TypeAdapter, ValidationError

from edi.interchanges import retry_held_back
from orders import migrate as schema
from orders.audit import audit as check_promises
from orders.effects import revive_dead
from orders.reprocessing import Filter, find_parked, preview, revive
from orders.tables import RequestState
from tasks.database import in_transaction
from tasks.doorbells import Doorbell, ring
from tasks.export import Exported, export_steps, partners
from tasks.settings import settings
from workers.app import app
from workers.cli.requests import check_reason
from workers.cli.terminal import AsJson, counting_progress, err, out, plain, print_json, progress, table
from workers.discovery import find_database, find_services
from workers.errors import UsageError

# Requests revived a transaction.
_BATCH = 500


def up(
    home: Annotated[Path | None, typer.Option(help="Where everything is kept. [default: $COUNTERMAND_HOME]")] = None,
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Port of HTTP. [default: $COUNTERMAND_HTTP_PORT or 8000]")
    ] = None,
) -> int:
    """Run everything in the foreground: worker, exporter, beat, intake, HTTP, and the services they need."""
    from workers.up import up as run_up  # supervisor is not needed for anything else

    run_up((home or settings().home).resolve(), port)
    return 0


def migrate() -> int:
    """Bring the database schema up to date."""
    find_database()
    revision = in_transaction(schema.migrate)
    out.print(f"the schema is at revision {revision}")
    return 0


def export(
    partner: Annotated[str | None, typer.Option(help="Only to this partner.")] = None, as_json: AsJson = False
) -> int:
    """Export what is due now, to all partners or to one."""
    find_services()
    app.finalize()
    known = {one.name: one for one in partners()}
    if partner is not None and partner not in known:
        raise UsageError(f"partner {partner} is not configured; configured: {', '.join(known)}")
    in_transaction(retry_held_back)
    steps: list[Exported] = []
    with progress() as bar:
        task = bar.add_task("exporting", total=None)
        for one in [known[partner]] if partner else known.values():
            for step in export_steps(one):
                steps.append(step)
                bar.update(task, description=f"exporting: {_exported(steps):,} orders")
    if as_json:
        print_json(_export_as_json(steps))
    else:
        _tell_export(steps)
    return 1 if any(step.error or step.claim.held_back for step in steps) else 0


def _exported(steps: list[Exported]) -> int:
    return sum(step.claim.interchange.orders for step in steps if step.claim.interchange and step.state == "sent")


def _export_as_json(steps: list[Exported]) -> dict[str, Any]:
    sent = [(step, step.claim.interchange) for step in steps if step.claim.interchange]
    return {
        "exported": _exported(steps),
        "held_back": sum(step.claim.held_back for step in steps),
        "waits_for": [step.claim.waits_for for step in steps if step.claim.waits_for],
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


def _tell_export(steps: list[Exported]) -> None:
    told = _export_as_json(steps)
    if told["interchanges"]:
        listed = table("partner", "control number", "file", "orders", "state", "error")
        for one in told["interchanges"]:
            cells = (one["partner"], one["control_number"], one["filename"], one["orders"], one["state"], one["error"])
            listed.add_row(*map(plain, cells))
        out.print(listed)
    out.print(f"exported {told['exported']:,} orders in {len(told['interchanges']):,} interchanges")
    if told["held_back"]:
        out.print(f"held back {told['held_back']:,} orders that cannot be rendered; `countermand orders list` says why")
    for reason in told["waits_for"]:
        out.print(plain(f"not all that is due could be exported: {reason}"))


def reprocess(
    state: Annotated[RequestState, typer.Option(help="Only `parked` ones can be reprocessed.")] = RequestState.PARKED,
    reason: Annotated[str | None, typer.Option(help="Only those parked for this reason.")] = None,
    since: Annotated[str | None, typer.Option(help="Only those received since then (ISO 8601, with a zone).")] = None,
    order: Annotated[str | None, typer.Option(help="Only those for this order.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be decided now.")] = False,
    as_json: AsJson = False,
) -> int:
    """Decide parked requests again, by the orders as they are now; without a filter also revive dead effects."""
    if state is not RequestState.PARKED:
        raise UsageError(f"--state {state}: only parked requests can be reprocessed; a decision is made once")
    check_reason(reason)
    find_services()
    app.finalize()
    wanted = Filter(reason=reason, since=_moment(since), order=order)
    if dry_run:
        return _preview(wanted, as_json)
    effects = 0 if wanted != Filter() else in_transaction(revive_dead)
    rows = in_transaction(lambda connection: find_parked(connection, wanted))
    revived = 0
    with counting_progress() as bar:
        task = bar.add_task("reprocessing", total=len(rows))
        for start in range(0, len(rows), _BATCH):
            batch = rows[start : start + _BATCH]
            revived += in_transaction(partial(revive, requests=batch))
            ring(Doorbell.APPLY_CHANGES)
            bar.advance(task, len(batch))
    if as_json:
        print_json({"reprocessed": revived, "effects_revived": effects})
    else:
        out.print(f"{revived:,} requests are undecided again and will be decided anew")
        if effects:
            out.print(f"{effects:,} dead effects (restock, notify) will be tried again")
    return 0


def _moment(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        return TypeAdapter(AwareDatetime).validate_python(text)
    except ValidationError:
        raise UsageError(f"--since {text}: expected a moment such as 2026-11-23T09:00:00Z") from None


def _preview(wanted: Filter, as_json: bool) -> int:
    found = in_transaction(lambda connection: list(preview(connection, find_parked(connection, wanted))))
    if as_json:
        print_json({"would_be_decided": found})
        return 0
    listed = table("source", "id", "order", "parked for", "would be", "because")
    for one in found:
        outcome = one["outcome"] or "parked again"
        because = ", ".join(one["reasons"])
        cells = (one["source"], one["id"], one["order"], ", ".join(one["was"]), outcome, because)
        listed.add_row(*map(plain, cells))
    out.print(listed)
    return 0


def audit(as_json: AsJson = False) -> int:
    """Check the nine promises on the live database; exit 1 if one is broken."""
    find_database()
    with err.status("checking the promises …"):
        result = in_transaction(partial(check_promises, patience=settings().patience))
    if as_json:
        print_json(result)
    else:
        tell_audit(result)
    return 0 if result["ok"] else 1


def tell_audit(result: dict[str, Any]) -> None:
    """Tells a person what an audit found."""
    listed = table("#", "promise", "checked", "violations")
    for check in result["checks"]:
        style = "red" if check["violations"] else "green"
        cells = (str(check["promise"]), check["name"], f"{check['checked']:,}")
        listed.add_row(*cells, f"[{style}]{check['violations']:,}[/]")
    out.print(listed)
    for check in result["checks"]:
        for example in check["examples"]:
            out.print(plain(f"promise {check['promise']}: {example}"), style="red")
    out.print("[green]every promise holds[/]" if result["ok"] else "[red]a promise is broken[/]")


COMMANDS = (up, migrate, export, reprocess, audit)
