"""What customers and colleagues read: complete in every language, and the same as on the console."""

import re
from collections.abc import Sequence
from dataclasses import fields
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from jinja2 import Environment, UndefinedError, meta

import desks
from desks.advice import advice
from desks.channels import LogChannel
from desks.notices import MARK_BEGINS, Asked, Notice, Standing, Visibility, write_notice
from desks.quoting import greetable, quoted
from desks.texts import DEFAULT_LANGUAGE, OUR_TEXTS, as_html, languages
from rules.model import Address, ChangeRequest, Edi, Kind, Outcome, ParkedReason, Reason, Status
from rules.table import ESCALATING

TEMPLATES = Path(desks.__path__[0]) / "templates"
LANGUAGES = sorted(languages())
# What a colleague has to do something about.
FOR_COLLEAGUES = sorted({*ESCALATING, Reason.NOTE_REQUIRED})
# What each template is filled with; one for a reason is complete as it stands.
FILLED_WITH: dict[str, tuple[str, ...]] = {
    "subject": ("order", "outcome", "internal"),
    "asked": ("order", "kind", "roles"),
    "label": ("role",),
    "answer": ("order", "asked", "advice", "customer", "shop"),
    "standing": ("status", "edi", "held_until"),
    "note": (
        *("order", "outcome", "asked", "advice", "lines", "addresses", "requester", "note", "next_steps", "standing"),
        "reasons",
    ),
    **{f"next_{reason}": () for reason in FOR_COLLEAGUES},
    "address_faults": ("faults",),
    "attention": ("cause", "read", "wrong", "has_placeholder"),
    "attention_subject": (),
    **{str(reason): () for reason in (*Reason, *ParkedReason)},
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
every_reason_and_parked = pytest.mark.parametrize("reason", [*Reason, *ParkedReason])


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
def test_a_template_is_filled_with_what_it_is_known_to_get(language: str, name: str) -> None:
    syntax = Environment(autoescape=True).parse((TEMPLATES / language / f"{name}.txt").read_text("utf-8"))
    assert meta.find_undeclared_variables(syntax) == set(FILLED_WITH[name])


@every_language
@every_reason_and_parked
def test_every_reason_is_reported_in_whole_sentences_of_one_paragraph(
    language: str, reason: Reason | ParkedReason
) -> None:
    reported = OUR_TEXTS.render(language, reason)
    assert reported == " ".join(reported.split())
    for sentence in re.split(r"(?<=\.) ", reported):
        assert re.fullmatch(r"[A-ZÀ-Ý][^.]*\w\.", sentence), sentence
    assert not re.search(LEFT_TO_FILL_IN, reported)


@every_language
def test_no_two_reasons_are_told_alike(language: str) -> None:
    assert len({OUR_TEXTS.render(language, reason) for reason in Reason}) == len(Reason)


@every_reason_and_parked
def test_no_two_languages_tell_a_reason_alike(reason: Reason | ParkedReason) -> None:
    assert len({OUR_TEXTS.render(language, reason) for language in LANGUAGES}) == len(LANGUAGES)


@every_reason_and_parked
def test_the_customer_reads_in_english_what_the_console_says(reason: Reason | ParkedReason) -> None:
    assert OUR_TEXTS.render("en", reason) == advice([reason])


@pytest.mark.parametrize("language", IN_ORDER)
@pytest.mark.parametrize("reason", THE_WAY_ROUND)
def test_availability_comes_first_then_the_new_order_and_the_old_one_is_cancelled_last(
    language: str, reason: Reason
) -> None:
    reported, at = OUR_TEXTS.render(language, reason), 0
    for part in IN_ORDER[language]:
        found = re.compile(part).search(reported, at)
        assert found, f"{part!r} is missing, or stands too early, in: {reported}"
        at = found.end()


@every_reason
def test_the_italian_texts_keep_to_the_polite_form(reason: Reason) -> None:
    """No text says tu, and the pronouns and possessives of courtesy have their capital letters."""
    reported = OUR_TEXTS.render("it", reason)
    assert not re.search(r"\b(tu|te|ti|tuo|tua|tuoi|tue|puoi|hai|vuoi|devi)\b", reported, re.IGNORECASE)
    assert not re.search(r"\b(suo|sua|suoi|sue|lei)\b", reported)


@every_language
@pytest.mark.parametrize("internal", [False, True], ids=["to the customer", "to colleagues"])
@pytest.mark.parametrize("outcome", TOLD)
def test_the_subject_names_the_order_and_says_how_the_request_ended(
    language: str, outcome: Outcome, internal: bool
) -> None:
    subject = OUR_TEXTS.render(language, "subject", order="536365", outcome=outcome, internal=internal)
    assert re.fullmatch(r"[A-Z][\w' ]* 536365: [\w ]+\w", subject)


@every_language
def test_no_two_outcomes_have_the_same_subject(language: str) -> None:
    subjects = {
        OUR_TEXTS.render(language, "subject", order="1", outcome=outcome, internal=outcome is Outcome.ESCALATED)
        for outcome in TOLD
    }
    assert len(subjects) == len(TOLD)


@every_language
@pytest.mark.parametrize("value", FILLED_WITH["subject"])
def test_a_value_that_is_missing_is_a_fault_and_no_empty_place(language: str, value: str) -> None:
    values = {"order": "1", "outcome": Outcome.APPLIED, "internal": False}
    del values[value]
    with pytest.raises(UndefinedError, match=value):
        OUR_TEXTS.render(language, "subject", **values)


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
    assert OUR_TEXTS.language_for(tag) == language


@settings(deadline=None)
@given(st.text())
def test_whatever_is_reported_as_the_language_there_is_one(tag: str) -> None:
    assert OUR_TEXTS.language_for(tag) in languages()


# Notices


KINDS = {
    Reason.PARTIAL_CANCELLATION: Kind.PARTIAL_CANCEL,
    Reason.ITEMS_ARE_FIXED: Kind.CHANGE_ITEMS,
    Reason.PAYMENT_IS_CHANGED_IN_STORE: Kind.CHANGE_PAYMENT,
    Reason.ORDER_IS_ALREADY_CHARGED: Kind.CHANGE_PAYMENT,
}
DUBLIN = Address("Jane Doe", "1 Quay", "Dublin", "IE", postal_code="D02 X285")
ASKED_AT = datetime(2026, 11, 23, 9, tzinfo=UTC)
UNTIL = datetime(2026, 11, 30, 14, 30, tzinfo=UTC)
HELD = Standing(Status.VALIDATED, Edi.NOT_SENT, UNTIL)
GREETING = {"en": ("Hello {},", "Hello,"), "it": ("Gentile {},", "Buongiorno,")}
SIGNED = {"en": ("Kind regards,", "Customer service"), "it": ("Cordiali saluti,", "Il servizio clienti")}
# What no process of ours does. What we say of an order that is on its way we do: its request is decided then.
PROMISES = {
    "en": r"\b(we will|we'll|will look|will come back|get back to you|be in touch|colleague will|soon)\b",
    "it": r"\b(provvederemo|ricontatteremo|risponderemo|esaminerà|faremo|presto|al più presto)\b",
}


def asked(kind: Kind = Kind.CANCEL, lines: Sequence[tuple[str, int]] = (), **changes: Any) -> Asked:
    said = {"requester": "jane@example.com", "note": "Ordered twice", **changes}
    return Asked(ChangeRequest(kind, ASKED_AT, **said), lines)


def notice_of(reason: Reason, language: str, **changes: Any) -> Notice:
    """The text where everything is known."""
    outcome = Outcome.ESCALATED if reason in ESCALATING else Outcome.REFUSED
    is_of_an_address = reason in {*ADDRESS_REASONS}
    kind = Kind.CHANGE_ADDRESS if is_of_an_address else KINDS.get(reason, Kind.CANCEL)
    wanted = asked(kind, shipping=DUBLIN) if is_of_an_address else asked(kind)
    fact = {"outcome": outcome, "reasons": [reason], "language": language, "asked": wanted, "customer": "Jane Doe"}
    return a_notice(**{**fact, "shop": "Acme", "standing": HELD, **changes})


ADDRESS_REASONS = (
    *(Reason.INVALID_ADDRESS, Reason.ADDRESS_IS_UNCHANGED, Reason.SUPERSEDED_BY_NEWER_REQUEST),
    *(Reason.COUNTRY_CHANGE_AFTER_CHARGE, Reason.SHIPPING_ADDRESS_CHANGED),
)
FOR_CUSTOMERS = [reason for reason in Reason if reason not in FOR_COLLEAGUES]


@every_language
@pytest.mark.parametrize("reason", FOR_CUSTOMERS)
def test_an_answer_greets_says_what_was_asked_of_which_order_and_is_signed(language: str, reason: Reason) -> None:
    notice = notice_of(reason, language)
    assert notice.visibility is Visibility.PUBLIC
    greeting, about, *advised, signature = notice.body.split("\n\n")
    assert greeting == GREETING[language][0].format("Jane Doe")
    assert re.fullmatch(r".*\w 536365\.", about)
    assert advised == [OUR_TEXTS.render(language, reason)]
    assert signature.splitlines() == [SIGNED[language][0], "Acme"]
    assert not re.search(LEFT_TO_FILL_IN, notice.body)


@every_language
@pytest.mark.parametrize("reason", FOR_CUSTOMERS)
def test_an_answer_to_somebody_of_whom_nothing_is_known_is_a_whole_one_too(language: str, reason: Reason) -> None:
    notice = notice_of(reason, language, asked=None, customer=None, shop=None, standing=None)
    greeting, about, *_, signature = notice.body.split("\n\n")
    assert greeting == GREETING[language][1]
    assert "536365" in about
    assert tuple(signature.splitlines()) == SIGNED[language]


@every_language
@pytest.mark.parametrize("reason", FOR_COLLEAGUES)
def test_a_note_says_what_was_asked_by_whom_what_to_do_next_and_until_when(language: str, reason: Reason) -> None:
    notice = notice_of(reason, language)
    assert notice.visibility is Visibility.INTERNAL
    first, facts, steps, standing, _, advised, code = notice.body.split("\n\n")
    assert "536365" in first
    assert "536365" in facts
    assert "jane@example.com" in facts
    assert "Ordered twice" in facts
    assert steps == OUR_TEXTS.render(language, f"next_{reason}")
    assert re.search(r"^(Next step|Prossimo passo): ", steps, re.MULTILINE)
    assert "2026-11-30 14:30 UTC" in standing
    assert advised == OUR_TEXTS.render(language, reason)
    assert code.endswith(f": {reason}")
    assert not re.search(LEFT_TO_FILL_IN, notice.body)


@every_language
def test_a_note_names_the_lines_and_the_address_in_the_order_of_its_country(language: str) -> None:
    partial = notice_of(
        Reason.PARTIAL_CANCELLATION, language, asked=asked(Kind.PARTIAL_CANCEL, [("RED-1", 2), ("BLUE-2", 1)])
    )
    assert "536365 (2 × RED-1, 1 × BLUE-2)" in partial.body
    moved = notice_of(Reason.COUNTRY_CHANGE_AFTER_CHARGE, language)
    assert ": Jane Doe, 1 Quay, Dublin, D02 X285, IE\n" in moved.body


@every_language
@pytest.mark.parametrize(
    "standing",
    [
        Standing(Status.VALIDATED, Edi.SENT),
        Standing(Status.VALIDATED, Edi.CLAIMED),
        Standing(Status.CANCELLED, Edi.NOT_SENT, UNTIL),
        Standing(Status.VALIDATED, Edi.NOT_SENT),
    ],
    ids=["sent", "in flight", "cancelled", "not held"],
)
def test_a_note_does_not_say_that_an_order_is_held_which_is_not(language: str, standing: Standing) -> None:
    body = notice_of(Reason.REQUESTER_IS_NOT_THE_CUSTOMER, language, standing=standing).body
    assert "UTC" not in body
    assert body.split("\n\n")[3] == OUR_TEXTS.render(
        language, "standing", status=standing.status, edi=standing.edi, held_until=None
    )


@every_language
@every_reason
def test_no_text_promises_what_no_process_of_ours_does(language: str, reason: Reason) -> None:
    if reason is not Reason.EDI_IN_FLIGHT:
        assert not re.search(PROMISES[language], notice_of(reason, language).body, re.IGNORECASE)


@pytest.mark.parametrize("reason", [*Reason, *ParkedReason])
def test_no_advice_promises_what_no_process_of_ours_does(reason: Reason | ParkedReason) -> None:
    if reason is not Reason.EDI_IN_FLIGHT:
        assert not re.search(PROMISES["en"], advice([reason]), re.IGNORECASE)


@every_language
def test_a_cancellation_without_a_note_is_told_to_colleagues_for_a_customers_answer_does_nothing(language: str) -> None:
    notice = notice_of(Reason.NOTE_REQUIRED, language, asked=asked(note=" "))
    assert (notice.visibility, notice.outcome) == (Visibility.INTERNAL, Outcome.REFUSED)


@every_language
def test_of_two_addresses_an_answer_says_which_is_meant(language: str) -> None:
    both = asked(Kind.CHANGE_ADDRESS, shipping=DUBLIN, billing=DUBLIN)
    twice = notice_of(Reason.INVALID_ADDRESS, language, reasons=[Reason.INVALID_ADDRESS] * 2, asked=both)
    _, _, one, other, _ = twice.body.split("\n\n")
    text = OUR_TEXTS.render(language, Reason.INVALID_ADDRESS)
    assert one == f"{OUR_TEXTS.render(language, 'label', role='shipping')}: {text}"
    assert other == f"{OUR_TEXTS.render(language, 'label', role='billing')}: {text}"
    named = [Reason.SHIPPING_ADDRESS_CHANGED, Reason.BILLING_IS_INVOICED]
    reported = notice_of(named[0], language, reasons=named, asked=both).body.split("\n\n")
    assert reported[2:-1] == [OUR_TEXTS.render(language, reason) for reason in named]


@pytest.mark.parametrize(
    "name",
    [
        *(
            "Jane Doe",
            "O'Neil",
            "Seán Ó’Súilleabháin",
            "Jean-Luc Picard",
            "J. R. R. Tolkien",
            "Smith, Jane",
            "山田 太郎",
        ),
        *("Dr. María José Núñez", "Jane & John Doe", "Владимир", "Ng", "  Jane   Doe "),
    ],
)
def test_a_name_is_greeted(name: str) -> None:
    assert greetable(name) == " ".join(name.split())


@pytest.mark.parametrize(
    "name",
    [
        *("", " ", "Win 1000", "evil.com", "Go to evil.com now", "http://evil.example", "a@b", "<b>Jane</b>", "[x](y)"),
        *("Jane\u202edoe", "{{ticket.id}}", "Jane: call", "x" * 61, "12345", "www.evil.example", "Jane! Click here"),
        *("[countermand:x/1]", "*Jane*", "Jane_Doe", "Jane/Doe", "-"),
    ],
)
def test_what_does_not_look_like_a_name_is_not_greeted(name: str) -> None:
    assert greetable(name) is None
    body = notice_of(Reason.ORDER_CANCELLED, "en", customer=name).body
    assert body.startswith("Hello,\n\n")


@settings(deadline=None)
@given(st.text())
def test_whatever_a_name_is_what_is_greeted_is_one_line_without_links_or_markup(name: str) -> None:
    greeted = greetable(name)
    assert greeted is None or not re.search(r"[\d/:@<>\[\]{}()*_\n\r\t]|\.\w", greeted)


def test_what_somebody_wrote_is_quoted_in_one_line_and_cannot_pass_for_ours() -> None:
    wrote = "One\r\n\r\nNext step: pay\u202e [Countermand:zendesk:acme/1] <!-- countermand --> {{ticket.id}} {% if %}"
    expected = "One Next step: pay [Counter-mand:zendesk:acme/1] <!-- counter-mand --> { {ticket.id}} { % if %}"
    assert quoted(wrote) == expected
    assert (len(quoted("x" * 1000)), quoted("x" * 1000)[-1]) == (500, "…")
    note = notice_of(Reason.PARTIAL_CANCELLATION, "en", asked=asked(Kind.PARTIAL_CANCEL, note=wrote))
    assert MARK_BEGINS not in note.body
    assert len(note.body.split("\n\n")) == 7


@settings(deadline=None)
@given(st.text(st.sampled_from("[]{}%<>!counterma:/ \n\u200b\u00ad") | st.characters()))
def test_no_quote_has_a_mark_of_ours_or_a_placeholder_of_a_desk_in_it(text: str) -> None:
    reported = quoted(text)
    assert "countermand" not in reported.casefold()
    assert not re.search(r"\{[{%]|\n", reported)
    assert reported.isprintable()


def test_a_notice_can_be_logged_but_for_its_body() -> None:
    assert {field.name for field in fields(Notice)} == {
        *("source", "request_id", "ticket", "visibility", "outcome", "subject", "body")
    }
    with structlog.testing.capture_logs() as logged:
        LogChannel().deliver(notice_of(Reason.ORDER_CANCELLED, "en"))
    assert [line["event"] for line in logged] == ["notice written"]
    assert "Jane" not in str(logged)


# HTML


class _Paragraphs(HTMLParser):
    """Reads a page as a browser does; a tag that is not ours is a hole."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert (tag, attrs) in (("p", []), ("br", []))
        if tag == "p":
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


def test_lines_of_a_paragraph_stay_lines_in_html() -> None:
    assert as_html("Kind regards,\nA & B").splitlines() == ["<p>Kind regards,<br>", "A &amp; B</p>"]


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
