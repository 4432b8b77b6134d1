"""`countermand requests`: submit, show, list, wait."""

import time
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from cli.terminal import (
    AsJson,
    InputFile,
    Limit,
    brief,
    counted,
    err,
    out,
    plain,
    print_json,
    print_list,
    print_rejected,
    read_lines,
)
from configuration.outages import describe_broker_fault
from database.tables import EffectState, RequestState
from database.transactions import in_transaction
from orders.messages import UnreadableMessage, parse_change
from orders.reading import count_requests, list_requests, show_request
from orders.views import EffectShown, ListedRequest, to_json
from rules.model import Effect, Outcome, ParkedReason, Reason
from workers.broker import BROKER_OUTAGES, Broker, broker_at
from workers.discovery import find_database, find_services
from workers.errors import Unreachable, UsageError

cli = typer.Typer(name="requests", help="Submit and look at change requests.", no_args_is_help=True)


@cli.command()
def submit(file: InputFile, as_json: AsJson = False) -> int:
    """Publish change requests to the broker, as an integration would; unreadable lines are reported."""
    broker = broker_at(find_services().broker_url)
    rejected: list[dict[str, Any]] = []
    submitted = _publish(broker, _readable(file, rejected))
    if as_json:
        print_json({"submitted": submitted, "rejected": rejected})
    else:
        print_rejected(rejected, file)
        out.print(f"submitted {submitted:,}, rejected {len(rejected):,}")
    return 1 if rejected else 0


def _publish(broker: Broker, bodies: Iterator[bytes]) -> int:
    chunks: list[int] = []
    try:
        return broker.publish(bodies, on_chunk=chunks.append)
    except BROKER_OUTAGES as error:
        again = "submit the same file again, what is there already counts once"
        raise Unreachable(f"{describe_broker_fault(error)}; {sum(chunks):,} submitted before: {again}") from error


def _readable(file: str, rejected: list[dict[str, Any]]) -> Iterator[bytes]:
    for number, line in read_lines(file, "submitting requests"):
        try:
            parse_change(line)
        except UnreadableMessage as error:
            rejected.append({"line": number, "reason": error.reason, "error": str(error)})
        else:
            yield line


@cli.command()
def show(
    source: Annotated[str, typer.Argument(help="The request's source, e.g. zendesk:acme.")],
    request_id: Annotated[str, typer.Argument(metavar="ID", help="The request's id at its source.")],
    as_json: AsJson = False,
) -> int:
    """Show a request with its decision, what followed, and its answer to the customer or note to colleagues."""
    find_database()
    request = in_transaction(show_request, source, request_id)
    if request is None:
        raise UsageError(f"request {request_id} of {source} is not known")
    if as_json:
        print_json(to_json(request))
        return 0
    what = f"request {request.id} of {request.source}: {request.kind} for order {request.order}"
    out.print(plain(what), style="bold")
    state = request.outcome or request.state
    out.print(f"{state}: {', '.join(request.reasons)}" if request.reasons else state)
    decided = f"decided {brief(request.decided_at)} UTC" if request.decided_at else "decided not yet"
    out.print(f"received {brief(request.received_at)} UTC, {decided}", highlight=False)
    for effect in request.effects:
        out.print(plain(_describe_effect(effect)), highlight=False, soft_wrap=True)
    if request.error:
        out.print(plain(f"\n{request.error}"))
    if request.advice:
        waits = any(effect.kind == Effect.NOTIFY and not effect.done_at for effect in request.effects)
        text = request.notification.body if request.notification else request.advice
        out.print(plain(f"\n{'not sent yet: ' if waits else ''}{text}"))
    return 0


def _describe_effect(effect: EffectShown) -> str:
    if effect.error is None or effect.attempts is None:
        done = f" {brief(effect.done_at)} UTC" if effect.done_at else ""
        return f"{effect.kind}: {effect.state}{done}"
    tries = f"{effect.state} after {counted(effect.attempts, 'try', 'tries')}: {effect.error}"
    dead = effect.state == EffectState.DEAD
    return f"{effect.kind}: {tries}; {'`countermand reprocess` tries it again' if dead else 'it is tried again'}"


@cli.command(name="list")
def list_(
    state: Annotated[RequestState | None, typer.Option(help="Only requests in this state.")] = None,
    outcome: Annotated[Outcome | None, typer.Option(help="Only requests with this outcome.")] = None,
    reason: Annotated[str | None, typer.Option(help="Only requests with this reason.")] = None,
    order: Annotated[str | None, typer.Option(help="Only requests for this order.")] = None,
    ticket: Annotated[str | None, typer.Option(help="Only requests of this ticket.")] = None,
    dead: Annotated[
        bool, typer.Option("--dead", help="Only requests with a dead effect: untold, or not put back.")
    ] = False,
    limit: Limit = None,
    as_json: AsJson = False,
) -> int:
    """List requests, in the sequence of their acceptance."""
    check_reason(reason)
    find_database()
    wanted = {"state": state, "outcome": outcome, "order_number": order, "ticket": ticket}
    found = in_transaction(list_requests, wanted, reason=reason, dead=dead, limit=limit)
    if as_json:
        print_json([to_json(one) for one in found])
        return 0
    names = ("source", "id", "order", "kind", "state", "outcome")
    print_list(names, (([getattr(request, name) for name in names], _because(request)) for request in found))
    return 0


def _because(request: ListedRequest) -> str:
    """Returns the reasons, or why it is parked, and which effects are dead of what."""
    why = [", ".join(request.reasons), request.error]
    why += [f"{kind} is dead: {error}" for kind, error in (request.dead_errors or {}).items()]
    return "; ".join(filter(None, why))


def check_reason(reason: str | None) -> None:
    """Refuses a reason that no request can have."""
    known = [*Reason, *ParkedReason]
    if reason is not None and reason not in known:
        raise UsageError(f"--reason {reason}: there is no such reason; there are {', '.join(known)}")


@cli.command()
def wait(
    timeout: Annotated[float, typer.Option(min=0, help="Seconds to wait at most.")] = 60,
    as_json: AsJson = False,
) -> int:
    """Wait until none is on the broker or undecided (other than for an unknown order) and no effect is pending."""
    broker = broker_at(find_services().broker_url)
    with err.status("waiting for requests to be decided …") as status:
        for counts in wait_until_settled(broker, timeout):
            on_broker = f"{counts['on_broker']:,} on the broker, " if counts["on_broker"] else ""
            status.update(
                f"{on_broker}{counts['received']:,} undecided, {counts['effects_pending']:,} effects pending …"
            )
    if as_json:
        print_json(counts)
    else:
        words = "settled" if counts["settled"] else f"not settled after {timeout:g} s"
        # Nothing is on the broker where all is settled.
        shown = {name: n for name, n in counts.items() if name != "settled" and (n or name != "on_broker")}
        others = ", ".join(f"{name.replace('_', ' ')} {n:,}" for name, n in shown.items())
        out.print(f"{words}: {others}", soft_wrap=True)
    return 0 if counts["settled"] else 1


def wait_until_settled(broker: Broker, timeout: float) -> Iterator[dict[str, Any]]:
    """Yields the counts of the contract again and again, until they are settled or the time is over."""
    deadline = time.monotonic() + timeout
    quiet_since: float | None = None
    while True:
        # The broker first: what leaves it between the two looks is seen in the inbox.
        on_broker = broker.backlog()
        counts = in_transaction(count_requests)
        undecided = counts["received"] - counts["waiting_for_their_order"]
        quiet = not (on_broker or undecided or counts["effects_pending"])
        quiet_since = (quiet_since or time.monotonic()) if quiet else None
        settled = quiet_since is not None and time.monotonic() - quiet_since >= broker.blind_seconds
        shown = ("received", "decided", "parked", "effects_pending")
        yield {"settled": settled, "on_broker": on_broker, **{name: counts[name] for name in shown}}
        if settled or time.monotonic() > deadline:
            return
        time.sleep(0.1)
