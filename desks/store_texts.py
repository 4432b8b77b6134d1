"""A store's own wording: `<language>/<name>.txt` in a folder beside the desks file replaces our text of that name.

A text may use the variables of the text that it replaces, and only the part of Jinja2 that cannot run for long or
grow large: no includes, macros, calculations or loops in loops.
"""

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import fields
from functools import cache
from pathlib import Path

from jinja2 import StrictUndefined, Template, TemplateSyntaxError, meta, nodes, select_autoescape
from jinja2.sandbox import ImmutableSandboxedEnvironment

from desks.texts import DEFAULT_LANGUAGE, Texts, languages, our_templates, text_names
from rules.model import AddressFault

LARGEST_FILE = 16 * 1024
_LONGEST_SEPARATOR = 20
_LANGUAGE = re.compile("[a-z]{2,3}")
_STATEMENTS = (nodes.Template, nodes.Output, nodes.TemplateData, nodes.If, nodes.For, nodes.Assign)
_EXPRESSIONS = (
    *(nodes.Name, nodes.Const, nodes.List, nodes.Tuple, nodes.Dict, nodes.Pair, nodes.CondExpr, nodes.Compare),
    *(nodes.Operand, nodes.And, nodes.Or, nodes.Not, nodes.Getattr, nodes.Getitem, nodes.Call, nodes.Filter),
)
_FILTERS = {"join", "upper", "lower", "capitalize", "title", "trim"}
# The attributes of the values that a text is filled with, and of `loop`.
_ATTRIBUTES = {field.name for field in fields(AddressFault)} | {"label", "text", "get", "first", "last", "index"}


class UnusableTextError(Exception):
    """A store's text cannot be used; the message says why."""


def load_texts(folder: Path) -> Texts:
    """Reads a store's texts; leaves out what cannot be used, and lists it in `problems` by file, text and language."""
    problems: list[str] = []
    try:
        found = _find(folder, problems)
    except OSError as error:
        return Texts(problems=(f"texts: {error.filename} cannot be read: {error.strerror}",))
    own: dict[tuple[str, str], Template] = {}
    for language, files in found.items():
        for name, file in files.items():
            try:
                own[language, name] = _read(folder, name, file)
            except UnusableTextError as error:
                problems.append(f"texts: {file} (text {name}, language {language}): {error}")
        problems += _missing(folder, language, files)
    return Texts(own, tuple(problems))


def _find(folder: Path, problems: list[str]) -> dict[str, dict[str, Path]]:
    """Returns the file of each text, by language and name; ignores hidden files."""
    found: dict[str, dict[str, Path]] = {}
    for place in _visible(folder):
        if not (_LANGUAGE.fullmatch(place.name) and place.is_dir()):
            problems.append(f"texts: {place} is not a folder named after a language, such as `de`")
            continue
        files = _visible(place)
        found[place.name] = {file.stem: file for file in files if _is_name(file)}
        problems += [
            f"texts: {file} (language {place.name}) is not the name of a text; the names are those in "
            "desks/templates/en"
            for file in files
            if not _is_name(file)
        ]
    return found


def _visible(folder: Path) -> list[Path]:
    return sorted(place for place in folder.iterdir() if not place.name.startswith("."))


def _is_name(file: Path) -> bool:
    return file.suffix == ".txt" and file.stem in text_names()


def _missing(folder: Path, language: str, files: Mapping[str, Path]) -> list[str]:
    """Returns a problem for each text that is missing in a language that we do not have."""
    if language in languages():
        return []
    return [
        f"texts: {folder / language / f'{name}.txt'} (text {name}, language {language}) is missing; until every text "
        f"of this language is there, its customers are answered in {DEFAULT_LANGUAGE}"
        for name in sorted(text_names() - files.keys())
    ]


def _read(folder: Path, name: str, file: Path) -> Template:
    try:
        if not file.resolve(strict=True).is_relative_to(folder.resolve()):
            raise UnusableTextError("links to a file outside the folder")
        if not file.is_file():
            raise UnusableTextError("is not a file")
        with file.open("rb") as opened:
            content = opened.read(LARGEST_FILE + 1)
    except (OSError, RuntimeError) as error:
        raise UnusableTextError(f"cannot be read ({type(error).__name__})") from error
    if len(content) > LARGEST_FILE:
        raise UnusableTextError(f"is larger than {LARGEST_FILE // 1024} KiB")
    try:
        source = content.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise UnusableTextError("is not a text in UTF-8") from error
    return parse_text(source, name)


def parse_text(source: str, name: str) -> Template:
    """Returns a template that can replace our text of this name. Raises UnusableTextError."""
    if not source.strip():
        raise UnusableTextError("is empty")
    try:
        parsed = _environment().parse(source)
        for node in parsed.find_all(nodes.Node):
            _check(node)
        unknown = meta.find_undeclared_variables(parsed) - _variables(name)
    except TemplateSyntaxError as error:
        raise UnusableTextError(f"line {error.lineno}: {error.message}") from error
    except RecursionError as error:
        raise UnusableTextError("is nested too deeply") from error
    # Python limits the digits of a number.
    except ValueError as error:
        raise UnusableTextError("has a number that is too long") from error
    if unknown:
        known = ", ".join(sorted(_variables(name))) or "no variable"
        raise UnusableTextError(f"unknown variable {', '.join(sorted(unknown))}; this text may use: {known}")
    try:
        return _environment().from_string(source)
    # Python limits how deeply blocks may be nested.
    except (SyntaxError, RecursionError) as error:
        raise UnusableTextError("is nested too deeply") from error
    except ValueError as error:
        raise UnusableTextError("has a number that is too long") from error


def _variables(name: str) -> set[str]:
    ours = our_templates()
    assert ours.loader is not None  # noqa: S101  # for the type checker
    source, _, _ = ours.loader.get_source(ours, f"{DEFAULT_LANGUAGE}/{name}.txt")
    return meta.find_undeclared_variables(ours.parse(source))


def _check(node: nodes.Node) -> None:
    if why := _forbidden(node):
        raise UnusableTextError(f"line {node.lineno}: {why}")


def _forbidden(node: nodes.Node) -> str | None:
    match node:
        case nodes.For() if not isinstance(node.iter, nodes.Name) or node.recursive:
            return "a loop must go over a variable"
        case nodes.For() if any(node.find_all(nodes.For)):
            return "a loop within a loop is not allowed"
        case nodes.Assign() if not _is_fixed(node.node):
            return "`set` takes a fixed value only"
        case nodes.Call() if not (isinstance(node.node, nodes.Getattr) and node.node.attr == "get"):
            return "the only call that is allowed is `get`"
        case nodes.Filter() if node.name not in _FILTERS:
            return f"the filter {node.name} is not allowed; allowed are: {', '.join(sorted(_FILTERS))}"
        case nodes.Filter() if not isinstance(node.node, nodes.Name | nodes.Getattr):
            return "a filter must follow a variable, and only one filter is allowed"
        case nodes.Filter() if node.kwargs or not all(_is_separator(one) for one in node.args):
            return f"a filter takes a fixed value of at most {_LONGEST_SEPARATOR} characters"
        case nodes.Getattr() if node.attr not in _ATTRIBUTES:
            return f"unknown attribute {node.attr}; known are: {', '.join(sorted(_ATTRIBUTES))}"
        case nodes.Const() if isinstance(node.value, str) and not _is_writable(node.value):
            return "has a control character"
        case nodes.TemplateData() if not _is_writable(node.data):
            return "has a control character"
    if isinstance(node, _STATEMENTS + _EXPRESSIONS):
        return None
    return f"{type(node).__name__} is not allowed here"


def _is_fixed(node: nodes.Node) -> bool:
    literals = (nodes.Const, nodes.List, nodes.Tuple, nodes.Dict, nodes.Pair)
    return isinstance(node, literals) and all(isinstance(one, literals) for one in node.find_all(nodes.Node))


def _is_separator(node: nodes.Node) -> bool:
    return isinstance(node, nodes.Const) and isinstance(node.value, str) and len(node.value) <= _LONGEST_SEPARATOR


def _is_writable(text: str) -> bool:
    """Returns whether a database, a desk and a mail can all hold a text."""
    return all(one in "\n\t" or unicodedata.category(one) not in ("Cc", "Cs") for one in text)


@cache
def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        autoescape=select_autoescape(["html"], default_for_string=False),
        undefined=StrictUndefined,
    )
    # No `range`, `lipsum`, `namespace` and the like.
    environment.globals.clear()
    return environment
