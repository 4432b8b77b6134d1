"""`countermand desks pull`: fetches the forms that no webhook has brought."""

from datetime import UTC, datetime
from functools import partial
from typing import Annotated

import typer

from cli.terminal import AsJson, counted, err, out, plain, print_json
from database.transactions import reading
from desks.channels import DeliveryError
from orders.answers import LostFence
from orders.tickets import count_unread, seen_until
from tasks import pulling
from tasks.helpdesks import helpdesks
from tasks.tickets import Read
from workers.discovery import find_services
from workers.errors import CommandError, Unreachable, UsageError

Since = Annotated[
    datetime | None,
    typer.Option(
        formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%SZ"],
        help="Tickets that have changed since this moment (UTC). [default: since they were listed last]",
    ),
]


def pull(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The desk, as the desks file names it.")],
    since: Since = None,
    as_json: AsJson = False,
) -> int:
    """Fetch the forms that no webhook has brought: lists the tickets that have changed, and reads each.

    A form that was taken before is known, and is not taken twice.
    """
    find_services()
    desk = helpdesks().desks.get(name)
    if desk is None:
        raise UsageError(f"the desks file has no desk {name}; it has: {', '.join(helpdesks().desks) or 'none'}")
    if not (desk.reads_tickets and desk.config.answers):
        needed = ", ".join(key for key in desk.config.answering if getattr(desk.config, key) is None)
        why = f"it needs {needed} in the desks file" if desk.reads_tickets else f"{desk.kind} has no tickets to read"
        raise UsageError(f"desk {name} cannot be pulled from: {why}")
    begins = since.replace(tzinfo=UTC) if since else None
    if begins is None and not reading(partial(seen_until, source=desk.source)):
        raise UsageError(f"the tickets of desk {name} were never listed: say since when, such as --since 2026-11-23")
    done = pulling.Pulled()
    try:
        with err.status("listing …") as status:
            for done in pulling.pull(desk, begins):
                status.update(_progress(done))
    except DeliveryError as error:
        raise Unreachable(f"desk {name}: {error}; what was found before is kept, and pulling again goes on") from error
    except LostFence as lost:
        raise CommandError(f"{lost}: try again in a minute") from lost
    left = reading(partial(count_unread, source=desk.source))
    if as_json:
        print_json({"listed": done.listed, "left": left, **{one.name.lower(): done.read[one] for one in Read}})
    else:
        remaining = f"; {left} left for a running worker" if left else ""
        out.print(plain(_progress(done) + remaining), soft_wrap=True, highlight=False)
    return 1 if any(done.read[one] for one in (Read.UNUSABLE, Read.DIFFERS, Read.FAILED)) else 0


def _progress(done: pulling.Pulled) -> str:
    read = ", ".join(f"{number} {_READ[became]}" for became, number in done.read.items())
    return f"{counted(done.listed, 'ticket')} may ask for something{f': {read}' if read else ''}"


_READ = {
    Read.TAKEN: "taken",
    Read.KNOWN: "known",
    Read.ASKS_NOTHING: "without a form",
    Read.DIFFERS: "changed after their kind was chosen, and not taken (the log names them)",
    Read.UNUSABLE: "no requests (`countermand dead-letters list`)",
    Read.FAILED: "failed, to be tried again",
    Read.LOST: "read by another process",
}


def add_to(desks: typer.Typer) -> None:
    """Adds the command to those about desks."""
    desks.command()(pull)
