"""What statements of all rooms have in common."""

from collections.abc import Sequence
from typing import Any, TypeAlias

from sqlalchemy import ColumnElement, any_, bindparam
from sqlalchemy.dialects.postgresql import ARRAY

# SQLAlchemy types a row by its columns in sequence; ours are read by name.
AnyRow: TypeAlias = Any


def is_one_of(column: ColumnElement[Any], values: Sequence[Any]) -> ColumnElement[bool]:
    """Returns `column = ANY(values)`, all one parameter: the statement is the same for any number of them."""
    return column == any_(bindparam(None, list(values), type_=ARRAY(column.type)))
