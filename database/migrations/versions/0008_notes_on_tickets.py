"""Turns of destinations, and notes on tickets: an answer knows its way out, a note is an outbox row of its own."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0008"
down_revision: str | None = "0007"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

# Trigger, event, condition ("" is: always), and why; see 0001.
_GUARDS = (
    (
        "ticket_note_says_what_it_said",
        "UPDATE",
        "(OLD.change_request_id, OLD.source, OLD.ticket, OLD.cause, OLD.key, OLD.outlet, OLD.subject, OLD.body)"
        " IS DISTINCT FROM"
        " (NEW.change_request_id, NEW.source, NEW.ticket, NEW.cause, NEW.key, NEW.outlet, NEW.subject, NEW.body)",
        "a note is told as it was written",
    ),
    ("ticket_note_is_sent_once", "UPDATE", "OLD.state = 'sent'", "what was told was told"),
    ("ticket_note_is_kept", "DELETE", "", "what was told was told"),
)


def _moment_now(name: str) -> sa.Column[object]:
    now = sa.text("statement_timestamp()")
    return sa.Column(name, sa.DateTime(timezone=True), server_default=now, nullable=False)


def upgrade() -> None:
    op.create_table(
        "destination",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("turn_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("took", sa.Interval(), nullable=True),
        sa.PrimaryKeyConstraint("name", name=op.f("destination_pk")),
    )
    op.create_table(
        "ticket_note",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("change_request_id", sa.BigInteger(), nullable=True),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("ticket", sa.Text(), nullable=False),
        sa.Column("cause", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("outlet", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), server_default="pending", nullable=False),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column(
            "not_before", sa.DateTime(timezone=True), server_default=sa.text("statement_timestamp()"), nullable=False
        ),
        sa.Column("fence", sa.Integer(), server_default="0", nullable=False),
        sa.Column("leased_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        _moment_now("at"),
        sa.CheckConstraint("state IN ('pending', 'sending', 'sent', 'dead')", name=op.f("ticket_note_state_is_known")),
        sa.ForeignKeyConstraint(
            ["change_request_id"], ["change_request.id"], name=op.f("ticket_note_change_request_id_fk")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("ticket_note_pk")),
        sa.UniqueConstraint(
            "source", "ticket", "cause", "key", name=op.f("ticket_note_source_ticket_cause_key_unique")
        ),
    )
    open_notes = sa.text("state IN ('pending', 'sending')")
    op.create_index(
        "ticket_note_waiting", "ticket_note", ["outlet", "attempts", "not_before", "id"], postgresql_where=open_notes
    )
    op.create_index("ticket_note_change_request_id_index", "ticket_note", ["change_request_id"])
    for name, happens, condition, why in _GUARDS:
        when = f"WHEN ({condition}) " if condition else ""
        op.execute(
            f"CREATE TRIGGER {name} BEFORE {happens} ON ticket_note FOR EACH ROW {when}EXECUTE FUNCTION refuse('{why}')"
        )
    op.execute(
        "CREATE TRIGGER ticket_note_is_never_truncated BEFORE TRUNCATE ON ticket_note "
        "FOR EACH STATEMENT EXECUTE FUNCTION refuse('history is kept')"
    )
    op.add_column("notification", sa.Column("leased_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("effect", sa.Column("outlet", sa.Text(), nullable=True))
    # What is written and not told yet; what is done may not change, and needs no way out any more.
    op.execute(
        """
        UPDATE effect SET outlet = CASE channel WHEN 'ticket' THEN source ELSE channel END
        FROM notification JOIN change_request AS request ON request.id = notification.change_request_id
        WHERE notification.change_request_id = effect.change_request_id
            AND effect.kind = 'notify' AND effect.state <> 'done'
        """
    )
    op.create_index(
        "effect_waiting",
        "effect",
        ["outlet", "attempts", "not_before", "id"],
        postgresql_where=sa.text("state = 'pending' AND outlet IS NOT NULL"),
    )
    op.create_index("effect_dead", "effect", ["id"], postgresql_where=sa.text("state = 'dead'"))


def downgrade() -> None:
    op.drop_index("effect_dead", "effect")
    op.drop_index("effect_waiting", "effect")
    op.drop_column("effect", "outlet")
    op.drop_column("notification", "leased_at")
    op.drop_table("ticket_note")
    op.drop_table("destination")
