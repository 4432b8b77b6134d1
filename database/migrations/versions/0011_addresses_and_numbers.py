"""A refused address says what no document could say of it; what an operator did to a partner's numbers is kept."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0011"
down_revision: str | None = "0010"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_FAULTS = "address_faults IS NULL OR (state = 'decided' AND 'invalid_address' = ANY (reasons))"


def upgrade() -> None:
    op.add_column("change_request", sa.Column("address_faults", postgresql.JSONB(), nullable=True))
    op.create_check_constraint(op.f("change_request_faults_of_an_invalid_address"), "change_request", _FAULTS)
    op.create_table(
        "renumbering",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("partner", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("statement_timestamp()"), nullable=False),
        sa.Column("last_used", sa.BigInteger(), nullable=False),
        sa.Column("next_before", sa.BigInteger(), nullable=False),
        sa.Column("next_after", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "next_before > last_used AND next_after > last_used", name=op.f("renumbering_is_of_unused_numbers")
        ),
        sa.ForeignKeyConstraint(["partner"], ["partner.name"], name=op.f("renumbering_partner_fk")),
        sa.PrimaryKeyConstraint("id", name=op.f("renumbering_pk")),
    )
    op.execute(
        "CREATE TRIGGER renumbering_is_append_only BEFORE UPDATE OR DELETE ON renumbering FOR EACH ROW "
        "EXECUTE FUNCTION refuse('what was done to a partner''s numbers is append-only')"
    )
    op.execute(
        "CREATE TRIGGER renumbering_is_never_truncated BEFORE TRUNCATE ON renumbering FOR EACH STATEMENT "
        "EXECUTE FUNCTION refuse('history is kept')"
    )


def downgrade() -> None:
    op.drop_table("renumbering")
    op.drop_constraint(op.f("change_request_faults_of_an_invalid_address"), "change_request")
    op.drop_column("change_request", "address_faults")
