"""`countermand partners`: who gets which orders, in what, and whether the way there works."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from sqlalchemy.exc import DBAPIError

from cli.terminal import AsJson, brief, counted, err, out, plain, print_json
from configuration.settings import settings
from database.transactions import in_transaction
from edi import numbers, partner_state
from edi.documents import gs1
from edi.operator_actions import NotPossible
from edi.partners import Partner, served_warehouses
from edi.transports.transport import NotTried, TransportError
from orders.views import as_utc
from tasks.partners import partners
from workers.accounts import work_as_owner_of
from workers.discovery import find_database
from workers.errors import CommandError, UsageError

cli = typer.Typer(name="partners", help="The EDI partners that orders are sent to.", no_args_is_help=True)


def configured(name: str) -> Partner:
    """Returns the partner of this name. Raises UsageError if none is configured so."""
    known = {partner.name: partner for partner in partners()}
    if name not in known:
        raise UsageError(f"partner {name} is not configured; configured: {', '.join(known)}")
    return known[name]


@cli.command()
def check(as_json: AsJson = False) -> int:
    """Say who is configured, and try each transport without sending anything; exit 1 unless it is known to work.

    With a database it also says which number comes next.
    """
    checked = []
    # First: with the database it finds the partners file of a running `countermand up`.
    next_numbers = _next_numbers()
    # Whether it works for those who export.
    work_as_owner_of(settings().home)
    for partner in partners():
        with err.status(f"trying the transport of {partner.name} …"):
            checked.append(_check(partner, next_numbers.get(partner.name)))
    ok = not any(one["problem"] or one["untried"] for one in checked)
    serves_all = served_warehouses(partners()) is None
    if as_json:
        print_json({"ok": ok, "serves_all_warehouses": serves_all, "partners": checked})
    else:
        for one in checked:
            _print_partner(one)
        if not serves_all:
            out.print("\nno partner gets the orders of other warehouses: they stay, and `countermand audit` names them")
        for one in checked:
            for hint in one["hints"]:
                out.print(plain(f"hint: {one['partner']}: {hint}"), highlight=False)
    return 0 if ok else 1


@cli.command("next-number")
def next_number(
    name: Annotated[str, typer.Argument(metavar="PARTNER", help="The partner's name, as in the partners file.")],
    number: Annotated[
        int | None, typer.Option("--set", metavar="N", min=1, max=2**62, help="The number that comes next.")
    ] = None,
    as_json: AsJson = False,
) -> int:
    """Show which control number comes next, or set it: after a restore, to the one after the last that the partner has.

    It never goes back to one that an interchange bears. What is skipped is kept, and is no gap to the audit.
    """
    find_database()
    partner = configured(name)
    if number is not None:
        try:
            in_transaction(lambda connection: numbers.set_next(connection, partner, number))
        except NotPossible as impossible:
            raise UsageError(str(impossible)) from None
    found = in_transaction(lambda connection: numbers.show(connection, partner))
    if as_json:
        print_json(found)
        return 0
    used = f"the last one bears {found['last_used']}" if found["last_used"] else "there has been none"
    out.print(plain(f"the next interchange of {name} bears {found['next_control_number']}; {used}"), soft_wrap=True)
    for one in found["set"]:
        change = f"  {brief(one['at'])} (UTC)  an operator set it from {one['before']} to {one['after']}"
        out.print(plain(change), highlight=False, soft_wrap=True)
    return 0


def _next_numbers() -> dict[str, int]:
    """Returns the partners' next numbers; none where the database cannot be asked, and is not needed."""
    try:
        find_database()
        configured_ones = partners()
        return in_transaction(
            lambda connection: {
                partner.name: partner_state.next_number(connection, partner) for partner in configured_ones
            }
        )
    except (CommandError, DBAPIError):
        return {}


def _check(partner: Partner, next_number: int | None) -> dict[str, Any]:
    problem = untried = None
    try:
        partner.transport.check()
    except NotTried as error:
        untried = str(error)
    except TransportError as error:
        problem = str(error)
    schedule, within = partner.schedule, partner.acknowledged_within
    return {
        "partner": partner.name,
        "standard": partner.standard,
        "character_set": partner.character_set,
        "test": partner.test,
        "ours": f"{partner.our_qualifier}:{partner.our_id}",
        "theirs": f"{partner.their_qualifier}:{partner.their_id}",
        "warehouses": None if partner.warehouses is None else sorted(partner.warehouses),
        "orders_per_interchange": partner.orders_per_interchange,
        "lines_per_interchange": partner.lines_per_interchange,
        "grace_seconds": partner.grace.total_seconds(),
        "schedule": list(schedule.lines) if schedule else None,
        "time_zone": str(schedule.zone) if schedule else None,
        "next_cutoff": as_utc(schedule.next_after(datetime.now(UTC))) if schedule else None,
        "next_control_number": next_number,
        "reuses_released_numbers": partner.reuses_released_numbers,
        "acknowledged_within_seconds": within.total_seconds() if within else None,
        "transport": str(partner.transport),
        "hints": list(_hints(partner)),
        "problem": problem,
        "untried": untried,
    }


def _hints(partner: Partner) -> Iterator[str]:
    """Yields what looks like a slip, and may be as the partner wants it."""
    # In X12 the qualifier 14 says something else; and the ids of the one partner without a file are nobody's.
    if partner.standard.is_x12 or settings().partners is None:
        return
    for key in ("our", "their"):
        number = getattr(partner, f"{key}_id")
        if getattr(partner, f"{key}_qualifier") == "14" and (fault := gs1.no_location(number)):
            yield f"{key}_id {number} with qualifier 14 is no GLN ({fault})"


def _print_partner(one: dict[str, Any]) -> None:
    out.print(plain(f"\n{one['partner']}"), style="bold")
    for name, value in _facts(one):
        out.print(plain(f"  {name:<14} {value}"), soft_wrap=True, highlight=False)
    if one["problem"]:
        out.print(plain(f"  {'PROBLEM':<14} {one['problem']}"), style="red", soft_wrap=True, highlight=False)
    elif one["untried"]:
        out.print(plain(f"  {'UNTRIED':<14} {one['untried']}"), style="yellow", soft_wrap=True, highlight=False)
    else:
        out.print("  [green]the transport works[/]")


def _facts(one: dict[str, Any]) -> Iterator[tuple[str, str]]:
    yield "documents", f"{one['standard']}, {one['character_set']}{', as a test' if one['test'] else ''}"
    yield "from, to", f"{one['ours']}, {one['theirs']}"
    yield "warehouses", "all that no other partner gets" if one["warehouses"] is None else ", ".join(one["warehouses"])
    orders, lines = counted(one["orders_per_interchange"], "order"), counted(one["lines_per_interchange"], "line")
    yield "interchange", f"at most {orders} and {lines}"
    yield "grace", f"{one['grace_seconds'] / 60:g} minutes after validation"
    if one["schedule"] is None:
        yield "cut-offs", "none: what is due goes out at once"
    else:
        yield "cut-offs", f"{'; '.join(one['schedule'])} ({one['time_zone']})"
        yield "next cut-off", one["next_cutoff"]
    released = "used again" if one["reuses_released_numbers"] else "used up"
    yield (
        "next number",
        f"{one['next_control_number'] or 'unknown, there is no database'}; a released one is {released}",
    )
    if one["acknowledged_within_seconds"] is not None:
        yield "acknowledges", f"within {one['acknowledged_within_seconds'] / 60:g} minutes"
    yield "transport", one["transport"]
