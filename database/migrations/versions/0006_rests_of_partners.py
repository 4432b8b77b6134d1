"""Inboxes are read in turn, and rest when they cannot be; of a partner it is known since when nothing arrives."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0006"
down_revision: str | None = "0005"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_MOMENTS = ("failing_since", "inbox_read_at", "inbox_lease_until", "inbox_not_before")


def upgrade() -> None:
    for moment in _MOMENTS:
        op.add_column("partner", sa.Column(moment, sa.DateTime(timezone=True)))
    op.add_column("partner", sa.Column("inbox_failures", sa.Integer(), server_default="0", nullable=False))
    op.add_column("partner", sa.Column("inbox_error", sa.Text()))
    # Since when is not known of those that fail already: for certain since now.
    op.execute("UPDATE partner SET failing_since = now() WHERE failures > 0")


def downgrade() -> None:
    for column in ("inbox_error", "inbox_failures", *reversed(_MOMENTS)):
        op.drop_column("partner", column)
