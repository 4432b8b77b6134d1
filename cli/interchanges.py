"""`countermand interchanges`: list, show, resend, release; receive and received for what partners answer."""

import sys
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from cli.advice import with_advice
from cli.partners import configured
from cli.terminal import AsJson, Limit, brief, counted, err, out, plain, print_json, print_list
from configuration.settings import settings
from database.tables import AcknowledgementState, InterchangeState
from database.transactions import in_transaction
from edi import reading
from edi.acknowledgement_files import Applied, StoredFile
from edi.documents.charset import decode
from edi.operator_actions import NotPossible
from edi.partners import Partner
from edi.transports.transport import NotReceived, TransportError
from tasks.export import release as release_orders
from tasks.export import resend as send_again
from tasks.partners import partners
from tasks.receipts import read_inbox
from workers.accounts import work_as_owner_of
from workers.app import app
from workers.discovery import find_database, find_services
from workers.errors import UsageError

cli = typer.Typer(name="interchanges", help="What was sent to partners, and what they answered.", no_args_is_help=True)

PartnerName = Annotated[str, typer.Argument(metavar="PARTNER", help="The partner's name, as listed.")]
Number = Annotated[int, typer.Argument(metavar="NUMBER", min=1, max=2**62, help="The control number, as listed.")]
OnlyPartner = Annotated[str | None, typer.Option("--partner", help="Only of this partner.")]


@cli.command(name="list")
def list_(
    partner: OnlyPartner = None,
    state: Annotated[InterchangeState | None, typer.Option(help="Only in this state.")] = None,
    limit: Limit = None,
    as_json: AsJson = False,
) -> int:
    """List interchanges, newest first."""
    find_database()
    _expect_known(partner)
    found = in_transaction(
        lambda connection: reading.list_interchanges(connection, partner=partner, state=state, limit=limit)
    )
    if as_json:
        print_json(found)
        return 0
    print_list(("partner", "number", "state", "orders", "sent at (UTC)"), map(_listed, found))
    return 0


def _expect_known(partner: str | None) -> None:
    """Raises UsageError for an unknown partner, so that a typing error does not look like an empty list."""
    known = in_transaction(reading.partner_names)
    if partner is not None and partner not in known:
        known += (one.name for one in partners())
        if partner not in known:
            raise UsageError(f"partner {partner} is not known; known are: {', '.join(sorted({*known}))}")


def _listed(one: dict[str, Any]) -> tuple[tuple[object, ...], str]:
    cells = (one["partner"], one["control_number"], one["state"], one["orders"], brief(one["sent_at"]))
    return cells, with_advice(one["error"]) if one["error"] else _first(one["reasons"])


def _first(reasons: list[str]) -> str:
    more = f" (and {len(reasons) - 1} more)" if len(reasons) > 1 else ""
    return f"{reasons[0]}{more}" if reasons else ""


@cli.command()
def show(
    partner: PartnerName,
    number: Number,
    content: Annotated[
        bool,
        typer.Option("--content", help="Only the document: its text on a terminal, else its bytes as they are."),
    ] = False,
    as_json: AsJson = False,
) -> int:
    """Show an interchange with its orders and what the partner answered."""
    find_database()
    if content:
        document = in_transaction(lambda connection: reading.content_of(connection, partner, number))
        _write_content(_known(document, partner, number))
        return 0
    found = _known(
        in_transaction(lambda connection: reading.show_interchange(connection, partner, number)), partner, number
    )
    if as_json:
        print_json(found)
        return 0
    for name, value in found.items():
        if name not in ("order_numbers", "acknowledgements", "reasons") and value is not None:
            shown = with_advice(value) if name == "error" else value
            out.print(plain(f"{name.replace('_', ' '):<15} {shown}"), soft_wrap=True, highlight=False)
    for reason in found["reasons"]:
        out.print(plain(f"{'reason':<15} {reason}"), soft_wrap=True, highlight=False)
    held = ", ".join(found["order_numbers"]) or "none: they are free again"
    out.print(plain(f"{'its orders':<15} {held}"), soft_wrap=True, highlight=False)
    _print_acknowledgements(found["acknowledgements"])
    return 0


def _write_content(document: bytes) -> None:
    """A terminal is not in the document's character set; a file or another program gets the bytes."""
    if sys.stdout.isatty():
        out.print(plain(decode(document)), highlight=False, soft_wrap=True)
    else:
        sys.stdout.buffer.write(document)
        sys.stdout.buffer.flush()


def _known(found: Any, partner: str, number: int) -> Any:
    if found is None:
        raise UsageError(
            f"{partner} has no interchange {number}; `countermand interchanges list` lists those there are"
        )
    return found


def _print_acknowledgements(found: list[dict[str, Any]]) -> None:
    for one in found:
        because = f": {_first(one['reasons'])}" if one["reasons"] else ""
        verdict = f"{one['kind']} {one['reference']} says of {one['control_number']}: {one['verdict']}, {one['state']}"
        out.print(plain(f"  {brief(one['received_at'])} (UTC)  {verdict}{because}"), soft_wrap=True, highlight=False)


@cli.command()
def resend(partner: PartnerName, number: Number, as_json: AsJson = False) -> int:
    """Send an interchange once more: the same bytes under the same name, for a partner that has not got it."""
    find_services()
    work_as_owner_of(settings().home)
    app.finalize()
    to = configured(partner)
    try:
        with err.status(f"sending interchange {number} to {partner} …"):
            sent = send_again(to, number)
    except NotPossible as impossible:
        raise UsageError(str(impossible)) from None
    except TransportError as error:
        err.print(plain(f"interchange {number} of {partner} was not sent: {with_advice(error)}"), highlight=False)
        return 1
    if as_json:
        print_json({"partner": partner, "control_number": number, "filename": sent.filename, "state": "sent"})
    else:
        # The same bytes may have been there still: then nothing new was written.
        out.print(plain(f"interchange {number} of {partner} is in place as {sent.filename}"))
    return 0


@cli.command()
def release(
    partner: PartnerName,
    number: Number,
    asked: Annotated[
        bool, typer.Option("--i-asked-the-partner", help="The partner has said that it has not got it, nor will.")
    ] = False,
    as_json: AsJson = False,
) -> int:
    """Free the orders of an interchange that was not delivered: changes apply again, another interchange follows."""
    find_services()
    work_as_owner_of(settings().home)
    app.finalize()
    to = configured(partner)
    try:
        freed = release_orders(to, number, asked_the_partner=asked)
    except NotPossible as impossible:
        raise UsageError(str(impossible)) from None
    if as_json:
        print_json({"partner": partner, "control_number": number, "state": "released", "orders": freed})
    else:
        freed_orders = f"{counted(freed, 'order')} {'is' if freed == 1 else 'are'}"
        out.print(plain(f"interchange {number} of {partner} is released; {freed_orders} free again"))
    return 0


@cli.command()
def receive(partner: OnlyPartner = None, as_json: AsJson = False) -> int:
    """Read what partners have put into our inboxes, now; exit 1 if some of it could not be had or read."""
    find_services()
    work_as_owner_of(settings().home)
    app.finalize()
    problems: list[str] = []
    unread: list[str] = []
    answers: list[tuple[str, Applied]] = []
    files = again = 0

    def take_note(of: Partner, name: str, kept: StoredFile | NotReceived) -> None:
        nonlocal files, again
        if isinstance(kept, NotReceived):
            problems.append(f"{name} of {of.name}: {kept}")
            return
        files += not kept.again
        again += kept.again
        answers.extend((of.name, answer) for answer in kept.applied)
        if kept.others:
            unread.append(f"{name} of {of.name} holds what we do not read, and is kept: {', '.join(kept.others)}")
        if kept.error:
            problems.append(f"{name} of {of.name}: {kept.error}")

    for one in [configured(partner)] if partner else partners():
        try:
            with err.status(f"reading the inbox of {one.name} …"):
                read_inbox(one, take_note)
        except NotReceived as error:
            problems.append(f"the inbox of {one.name} could not be read: {with_advice(error)}")
    if as_json:
        states = [answer.settled for _, answer in answers if answer.settled]
        found = {"files": files, "files_again": again, "acknowledgements": len(answers), "settled": states}
        print_json({**found, "unread": unread, "problems": problems})
    else:
        more = f", and {counted(again, 'file')} that had come before" if again else ""
        out.print(f"{counted(files, 'file')} with {counted(len(answers), 'acknowledgement')}{more}", highlight=False)
        for line in [*_remarkable(answers), *unread]:
            out.print(plain(line), highlight=False, soft_wrap=True)
    for problem in problems:
        err.print(plain(problem), highlight=False)
    return 1 if problems else 0


def _remarkable(answers: list[tuple[str, Applied]]) -> Iterator[str]:
    for of, answer in answers:
        one = answer.acknowledgement
        if answer.state is AcknowledgementState.UNMATCHED:
            of_what = f"interchange {one.control_number}, which was not sent"
            yield f"{one.kind} {one.reference} of {of} says something of {of_what}"
        elif answer.settled is InterchangeState.REJECTED:
            yield f"interchange {one.control_number} of {of} is rejected: {_first(list(one.reasons))}"


@cli.command()
def received(partner: OnlyPartner = None, limit: Limit = None, as_json: AsJson = False) -> int:
    """List what partners have sent, newest first: also what was not matched, repeated or could not be read."""
    find_database()
    _expect_known(partner)
    found = in_transaction(lambda connection: reading.list_received(connection, partner=partner, limit=limit))
    if as_json:
        print_json(found)
        return 0
    for one in found:
        file = f"{brief(one['received_at'])} (UTC)  {one['partner']}  {one['filename']}"
        out.print(plain(file), highlight=False, soft_wrap=True)
        if one["error"]:
            out.print(plain(f"  {one['error']}"), style="red", highlight=False, soft_wrap=True)
        _print_acknowledgements(one["acknowledgements"])
    return 0
