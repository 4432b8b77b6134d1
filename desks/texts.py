"""The texts that customers and colleagues read: Jinja2 templates, one per reason, in `desks/templates/<language>/`."""

from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

DEFAULT_LANGUAGE = "en"


@cache
def _templates() -> Environment:
    # A name that a template does not get is a mistake of ours, not an empty place in a customer's mail.
    return Environment(
        loader=PackageLoader("desks"),
        autoescape=select_autoescape(["html"]),
        undefined=StrictUndefined,
        auto_reload=False,
    )


@cache
def languages() -> frozenset[str]:
    """Returns the languages that there are texts in, as ISO 639 codes."""
    return frozenset(name.partition("/")[0] for name in _templates().list_templates(["txt"]))


def language_for(wanted: str | None) -> str:
    """Returns the language to write in for a BCP 47 tag such as `it-CH`; English where it is unknown or not told."""
    primary = (wanted or "").strip().replace("_", "-").partition("-")[0].lower()
    return primary if primary in languages() else DEFAULT_LANGUAGE


@cache
def fixed(language: str, name: str) -> str:
    """Returns a text that is the same for everybody."""
    return render(language, name)


def render(language: str, name: str, **values: Any) -> str:
    """Returns one text, filled in, without white space around it."""
    return _templates().get_template(f"{language}/{name}.txt").render(values).strip()


def as_html(text: str, mark: str = "") -> str:
    """Returns a text as HTML, one `<p>` a paragraph; everything in it is escaped. The mark is small and pale."""
    return _templates().get_template("answer.html").render(paragraphs=text.split("\n\n"), mark=mark).strip()
