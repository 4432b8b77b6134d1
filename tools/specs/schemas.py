"""Messages and answers as JSON Schema, made from the models by which they are read.

Pydantic does not describe the checks of our validators: `_CHECKS` does for each, and a missing one stops the
generator. Nothing here is newer than draft 7, on which AsyncAPI builds.
"""

import json
import re
from collections.abc import Callable, Iterable
from functools import partial
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import core_schema

from desks import payload
from orders import messages
from rules.model import Kind
from tools.specs.words import FIELDS, TEXTS

Json = dict[str, Any]

_REFERENCE = "#/components/schemas/{model}"
# Texts that many fields have: each is defined once, under this name.
_NAMED: dict[str, Any] = {
    "Number": messages.WrittenNumber,
    "Key": messages.Key,
    "Line": messages.Line,
    "RequiredLine": messages.RequiredLine,
    "FreeText": messages.FreeText,
    "Moment": messages.Moment,
    "Quantity": messages.Quantity,
    "TemplateText": payload.Text,
    "RequiredTemplateText": Annotated[payload.Text, Field(min_length=1)],
}
_KEYWORDS = ("title", "description", "type", "required", "properties", "minLength", "maxLength", "minimum", "maximum")

# What `\s` is differs between languages by U+001C to U+001F, U+0085 and the byte order mark, and by no more.
_CONTROL = r"[\u0000-\u001f\u007f]"
# What is at an edge is dropped before the look: only between two others does a line break count.
_CONTROL_INSIDE = r"[\u0000-\u0008\u000e-\u001f\u007f]|\S\s*[\t-\r]\s*\S"
_MOMENT = (
    "^20[0-9]{2}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
    "[Tt _]([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9]([.,][0-9]+)?)?"
    r"([Zz]|[-+\u2212]([01][0-9]|2[0-3]):?[0-5][0-9])$"
)


def _never(pattern: str, described: Json) -> Json:
    known = described.get("not", {}).get("pattern")
    return {**described, "not": {"pattern": f"{known}|{pattern}" if known else pattern}}


def _or_empty(described: Json) -> Json:
    return {"anyOf": [*described["anyOf"], {"type": "object", "maxProperties": 0}]}


def _address_if_it_changes(described: Json) -> Json:
    one = [
        {"required": [role], "properties": {role: {"type": "object", "minProperties": 1}}}
        for role in messages.Addresses.model_fields
    ]
    return {
        **described,
        "if": {"required": ["kind"], "properties": {"kind": {"const": Kind.CHANGE_ADDRESS.value}}},
        "then": {"required": ["addresses"], "properties": {"addresses": {"type": "object", "anyOf": one}}},
    }


def _unchanged(described: Json) -> Json:
    return described


# What each validator adds to the schema of the value that it checks, by the validator's name.
_CHECKS: dict[str, Callable[[Json], Json]] = {
    "_no_control_characters": partial(_never, _CONTROL),
    "_no_control_characters, stripped": partial(_never, _CONTROL_INSIDE),
    "_not_blank": lambda described: {**described, "pattern": r"\S"},
    "_no_white_space_around": partial(_never, r"^\s|\s$"),
    "_no_nul": partial(_never, r"\u0000"),
    "_country_code": lambda described: {**described, "minLength": 2, "maxLength": 2, "pattern": "^[A-Za-z]+$"},
    "_in_this_age": lambda described: {**described, "pattern": _MOMENT},
    "_text_of_a_moment": _unchanged,
    "_nothing_if_empty": _or_empty,
    "_an_address_change_carries_an_address": _address_if_it_changes,
    # A template's fields.
    "_without_blanks": _unchanged,
    "_text": lambda _: {"type": ["string", "integer", "null"]},
    "min_length_validator": lambda _: {"type": ["string", "integer"], "pattern": r"\S"},
    # Pydantic describes these itself.
    "max_length_validator": _unchanged,
}


class _Described(GenerateJsonSchema):
    """Pydantic's own generator, and what our validators check."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> Json:
        # `required` already shows which fields are optional.
        return self.generate_inner(schema["schema"])

    def str_schema(self, schema: core_schema.StringSchema) -> Json:
        described = super().str_schema(schema)
        return _measured_when_stripped(described) if schema.get("strip_whitespace") else described

    def function_before_schema(self, schema: core_schema.BeforeValidatorFunctionSchema) -> Json:
        return self._checked(schema)

    def function_after_schema(self, schema: core_schema.AfterValidatorFunctionSchema) -> Json:
        return self._checked(schema)

    def _checked(
        self, schema: core_schema.BeforeValidatorFunctionSchema | core_schema.AfterValidatorFunctionSchema
    ) -> Json:
        function: Any = schema["function"]["function"]
        name = getattr(function, "func", function).__name__
        inner: Any = schema["schema"]
        return _CHECKS[f"{name}, stripped" if inner.get("strip_whitespace") else name](self.generate_inner(inner))


def _measured_when_stripped(described: Json) -> Json:
    """Describes the lengths of a text whose surrounding white space is dropped before it is measured."""
    schema = {"type": "string"}
    if described.get("minLength"):
        schema["pattern"] = r"\S"
    return _never(rf"\S[\s\S]{{{described['maxLength'] - 1},}}\S", schema)


def schemas_of(models: Iterable[type[Any]]) -> dict[str, Json]:
    """Returns the schemas of models and of all that they are made of, by name, as components that refer to others."""
    adapters: list[tuple[str, Literal["validation"], TypeAdapter[Any]]] = [
        (model.__name__, "validation", TypeAdapter(model)) for model in models
    ]
    _, made = TypeAdapter.json_schemas(adapters, ref_template=_REFERENCE, schema_generator=_Described)
    named = {name: TypeAdapter(text).json_schema(schema_generator=_Described) for name, text in _NAMED.items()}
    found: dict[str, Json] = {name: _tidied(schema, named) for name, schema in made["$defs"].items()}
    for name, schema in found.items():
        for field, described in schema.get("properties", {}).items():
            if words := FIELDS.get(f"{name}.{field}"):
                schema["properties"][field] = _with_words(described, words)
    used = named.keys() & re.findall(r'"#/components/schemas/(\w+)"', json.dumps(found))
    texts = {name: _in_order({"description": TEXTS[name], **named[name]}) for name in used}
    return dict(sorted({**found, **texts}.items()))


def _tidied(schema: Any, named: dict[str, Json]) -> Any:
    """Puts the names of texts in their places, and the keywords in the sequence in which one reads them."""
    if isinstance(schema, list):
        return [_tidied(one, named) for one in schema]
    if not isinstance(schema, dict):
        return schema
    for name, text in named.items():
        if schema == text:
            return {"$ref": _REFERENCE.format(model=name)}
    tidied = {key: _tidied(one, named) for key, one in schema.items() if key != "properties"}
    if "properties" in schema:
        tidied["properties"] = {field: _tidied(one, named) for field, one in schema["properties"].items()}
    if "description" in schema:
        # A docstring's lines, not its paragraphs.
        tidied["description"] = re.sub(r"(?<!\n)\n(?!\n)", " ", schema["description"])
    return _in_order(tidied)


def _in_order(schema: Json) -> Json:
    return {key: schema[key] for key in (*(one for one in _KEYWORDS if one in schema), *schema)}


def _with_words(described: Json, words: str) -> Json:
    # Draft 7 ignores everything beside a `$ref`.
    return {"description": words, **({"allOf": [described]} if "$ref" in described else described)}
