"""Partners of one's own: schedules, number policies, what partners answer; and which answers are on their way."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0003"
down_revision: str | None = "0002"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

# They grow with history, and history is kept.
_KEPT = {
    "partner_file": "what a partner sent was sent",
    "acknowledgement": "what a partner answered was answered",
}

_ANSWERS = (
    "clean_fence",
    "acknowledge_within",
    "answered_at",
    "answer_reasons",
    "delivered_late_at",
    "late_told_at",
    "number_is_free",
)
_ANSWERS_CHECKED = (
    "answered_has_its_time",
    "number_is_free_when_released",
    "delivered_late_when_released",
    "clean_fence_is_no_future_one",
)

_STATES = "state IN ('claimed', 'sent', 'acknowledged', 'rejected', 'released')"
_SENT = "(state IN ('sent', 'acknowledged', 'rejected')) = (sent_at IS NOT NULL)"
_OLD_STATES = "state IN ('claimed', 'sent', 'released')"
_OLD_SENT = "(state = 'sent') = (sent_at IS NOT NULL)"

# What the partner answers comes after; that it was sent stays.
_IS_FINAL = (
    "OLD.state <> 'claimed' AND NEW.state <> OLD.state AND NOT (OLD.state IN ('sent', 'acknowledged', 'rejected')"
    " AND NEW.state IN ('sent', 'acknowledged', 'rejected'))"
)
_OLD_IS_FINAL = "OLD.state <> 'claimed' AND NEW.state <> OLD.state"


def _make_final(condition: str) -> None:
    op.execute("DROP TRIGGER interchange_outcome_is_final ON interchange")
    op.execute(
        f"CREATE TRIGGER interchange_outcome_is_final BEFORE UPDATE ON interchange FOR EACH ROW WHEN ({condition}) "
        "EXECUTE FUNCTION refuse('the outcome of an interchange is final')"
    )


def _check(name: str, condition: str) -> None:
    op.drop_constraint(op.f(name), "interchange")
    op.create_check_constraint(op.f(name), "interchange", condition)


def upgrade() -> None:
    op.add_column("partner", sa.Column("scheduled_until", sa.DateTime(timezone=True), nullable=True))
    op.add_column("partner", sa.Column("first_control_number", sa.BigInteger(), server_default="1", nullable=False))
    _add_validated_at()
    for column in (
        sa.Column("clean_fence", sa.Integer(), server_default="0", nullable=False),
        sa.Column("acknowledge_within", sa.Interval(), nullable=True),
        sa.Column("answered_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("answer_reasons", postgresql.ARRAY(sa.Text()), server_default="{}", nullable=False),
        sa.Column("delivered_late_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("late_told_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("number_is_free", sa.Boolean(), server_default="false", nullable=False),
    ):
        op.add_column("interchange", column)
    _make_final(_IS_FINAL)
    _check("interchange_state_is_known", _STATES)
    _check("interchange_sent_has_its_time", _SENT)
    for name, condition in (
        ("answered_has_its_time", "(state IN ('acknowledged', 'rejected')) = (answered_at IS NOT NULL)"),
        ("number_is_free_when_released", "state = 'released' OR NOT number_is_free"),
        ("delivered_late_when_released", "state = 'released' OR delivered_late_at IS NULL"),
        ("clean_fence_is_no_future_one", "clean_fence <= fence"),
    ):
        op.create_check_constraint(op.f(f"interchange_{name}"), "interchange", condition)
    op.drop_constraint(op.f("interchange_partner_control_number_unique"), "interchange")
    op.create_index(
        "interchange_partner_control_number_unique",
        "interchange",
        ["partner", "control_number"],
        unique=True,
        postgresql_where=sa.text("NOT number_is_free"),
    )
    _create_acknowledgements()
    op.create_index(
        "notification_sending", "notification", ["change_request_id"], postgresql_where=sa.text("state = 'sending'")
    )


def _add_validated_at() -> None:
    op.add_column("orders", sa.Column("validated_at", sa.DateTime(timezone=True), nullable=True))
    # The changelog knows: an order was loaded as validated, or became so.
    op.execute(
        """
        UPDATE orders SET validated_at = (
            SELECT max(at) FROM changelog WHERE order_id = orders.id
                AND (action = 'validated' OR (action = 'loaded' AND after ->> 'status' = 'validated')))
        """
    )
    op.create_check_constraint(
        op.f("orders_validated_has_its_time"),
        "orders",
        "(status IN ('validated', 'cancelled')) = (validated_at IS NOT NULL)",
    )


def _create_acknowledgements() -> None:
    op.create_table(
        "partner_file",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("partner", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("statement_timestamp()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("partner_file_pk")),
        sa.UniqueConstraint("partner", "name", "sha256", name=op.f("partner_file_partner_name_sha256_unique")),
    )
    op.create_table(
        "acknowledgement",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("partner_file_id", sa.BigInteger(), nullable=False),
        sa.Column("place", sa.Integer(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("reference", sa.Text(), nullable=False),
        sa.Column("control_number", sa.BigInteger(), nullable=False),
        sa.Column("verdict", sa.Text(), nullable=False),
        sa.Column("reasons", postgresql.ARRAY(sa.Text()), server_default="{}", nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("interchange_id", sa.BigInteger(), nullable=True),
        sa.CheckConstraint(
            "verdict IN ('acknowledged', 'rejected', 'duplicate')", name=op.f("acknowledgement_verdict_is_known")
        ),
        sa.CheckConstraint(
            "state IN ('matched', 'repeated', 'unmatched')", name=op.f("acknowledgement_state_is_known")
        ),
        sa.CheckConstraint(
            "(state = 'unmatched') = (interchange_id IS NULL)",
            name=op.f("acknowledgement_matched_has_its_interchange"),
        ),
        sa.ForeignKeyConstraint(
            ["partner_file_id"], ["partner_file.id"], name=op.f("acknowledgement_partner_file_id_fk")
        ),
        sa.ForeignKeyConstraint(["interchange_id"], ["interchange.id"], name=op.f("acknowledgement_interchange_id_fk")),
        sa.PrimaryKeyConstraint("id", name=op.f("acknowledgement_pk")),
        sa.UniqueConstraint("partner_file_id", "place", name=op.f("acknowledgement_partner_file_id_place_unique")),
    )
    op.create_index(op.f("acknowledgement_interchange_id_index"), "acknowledgement", ["interchange_id"], unique=False)
    for table, why in _KEPT.items():
        op.execute(
            f"CREATE TRIGGER {table}_is_append_only BEFORE UPDATE OR DELETE ON {table} FOR EACH ROW "
            f"EXECUTE FUNCTION refuse('{why}')"
        )
        op.execute(
            f"CREATE TRIGGER {table}_is_never_truncated BEFORE TRUNCATE ON {table} FOR EACH STATEMENT "
            "EXECUTE FUNCTION refuse('history is kept')"
        )


def downgrade() -> None:
    op.drop_index("notification_sending", "notification")
    op.drop_table("acknowledgement")
    op.drop_table("partner_file")
    op.execute("ALTER TABLE interchange DISABLE TRIGGER USER")
    op.execute("UPDATE interchange SET state = 'sent', answered_at = NULL WHERE state IN ('acknowledged', 'rejected')")
    op.execute("ALTER TABLE interchange ENABLE TRIGGER USER")
    op.drop_index("interchange_partner_control_number_unique", "interchange")
    op.create_unique_constraint(
        op.f("interchange_partner_control_number_unique"), "interchange", ["partner", "control_number"]
    )
    for name in _ANSWERS_CHECKED:
        op.drop_constraint(op.f(f"interchange_{name}"), "interchange")
    _make_final(_OLD_IS_FINAL)
    _check("interchange_state_is_known", _OLD_STATES)
    _check("interchange_sent_has_its_time", _OLD_SENT)
    for column in _ANSWERS:
        op.drop_column("interchange", column)
    op.drop_constraint(op.f("orders_validated_has_its_time"), "orders")
    op.drop_column("orders", "validated_at")
    op.drop_column("partner", "first_control_number")
    op.drop_column("partner", "scheduled_until")
