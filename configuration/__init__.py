"""Reads TOML configuration files, describes their errors, and takes secrets from the environment by name."""

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from pydantic_core import ErrorDetails


class ConfigurationError(Exception):
    """A setting, a file or a secret cannot be used; the message says where, and what was expected."""


class Table(BaseModel):
    """A table of a file; an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, hide_input_in_errors=True)


def _name_of_a_variable(text: str) -> str:
    if not re.fullmatch(r"[A-Z_][A-Z0-9_]*", text):
        raise ValueError(
            "must be the name of an environment variable, such as WEBHOOK_SECRET; "
            "the secret itself does not belong in this file"
        )
    return text


Variable = Annotated[str, StringConstraints(min_length=1, max_length=128), AfterValidator(_name_of_a_variable)]
Seconds = Annotated[float, Field(gt=0, le=60)]

_T = TypeVar("_T", bound=Table)


def read_file(path: Path, kind: type[_T], what: str) -> _T:
    """Reads a file of this kind. Raises ConfigurationError; `what` is what its messages call the file."""
    try:
        return kind.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise ConfigurationError(f"{what} {path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{what} {path} is not TOML: {error}") from error
    except ValidationError as invalid:
        raise ConfigurationError(f"{what} {path}: {describe_problems(invalid)}") from None


def describe_problems(invalid: ValidationError, *where: str, keys_in: str = "a table") -> str:
    """Says in one line which keys are wrong; quotes no value, for one may be a secret in the wrong place.

    `keys_in` names what has keys in such a file.
    """
    return "; ".join(_describe(error, where, keys_in) for error in invalid.errors(include_input=False))


def _describe(error: ErrorDetails, where: tuple[str, ...], keys_in: str) -> str:
    # The sender chose the name of an unknown key: it may be long or contain personal data.
    # `[key]` means in pydantic that the key itself is wrong.
    parts = [str(part) for part in error["loc"] if part != "[key]"]
    keys = (part if re.fullmatch(r"[\w-]{1,64}", part, re.ASCII) else "(unnamed)" for part in parts)
    place = ".".join([*where, *keys]) or "what was sent"
    if error["type"] == "extra_forbidden":
        return f"{place} is not a key that we know"
    if error["type"] in ("model_type", "dict_type"):
        return f"{place}: expected {keys_in}"
    return f"{place}: {'must be in quotes' if error['type'] == 'string_type' else wording(error)}"


def wording(error: ErrorDetails) -> str:
    """Says what is wrong with one value in words for people; quotes no value."""
    kind, context = error["type"], error.get("ctx", {})
    if kind in ("string_too_short", "too_short") and context.get("min_length") == 1:
        return "must not be empty"
    message = error["msg"].removeprefix("Value error, ")
    return message[:1].lower() + message[1:]


def secret(environ: Mapping[str, str], name: str | None) -> str | None:
    """Returns the secret in a variable, or in the file that `<name>_FILE` names where the variable is unset or empty.

    None if it has no name, or neither holds anything. The line end that an editor or a mounted file adds is not part of
    it. Raises ConfigurationError for a file that cannot be read.
    """
    if not name:
        return None
    if not (value := without_line_end(environ.get(name, ""))) and (file := environ.get(f"{name}_FILE")):
        value = without_line_end(_content(Path(file), f"{name}_FILE"))
    return value or None


def without_line_end(text: str) -> str:
    """Returns a line without the line ends at its end; a text of several lines, such as a private key, as it is."""
    line = text.rstrip("\r\n")
    return text if "\n" in line else line


def _content(file: Path, variable: str) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"{variable} names {file}, which cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{variable} names {file}, which is not a text in UTF-8") from error
