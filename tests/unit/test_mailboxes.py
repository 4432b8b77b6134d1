"""Which two e-mail addresses are one: row 1 of the contract, to the letter."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rules.mailboxes import same_mailbox

SAME = [
    ("jane@example.com", "jane@example.com"),
    ("jane@example.com", "  JANE@Example.COM\t\r\n"),
    ("jane@straße.de", "jane@xn--strae-oqa.de"),
    ("jane@straße.de", "Jane@XN--STRAE-OQA.DE"),
    ("jane@mail.münchen.example", "jane@mail.xn--mnchen-3ya.example"),
    ("müller@example.com", "MüLLER@example.com"),
    ("", "  "),
    # No domains: compared as the texts that they are.
    ("jane@foo_bar.example", "jane@FOO_bar.example"),
    ("jane@[127.0.0.1]", "jane@[127.0.0.1]"),
    ("jane@xn--a", "jane@XN--A"),
    ("no address", "No Address"),
]

DIFFERENT = [
    ("jane@example.com", "jane@example.co"),
    ("jane@example.com", "ja ne@example.com"),
    ("jane@example.com", ""),
    # Letters that casefold() or NFKC make one, and that are others.
    ("jane@strasse.de", "jane@straße.de"),
    ("strasse@example.com", "straße@example.com"),
    ("sam@example.com", "\u017fam@example.com"),
    ("sam@example.com", "sam@example\u017f.com"),
    ("kim@example.com", "\u212aim@example.com"),
    ("kim@k.example", "kim@\u212a.example"),
    ("MÜLLER@example.com", "müller@example.com"),
    ("jane@example.com", "\uff4aane@example.com"),
    ("jane@example.com", "jane@e\uff58ample.com"),
    ("jane@example.com", "j\u0430ne@example.com"),
    # Dots that are none, and a dot at the end.
    ("jane@example.com", "jane@example\u3002com"),
    ("jane@example.com", "jane@example\uff0ecom"),
    ("jane@example.com", "jane@example.com."),
    ("jane@example.com", "jane@.example.com"),
    # Nothing exotic is stripped, around it or inside.
    ("jane@example.com", "\u00a0jane@example.com"),
    ("jane@example.com", "jane@example.com\u00a0"),
    ("jane@example.com", "jane@example.com\u2003"),
    ("jane@example.com", "\ufeffjane@example.com"),
    ("jane@example.com", "jane@exam\u200bple.com"),
    ("jane@example.com", "jane@exam\u00adple.com"),
    # Another way to write ü, and punycode of what is no domain.
    ("jane@münchen.de", "jane@mu\u0308nchen.de"),
    ("jane@example.com", "jane@xn--example-.com"),
    ("jane+shop@example.com", "jane@example.com"),
    ("j.ane@example.com", "jane@example.com"),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_an_address_is_the_same_in_another_case_with_blanks_around_it_or_in_punycode(one: str, other: str) -> None:
    assert same_mailbox(one, other)
    assert same_mailbox(other, one)


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_an_address_that_only_resembles_another_is_another(one: str, other: str) -> None:
    assert not same_mailbox(one, other)
    assert not same_mailbox(other, one)


@given(st.text(), st.text())
def test_any_two_texts_can_be_compared_and_each_is_the_same_as_itself(one: str, other: str) -> None:
    assert same_mailbox(one, one)
    assert same_mailbox(one, other) == same_mailbox(other, one)


def test_a_text_of_any_length_is_compared() -> None:
    assert not same_mailbox("jane@" + "ü" * 200_000, "jane@example.com")
    assert not same_mailbox("jane@" + "xn--" + "a" * 200_000, "jane@" + "ü." * 100_000)
