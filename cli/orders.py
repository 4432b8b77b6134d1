"""`countermand orders`: load, show, list."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Annotated, Any

import typer
from sqlalchemy.exc import DBAPIError

from cli.advice import TRIED_AGAIN
from cli.terminal import (
    AsJson,
    InputFile,
    Limit,
    brief,
    out,
    paragraph,
    plain,
    print_json,
    print_list,
    print_rejected,
    read_lines,
    table,
)
from database.faults import Fault, classify
from database.transactions import in_transaction
from edi.reading import show_interchange
from orders.loading import Loaded, load_orders
from orders.messages import OrderMessage, UnreadableMessage, parse_order
from orders.reading import list_orders, show_order
from orders.views import InterchangeOfOrder, ListedOrder, OrderShown, to_json
from rules.model import Address, Edi, Status
from rules.postal import postal_lines
from tasks.running.wakeups import WakeUp, wake
from workers.app import app
from workers.discovery import find_database, find_services
from workers.errors import UsageError

cli = typer.Typer(name="orders", help="Load and look at orders.", no_args_is_help=True)

# A transaction takes so many orders, or so many lines if those come first.
_BATCH = 500
_BATCH_LINES = 10_000
# Differences that are spelled out for people; --json gives them all.
_SHOWN_DIFFERENCES = 20


@cli.command()
def load(file: InputFile, as_json: AsJson = False) -> int:
    """Load orders: new ones are inserted, known ones compared; only pre_order → validated is taken over."""
    find_services()
    loader = _Loader()
    number = 0
    try:
        for number, line in read_lines(file, "loading orders"):
            loader.add(number, line)
    except UsageError:
        # The file broke off: what was read is loaded all the same, and reported before the error.
        if number:
            loader.flush()
            loader.report(file, as_json=as_json)
        raise
    loader.flush()
    app.finalize()
    wake(WakeUp.APPLY_CHANGES)
    loader.report(file, as_json=as_json)
    return 1 if loader.rejected or loader.loaded.differences else 0


class _Loader:
    """Gathers orders into batches; a batch that the database refuses is split until the refused order is alone."""

    def __init__(self) -> None:
        self.loaded = Loaded()
        self.rejected: list[dict[str, Any]] = []
        self._batch: list[tuple[int, OrderMessage]] = []
        self._lines = 0

    def add(self, number: int, line: bytes) -> None:
        try:
            self._batch.append((number, parse_order(line)))
        except UnreadableMessage as error:
            self.rejected.append({"line": number, "error": str(error)})
        else:
            self._lines += len(self._batch[-1][1].lines)
        if len(self._batch) >= _BATCH or self._lines >= _BATCH_LINES:
            self.flush()

    def flush(self) -> None:
        batch, self._batch, self._lines = self._batch, [], 0
        self._load(batch)

    def _load(self, batch: list[tuple[int, OrderMessage]]) -> None:
        if not batch:
            return
        messages = [message for _, message in batch]
        try:
            loaded = in_transaction(load_orders, messages)
        except DBAPIError as error:
            if classify(error) is not Fault.PERMANENT:
                raise
            if len(batch) == 1:
                self.rejected.append({"line": batch[0][0], "error": f"the database refused it: {type(error).__name__}"})
                return
            half = len(batch) // 2
            self._load(batch[:half])
            self._load(batch[half:])
            return
        self.loaded.new += loaded.new
        self.loaded.validated += loaded.validated
        self.loaded.unchanged += loaded.unchanged
        self.loaded.differences += loaded.differences

    def as_json(self) -> dict[str, Any]:
        return {
            "loaded": self.loaded.new,
            "validated": self.loaded.validated,
            "unchanged": self.loaded.unchanged,
            "differences": [asdict(difference) for difference in self.loaded.differences],
            "rejected": self.rejected,
        }

    def report(self, file: str, *, as_json: bool) -> None:
        if as_json:
            print_json(self.as_json())
        else:
            self._tell(file)

    def _tell(self, file: str) -> None:
        print_rejected(self.rejected, file)
        for difference in self.loaded.differences[:_SHOWN_DIFFERENCES]:
            fields = ", ".join(difference.fields)
            out.print(plain(f"order {difference.number}: the store now says otherwise in {fields}; not overwritten"))
        if (more := len(self.loaded.differences) - _SHOWN_DIFFERENCES) > 0:
            out.print(f"… and {more} more orders; --json lists them all")
        counted = self.as_json()
        out.print(
            f"loaded {self.loaded.new:,}, validated {self.loaded.validated:,}, unchanged {self.loaded.unchanged:,}, "
            f"different {len(counted['differences']):,}, rejected {len(self.rejected):,}"
        )


@cli.command()
def show(number: Annotated[str, typer.Argument(help="The order's number.")], as_json: AsJson = False) -> int:
    """Show an order with its lines, its interchange and its changelog."""
    find_database()
    order = in_transaction(show_order, number)
    if order is None:
        raise UsageError(f"order {number} is not known")
    if as_json:
        print_json(to_json(order))
    else:
        _print_order(order)
    return 0


def _print_order(order: OrderShown) -> None:
    state = f"{order.status}, EDI {order.edi}, version {order.version}"
    out.print(plain(f"order {order.number}  {state}"), style="bold")
    if order.interchange:
        out.print(plain(_where_it_is(order.interchange)), highlight=False)
    for held_back in _held_back(order):
        out.print(plain(held_back), style="red", highlight=False)
    placed = f"placed {brief(order.placed_at)} UTC, warehouse {order.warehouse}, {order.customer['name']}"
    out.print(plain(placed), highlight=False)
    for role in ("shipping", "billing"):
        out.print(paragraph(f"{role:<8}", _written(Address(**getattr(order, role)))))
    lines = table("line", "sku", "description", "quantity", "unit price")
    # Of all columns the description gives way first; one that is as long as a line gives way too.
    lines.columns[1].no_wrap = all(len(line.sku) <= _LONG_SKU for line in order.lines)
    for number, line in enumerate(order.lines, start=1):
        cells = (number, line.sku, line.description, line.quantity, line.unit_price)
        lines.add_row(*map(plain, cells))
    out.print(lines, "")
    print_list(
        ("at (UTC)", "actor", "action", "request"),
        (
            (
                (brief(entry.at), entry.actor, entry.action, entry.request and entry.request.id),
                entry.note,
            )
            for entry in order.changelog
        ),
    )


_LONG_SKU = 30


def _written(address: Address) -> str:
    phone = [f"phone {address.phone}"] if address.phone else []
    return ", ".join([*postal_lines(address), *phone])


def _where_it_is(interchange: InterchangeOfOrder) -> str:
    partner, number = interchange.partner, interchange.control_number
    found = in_transaction(show_interchange, partner, number) or to_json(interchange)
    moments = [f"sent {brief(found['sent_at'])} UTC"] if found["sent_at"] else ["claimed, and not known to be sent"]
    if answered_at := found.get("answered_at"):
        moments.append(f"{found['state']} {brief(answered_at)} UTC")
    return f"in interchange {number} to {partner}: {'; '.join(moments)}"


@cli.command(name="list")
def list_(
    status: Annotated[Status | None, typer.Option(help="Only orders of this status.")] = None,
    edi: Annotated[Edi | None, typer.Option(help="Only orders in this EDI state.")] = None,
    limit: Limit = None,
    as_json: AsJson = False,
) -> int:
    """List orders, in the sequence in which they were loaded."""
    find_database()
    found = in_transaction(list_orders, status=status, edi=edi, limit=limit)
    if as_json:
        print_json([to_json(one) for one in found])
        return 0
    names = ("number", "status", "edi", "warehouse")
    print_list(names, (([getattr(order, name) for name in names], "; ".join(_held_back(order))) for order in found))
    return 0


def _held_back(order: OrderShown | ListedOrder) -> Iterator[str]:
    if order.export_error:
        yield f"held back from export: {order.export_error}; {TRIED_AGAIN}"
    if order.held_until:
        reasons = f" ({', '.join(order.held_for)})" if isinstance(order, OrderShown) and order.held_for else ""
        yield f"held back from export until {brief(order.held_until)} UTC: a colleague has to decide first{reasons}"
