"""`countermand dead-letters`: list, show, requeue."""

import base64
from typing import Annotated, Any

import typer
from sqlalchemy import Connection

from desks.desk import Ignored, Unusable, Webhook
from orders.dead_letters import find_dead_letter, list_dead_letters, mark_requeued
from orders.locks import AnyRow
from orders.messages import Unreadable, UnreadableMessage, parse_change
from orders.reading import as_utc
from tasks.database import in_transaction
from tasks.helpdesks import helpdesks
from tasks.webhooks import ORIGIN
from workers.broker import broker_at
from workers.cli.terminal import AsJson, brief, out, plain, print_json, print_list
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
        "bytes": row.bytes,
    }


def _find(letter_id: int) -> AnyRow:
    row = in_transaction(lambda connection: find_dead_letter(connection, letter_id))
    if row is None:
        raise UsageError(f"there is no dead letter {letter_id}; `countermand dead-letters list` lists them")
    return row


@cli.command(name="list")
def list_(as_json: AsJson = False) -> int:
    """List dead letters, oldest first."""
    find_database()
    found = [_summary(row) for row in in_transaction(list_dead_letters)]
    if as_json:
        print_json(found)
        return 0
    print_list(
        ("id", "at (UTC)", "reason", "state", "bytes"),
        (
            ((one["id"], brief(one["at"]), one["reason"], one["state"], f"{one['bytes']:,}"), one["error"])
            for one in found
        ),
    )
    return 0


@cli.command()
def show(letter_id: LetterId, as_json: AsJson = False) -> int:
    """Show a dead letter with its bytes."""
    find_database()
    row = _find(letter_id)
    if as_json:
        print_json(
            {**_summary(row), "text": _text(row.raw), "raw_base64": base64.b64encode(row.raw).decode()},
        )
        return 0
    out.print(f"[bold]dead letter {row.id}[/]  {row.reason}, {row.state}, from {row.origin} {row.position or ''}")
    out.print(plain(row.error))
    out.print(_text(row.raw) or repr(row.raw), markup=False, highlight=False, soft_wrap=True)
    return 0


def _text(raw: bytes) -> str | None:
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        return None
    # Control characters could take over the terminal that it is shown on.
    return text if text.isprintable() or text.replace("\n", "").isprintable() else None


@cli.command()
def requeue(letter_id: LetterId, as_json: AsJson = False) -> int:
    """Put a dead letter back on the broker; it is taken if its cause is gone. A webhook's is read by its desk anew."""
    broker = broker_at(find_services().broker_url)
    row = _find(letter_id)
    body = _as_published(row)

    def put_back(connection: Connection) -> None:
        # Noted and published under one row lock: an intake that cannot take it this time either must find it noted, or
        # it would be "requeued" for ever. After a crash between the two it is on the broker and still new.
        if not mark_requeued(connection, letter_id):
            raise UsageError(f"dead letter {letter_id} is on the broker again already")
        sum(broker.publish([body]))

    in_transaction(put_back)
    if as_json:
        print_json({"id": letter_id, "requeued": True})
    else:
        out.print(f"dead letter {letter_id} is back on the broker")
    return 0


def _as_published(row: AnyRow) -> bytes:
    """Returns the message to publish: the bytes as they are, or what the desk reads in a webhook's."""
    raw = bytes(row.raw)
    if not row.origin.startswith(ORIGIN) or row.reason == Unreadable.CONFLICTING_DUPLICATE:
        return raw
    name = row.origin.removeprefix(ORIGIN)
    desk = helpdesks().desks.get(name)
    if desk is None:
        raise UsageError(f"dead letter {row.id} came by the webhook of desk {name}, which is not configured")
    try:
        # It was verified when it came.
        event = desk.read(Webhook({}, raw, row.at))
        parse_change(event)
    except (Unusable, Ignored, UnreadableMessage) as error:
        raise UsageError(f"dead letter {row.id} still holds no change request: {error}") from error
    return event
