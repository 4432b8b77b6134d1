"""A store's own texts: over ours one by one, in languages of its own, and never in the way of an answer."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import structlog

import desks
from configuration import ConfigurationError
from desks.config import read_file
from desks.notices import Notice, write_notice
from desks.registry import texts_of
from desks.store_texts import LARGEST_FILE, UnusableTextError, load_texts, parse_text
from desks.texts import OUR_TEXTS, Texts, languages, text_names
from rules.model import AddressFault, AddressRole, Outcome, Problem, Reason

OURS = Path(desks.__path__[0]) / "templates"


def a_folder(folder: Path, **texts: str) -> Path:
    """Writes texts named `<language>__<name>`."""
    for key, text in texts.items():
        language, _, name = key.partition("__")
        (folder / language).mkdir(exist_ok=True)
        (folder / language / f"{name}.txt").write_text(text, "utf-8")
    return folder


def a_notice(texts: Texts, **changes: Any) -> Notice:
    fact = {
        "source": "shop",
        "request_id": "1",
        "ticket": None,
        "order": "536365",
        "outcome": Outcome.APPLIED,
        "reasons": [Reason.ORDER_CANCELLED],
        "texts": texts,
    }
    return write_notice(**{**fact, **changes})


def test_a_text_of_the_store_replaces_ours_and_every_other_stays_ours(tmp_path: Path) -> None:
    texts = load_texts(a_folder(tmp_path, en__order_cancelled="It is off.", it__subject="Ordine {{ order }}"))
    assert texts.problems == ()
    assert texts.fixed("en", "order_cancelled") == "It is off."
    assert texts.fixed("it", "order_cancelled") == OUR_TEXTS.fixed("it", "order_cancelled")
    assert "\n\nIt is off.\n\n" in a_notice(texts).body
    assert a_notice(texts, language="it").subject == "Ordine 536365"


def test_a_language_of_the_store_is_chosen_once_it_is_whole(tmp_path: Path) -> None:
    shutil.copytree(OURS / "en", tmp_path / "de")
    a_folder(tmp_path, de__order_cancelled="Ihre Bestellung ist storniert.")
    texts = load_texts(tmp_path)
    assert (texts.problems, texts.languages) == ((), languages() | {"de"})
    assert "Ihre Bestellung ist storniert." in a_notice(texts, language="de-AT").body
    (tmp_path / "de" / "subject.txt").unlink()
    texts = load_texts(tmp_path)
    (problem,) = texts.problems
    assert "subject.txt" in problem
    assert "language de" in problem
    assert texts.language_for("de-AT") == "en"


@pytest.mark.parametrize("language", sorted(languages()))
@pytest.mark.parametrize("name", sorted(text_names()))
def test_our_own_texts_are_such_as_a_store_may_write(language: str, name: str) -> None:
    parse_text((OURS / language / f"{name}.txt").read_text("utf-8"), name)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "is empty"),
        ("{% if %}", "line 1"),
        ("one\n{{ order", "line 2"),
        ("{{ nobody }}", "unknown variable nobody; this text may use: internal, order, outcome"),
        ("{% for a in range(99999) %}{% endfor %}", "must go over a variable"),
        ("{% for a in order %}{% for b in order %}x{% endfor %}{% endfor %}", "a loop within a loop"),
        ("{% for a in order recursive %}{{ loop(order) }}{% endfor %}", "must go over a variable"),
        ("{{ 'x' * 999999999 }}", "Mul is not allowed"),
        ("{{ 9 ** 999999999 }}", "Pow is not allowed"),
        ("{{ '%999999999s' % order }}", "Mod is not allowed"),
        ("{{ '{:999999999}'.format(order) }}", "the only call"),
        ("{{ order | center(999999999) }}", "the filter center is not allowed"),
        ("{{ order | join(order) }}", "a fixed value"),
        ("{{ order | upper | join(', ') }}", "only one filter is allowed"),
        ("{% set a = order ~ order %}", "a fixed value only"),
        ("{% include '../../../etc/passwd' %}", "Include is not allowed"),
        ("{% import 'en/label.txt' as one %}", "Import is not allowed"),
        ("{% extends 'en/label.txt' %}", "Extends is not allowed"),
        ("{% macro a() %}{{ a() }}{% endmacro %}{{ a() }}", "not allowed"),
        ("{{ order.__class__ }}", "unknown attribute __class__"),
        ("{{ order.__class__.__mro__ }}", "unknown attribute __"),
        ("{{ '\\0' }}", "control character"),
        ("a\x00b", "control character"),
        ("{% if order %}" * 150 + "x" + "{% endif %}" * 150, "nested too deeply"),
        ("{{ " + "9" * 5000 + " }}", "a number that is too long"),
        ("{{ 0x" + "f" * 5000 + " }}", "a number that is too long"),
        ("{{ " + "(" * 5000 + "order" + ")" * 5000 + " }}", "nested too deeply"),
    ],
)
def test_a_text_that_could_harm_an_answer_is_refused(text: str, why: str) -> None:
    with pytest.raises(UnusableTextError) as error:
        parse_text(text, "subject")
    assert why in str(error.value)


def test_what_is_wrong_is_reported_with_file_text_and_language_and_ours_is_used(tmp_path: Path) -> None:
    texts = load_texts(a_folder(tmp_path, en__order_cancelled="{{ order }}", it__label="{% if %}"))
    first, second = texts.problems
    assert str(tmp_path / "en" / "order_cancelled.txt") in first
    assert "(text order_cancelled, language en): unknown variable order" in first
    assert "(text label, language it): line 1" in second
    assert texts.fixed("en", "order_cancelled") == OUR_TEXTS.fixed("en", "order_cancelled")


def test_a_file_outside_the_folder_is_not_read_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("a secret")
    folder = tmp_path / "texts"
    (folder / "en").mkdir(parents=True)
    (folder / "en" / "order_cancelled.txt").symlink_to(tmp_path / "secret")
    (folder / "en" / "label.txt").symlink_to(folder / "en" / "label.txt")
    (folder / "en" / "subject.txt").mkdir()
    texts = load_texts(folder)
    assert "cannot be read" in texts.problems[0]
    assert "outside the folder" in texts.problems[1]
    assert "is not a file" in texts.problems[2]
    assert texts.fixed("en", "order_cancelled") == OUR_TEXTS.fixed("en", "order_cancelled")


def test_a_missing_folder_and_names_that_are_no_texts_are_reported(tmp_path: Path) -> None:
    (problem,) = load_texts(tmp_path / "nowhere").problems
    assert "cannot be read" in problem
    (tmp_path / "notes.md").write_text("x")
    (tmp_path / ".git").mkdir()
    a_folder(tmp_path, en__order_canceled="x")
    first, second = load_texts(tmp_path).problems
    assert "order_canceled.txt (language en) is not the name of a text" in first
    assert "notes.md is not a folder named after a language" in second


def test_large_files_and_files_that_are_no_utf_8_are_refused(tmp_path: Path) -> None:
    a_folder(tmp_path, en__order_cancelled="x" * (LARGEST_FILE + 1), en__label="x")
    (tmp_path / "en" / "label.txt").write_bytes(b"\xff\xfe")
    first, second = load_texts(tmp_path).problems
    assert first.endswith("is not a text in UTF-8")
    assert second.endswith("is larger than 16 KiB")


@pytest.mark.parametrize(
    "text",
    [
        "{% for fault in faults %}{{ fault.label }}{% endfor %}",
        "{% if faults == 1 %}never{% endif %}",
        "{% for fault in faults %}" + "x" * 10_000 + "{% endfor %}",
    ],
)
def test_a_text_that_fails_when_it_is_filled_in_is_replaced_by_ours_and_logged(tmp_path: Path, text: str) -> None:
    texts = load_texts(a_folder(tmp_path, en__address_faults=text))
    faults = [AddressFault(AddressRole.SHIPPING, "city", Problem.MISSING)] * 20
    assert texts.problems == ()
    with structlog.testing.capture_logs() as logs:
        reported = texts.render("en", "address_faults", faults=faults)
    assert reported == OUR_TEXTS.render("en", "address_faults", faults=faults)
    assert logs[0]["log_level"] == "warning"
    assert (logs[0]["language"], logs[0]["text"]) == ("en", "address_faults")


def test_a_subject_of_several_lines_is_one_line(tmp_path: Path) -> None:
    texts = load_texts(a_folder(tmp_path, en__subject="Order\r\n\n{{ order }}\nBcc: x"))
    assert a_notice(texts).subject == "Order 536365 Bcc: x"


def test_the_folder_is_named_relative_to_the_desks_file(tmp_path: Path) -> None:
    (tmp_path / "words").mkdir()
    a_folder(tmp_path / "words", en__order_cancelled="It is off.")
    file = tmp_path / "desks.toml"
    file.write_text('texts = "words"\n')
    assert texts_of(file, read_file(file)).fixed("en", "order_cancelled") == "It is off."
    file.write_text("")
    assert texts_of(file, read_file(file)) is OUR_TEXTS


@pytest.mark.parametrize("path", ["", "a\\u0000b"])
def test_the_name_of_a_folder_must_be_one(tmp_path: Path, path: str) -> None:
    file = tmp_path / "desks.toml"
    file.write_text(f'texts = "{path}"\n')
    with pytest.raises(ConfigurationError, match="texts: must be the path of a folder"):
        read_file(file)
