"""An escalation keeps its order from export for a while: from when, until when, and for which request."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0013"
down_revision: str | None = "0012"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

# Trigger, event, condition ("" is: always), and why.
_GUARDS = (
    (
        "escalation_hold_is_only_shortened",
        "UPDATE",
        "(OLD.order_id, OLD.reason, OLD.change_request_id, OLD.held_at)"
        " IS DISTINCT FROM (NEW.order_id, NEW.reason, NEW.change_request_id, NEW.held_at)"
        " OR NEW.held_until > OLD.held_until",
        "an escalation holds its order once, and never longer than was said",
    ),
    ("escalation_hold_is_kept", "DELETE", "", "that an order was held is never forgotten"),
)


def upgrade() -> None:
    op.create_table(
        "escalation_hold",
        sa.Column("order_id", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("change_request_id", sa.BigInteger(), nullable=False),
        sa.Column(
            "held_at", sa.DateTime(timezone=True), server_default=sa.text("statement_timestamp()"), nullable=False
        ),
        sa.Column("held_until", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("held_until >= held_at", name=op.f("escalation_hold_ends_after_it_began")),
        sa.ForeignKeyConstraint(
            ["change_request_id"], ["change_request.id"], name=op.f("escalation_hold_change_request_id_fk")
        ),
        sa.ForeignKeyConstraint(["order_id"], ["orders.id"], name=op.f("escalation_hold_order_id_fk")),
        sa.PrimaryKeyConstraint("order_id", "reason", name=op.f("escalation_hold_pk")),
    )
    for name, event, condition, why in _GUARDS:
        when = f"WHEN ({condition})" if condition else ""
        op.execute(
            f"CREATE TRIGGER {name} BEFORE {event} ON escalation_hold FOR EACH ROW {when} "
            f"EXECUTE FUNCTION refuse('{why}')"
        )
    op.execute(
        "CREATE TRIGGER escalation_hold_is_never_truncated BEFORE TRUNCATE ON escalation_hold FOR EACH STATEMENT "
        "EXECUTE FUNCTION refuse('history is kept')"
    )


def downgrade() -> None:
    op.drop_table("escalation_hold")
