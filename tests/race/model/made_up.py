"""What histories are made of: what stores send, what desks ask for, and what nobody can read."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from hypothesis import strategies as st

from orders.views import as_utc
from tests.builders import EMAIL, a_request, an_address, an_order, encoded

# Nothing else in an interchange looks like these.
NUMBERS = ("SO-1", "SO-2", "SO-3", "SO-4")
_NEVER_LOADED = "SO-9"
_SOURCES = ("zendesk:acme", "gorgias:acme")
_TIMES = tuple(f"2026-11-{day}T09:00:00Z" for day in (21, 22, 23))

_BONN = an_address(line1="Rathausgasse 1", postal_code="53111", city="Bonn")
_LONDON = an_address(line1="10 Downing St", postal_code="SW1A 2AA", city="London", country="GB")
_VALID = {
    "Köln": an_address(),
    "Bonn": _BONN,
    # The region is never a reason.
    "Bonn with region and phone": {**_BONN, "region": "Nowhere", "phone": "+49 228 1"},
    "London": _LONDON,
    "Dublin": {"name": "Jane Doe", "line1": "1 Quay", "city": "Dublin", "country": "IE"},
}
_INVALID = {
    "no postal code": {name: value for name, value in _BONN.items() if name != "postal_code"},
    "postal code of another country": {**_BONN, "postal_code": "SW1A 2AA"},
    "no city": {**_LONDON, "city": ""},
    "no street": {**_BONN, "line1": ""},
    "unknown country": {**_BONN, "country": "XX"},
}
# Histories name addresses, so that they can be read.
_BY_NAME = {**_VALID, **_INVALID}


def is_valid(address: dict[str, str]) -> bool:
    """Tells whether one of these is a postal address of its country."""
    return address in _VALID.values()


# Most are right.
_ADDRESSES = st.sampled_from((*_VALID, *_VALID, *_VALID, *_INVALID))
_ROLES = (("shipping",), ("shipping",), ("shipping", "billing"), ("billing",))
_KINDS = ("change_address",) * 5 + ("cancel", "cancel", "change_items", "change_payment", "partial_cancel")
_DATA = st.fixed_dictionaries(
    {
        "order": st.sampled_from(NUMBERS),
        "kind": st.sampled_from(_KINDS),
        "addresses": st.sampled_from(_ROLES).flatmap(
            lambda roles: st.fixed_dictionaries(dict.fromkeys(roles, _ADDRESSES))
        ),
    },
    optional={
        "note": st.sampled_from(("Ordered twice", "Ordered twice", "Moved", " \n ", "")),
        "requester": st.sampled_from((*[EMAIL] * 4, f" {EMAIL.upper()} ", "someone@else.example", "")),
        "ticket": st.just("88121"),
    },
)


def _to_the_point(data: dict[str, Any]) -> dict[str, Any]:
    changes_address = data["kind"] == "change_address"
    return {name: value for name, value in data.items() if name != "addresses" or changes_address}


# Of a request all but its id.
DRAFTS = st.fixed_dictionaries(
    {"source": st.sampled_from(_SOURCES), "time": st.sampled_from(_TIMES), "data": _DATA.map(_to_the_point)}
)


def event(draft: Mapping[str, Any], external_id: str) -> dict[str, Any]:
    """A draft as a request of this id."""
    data = draft["data"]
    if "addresses" in data:
        data = {**data, "addresses": {role: _BY_NAME[name] for role, name in data["addresses"].items()}}
    return {"specversion": "1.0", "type": "order.change.requested", "id": external_id, **draft, "data": data}


# What is otherwise when a desk sends a request again: what it asks for is `data`, the rest is not.
_CHANGES: tuple[dict[str, Any], ...] = (
    {},
    {"time": _TIMES[0]},
    {"time": _TIMES[-1]},
    {"source": _SOURCES[0]},
    {"data": {"note": "Another note"}},
    {"data": {"order": _NEVER_LOADED}},
    {"data": {"kind": "change_items"}},
    {"data": {"ticket": "9"}},
)
# None: it is not sent again.
CHANGES = st.sampled_from((None, None, None, *_CHANGES))


def changed(sent: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A request that was sent, with these changes."""
    return {**sent, **changes, "data": {**sent["data"], **changes.get("data", {})}}


@dataclass(frozen=True)
class Garbage:
    """What cannot be taken, and why."""

    why: str
    raw: bytes = field(repr=False)


_HALF = {"name": "Jane Doe", "line1": "Rathausgasse 1", "country": "DE"}
_GARBAGE = (
    Garbage("not_json", b""),
    Garbage("not_json", b'{"specversion": "1.0"'),
    Garbage("not_json", b"\xff"),
    Garbage("invalid_message", b"[]"),
    Garbage("invalid_message", encoded(a_request(kind="refund"))),
    Garbage("invalid_message", encoded(a_request(ticket=" "))),
    Garbage("invalid_message", encoded(a_request(kind="change_address"))),
    Garbage("invalid_message", encoded(a_request(kind="change_address", addresses={"shipping": {}}))),
    Garbage("invalid_message", encoded(a_request(kind="change_address", addresses={"shipping": _HALF}))),
    Garbage("invalid_message", encoded(a_request(time="yesterday"))),
    Garbage("too_large", encoded(a_request(note="x" * 300_000))),
    Garbage("too_large", b" " * 300_000),
)
GARBAGE = st.sampled_from((*[None] * len(_GARBAGE), *_GARBAGE))

ORDERS = st.fixed_dictionaries(
    {
        "number": st.sampled_from((*NUMBERS, "SO-5", "SO-6")),
        "status": st.sampled_from(("validated", "validated", "pre_order")),
        "warehouse": st.sampled_from(("NORTH", "NORTH", "SOUTH", "EAST")),
        # Orders have addresses too that nobody would take today.
        "shipping": st.sampled_from((*_VALID, "no postal code")),
        "hold": st.sampled_from((0, 0, 0, 0, 600, 3600)),
        # If it is known already: what is otherwise than it was then; None: everything, as here.
        "again": st.sampled_from(({}, {}, {"currency": "USD"}, None)),
    }
)


def described(draft: Mapping[str, Any], began: datetime, now: int) -> tuple[dict[str, Any], int]:
    """An order as the store describes it, and until when it is held."""
    changes = {**{name: draft[name] for name in ("number", "status", "warehouse")}}
    hold_until = now + draft["hold"]
    if draft["hold"]:
        changes["hold_until"] = as_utc(began + timedelta(seconds=hold_until))
    return an_order(shipping=_BY_NAME[draft["shipping"]], **changes), hold_until
