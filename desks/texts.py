"""The texts that customers and colleagues read: Jinja2 templates, one per reason, in `desks/templates/<language>/`.

A store's own texts replace ours one by one; see `desks.store_texts`.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any

import structlog
from jinja2 import Environment, PackageLoader, StrictUndefined, Template, select_autoescape

DEFAULT_LANGUAGE = "en"
# A longer text of a store is not sent.
_LONGEST_STORE_TEXT = 64 * 1024

_log = structlog.get_logger()


@cache
def our_templates() -> Environment:
    """Returns the environment of our own templates."""
    # A missing variable is an error, not a gap in a customer's mail.
    return Environment(
        loader=PackageLoader("desks"),
        autoescape=select_autoescape(["html"]),
        undefined=StrictUndefined,
        auto_reload=False,
    )


@cache
def languages() -> frozenset[str]:
    """Returns the languages of our own texts, as ISO 639 codes."""
    return frozenset(name.partition("/")[0] for name in our_templates().list_templates(["txt"]))


class Texts:
    """The texts of one store: its own by (language, name), otherwise ours."""

    def __init__(self, own: Mapping[tuple[str, str], Template] | None = None, problems: tuple[str, ...] = ()) -> None:
        """Takes a store's templates, and a line for each text that cannot be used."""
        self._own = own or {}
        self.problems = problems
        # A language that we do not have is used once it is complete, so that no answer mixes two languages.
        begun = {language for language, _ in self._own}
        self.languages = languages() | {
            language for language in begun if all((language, name) in self._own for name in text_names())
        }
        self._fixed: dict[tuple[str, str], str] = {}

    def language_for(self, wanted: str | None) -> str:
        """Returns the language to write in for a BCP 47 tag such as `it-CH`; English for an unknown or missing one."""
        primary = (wanted or "").strip().replace("_", "-").partition("-")[0].lower()
        return primary if primary in self.languages else DEFAULT_LANGUAGE

    def fixed(self, language: str, name: str) -> str:
        """Returns a text that is the same for everybody."""
        if (language, name) not in self._fixed:
            self._fixed[language, name] = self.render(language, name)
        return self._fixed[language, name]

    def render(self, language: str, name: str, **values: Any) -> str:
        """Returns one text, filled in, without surrounding white space.

        If a store's text cannot be filled in, ours replaces it, and the log says why.
        """
        own = self._own.get((language, name))
        if own is not None:
            try:
                return _filled_in(own, values)
            except Exception as error:  # noqa: BLE001  # a store's text must never keep an answer from its customers
                _log.warning(
                    "a text of the store could not be used, so ours was",
                    language=language,
                    text=name,
                    error=type(error).__name__,
                )
        ours = language if language in languages() else DEFAULT_LANGUAGE
        return our_templates().get_template(f"{ours}/{name}.txt").render(values).strip()


@cache
def text_names() -> frozenset[str]:
    """Returns the names of all texts, which are the same in every language."""
    prefix = f"{DEFAULT_LANGUAGE}/"
    found = our_templates().list_templates(["txt"])
    return frozenset(name.removeprefix(prefix).removesuffix(".txt") for name in found if name.startswith(prefix))


def _filled_in(template: Template, values: Mapping[str, Any]) -> str:
    parts, length = [], 0
    for part in template.generate(values):
        parts.append(part)
        length += len(part)
        if length > _LONGEST_STORE_TEXT:
            raise ValueError("the text is too long")
    if not (text := "".join(parts).strip()):
        raise ValueError("the text is empty")
    return text


OUR_TEXTS = Texts()


def as_html(text: str, mark: str = "") -> str:
    """Returns a text as HTML, one `<p>` per paragraph, with everything escaped. The mark is small and pale."""
    return our_templates().get_template("answer.html").render(paragraphs=text.split("\n\n"), mark=mark).strip()
