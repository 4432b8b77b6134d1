"""Answers that travel: a notification is pending, sending or sent, and a way out that failed rests."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0002"
down_revision: str | None = "0001"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

# Trigger, condition, and why; see 0001.
_GUARDS = (
    (
        "notification_says_what_it_said",
        "(OLD.change_request_id, OLD.channel, OLD.visibility, OLD.subject, OLD.body) IS DISTINCT FROM"
        " (NEW.change_request_id, NEW.channel, NEW.visibility, NEW.subject, NEW.body)",
        "a notification is told as it was written",
    ),
    ("notification_is_sent_once", "OLD.state = 'sent'", "what was told was told"),
)


def upgrade() -> None:
    op.create_table(
        "outlet",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("not_before", sa.DateTime(timezone=True), nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("outlet_pk")),
    )
    op.add_column("notification", sa.Column("fence", sa.Integer(), server_default="0", nullable=False))
    op.create_check_constraint(
        op.f("notification_channel_is_known"), "notification", "channel IN ('ticket', 'mail', 'log')"
    )
    op.create_check_constraint(
        op.f("notification_state_is_known"), "notification", "state IN ('pending', 'sending', 'sent')"
    )
    for name, condition, why in _GUARDS:
        op.execute(
            f"CREATE TRIGGER {name} BEFORE UPDATE ON notification FOR EACH ROW WHEN ({condition}) "
            f"EXECUTE FUNCTION refuse('{why}')"
        )


def downgrade() -> None:
    for name, _, _ in _GUARDS:
        op.execute(f"DROP TRIGGER {name} ON notification")
    op.drop_constraint(op.f("notification_state_is_known"), "notification")
    op.drop_constraint(op.f("notification_channel_is_known"), "notification")
    op.drop_column("notification", "fence")
    op.drop_table("outlet")
