"""The seam of the exporter: a partner gets its own standard, and each standard its file names and numbers."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from edi.documents import edifact, gs1, x12
from edi.documents.standards import assemble, check_partner, largest_control_number, render_order, suffix
from edi.partners import CharacterSet, Partner, Standard
from tests.edi_orders import EDIFACT, MADE_UP, PARTNERS, X12, read_orders

AT = datetime(2026, 11, 23, 9, 30, tzinfo=UTC)
ORDER = next(read_orders(MADE_UP))


@pytest.mark.parametrize("partner", PARTNERS.values(), ids=PARTNERS)
def test_a_partner_gets_its_own_standard(partner: Partner) -> None:
    module = x12 if partner.standard.is_x12 else edifact
    message = render_order(ORDER, partner)
    assert message == module.render_order(ORDER, partner)
    assert assemble([message], partner, 42, AT) == module.assemble([message], partner, 42, AT)
    check_partner(partner)


@pytest.mark.parametrize("partner", [EDIFACT, replace(X12, standard=Standard.X12_940_005010)])
def test_a_partner_is_checked_by_its_own_standard(partner: Partner) -> None:
    foreign = CharacterSet.UNOC if partner.standard.is_x12 else CharacterSet.X12_EXTENDED
    with pytest.raises(ValueError, match=f"has no character set {foreign}"):
        check_partner(replace(partner, character_set=foreign))


@pytest.mark.parametrize("standard", Standard)
def test_the_largest_control_number_is_one_that_can_be_assembled(standard: Standard) -> None:
    [partner, *_] = (partner for partner in PARTNERS.values() if partner.standard is standard)
    messages = [render_order(ORDER, partner)]
    largest = largest_control_number(standard)
    assert str(largest).encode() in assemble(messages, partner, largest, AT)
    with pytest.raises(ValueError, match=f"a control number is 1 to {largest}"):
        assemble(messages, partner, largest + 1, AT)


def test_a_file_s_name_tells_its_standard() -> None:
    assert {standard: suffix(standard) for standard in Standard} == {
        Standard.EDIFACT_ORDERS_D96A: ".edi",
        Standard.X12_940_004010: ".x12",
        Standard.X12_940_005010: ".x12",
    }


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        ("4006381333931", "EN"),
        ("036000291452", "UP"),
        ("4006381333930", None),
        ("036000291451", None),
        ("40170725", None),  # a right EAN-8, but as often a store's own number
        ("400638133393１", None),
        ("", None),
    ],
)
def test_an_article_number_is_known_by_its_check_digit(number: str, kind: str | None) -> None:
    assert gs1.article_type(number) == kind
    assert gs1.is_location(number) == (kind == "EN")
    assert (gs1.no_location(number) is None) == (kind == "EN")
