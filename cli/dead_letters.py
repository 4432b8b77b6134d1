"""`countermand dead-letters`: list, show, repair, requeue."""

import base64
import sys
from collections.abc import Collection
from typing import Annotated, Any

import typer
from sqlalchemy import Connection

from cli.terminal import AsJson, Limit, brief, err, out, plain, print_json, print_list, read_file
from database.queries import AnyRow
from database.tables import DeadLetterState
from database.transactions import in_transaction
from desks.desk import Ignored, Unusable, Webhook
from orders import dead_letters, tickets
from orders.dead_letters import find_dead_letter, list_dead_letters, mark_requeued
from orders.messages import Unreadable, UnreadableMessage, parse_change
from orders.views import as_utc
from tasks.helpdesks import desk_to_read_by
from tasks.running.wakeups import WakeUp, wake
from tasks.webhooks import ORIGIN
from workers.broker import broker_at
from workers.discovery import find_database, find_services
from workers.errors import UsageError

cli = typer.Typer(name="dead-letters", help="Messages that could not be taken.", no_args_is_help=True)

LetterId = Annotated[int, typer.Argument(metavar="ID", min=1, max=2**62, help="The dead letter's id, as listed.")]


def _summary(row: AnyRow) -> dict[str, Any]:
    return {
        "id": row.id,
        "at": as_utc(row.at),
        "origin": row.origin,
        "position": row.position,
        "reason": row.reason,
        "error": row.error,
        "state": row.state,
        "repaired": row.is_repaired,
        "bytes": row.bytes,
    }


def _find(connection: Connection, letter_id: int) -> AnyRow:
    row = find_dead_letter(connection, letter_id)
    if row is None:
        raise UsageError(f"there is no dead letter {letter_id}; `countermand dead-letters list` lists them")
    return row


def _already_requeued(letter_id: int) -> UsageError:
    return UsageError(f"dead letter {letter_id} was put back on the broker already")


def _state(letter: dict[str, Any]) -> str:
    return f"{letter['state']}, repaired" if letter["repaired"] else str(letter["state"])


@cli.command(name="list")
def list_(
    state: Annotated[DeadLetterState | None, typer.Option(help="Only dead letters in this state.")] = None,
    reason: Annotated[Unreadable | None, typer.Option(help="Only dead letters with this reason.")] = None,
    limit: Limit = None,
    as_json: AsJson = False,
) -> int:
    """List dead letters, oldest first."""
    find_database()
    rows = in_transaction(list_dead_letters, state=state, reason=reason, limit=limit)
    found = [_summary(row) for row in rows]
    if as_json:
        print_json(found)
        return 0
    print_list(
        ("id", "at (UTC)", "from", "reason", "state", "bytes"),
        ((_cells(one), one["error"]) for one in found),
    )
    return 0


def _cells(one: dict[str, Any]) -> tuple[object, ...]:
    return one["id"], brief(one["at"]), one["origin"], one["reason"], _state(one), f"{one['bytes']:,}"


@cli.command()
def show(
    letter_id: LetterId,
    raw: Annotated[bool, typer.Option("--raw", help="Only its bytes, as they came: to be repaired in a file.")] = False,
    as_json: AsJson = False,
) -> int:
    """Show a dead letter with its bytes, and with what is to be put back in their place if it was repaired."""
    if raw and (as_json or sys.stdout.isatty()):
        raise UsageError("--raw writes the bytes as they came: without --json, and into a file (> FILE)")
    find_database()
    row = in_transaction(_find, letter_id)
    letter = _summary(row)
    if raw:
        sys.stdout.buffer.write(row.raw)
    elif as_json:
        repaired = bytes(row.repaired).decode() if row.is_repaired else None
        raw_base64 = base64.b64encode(row.raw).decode()
        print_json({**letter, "text": _text(row.raw), "raw_base64": raw_base64, "repaired_text": repaired})
    else:
        title = f"dead letter {row.id}: {row.reason}, {_state(letter)}, from {row.origin} {row.position or ''}"
        out.print(plain(title.rstrip()), style="bold", soft_wrap=True)
        out.print(plain(row.error), highlight=False, soft_wrap=True)
        _show_bytes("as it came", row.raw)
        if row.is_repaired:
            _show_bytes("repaired", row.repaired)
    return 0


def _show_bytes(what: str, raw: bytes) -> None:
    out.print(f"\n[bold]{what}[/]")
    out.print(_text(raw) or repr(raw), markup=False, highlight=False, soft_wrap=True)


def _text(raw: bytes) -> str | None:
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        return None
    # Control characters could take over the terminal that it is shown on.
    return text if text.isprintable() or text.replace("\n", "").isprintable() else None


@cli.command()
def repair(
    letter_id: LetterId,
    file: Annotated[str, typer.Argument(metavar="FILE", help="The change request as JSON; `-` is standard input.")],
    as_json: AsJson = False,
) -> int:
    """Keep a change request to put back in place of a dead letter; what came stays beside it. Again: another one."""
    body = read_file(file)
    find_database()

    def keep(connection: Connection) -> None:
        _find(connection, letter_id)
        if not dead_letters.repair(connection, letter_id, body):
            raise _already_requeued(letter_id)

    try:
        in_transaction(keep)
    except UnreadableMessage as unreadable:
        raise UsageError(
            f"{file} would be a dead letter too ({unreadable.reason}): {unreadable}; nothing was kept"
        ) from None
    if as_json:
        print_json({"id": letter_id, "repaired": True})
    else:
        out.print(f"dead letter {letter_id} is repaired; `countermand dead-letters requeue {letter_id}` puts it back")
    return 0


@cli.command()
def requeue(letter_id: LetterId, as_json: AsJson = False) -> int:
    """Put a dead letter back on the broker, as it was repaired or as it came; a webhook's is read by its desk anew."""
    broker = broker_at(find_services().broker_url)

    def put_back(connection: Connection) -> bytes | None:
        _find(connection, letter_id)
        # Noted and published under one row lock: an intake that cannot take it this time either must find it noted, or
        # it would be "requeued" for ever. After a crash between the two it is on the broker and still new.
        if not mark_requeued(connection, letter_id):
            raise _already_requeued(letter_id)
        # Read under that lock: somebody may just have repaired it.
        row = _find(connection, letter_id)
        if named := _named_ticket(row):
            tickets.note(connection, *named)
            return None
        body = _as_published(row)
        broker.publish([body])
        return body

    body = in_transaction(put_back)
    if body is None:
        wake(WakeUp.READ_TICKETS)
    if as_json:
        print_json({"id": letter_id, "requeued": True})
    else:
        where = "names a ticket, which is read anew" if body is None else "is back on the broker"
        out.print(f"dead letter {letter_id} {where}")
    if body is not None:
        _warn_of(body)
    return 0


def _warn_of(body: bytes) -> None:
    try:
        parse_change(body)
    except UnreadableMessage as unreadable:
        problem = f"it still cannot be taken ({unreadable.reason}: {unreadable}) and will be a dead letter again"
        err.print(
            f"{problem}; `countermand dead-letters repair` keeps another in its place", markup=False, highlight=False
        )


def _named_ticket(row: AnyRow) -> tuple[str, Collection[str]] | None:
    """Returns desk and ticket of a letter that names a ticket alone; None for any other."""
    if row.is_repaired or not row.origin.startswith(ORIGIN) or row.reason == Unreadable.CONFLICTING_DUPLICATE:
        return None
    desk = desk_to_read_by(row.origin.removeprefix(ORIGIN))
    try:
        ticket = desk and desk.ticket_named(Webhook({}, bytes(row.raw), row.at))
    except Unusable as error:
        raise UsageError(f"dead letter {row.id} still names no ticket that can be read: {error}") from error
    return (desk.source, [ticket]) if desk and ticket else None


def _as_published(row: AnyRow) -> bytes:
    """Returns the message to publish: repaired, or the bytes as they are, or what the desk reads in a webhook's."""
    if row.is_repaired:
        return bytes(row.repaired)
    raw = bytes(row.raw)
    if not row.origin.startswith(ORIGIN) or row.reason == Unreadable.CONFLICTING_DUPLICATE:
        return raw
    name = row.origin.removeprefix(ORIGIN)
    desk = desk_to_read_by(name)
    if desk is None:
        raise UsageError(f"dead letter {row.id} came by the webhook of desk {name}, which is not configured")
    try:
        # It was verified when it came.
        event = desk.read(Webhook({}, raw, row.at))
        parse_change(event)
    except (Unusable, Ignored, UnreadableMessage) as error:
        raise UsageError(f"dead letter {row.id} still holds no change request: {error}") from error
    return event
