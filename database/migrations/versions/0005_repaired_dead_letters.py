"""A dead letter can be repaired: what is put back in its place stands beside what came."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0005"
down_revision: str | None = "0004"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.add_column("dead_letter", sa.Column("repaired", sa.LargeBinary()))


def downgrade() -> None:
    op.drop_column("dead_letter", "repaired")
