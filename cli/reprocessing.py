"""`countermand reprocess`: decides parked requests again, or shows what would be decided."""

from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import islice
from typing import Annotated, Any, TypeAlias

import typer
from pydantic import TypeAdapter, ValidationError
from sqlalchemy.exc import DBAPIError

from cli.terminal import (
    AsJson,
    counted,
    counting_progress,
    err,
    out,
    print_json,
    print_json_list,
    print_list,
    table,
)
from database.tables import RequestState
from database.transactions import in_transaction
from orders.effects import count_dead
from orders.messages import Moment
from orders.reprocessing import Filter, count_parked
from rules.model import Address, Outcome, ParkedReason
from tasks.reprocessing import iterate_previews, iterate_reprocessing, iterate_revived_effects
from workers.app import app
from workers.discovery import find_database, find_services
from workers.errors import UsageError

# Of a dry run; --json gives them all.
_SHOWN = 20
# Where no bar is shown, a line for so many.
_TOLD_EVERY = 10_000

_Preview: TypeAlias = Mapping[str, Any]
# What requests were parked for, and what would be decided of them.
_Ends: TypeAlias = Counter[tuple[tuple[str, ...], str | None, tuple[str, ...]]]


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
    if reason is not None and reason not in list(ParkedReason):
        raise UsageError(f"--reason {reason}: requests are parked for {' or '.join(ParkedReason)}")
    wanted = Filter(reason=reason, since=_moment(since), order=order)
    if dry_run:
        find_database()
        _show(wanted, as_json=as_json)
    else:
        find_services()
        app.finalize()
        _Reprocessing(wanted, as_json=as_json).run()
    return 0


def _moment(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        return TypeAdapter[datetime](Moment).validate_python(text)
    except ValidationError:
        raise UsageError(f"--since {text}: expected a moment such as 2026-11-23T09:00:00Z") from None


class _Reprocessing:
    """What one run has done so far, which stays done if it breaks off."""

    def __init__(self, wanted: Filter, *, as_json: bool) -> None:
        self._wanted, self._as_json = wanted, as_json
        self._requests = self._effects = 0

    def run(self) -> None:
        try:
            self._go_on()
        except (KeyboardInterrupt, DBAPIError):
            # What was done is reported before the error.
            if self._requests or self._effects:
                self._report()
                if not self._as_json:
                    out.print("the others stay parked; run it again for them")
            raise
        self._report()

    def _go_on(self) -> None:
        with counting_progress() as bar:
            total = in_transaction(count_parked, self._wanted)
            task = bar.add_task("reprocessing", total=total)
            if self._wanted == Filter():
                for effects in iterate_revived_effects():
                    self._effects += effects
            for requests in iterate_reprocessing(self._wanted):
                _log_progress("reprocessing", self._requests, self._requests + requests, total)
                self._requests += requests
                bar.advance(task, requests)

    def _report(self) -> None:
        if self._as_json:
            print_json({"reprocessed": self._requests, "effects_revived": self._effects})
            return
        out.print(f"to be decided anew: {counted(self._requests, 'request')}", highlight=False)
        if self._effects:
            out.print(f"to be tried again: {_dead(self._effects)}", highlight=False)


def _log_progress(what: str, before: int, done: int, total: int) -> None:
    """Prints how far it is to a standard error that is no terminal, and so shows no bar."""
    if not err.is_terminal and done // _TOLD_EVERY > before // _TOLD_EVERY:
        err.print(f"{what}: {done:,} of {counted(total, 'request')}", highlight=False)


def _dead(effects: int) -> str:
    return f"{counted(effects, 'dead effect')} (restock, notify)"


def _show(wanted: Filter, *, as_json: bool) -> None:
    effects = in_transaction(count_dead) if wanted == Filter() else 0
    total = in_transaction(count_parked, wanted)
    ends: _Ends = Counter()
    first: list[_Preview] = []
    with counting_progress(prints_meanwhile=as_json) as bar:
        task = bar.add_task("looking", total=total)

        def advance() -> None:
            bar.advance(task)
            _log_progress("looking", ends.total() - 1, ends.total(), total)

        found = _counted(iterate_previews(wanted), ends, advance)
        if as_json:
            print_json_list("would_be_decided", found, lambda: {"summary": _as_json(ends), "dead_effects": effects})
        else:
            first += islice(found, _SHOWN)
            deque(found, maxlen=0)
    if not as_json:
        _print(first, ends, effects)


def _counted(found: Iterator[_Preview], ends: _Ends, advance: Callable[[], None]) -> Iterator[_Preview]:
    for one in found:
        ends[tuple(one["was"]), one["outcome"], tuple(one["reasons"])] += 1
        advance()
        yield one


def _as_json(ends: _Ends) -> list[dict[str, Any]]:
    return [
        {"was": was, "outcome": outcome, "reasons": reasons, "requests": requests}
        for (was, outcome, reasons), requests in ends.most_common()
    ]


def _print(first: Sequence[_Preview], ends: _Ends, effects: int) -> None:
    if first:
        print_list(
            ("source", "id", "order", "kind", "is → would be"),
            (
                ((one["source"], one["id"], one["order"], one["kind"], _arrow("parked", _end(one))), _difference(one))
                for one in first
            ),
        )
    if (more := ends.total() - len(first)) > 0:
        out.print(f"… and {counted(more, 'more request')}; --json lists them all", highlight=False)
        listed = table("parked for", "would be", "because", "requests")
        for end in _as_json(ends):
            listed.add_row(", ".join(end["was"]), _end(end), ", ".join(end["reasons"]), f"{end['requests']:,}")
        out.print("", listed, "")
    out.print(f"nothing was changed; would be decided anew: {counted(ends.total(), 'request')}", highlight=False)
    if effects:
        out.print(f"would be tried again: {_dead(effects)}", highlight=False)


def _end(of: Mapping[str, Any]) -> str:
    if of["outcome"] is None:
        return "parked again"
    return "waiting" if of["outcome"] == Outcome.DEFERRED else str(of["outcome"])


def _difference(one: _Preview) -> str:
    """Says what a decision would change: the reasons, and below them what of the order."""
    error = f" ({one['error']})" if "error" in one else ""
    changes = [_arrow(", ".join(one["was"]), ", ".join(one["reasons"])) + error]
    for change in one["changes"]:
        for name, after in change["after"].items():
            before = change["before"][name]
            if isinstance(after, str):
                changes.append(f"{name}: {_arrow(before, after)}")
            else:
                fields = [field for field in Address.__slots__ if before.get(field) != after.get(field)]
                changes += [
                    f"{name} {field}: {_arrow(before.get(field, '–'), after.get(field, '–'))}" for field in fields
                ]
    return "\n    ".join(changes)


def _arrow(was: str, then: str) -> str:
    return then if was == then else f"{was} → {then}"


COMMANDS = (reprocess,)
