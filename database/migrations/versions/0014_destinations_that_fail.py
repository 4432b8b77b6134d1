"""Destinations and outlets are one table: a destination has its turn, and backs off after failures."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0014"
down_revision: str | None = "0013"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_CHECK = "destination_failures_have_a_reason"


def _rename_required(table: str, old: str, new: str) -> None:
    # From PostgreSQL 18 on NOT NULL is a constraint with a name, made of the column's.
    op.alter_column(table, old, nullable=True)
    op.alter_column(table, old, new_column_name=new)
    op.alter_column(table, new, nullable=False)


def upgrade() -> None:
    op.add_column("destination", sa.Column("failures", sa.Integer(), server_default="0", nullable=False))
    op.add_column("destination", sa.Column("not_before", sa.DateTime(timezone=True), nullable=True))
    op.add_column("destination", sa.Column("error", sa.Text(), nullable=True))
    op.execute(
        """
        INSERT INTO destination (name, turn_at, failures, not_before, error)
        SELECT name, statement_timestamp(), failures, not_before, error FROM outlet WHERE failures > 0
        ON CONFLICT (name) DO UPDATE
        SET failures = excluded.failures, not_before = excluded.not_before, error = excluded.error
        """
    )
    op.create_check_constraint(
        op.f(_CHECK), "destination", "(failures > 0) = (not_before IS NOT NULL AND error IS NOT NULL)"
    )
    op.drop_table("outlet")
    # Indexes and triggers follow the columns.
    op.alter_column("effect", "outlet", new_column_name="destination")
    _rename_required("ticket_note", "outlet", "destination")


def downgrade() -> None:
    _rename_required("ticket_note", "destination", "outlet")
    op.alter_column("effect", "destination", new_column_name="outlet")
    op.create_table(
        "outlet",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("not_before", sa.DateTime(timezone=True), nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("outlet_pk")),
    )
    op.execute(
        """
        INSERT INTO outlet (name, failures, not_before, error)
        SELECT name, failures, not_before, error FROM destination WHERE failures > 0
        """
    )
    op.drop_constraint(op.f(_CHECK), "destination")
    for column in ("error", "not_before", "failures"):
        op.drop_column("destination", column)
