"""`countermand decide` and `countermand rules`: only the rules, without any service."""

import json
import sys
from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import Annotated, Any

import typer
from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from cli.terminal import AsJson, InputFile, err, out, print_json, read_lines, table
from desks.advice import advice
from orders.messages import Address, Unreadable, UnreadableMessage, parse_change, unreadable
from orders.reading import address_as_json
from rules.decide import decide as decide_request
from rules.model import AddressRole, Edi, Order, OrderAddress, Reason, Status
from rules.table import ADDRESS_RULES, RULES


class _Customer(BaseModel):
    model_config = ConfigDict(strict=True)
    email: str


class _Order(BaseModel):
    """The part of an order that the rules need; other keys are ignored."""

    model_config = ConfigDict(strict=True, extra="ignore")

    number: str
    status: Status
    edi: Edi = Edi.NOT_SENT
    customer: _Customer
    shipping: Address
    billing: Address
    shipping_asked_at: AwareDatetime | None = None
    billing_asked_at: AwareDatetime | None = None

    def to_rules(self) -> Order:
        return Order(
            status=self.status,
            edi=self.edi,
            customer_email=self.customer.email,
            shipping=OrderAddress(self.shipping.to_rules(), self.shipping_asked_at),
            billing=OrderAddress(self.billing.to_rules(), self.billing_asked_at),
        )


class _Case(BaseModel):
    model_config = ConfigDict(strict=True)

    order: _Order
    request: dict[str, Any]


def decide(file: InputFile, as_json: AsJson = False) -> int:  # its output is JSON with or without
    """Decide without any service: reads lines {"order": …, "request": …} and prints one decision per line, in order."""
    rejected = False
    for number, line in read_lines(file, "deciding"):
        answer = _decide_line(number, line)
        rejected = rejected or answer["outcome"] == "invalid"
        json.dump(answer, sys.stdout, ensure_ascii=False)
        sys.stdout.write("\n")
    return 1 if rejected else 0


def _decide_line(number: int, line: bytes) -> dict[str, Any]:
    order: Order | None = None
    try:
        case = _Case.model_validate_json(line)
        order = case.order.to_rules()
        message = parse_change(json.dumps(case.request, ensure_ascii=False, separators=(",", ":")).encode())
    except ValidationError as invalid:
        problem = unreadable(invalid)
        return _invalid(problem.reason, str(problem), order)
    except UnreadableMessage as refused:
        return _invalid(refused.reason, f"request: {refused}", order)
    if message.data.order != case.order.number:
        err.print(
            f"line {number}: the request is for order {message.data.order}, the order is {case.order.number}; "
            "decided nevertheless",
            markup=False,
        )
    decision = decide_request(order, message.to_rules())
    return _answer(decision.outcome, decision.reasons, decision.order, decision.effects, advice(decision.reasons))


def _invalid(reason: Unreadable, error: str, order: Order | None) -> dict[str, Any]:
    return _answer("invalid", [reason], order, [], error)


def _answer(
    outcome: str, reasons: Sequence[str], order: Order | None, effects: Sequence[str], advice: str
) -> dict[str, Any]:
    return {
        "outcome": outcome,
        "reasons": list(reasons),
        "status": order and order.status,
        "shipping": order and address_as_json(order.shipping.address),
        "billing": order and address_as_json(order.billing.address),
        "effects": list(effects),
        "advice": advice,
    }


class Format(StrEnum):
    """How the rules are printed."""

    TABLE = "table"
    MARKDOWN = "markdown"
    JSON = "json"


def rules(
    as_format: Annotated[Format, typer.Option("--format", help="How to print them.")] = Format.TABLE,
) -> int:
    """Print the decision table, generated from the rules themselves."""
    rows = list(_rows())
    if as_format is Format.JSON:
        print_json(rows)
    elif as_format is Format.MARKDOWN:
        sys.stdout.write("| # | when | outcome | reason |\n|---|---|---|---|\n")
        for row in rows:
            reasons = " / ".join(f"`{reason}`" for reason in row["reasons"])
            sys.stdout.write(f"| {row['number']} | {row['when']} | `{row['outcome']}` | {reasons} |\n")
    else:
        printed = table("#", "when", "outcome", "reason", title="tried in this order; the first that matches decides")
        for row in rows:
            printed.add_row(row["number"], row["when"], row["outcome"], " / ".join(row["reasons"]))
        out.print(printed)
    return 0


def _rows() -> Iterator[dict[str, Any]]:
    for rule in RULES:
        yield _row(rule.number, rule.when, rule.outcome, [rule.reason])
    for address_rule in ADDRESS_RULES:
        reasons = dict.fromkeys(address_rule.reason(role) for role in AddressRole)
        yield _row(address_rule.number, address_rule.when, address_rule.outcome, list(reasons))


def _row(number: str, when: str, outcome: str, reasons: list[Reason]) -> dict[str, Any]:
    return {"number": number, "when": when, "outcome": outcome, "reasons": reasons, "advice": advice(reasons)}


COMMANDS = (decide, rules)
