"""What the oracles miss, read from the bytes alone and by nothing of the product: sets, totals, relations, counts."""

import re
import string
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal, localcontext

from edi.documents.order import OrderDocument

Segment = list[list[str]]  # elements of components; the first is the tag

_LEVEL_A = string.ascii_uppercase + string.digits + " .,-()/='+:?!\"%&*;<>"
_LEVEL_B = _LEVEL_A + string.ascii_lowercase
_BASIC = string.ascii_uppercase + string.digits + " !\"&'()+,-./:;?="
_EXTENDED = _BASIC + string.ascii_lowercase + "%@[]_{}\\|<#$"
_CHARACTERS = {"UNOA": _LEVEL_A, "UNOB": _LEVEL_B, "UNOC": None, "x12-basic": _BASIC, "x12-extended": _EXTENDED}


@dataclass(frozen=True)
class Told:
    """What a document says of one order: enough to see that it is this order, in full."""

    number: str
    items: list[tuple[str, int]]
    cities: list[str]  # of delivery and invoice
    total: Decimal | None  # a 940 tells no price


def assert_answered(reported: Sequence[Told], orders: Sequence[OrderDocument], character_set: str) -> None:
    """The document says what its orders say; their cities as they are, where the set has all their characters."""
    assert [one.number for one in reported] == [order.number for order in orders]
    for one, order in zip(reported, orders, strict=True):
        assert one.items == [(line.sku, line.quantity) for line in order.lines]
        with localcontext(prec=100):
            total = sum((line.quantity * line.unit_price for line in order.lines), Decimal(0))
        assert one.total in (total, None)
        for city, address in zip(one.cities, (order.shipping, order.billing), strict=True):
            # Else UTF-8 would pass: its bytes are characters of ISO 8859-1 as well, only of another name.
            assert city == address.city or not _is_of(address.city, character_set)


def _is_of(text: str, character_set: str) -> bool:
    allowed = _CHARACTERS[character_set]
    return (set(text) <= set(allowed) if allowed else max(text) < "\u0100") and text == " ".join(text.split())


def read_edifact(raw: bytes, *, character_set: str, test: bool) -> list[Told]:
    """Checks an interchange of ORDERS and returns what it says of each order."""
    assert raw.startswith(b"UNA:+.? 'UNB+" + character_set.encode())
    text = raw.decode("latin-1" if character_set == "UNOC" else "ascii")
    allowed = _CHARACTERS[character_set]
    assert not re.search(r"[\x00-\x1f\x7f-\x9f]", text)
    assert allowed is None or set(text) <= set(allowed), sorted(set(text) - set(allowed))
    segments = _segments(text.removeprefix("UNA:+.? '"))
    header, *body, trailer = segments
    control = header[5][0]
    assert trailer == [["UNZ"], [str(_count(body, "UNH"))], [control]]
    assert header[6:] == ([[""]] * 5 + [["1"]] if test else [])
    return [_read_orders(message, reference) for reference, message in enumerate(_split(body, "UNH", "UNT"), 1)]


def _segments(text: str) -> list[Segment]:
    """Taken apart character by character; the release character speaks for the one after it alone."""
    segments: list[Segment] = []
    current: Segment = [[""]]
    characters = iter(text)
    for character in characters:
        if character == "'":
            segments.append(current)
            current = [[""]]
        elif character == "+":
            current.append([""])
        elif character == ":":
            current[-1].append("")
        else:
            current[-1][-1] += next(characters) if character == "?" else character
    assert current == [[""]], "something stands behind the last segment"
    return segments


def _read_orders(message: Sequence[Segment], reference: int) -> Told:
    assert message[0] == [["UNH"], [str(reference)], ["ORDERS", "D", "96A", "UN"]]
    assert message[-1] == [["UNT"], [str(len(message))], [str(reference)]]
    tags = [segment[0][0] for segment in message]
    assert [segment[1][0] for segment in message if segment[0][0] == "NAD"] == ["BY", "SU", "DP", "IV"]
    [bgm] = _all(message, "BGM")
    lines, quantities, prices = _all(message, "LIN"), _all(message, "QTY"), _all(message, "PRI")
    assert _all(message, "CNT") == [[["CNT"], ["2", str(len(lines))]]]
    [moa] = _all(message, "MOA")
    assert moa[1][0] == "79"
    assert tags[-4:] == ["UNS", "MOA", "CNT", "UNT"]
    with localcontext(prec=100):
        amounts = [int(q[1][1]) * Decimal(price[1][1]) for q, price in zip(quantities, prices, strict=True)]
        assert Decimal(moa[1][1]) == sum(amounts, Decimal(0))
    items = [(line[3][0], int(quantity[1][1])) for line, quantity in zip(lines, quantities, strict=True)]
    cities = [nad[6][0] for nad in _all(message, "NAD") if nad[1][0] in ("DP", "IV")]
    return Told(bgm[2][0], items, cities, Decimal(moa[1][1]))


def read_x12(raw: bytes, *, release: str, character_set: str, test: bool) -> list[Told]:
    """Checks an interchange of 940s and returns what it says of each order."""
    text = raw.decode("ascii")
    assert [text[place] for place in (3, 103, 105)] == list("**~")
    # A delimiter in the data would have made one segment or element too many; the sets below have none of them.
    isa, gs, *body, ge, iea = (row.split("*") for row in text.removesuffix("~").split("~"))
    assert len(text.split("~")[0]) == 105
    assert [len(part) for part in isa] == [3, 2, 10, 2, 10, 2, 15, 2, 15, 6, 4, 1, 5, 9, 1, 1, 1]
    assert isa[11:13] == (["U", "00401"] if release == "004010" else ["^", "00501"])
    assert isa[14:] == ["0", "T" if test else "P", ">"]
    allowed = set(_CHARACTERS[character_set] or "")
    for segment in [gs, *body, ge, iea]:
        assert segment[-1], f"{segment} ends in an empty element"
        assert all(set(element) <= allowed for element in segment), segment
    assert gs[1:] == ["OW", isa[6].strip(), isa[8].strip(), f"20{isa[9]}", isa[10], str(int(isa[13])), "X", release]
    sets = _split([[[part] for part in segment] for segment in body], "ST", "SE")
    assert ge == ["GE", str(len(sets)), gs[6]]
    assert iea == ["IEA", "1", isa[13]]
    return [_read_940([[p[0] for p in segment] for segment in one], reference) for reference, one in enumerate(sets, 1)]


def _read_940(one: Sequence[list[str]], reference: int) -> Told:
    assert one[0] == ["ST", "940", f"{reference:04d}"]
    assert one[-1] == ["SE", str(len(one)), f"{reference:04d}"]
    w05, w66, w76 = (next(segment for segment in one if segment[0] == tag) for tag in ("W05", "W66", "W76"))
    assert w05[1] == "N"
    assert all([*w66, "", ""][1:3])
    assert [segment[1] for segment in one if segment[0] == "N1"] == ["DE", "WH", "ST", "BT"]
    items = [_read_item(segment) for segment in one if segment[0] == "W01"]
    assert [segment[1] for segment in one if segment[0] == "LX"] == [str(n) for n in range(1, len(items) + 1)]
    assert w76 == ["W76", str(sum(quantity for _, quantity in items))]
    for segment in one:
        _check_relations(segment)
    return Told(w05[2], items, [segment[1] for segment in one if segment[0] == "N4"], None)


def _read_item(w01: list[str]) -> tuple[str, int]:
    upc, kind, sku, *more = (*w01[3:], *[""] * (6 - len(w01)))
    assert upc or kind  # R0304
    assert bool(kind) == bool(sku)  # P0405
    assert len(more) in (0, 2)  # P0607
    assert all(more)
    assert kind == "VN"
    return sku, int(w01[1])


def _check_relations(segment: list[str]) -> None:
    tag, *elements = segment
    one, two, three, four = (*elements, "", "", "", "")[:4]
    match tag:
        case "N1":
            assert one
            assert two or three  # R0203
            assert bool(three) == bool(four)  # P0304
        case "N4":
            assert re.fullmatch("([A-Z]{2})?", two)
            assert one
            assert four
        case "PER":
            assert bool(three) == bool(four)  # P0304
        case "G62":
            assert re.fullmatch(r"[0-9]{8}", two)  # P0102


def _all(message: Sequence[Segment], tag: str) -> list[Segment]:
    return [segment for segment in message if segment[0][0] == tag]


def _count(segments: Sequence[Segment], tag: str) -> int:
    return len(_all(segments, tag))


def _split(body: Sequence[Segment], header: str, trailer: str) -> list[list[Segment]]:
    """The messages between these two, with nothing outside of them."""
    messages: list[list[Segment]] = []
    inside = False
    for segment in body:
        if segment[0][0] == header:
            assert not inside
            messages.append([])
            inside = True
        assert inside, segment
        messages[-1].append(segment)
        inside = segment[0][0] != trailer
    assert not inside
    return messages
