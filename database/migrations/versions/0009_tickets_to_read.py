"""Tickets whose forms are read by the desks' APIs, and how far each desk's tickets have been listed."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0009"
down_revision: str | None = "0008"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def _moment(name: str, *, nullable: bool = True) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def _moment_now(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), server_default=sa.text("statement_timestamp()"), nullable=False)


def upgrade() -> None:
    op.create_table(
        "ticket_to_read",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("ticket", sa.Text(), nullable=False),
        sa.Column("wanted", sa.BigInteger(), server_default="1", nullable=False),
        sa.Column("read", sa.BigInteger(), server_default="0", nullable=False),
        _moment_now("noted_at"),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        _moment_now("not_before"),
        sa.Column("fence", sa.Integer(), server_default="0", nullable=False),
        _moment("lease_until"),
        sa.Column("error", sa.Text()),
        sa.CheckConstraint('"read" <= wanted', name=op.f("ticket_to_read_read_is_what_was_wanted")),
        sa.PrimaryKeyConstraint("id", name=op.f("ticket_to_read_pk")),
        sa.UniqueConstraint("source", "ticket", name=op.f("ticket_to_read_source_ticket_unique")),
    )
    op.create_index(
        "ticket_to_read_unread", "ticket_to_read", ["attempts", "id"], postgresql_where=sa.text('"read" < wanted')
    )
    op.create_table(
        "desk_progress",
        sa.Column("source", sa.Text(), nullable=False),
        _moment("seen_until", nullable=False),
        _moment("listing_since"),
        _moment("listing_until"),
        sa.Column("cursor", sa.Text()),
        _moment("listed_at"),
        sa.Column("fence", sa.Integer(), server_default="0", nullable=False),
        _moment("lease_until"),
        sa.Column("failures", sa.Integer(), server_default="0", nullable=False),
        _moment("not_before"),
        sa.Column("error", sa.Text()),
        sa.CheckConstraint(
            "(listing_since IS NULL) = (listing_until IS NULL)", name=op.f("desk_progress_listing_has_both_ends")
        ),
        sa.PrimaryKeyConstraint("source", name=op.f("desk_progress_pk")),
    )


def downgrade() -> None:
    op.drop_table("desk_progress")
    op.drop_table("ticket_to_read")
