"""What customers and colleagues read: complete in every language, the same as on the console, and never personal."""

import re
from dataclasses import fields
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from jinja2 import Environment, UndefinedError, meta

import desks
from desks.notices import MARK_BEGINS, Notice, Visibility, write_notice
from desks.texts import DEFAULT_LANGUAGE, as_html, language_for, languages, render
from rules.advice import advice
from rules.model import Outcome, Reason

TEMPLATES = Path(desks.__path__[0]) / "templates"
LANGUAGES = sorted(languages())
# What each template is filled with; one for a reason is complete as it stands.
FILLED_WITH: dict[str, tuple[str, ...]] = {
    "subject": ("order", "outcome"),
    "note": ("reasons", "advice"),
    "attention": ("cause", "read", "wrong", "has_placeholder"),
    "attention_subject": (),
    **{str(reason): () for reason in Reason},
}
# A deferred request has no answer yet.
TOLD = [outcome for outcome in Outcome if outcome is not Outcome.DEFERRED]
LEFT_TO_FILL_IN = r"[{}<>\[\]$%]|\b(TODO|TBD|FIXME|XXX|None)\b"
# In the guide's order: look whether it is there, buy it, and only then give up the old order.
IN_ORDER = {
    "en": (r"available in the store|in stock", r"place a new", r"cancel this one"),
    "it": (r"siano disponibili", r"effettu[ia].*? un nuovo ordine", r"annull(are|i) questo ordine"),
}
THE_WAY_ROUND = (Reason.ITEMS_ARE_FIXED, Reason.PAYMENT_IS_CHANGED_IN_STORE, Reason.ORDER_IS_ALREADY_CHARGED)

every_language = pytest.mark.parametrize("language", LANGUAGES)
every_reason = pytest.mark.parametrize("reason", Reason)


def a_notice(**changes: Any) -> Notice:
    fact = {
        "source": "zendesk:acme",
        "request_id": "88121-1",
        "ticket": "88121",
        "order": "536365",
        "outcome": Outcome.APPLIED,
        "reasons": [Reason.ORDER_CANCELLED],
    }
    return write_notice(**{**fact, **changes})


# The templates


def test_every_language_has_every_template_and_no_other() -> None:
    there = {language: {file.stem for file in (TEMPLATES / language).glob("*.txt")} for language in LANGUAGES}
    missing = {language: sorted(FILLED_WITH.keys() - names) for language, names in there.items()}
    unused = {language: sorted(names - FILLED_WITH.keys()) for language, names in there.items()}
    assert missing == unused == {language: [] for language in LANGUAGES}


def test_there_are_english_and_italian_and_every_folder_is_a_language() -> None:
    assert languages() >= {"en", "it"}
    assert languages() == {folder.name for folder in TEMPLATES.iterdir() if folder.is_dir()}


@every_language
@pytest.mark.parametrize("name", FILLED_WITH)
def test_a_template_is_filled_with_nothing_personal(language: str, name: str) -> None:
    syntax = Environment(autoescape=True).parse((TEMPLATES / language / f"{name}.txt").read_text("utf-8"))
    assert meta.find_undeclared_variables(syntax) == set(FILLED_WITH[name])


@every_language
@every_reason
def test_every_reason_is_told_in_whole_sentences_of_one_paragraph(language: str, reason: Reason) -> None:
    told = render(language, reason)
    assert told == " ".join(told.split())
    for sentence in re.split(r"(?<=\.) ", told):
        assert re.fullmatch(r"[A-ZÀ-Ý][^.]*\w\.", sentence), sentence
    assert not re.search(LEFT_TO_FILL_IN, told)


@every_language
def test_no_two_reasons_are_told_alike(language: str) -> None:
    assert len({render(language, reason) for reason in Reason}) == len(Reason)


@every_reason
def test_no_two_languages_tell_a_reason_alike(reason: Reason) -> None:
    assert len({render(language, reason) for language in LANGUAGES}) == len(LANGUAGES)


@every_reason
def test_the_customer_reads_in_english_what_the_console_says(reason: Reason) -> None:
    assert render("en", reason) == advice([reason])


@pytest.mark.parametrize("language", IN_ORDER)
@pytest.mark.parametrize("reason", THE_WAY_ROUND)
def test_availability_comes_first_then_the_new_order_and_the_old_one_is_cancelled_last(
    language: str, reason: Reason
) -> None:
    told, at = render(language, reason), 0
    for part in IN_ORDER[language]:
        found = re.compile(part).search(told, at)
        assert found, f"{part!r} is missing, or stands too early, in: {told}"
        at = found.end()


@every_reason
def test_the_italian_texts_keep_to_the_polite_form(reason: Reason) -> None:
    """No text says tu, and the pronouns and possessives of courtesy have their capital letters."""
    told = render("it", reason)
    assert not re.search(r"\b(tu|te|ti|tuo|tua|tuoi|tue|puoi|hai|vuoi|devi)\b", told, re.IGNORECASE)
    assert not re.search(r"\b(suo|sua|suoi|sue|lei)\b", told)


@every_language
@pytest.mark.parametrize("outcome", TOLD)
def test_the_subject_names_the_order_and_says_how_the_request_ended(language: str, outcome: Outcome) -> None:
    subject = render(language, "subject", order="536365", outcome=outcome)
    assert re.fullmatch(r"[A-Z][\w' ]* 536365: [\w ]+\w", subject)


@every_language
def test_no_two_outcomes_have_the_same_subject(language: str) -> None:
    assert len({render(language, "subject", order="1", outcome=outcome) for outcome in TOLD}) == len(TOLD)


@every_language
def test_the_note_has_the_reason_codes_as_they_are_and_the_advice_as_the_customer_would_read_it(language: str) -> None:
    reasons = [Reason.PARTIAL_CANCELLATION, Reason.COUNTRY_CHANGE_AFTER_CHARGE]
    note = render(language, "note", reasons=reasons, advice="One.\n\nTwo.").split("\n\n")
    assert re.fullmatch(r"[A-Z][\w ]+: partial_cancellation, country_change_after_charge\.", note[0])
    assert re.fullmatch(r"[A-Z][\w ]+:", note[1])
    assert note[2:] == ["One.", "Two."]


@every_language
@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name in ("subject", "note") for value in FILLED_WITH[name]]
)
def test_a_value_that_is_missing_is_a_fault_and_no_empty_place(language: str, name: str, value: str) -> None:
    values = {"order": "1", "outcome": Outcome.APPLIED, "reasons": [Reason.PARTIAL_CANCELLATION], "advice": "One."}
    del values[value]
    with pytest.raises(UndefinedError, match=value):
        render(language, name, **values)


@pytest.mark.parametrize(
    ("tag", "language"),
    [
        ("it", "it"),
        ("IT", "it"),
        ("it-IT", "it"),
        ("IT_ch", "it"),
        (" it-Latn-CH ", "it"),
        ("en-GB", "en"),
        *(
            (unknown, DEFAULT_LANGUAGE)
            for unknown in ("fr", "ita", "i", "", " ", "-", "_it", "../it", "it/note", "1", "🇮🇹")
        ),
        (None, DEFAULT_LANGUAGE),
    ],
)
def test_the_language_is_the_tags_first_part_and_english_where_that_is_unknown(tag: str | None, language: str) -> None:
    assert language_for(tag) == language


@settings(deadline=None)
@given(st.text())
def test_whatever_is_told_as_the_language_there_is_one(tag: str) -> None:
    assert language_for(tag) in languages()


# Notices


@every_language
@every_reason
def test_what_is_escalated_is_for_colleagues_alone(language: str, reason: Reason) -> None:
    notice = a_notice(outcome=Outcome.ESCALATED, reasons=[reason], language=language)
    assert notice.visibility is Visibility.INTERNAL
    assert f"{reason}." in notice.body.split("\n\n")[0]
    assert notice.body.endswith(render(language, reason))


@every_language
@pytest.mark.parametrize("outcome", [outcome for outcome in TOLD if outcome is not Outcome.ESCALATED])
def test_what_is_not_escalated_is_told_to_the_customer_one_paragraph_a_reason(language: str, outcome: Outcome) -> None:
    reasons = [Reason.SHIPPING_ADDRESS_CHANGED, Reason.BILLING_IS_INVOICED]
    notice = a_notice(outcome=outcome, reasons=reasons, language=language)
    assert notice.visibility is Visibility.PUBLIC
    assert notice.body.split("\n\n") == [render(language, reason) for reason in reasons]
    assert notice.subject == render(language, "subject", order="536365", outcome=outcome)
    assert notice.tag == f"countermand-{outcome}"


def test_a_notice_has_no_field_for_a_name_or_an_address() -> None:
    assert {field.name for field in fields(Notice)} == {
        *("source", "request_id", "ticket", "visibility", "outcome", "subject", "body")
    }


# HTML


class _Paragraphs(HTMLParser):
    """Reads a page as a browser does; a tag that is not ours is a hole."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert (tag, attrs) == ("p", [])
        self.found.append("")

    def handle_data(self, data: str) -> None:
        self.found[-1] += data

    def handle_comment(self, data: str) -> None:
        raise AssertionError(data)

    def handle_decl(self, decl: str) -> None:
        raise AssertionError(decl)

    def handle_pi(self, data: str) -> None:
        raise AssertionError(data)


def test_what_looks_like_html_is_shown_and_does_nothing() -> None:
    page = as_html("""<script>alert("1 & 2")</script> it's\n\n<p onclick='x'>&lt;""")
    assert "<script" not in page
    assert page.splitlines() == [
        "<p>&lt;script&gt;alert(&#34;1 &amp; 2&#34;)&lt;/script&gt; it&#39;s</p>",
        "<p>&lt;p onclick=&#39;x&#39;&gt;&amp;lt;</p>",
    ]


@settings(deadline=None)
@given(st.lists(st.text(st.sampled_from("<>&\"'/!-?;#p a\u00e8{}%")), min_size=1))
def test_html_says_what_the_text_says_paragraph_by_paragraph(paragraphs: list[str]) -> None:
    page = as_html("\n\n".join(paragraphs))
    assert [one.rstrip("\n") for one in _Paragraphs(page).found] == paragraphs


# The mark

NASTY = st.text(st.sampled_from("[]/%:@<>&\"'`*~\\-_. \nac2Fè🎁"), min_size=1, max_size=12) | st.text(min_size=1)


def marked(source: str, request_id: str) -> Notice:
    return Notice(source, request_id, None, Visibility.PUBLIC, Outcome.APPLIED, "A subject", "A text.\n\nAnother.")


def test_the_mark_is_the_requests_key() -> None:
    assert a_notice().mark == "[countermand:zendesk:acme/88121-1]"


@settings(deadline=None)
@given(NASTY, NASTY)
def test_the_mark_stands_in_the_last_line_as_it_is_in_html_too(source: str, request_id: str) -> None:
    notice = marked(source, request_id)
    assert re.fullmatch(re.escape(MARK_BEGINS) + r"[\w%:@.~-]+/[\w%:@.~-]+\]", notice.mark, re.ASCII)
    assert notice.signed_body == f"{notice.body}\n\n{notice.mark}"
    assert as_html(notice.signed_body).splitlines()[-1] == f"<p>{notice.mark}</p>"


@settings(deadline=None)
@given(NASTY, NASTY, NASTY, NASTY)
def test_no_keys_mark_is_a_part_of_anothers(source: str, request_id: str, other_source: str, other_id: str) -> None:
    assume((source, request_id) != (other_source, other_id))
    assert marked(source, request_id).mark not in marked(other_source, other_id).mark


@settings(deadline=None)
@given(NASTY, NASTY, NASTY)
def test_a_key_made_of_another_keys_mark_is_not_taken_for_it(source: str, request_id: str, more: str) -> None:
    mark = marked(source, request_id).mark
    for key in (
        (mark, more),
        (more, mark),
        (more + mark, more),
        (source, request_id + more),
        (more + source, request_id),
    ):
        assert mark not in marked(*key).mark


@settings(deadline=None)
@given(NASTY, NASTY, NASTY)
def test_where_the_source_ends_and_the_id_begins_is_in_the_mark(first: str, middle: str, last: str) -> None:
    assert marked(f"{first}/{middle}", last).mark != marked(first, f"{middle}/{last}").mark
