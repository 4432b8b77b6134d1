"""What statements of all rooms have in common."""

from collections.abc import Sequence
from typing import Any, TypeAlias

from sqlalchemy import ColumnElement, Row, any_, bindparam
from sqlalchemy.dialects.postgresql import ARRAY

# A row of a statement whose columns are read by name, which SQLAlchemy does not type.
AnyRow: TypeAlias = Row[*tuple[Any, ...]]


def is_one_of(column: ColumnElement[Any], values: Sequence[Any]) -> ColumnElement[bool]:
    """Returns `column = ANY(values)`, all one parameter: the statement is the same for any number of them."""
    return column == any_(bindparam(None, list(values), type_=ARRAY(column.type)))
