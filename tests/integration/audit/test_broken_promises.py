"""Each way to break a promise is found, and no other promise is blamed."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from sqlalchemy import Engine

from orders.audit import CHECKS, audit
from tests.acknowledgements import PATIENCE
from tests.audits import broken, meddle, meddle_in
from tests.builders import a_request, an_order, decide_all, deliver, load, rows, settle
from tests.commands import Countermand
from tests.integration.audit.histories import make_history

pytestmark = pytest.mark.usefixtures("system")


_RELEASED = (
    "INSERT INTO interchange (partner, control_number, filename, content, sha256, orders, state, released_at,"
    " lease_until, patience_since) SELECT 'AWAY', {}, '{}', '', encode(sha256(''), 'hex'), 1, 'released', now(),"
    " now(), now()"
)


_UNLOGGED = "DELETE FROM changelog WHERE action = '{}'"


_OF = "(SELECT id FROM change_request WHERE external_id = '{}')"


_ORDER = "(SELECT id FROM orders WHERE number = '{}')"


_BEFORE_THE_CLAIM = (
    "(SELECT claimed_at - interval '1 second' FROM interchange WHERE partner = 'WAREHOUSE' AND control_number = 1)"
)


def without(table: str, constraint: str) -> str:
    return f"ALTER TABLE {table} DROP CONSTRAINT {table}_{constraint}"


def logged(order: str, action: str, request: str | None = None) -> str:
    request_id = _OF.format(request) if request else "NULL"
    return (
        "INSERT INTO changelog (order_id, actor, action, change_request_id)"
        f" VALUES ({_ORDER.format(order)}, 'operator', '{action}', {request_id})"
    )


def an_effect(kind: str, request: str) -> str:
    return f"INSERT INTO effect (change_request_id, kind) VALUES ({_OF.format(request)}, '{kind}')"


@dataclass(frozen=True)
class Case:
    """One way to break promises; `example` must be said of the first of them."""

    sentence: str
    promises: Sequence[int]
    example: str
    statements: Sequence[str]


def case(sentence: str, promises: Sequence[int], example: str, *statements: str) -> Case:
    return Case(sentence, promises, example, statements)


_FIRST = [
    *(
        case(
            f"a request that is due was forgotten {where}",
            [1],
            r"request waiting of zendesk:acme is received, but was forgotten: it is due since \d+",
            "UPDATE change_request SET not_before = now() - interval '1 hour', undecided_since = now() - interval"
            f" '1 hour', order_number = '{order}' WHERE external_id = 'waiting'",
        )
        for where, order in (("on a known order", "open"), ("on an unknown one", "nowhere"))
    ),
    *(
        case(
            f"a decided request has no {column}",
            [1],
            "request part of zendesk:acme is decided, but has no outcome or no reason",
            without("change_request", "decided_has_its_decision"),
            without("change_request", "has_its_reasons"),
            f"UPDATE change_request SET {column} = {value} WHERE external_id = 'part'",
        )
        for column, value in (("outcome", "NULL"), ("decided_at", "NULL"), ("reasons", "'{}'"))
    ),
    *(
        case(
            f"a parked request has {what}",
            [1],
            "request lost of zendesk:acme is parked, but has no reason that can be shown",
            without("change_request", "has_its_reasons"),
            f"UPDATE change_request SET reasons = '{value}' WHERE external_id = 'lost'",
        )
        for what, value in (("no reason", "{}"), ("a reason that is none of parking", "{note_required}"))
    ),
]


_SECOND = [
    *(
        case(
            f"a change was not logged as {action}", [2], f"request {request} .* changes {{}}", _UNLOGGED.format(action)
        )
        for action, request in (
            ("abandoned", "abandon"),
            ("shipping_address_changed", "(first|second)"),
            ("billing_address_changed", "billing"),
        )
    ),
    case("a cancellation was not logged", [2, 5], "request cancel .* changes {}", _UNLOGGED.format("cancelled")),
    case(
        "a refused request changed its order",
        [2],
        r"request items of zendesk:acme is decided \(items_are_fixed\): changes {cancelled}, expected {};",
        logged("open", "cancelled", "items"),
    ),
    case(
        "an undecided request changed its order",
        [2],
        "request waiting .* is received .*: changes {abandoned}",
        logged("open", "abandoned", "waiting"),
    ),
    case(
        "a parked request changed its order",
        [2],
        "request lost .* is parked .*: changes {abandoned}",
        logged("open", "abandoned", "lost"),
    ),
    case(
        "a change was made twice",
        [2],
        "request abandon .* changes {abandoned,abandoned}, expected {abandoned}",
        without("changelog", "change_request_id_action_unique"),
        logged("abandoned", "abandoned", "abandon"),
    ),
    case(
        "a cancellation has no restock",
        [2, 5],
        "request cancel .* effects {notify}, expected {notify,restock}",
        "DELETE FROM effect WHERE kind = 'restock'",
    ),
    case(
        "a refusal has a restock",
        [2],
        "request items .* effects {notify,restock}, expected {notify}",
        an_effect("restock", "items"),
    ),
    *(
        case(
            f"a {kind} was asked for twice",
            [2],
            f"request cancel .* effects {effects}, expected {{notify,restock}}",
            without("effect", "change_request_id_kind_unique"),
            "INSERT INTO effect (change_request_id, kind, state, done_at) SELECT change_request_id, kind, state,"
            f" done_at FROM effect WHERE kind = '{kind}' AND change_request_id = {_OF.format('cancel')}",
        )
        for kind, effects in (("restock", "{notify,restock,restock}"), ("notify", "{notify,notify,restock}"))
    ),
    case(
        "an undecided request has an effect",
        [2],
        "request waiting .* effects {restock}",
        an_effect("restock", "waiting"),
    ),
]


_THIRD = [
    case(
        "a sent order is closed",
        [3],
        "order sent is abandoned and sent to the warehouse",
        without("orders", "closed_is_not_sent"),
        "UPDATE orders SET status = 'abandoned', validated_at = NULL WHERE number = 'sent'",
    ),
    case(
        "a closed order is claimed by no interchange",
        [3],
        "order abandoned is abandoned and claimed to the warehouse",
        without("orders", "closed_is_not_sent"),
        without("orders", "sent_by_an_interchange"),
        "UPDATE orders SET edi_state = 'claimed' WHERE number = 'abandoned'",
    ),
    case(
        "a closed order that was released is still in an interchange",
        [3],
        "order sent is abandoned and was claimed and never released",
        without("orders", "sent_by_an_interchange"),
        logged("sent", "edi_released"),
        "UPDATE orders SET status = 'abandoned', validated_at = NULL, edi_state = 'not_sent' WHERE number = 'sent'",
    ),
    case(
        "a closed order was claimed and never released",
        [3],
        "order cancelled is cancelled and was claimed and never released",
        logged("cancelled", "edi_claimed"),
    ),
]


_NOT_THAT_ORDER = "order .* is not what interchange 1 of WAREHOUSE says of it"


_FOURTH = [
    case(
        "the bytes of an interchange changed",
        [4],
        "interchange 1 of WAREHOUSE: its bytes are not those that were claimed",
        "UPDATE interchange SET content = 'other' WHERE partner = 'WAREHOUSE'",
    ),
    case(
        "an order left its interchange",
        [4],
        "interchange 1 of WAREHOUSE was made of 1 orders and holds 0",
        "UPDATE orders SET edi_state = 'not_sent', interchange_id = NULL WHERE number = 'sent'",
    ),
    case(
        "an order stayed in a released interchange",
        [4],
        "interchange 1 of WAREHOUSE was made of 1 orders and holds 1",
        "UPDATE interchange SET state = 'released', sent_at = NULL, released_at = now() WHERE partner = 'WAREHOUSE'",
    ),
    case("what an order was at its claim was not logged", [4], _NOT_THAT_ORDER, _UNLOGGED.format("edi_claimed")),
    *(
        case(f"an order changed after its claim by {change}", [4], _NOT_THAT_ORDER, statement)
        for change, statement in (
            *(
                (change.partition(" ")[0], f"UPDATE orders SET {change} WHERE number = 'sent'")
                for change in (
                    "number = 'other'",
                    "placed_at = now()",
                    "currency = 'USD'",
                    "customer = '{}'",
                    "shipping = '{}'",
                    "billing = '{}'",
                )
            ),
            *(
                (
                    f"line_{change.partition(' ')[0]}",
                    f"UPDATE order_line SET {change} WHERE line_no = 2 AND order_id = {_ORDER.format('sent')}",
                )
                for change in (
                    "line_no = 3",
                    "sku = 'X'",
                    "description = 'X'",
                    "quantity = 9",
                    "unit_price = 9",
                )
            ),
            ("a_line_less", f"DELETE FROM order_line WHERE line_no = 2 AND order_id = {_ORDER.format('sent')}"),
            ("a_line_more", f"INSERT INTO order_line VALUES ({_ORDER.format('sent')}, 3, 'X', 'X', 1, 1)"),
        )
    ),
]


_STOCK_AS_IT_WAS_MOVED = (
    "UPDATE stock SET quantity = (SELECT sum(quantity) FROM stock_movement AS m WHERE m.sku = stock.sku)"
)


_NOT_MOVED = ("DELETE FROM stock_movement", "DELETE FROM stock")


_FIFTH = [
    case(
        "a line was not restocked",
        [5],
        r"order cancelled line 1 \(3 × RED-1\): restock is done, moved 0 times, 0 pieces",
        "DELETE FROM stock_movement WHERE sku = 'RED-1'",
        "DELETE FROM stock WHERE sku = 'RED-1'",
    ),
    case(
        "a line was restocked twice",
        [5],
        r"order cancelled line 1 \(3 × RED-1\): restock is done, moved 2 times, 3 pieces",
        without("stock_movement", "order_id_line_no_cause_unique"),
        "UPDATE stock_movement SET quantity = 1 WHERE sku = 'RED-1'",
        "INSERT INTO stock_movement (order_id, line_no, cause, sku, quantity, change_request_id)"
        " SELECT order_id, line_no, cause, sku, 2, change_request_id FROM stock_movement WHERE sku = 'RED-1'",
    ),
    case(
        "a line was restocked with another quantity",
        [5],
        r"order cancelled line 1 \(3 × RED-1\): restock is done, moved 1 times, 99 pieces",
        "UPDATE stock_movement SET quantity = 99 WHERE sku = 'RED-1'",
        _STOCK_AS_IT_WAS_MOVED,
    ),
    case(
        "a line was restocked as another article",
        [5],
        r"order \d+ line 1 \(0 × BLUE-2\): restock is not asked for, moved 1 times, 3 pieces",
        "UPDATE stock_movement SET sku = 'BLUE-2' WHERE sku = 'RED-1'",
        "DELETE FROM stock WHERE sku = 'RED-1'",
        _STOCK_AS_IT_WAS_MOVED,
    ),
    case(
        "an open order was restocked",
        [5],
        r"order \d+ line 1 \(0 × RED-1\): restock is not asked for, moved 1 times, 3 pieces",
        "INSERT INTO stock_movement (order_id, line_no, cause, sku, quantity, change_request_id)"
        f" SELECT {_ORDER.format('open')}, 1, cause, sku, 3, change_request_id FROM stock_movement WHERE sku = 'RED-1'",
        _STOCK_AS_IT_WAS_MOVED,
    ),
    case(
        "an order was cancelled and nobody asked for its restock",
        [5],
        r"order open line 1 \(3 × RED-1\): restock is not asked for, moved 0 times, 0 pieces",
        "UPDATE orders SET status = 'cancelled' WHERE number = 'open'",
    ),
    case(
        "a restock is given up",
        [5],
        "order cancelled line 1 .*: restock is dead, moved 0 times",
        "UPDATE effect SET state = 'dead', done_at = NULL WHERE kind = 'restock'",
        *_NOT_MOVED,
    ),
    case(
        "a restock is given up that was made",
        [5],
        "order cancelled line 1 .*: restock is dead, moved 1 times",
        "UPDATE effect SET state = 'dead', done_at = NULL WHERE kind = 'restock'",
    ),
    case(
        "a restock is pending that was made",
        [5],
        "order cancelled line 1 .*: restock is pending, moved 1 times",
        "UPDATE effect SET state = 'pending', done_at = NULL WHERE kind = 'restock'",
    ),
    case(
        "a stock is not the sum of its movements",
        [5],
        "stock of RED-1 is 4, its movements add up to 3",
        "UPDATE stock SET quantity = 4 WHERE sku = 'RED-1'",
    ),
    case(
        "a stock has no row",
        [5],
        "stock of RED-1 is 0, its movements add up to 3",
        "DELETE FROM stock WHERE sku = 'RED-1'",
    ),
    case(
        "a stock has no movements",
        [5],
        "stock of GREEN-3 is 1, its movements add up to 0",
        "INSERT INTO stock (sku, quantity) VALUES ('GREEN-3', 1)",
    ),
]


_NOT_TOLD = "DELETE FROM notification WHERE change_request_id = " + _OF.format("items")


_NOTIFY = "effect SET state = '{}', done_at = NULL WHERE kind = 'notify' AND change_request_id = " + _OF.format("items")


_SIXTH = [
    case(
        "a decision was not told", [6], "request items .* is decided, its notify effect done, told 0 times", _NOT_TOLD
    ),
    case(
        "a decision was told twice",
        [6],
        "request items .* is decided, its notify effect done, told 2 times",
        without("notification", "change_request_id_unique"),
        "INSERT INTO notification (change_request_id, channel, visibility, subject, body, state)"
        f" SELECT change_request_id, channel, visibility, subject, body, state FROM notification"
        f" WHERE change_request_id = {_OF.format('items')}",
    ),
    case(
        "a decision was told that is still to be told",
        [6],
        "request items .* its notify effect pending, told 1 times",
        "UPDATE " + _NOTIFY.format("pending"),
    ),
    case(
        "a notification is given up",
        [6],
        "request items .* its notify effect dead, told 0 times",
        _NOT_TOLD,
        "UPDATE " + _NOTIFY.format("dead"),
    ),
    case(
        "a notification is given up that was told",
        [6],
        "request items .* its notify effect dead, told 1 times",
        "UPDATE " + _NOTIFY.format("dead"),
    ),
    case(
        "a decision is not to be told",
        [6, 2],
        "request items .* is decided, its notify effect missing, told 0 times",
        _NOT_TOLD,
        f"DELETE FROM effect WHERE change_request_id = {_OF.format('items')}",
    ),
    case(
        "what is undecided is to be told",
        [6, 2],
        "request waiting .* is received, its notify effect pending, told 0 times",
        an_effect("notify", "waiting"),
    ),
]


_SEVENTH = [
    case(
        "a later request was decided in an earlier batch",
        [7],
        "request second of zendesk:acme for order moved was decided before an earlier one",
        "UPDATE change_request SET decided_at = decided_at - interval '1 second' WHERE external_id = 'second'",
    ),
    case(
        "a later request was decided earlier in its batch",
        [7],
        "request second of zendesk:acme for order moved was decided before an earlier one",
        "UPDATE change_request SET decided_place = -1 WHERE external_id = 'second'",
    ),
]


_EIGHTH = [
    case(
        f"an order was claimed while a request was undecided that now is {state}",
        [8],
        f"order sent was claimed by interchange 1 of WAREHOUSE while request {request} of zendesk:acme was undecided",
        f"UPDATE change_request SET order_number = 'sent', received_at = {_BEFORE_THE_CLAIM},"
        f" undecided_since = {_BEFORE_THE_CLAIM} WHERE external_id = '{request}'",
    )
    for state, request in (("decided", "late"), ("parked", "lost"), ("received", "waiting"))
]


_NINTH = [
    case(
        "the counter is ahead of the interchanges",
        [9],
        "partner AWAY: 1 interchanges with control numbers 1 to 1, the counter stands at 2",
        "UPDATE partner SET last_control_number = 2 WHERE name = 'AWAY'",
    ),
    case(
        "a number was counted and is not there",
        [9],
        "partner AWAY: 0 interchanges with control numbers 0 to 0, the counter stands at 1",
        "DELETE FROM interchange WHERE partner = 'AWAY'",
    ),
    case(
        "the counter is behind the interchanges",
        [9],
        "partner AWAY: 1 interchanges with control numbers 1 to 1, the counter stands at 0",
        "UPDATE partner SET last_control_number = 0 WHERE name = 'AWAY'",
    ),
    case(
        "the first number is missing",
        [9],
        "partner AWAY: 1 interchanges with control numbers 2 to 2, the counter stands at 1",
        "UPDATE interchange SET control_number = 2 WHERE partner = 'AWAY'",
    ),
    case(
        "the numbers do not begin at one",
        [9],
        "partner AWAY: 2 interchanges with control numbers 0 to 2, the counter stands at 2",
        "UPDATE interchange SET control_number = 0 WHERE partner = 'AWAY'",
        _RELEASED.format(2, "2.edi"),
        "UPDATE partner SET last_control_number = 2 WHERE name = 'AWAY'",
    ),
    case(
        "there is a gap below the last number",
        [9],
        "partner AWAY: 2 interchanges with control numbers 1 to 3, the counter stands at 2",
        _RELEASED.format(3, "3.edi"),
        "UPDATE partner SET last_control_number = 2 WHERE name = 'AWAY'",
    ),
    case(
        "a number was used twice",
        [9],
        "partner AWAY: 2 interchanges with control numbers 1 to 1, the counter stands at 1",
        "DROP INDEX interchange_partner_control_number_unique",
        _RELEASED.format(1, "1.edi"),
    ),
    case(
        "a number was used twice in the place of another",
        [9],
        "partner AWAY: 3 interchanges with control numbers 1 to 3, the counter stands at 3",
        "DROP INDEX interchange_partner_control_number_unique",
        _RELEASED.format(3, "3.edi"),
        _RELEASED.format(3, "4.edi"),
        "UPDATE partner SET last_control_number = 3 WHERE name = 'AWAY'",
    ),
    case(
        "a file name was used twice",
        [9],
        "partner AWAY: file name AWAY-000000001.edi was used 2 times",
        _RELEASED.format(2, "AWAY-000000001.edi"),
        "UPDATE partner SET last_control_number = 2 WHERE name = 'AWAY'",
    ),
]


_BREAKS = [*_FIRST, *_SECOND, *_THIRD, *_FOURTH, *_FIFTH, *_SIXTH, *_SEVENTH, *_EIGHTH, *_NINTH]


def broken_by(engine: Engine, statements: Sequence[str]) -> dict[int, list[str]]:
    """Returns the examples of the promises that these statements would break; nothing of it stays."""
    # In one transaction with the audit, which asks for this isolation itself.
    with engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
        meddle_in(connection, statements)
        found = audit(connection, patience=PATIENCE)["checks"]
        connection.rollback()
    return {check["promise"]: check["examples"] for check in found if check["violations"]}


@pytest.mark.parametrize("promise", [check.promise for check in CHECKS])
def test_a_broken_promise_is_found_and_no_other_is_blamed(engine: Engine, promise: int) -> None:
    make_history()
    cases = [case for case in _BREAKS if case.promises[0] == promise]
    assert cases
    for one in cases:
        found = broken_by(engine, one.statements)
        assert set(found) == set(one.promises), f"{one.sentence}: {found}"
        assert any(re.match(one.example, said) for said in found[promise]), f"{one.sentence}: {found}"
    assert broken() == {}


@pytest.mark.parametrize(("kind", "promise"), [("restock", 5), ("notify", 6)])
def test_an_effect_that_is_due_for_long_breaks_its_promise(kind: str, promise: int) -> None:
    load(an_order())
    deliver(a_request())
    decide_all()
    assert broken() == {}
    meddle(f"UPDATE effect SET not_before = now() - interval '1 day' WHERE kind = '{kind}'")
    assert set(broken()) == {promise}


def test_a_request_decided_while_an_earlier_one_of_its_order_is_undecided_breaks_the_seventh_promise() -> None:
    load(an_order())
    deliver(a_request(id="first", kind="change_items"), a_request(id="second", kind="change_items"))
    settle()
    assert broken() == {}
    first = "(SELECT id FROM change_request WHERE external_id = 'first')"
    meddle(
        f"DELETE FROM notification WHERE change_request_id = {first}",
        f"DELETE FROM effect WHERE change_request_id = {first}",
        "UPDATE change_request SET state = 'received', outcome = NULL, reasons = '{}', decided_at = NULL,"
        " decided_place = NULL WHERE external_id = 'first'",
    )
    assert broken() == {7: ["request second of zendesk:acme for order 1001 was decided before an earlier one"]}


def test_a_dead_restock_breaks_its_promise_until_it_is_reprocessed(countermand: Countermand) -> None:
    load(an_order())
    deliver(a_request())
    decide_all()
    meddle("UPDATE effect SET state = 'dead', attempts = 12 WHERE kind = 'restock'")
    settle()
    assert set(broken()) == {5}
    ended = countermand("reprocess", "--json")
    assert (ended.code, json.loads(ended.out)) == (0, {"reprocessed": 0, "effects_revived": 1})
    settle()
    assert broken() == {}
    assert rows("SELECT sum(quantity) FROM stock") == [(4,)]
