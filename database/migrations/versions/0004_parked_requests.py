"""Parked requests are found slice by slice, whatever was decided before."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0004"
down_revision: str | None = "0003"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    is_parked = sa.text("state = 'parked'")
    op.create_index("change_request_parked", "change_request", ["order_number", "id"], postgresql_where=is_parked)


def downgrade() -> None:
    op.drop_index("change_request_parked", "change_request")
