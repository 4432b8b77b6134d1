"""The tables, and the triggers that make history history."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0001"
down_revision: str | None = None
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


# What may never happen again once it has happened: trigger, table, event, condition ("" is: always), and why.
_GUARDS = (
    ("changelog_is_append_only", "changelog", "UPDATE OR DELETE", "", "the changelog is append-only"),
    ("order_line_is_fixed", "order_line", "UPDATE OR DELETE", "", "the lines of an order are fixed"),
    ("stock_movement_is_append_only", "stock_movement", "UPDATE OR DELETE", "", "the stock ledger is append-only"),
    ("change_request_is_kept", "change_request", "DELETE", "", "an accepted request is never lost"),
    (
        "change_request_is_decided_once",
        "change_request",
        "UPDATE",
        "OLD.state = 'decided'",
        "a request is decided once",
    ),
    (
        "change_request_says_what_it_said",
        "change_request",
        "UPDATE",
        "(OLD.source, OLD.external_id, OLD.order_number, OLD.kind, OLD.ticket, OLD.body, OLD.data_sha256,"
        " OLD.received_at) IS DISTINCT FROM (NEW.source, NEW.external_id, NEW.order_number, NEW.kind, NEW.ticket,"
        " NEW.body, NEW.data_sha256, NEW.received_at)",
        "a request stays as it was received",
    ),
    ("effect_is_done_once", "effect", "UPDATE", "OLD.state = 'done'", "an effect is done once"),
    ("order_is_kept", "orders", "DELETE", "", "an order is never deleted"),
    (
        "order_sent_is_final",
        "orders",
        "UPDATE",
        "OLD.edi_state = 'sent' AND NEW.edi_state <> 'sent'",
        "EDI SENT is final",
    ),
    (
        "order_closed_is_final",
        "orders",
        "UPDATE",
        "OLD.status IN ('abandoned', 'cancelled') AND NEW.status <> OLD.status",
        "a closed order stays closed",
    ),
    (
        "order_in_an_interchange_is_frozen",
        "orders",
        "UPDATE",
        "OLD.edi_state <> 'not_sent' AND (OLD.number, OLD.status, OLD.placed_at, OLD.currency, OLD.customer,"
        " OLD.shipping, OLD.billing) IS DISTINCT FROM (NEW.number, NEW.status, NEW.placed_at, NEW.currency,"
        " NEW.customer, NEW.shipping, NEW.billing)",
        "what an interchange carries does not change",
    ),
    (
        "order_stays_in_its_interchange",
        "orders",
        "UPDATE",
        "OLD.interchange_id <> NEW.interchange_id",
        "an order does not go from one interchange into another",
    ),
    ("effect_is_kept", "effect", "DELETE", "", "what a decision triggers is never forgotten"),
    ("notification_is_kept", "notification", "DELETE", "", "what was told was told"),
    ("interchange_is_kept", "interchange", "DELETE", "", "an interchange is never deleted"),
    (
        "interchange_says_what_it_said",
        "interchange",
        "UPDATE",
        "(OLD.partner, OLD.control_number, OLD.filename, OLD.content, OLD.sha256, OLD.orders, OLD.claimed_at,"
        " OLD.patience_since) IS DISTINCT FROM (NEW.partner, NEW.control_number, NEW.filename, NEW.content,"
        " NEW.sha256, NEW.orders, NEW.claimed_at, NEW.patience_since)",
        "an interchange is sent as it was claimed",
    ),
    (
        "interchange_outcome_is_final",
        "interchange",
        "UPDATE",
        "OLD.state <> 'claimed' AND NEW.state <> OLD.state",
        "the outcome of an interchange is final",
    ),
)
# Emptied as a whole, history would be gone without one row trigger firing.
_NEVER_TRUNCATED = (
    "changelog",
    "change_request",
    "effect",
    "interchange",
    "notification",
    "order_line",
    "orders",
    "stock_movement",
)


def _create_guards() -> None:
    op.execute(
        """
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            RAISE EXCEPTION '% on % refused: %', TG_OP, TG_TABLE_NAME, TG_ARGV[0] USING ERRCODE = 'restrict_violation';
        END $$
        """
    )
    for name, table, event, condition, why in _GUARDS:
        when = f"WHEN ({condition})" if condition else ""
        op.execute(
            f"CREATE TRIGGER {name} BEFORE {event} ON {table} FOR EACH ROW {when} EXECUTE FUNCTION refuse('{why}')"
        )
    for table in _NEVER_TRUNCATED:
        op.execute(
            f"CREATE TRIGGER {table}_is_never_truncated BEFORE TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION refuse('history is kept')"
        )


def upgrade() -> None:
    op.create_table(
        "change_request",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("external_id", sa.Text(), nullable=False),
        sa.Column("order_number", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("ticket", sa.Text(), nullable=True),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("data_sha256", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), server_default="received", nullable=False),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.Column("reasons", postgresql.ARRAY(sa.Text()), server_default="{}", nullable=False),
        sa.Column(
            "received_at", sa.DateTime(timezone=True), server_default=sa.text("statement_timestamp()"), nullable=False
        ),
        sa.Column(
            "undecided_since",
            sa.DateTime(timezone=True),
            server_default=sa.text("statement_timestamp()"),
            nullable=False,
        ),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("parked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("decided_place", sa.Integer(), nullable=True),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column(
            "not_before", sa.DateTime(timezone=True), server_default=sa.text("statement_timestamp()"), nullable=False
        ),
        sa.Column("error", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "(state = 'decided') = (outcome IS NOT NULL AND decided_at IS NOT NULL AND decided_place IS NOT NULL)",
            name=op.f("change_request_decided_has_its_decision"),
        ),
        sa.CheckConstraint(
            "kind IN ('cancel', 'change_address', 'change_items', 'change_payment', 'partial_cancel')",
            name=op.f("change_request_kind_is_known"),
        ),
        sa.CheckConstraint(
            "outcome IN ('applied', 'partly_applied', 'unchanged', 'refused', 'escalated')",
            name=op.f("change_request_outcome_is_known"),
        ),
        sa.CheckConstraint(
            "(state = 'parked') = (parked_at IS NOT NULL)", name=op.f("change_request_parked_has_its_time")
        ),
        sa.CheckConstraint(
            "state = 'received' OR cardinality(reasons) > 0", name=op.f("change_request_has_its_reasons")
        ),
        sa.CheckConstraint("state IN ('received', 'decided', 'parked')", name=op.f("change_request_state_is_known")),
        sa.PrimaryKeyConstraint("id", name=op.f("change_request_pk")),
        sa.UniqueConstraint("source", "external_id", name=op.f("change_request_source_external_id_unique")),
    )
    op.create_index(
        "change_request_undecided",
        "change_request",
        ["id"],
        unique=False,
        postgresql_where=sa.text("state = 'received'"),
    )
    op.create_index(
        "change_request_undecided_order",
        "change_request",
        ["order_number", "id"],
        unique=False,
        postgresql_where=sa.text("state = 'received'"),
    )
    op.create_table(
        "dead_letter",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("position", sa.Text(), nullable=True),
        sa.Column("raw", sa.LargeBinary(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), server_default="new", nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("statement_timestamp()"), nullable=False),
        sa.CheckConstraint("state IN ('new', 'requeued')", name=op.f("dead_letter_state_is_known")),
        sa.PrimaryKeyConstraint("id", name=op.f("dead_letter_pk")),
        sa.UniqueConstraint("origin", "position", name=op.f("dead_letter_origin_position_unique")),
    )
    op.create_table(
        "partner",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("last_control_number", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("failures", sa.Integer(), server_default="0", nullable=False),
        sa.Column("not_before", sa.DateTime(timezone=True), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("name", name=op.f("partner_pk")),
    )
    op.create_table(
        "stock",
        sa.Column("sku", sa.Text(), nullable=False),
        sa.Column("quantity", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("sku", name=op.f("stock_pk")),
    )
    op.create_table(
        "effect",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("change_request_id", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("payload", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False),
        sa.Column("state", sa.Text(), server_default="pending", nullable=False),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column(
            "not_before", sa.DateTime(timezone=True), server_default=sa.text("statement_timestamp()"), nullable=False
        ),
        sa.Column("done_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.CheckConstraint("(state = 'done') = (done_at IS NOT NULL)", name=op.f("effect_done_has_its_time")),
        sa.CheckConstraint("kind IN ('restock', 'notify')", name=op.f("effect_kind_is_known")),
        sa.CheckConstraint("state IN ('pending', 'done', 'dead')", name=op.f("effect_state_is_known")),
        sa.ForeignKeyConstraint(["change_request_id"], ["change_request.id"], name=op.f("effect_change_request_id_fk")),
        sa.PrimaryKeyConstraint("id", name=op.f("effect_pk")),
        sa.UniqueConstraint("change_request_id", "kind", name=op.f("effect_change_request_id_kind_unique")),
    )
    op.create_index(
        "effect_pending", "effect", ["kind", "id"], unique=False, postgresql_where=sa.text("state = 'pending'")
    )
    op.create_table(
        "interchange",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("partner", sa.Text(), nullable=False),
        sa.Column("control_number", sa.BigInteger(), nullable=False),
        sa.Column("filename", sa.Text(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("orders", sa.Integer(), nullable=False),
        sa.Column("state", sa.Text(), server_default="claimed", nullable=False),
        sa.Column("fence", sa.Integer(), server_default="1", nullable=False),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=False),
        sa.Column(
            "claimed_at", sa.DateTime(timezone=True), server_default=sa.text("statement_timestamp()"), nullable=False
        ),
        sa.Column("patience_since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("sent_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("released_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "(state = 'released') = (released_at IS NOT NULL)", name=op.f("interchange_released_has_its_time")
        ),
        sa.CheckConstraint("(state = 'sent') = (sent_at IS NOT NULL)", name=op.f("interchange_sent_has_its_time")),
        sa.CheckConstraint("state IN ('claimed', 'sent', 'released')", name=op.f("interchange_state_is_known")),
        sa.ForeignKeyConstraint(["partner"], ["partner.name"], name=op.f("interchange_partner_fk")),
        sa.PrimaryKeyConstraint("id", name=op.f("interchange_pk")),
        sa.UniqueConstraint("partner", "control_number", name=op.f("interchange_partner_control_number_unique")),
    )
    op.create_index(
        "interchange_one_in_flight",
        "interchange",
        ["partner"],
        unique=True,
        postgresql_where=sa.text("state = 'claimed'"),
    )
    op.create_table(
        "notification",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("change_request_id", sa.BigInteger(), nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("visibility", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("statement_timestamp()"), nullable=False),
        sa.CheckConstraint("visibility IN ('public', 'internal')", name=op.f("notification_visibility_is_known")),
        sa.ForeignKeyConstraint(
            ["change_request_id"], ["change_request.id"], name=op.f("notification_change_request_id_fk")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("notification_pk")),
        sa.UniqueConstraint("change_request_id", name=op.f("notification_change_request_id_unique")),
    )
    op.create_table(
        "orders",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("number", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("edi_state", sa.Text(), server_default="not_sent", nullable=False),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.Column("placed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("warehouse", sa.Text(), nullable=False),
        sa.Column("hold_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("customer", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("shipping", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("billing", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("shipping_asked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("billing_asked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("interchange_id", sa.BigInteger(), nullable=True),
        sa.Column("export_error", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "(edi_state = 'not_sent') = (interchange_id IS NULL)", name=op.f("orders_sent_by_an_interchange")
        ),
        sa.CheckConstraint("edi_state IN ('not_sent', 'claimed', 'sent')", name=op.f("orders_edi_state_is_known")),
        sa.CheckConstraint(
            "status <> 'pre_order' OR edi_state = 'not_sent'", name=op.f("orders_pre_order_is_not_sent")
        ),
        sa.CheckConstraint(
            "status IN ('pre_order', 'validated', 'abandoned', 'cancelled')", name=op.f("orders_status_is_known")
        ),
        sa.CheckConstraint(
            "status NOT IN ('abandoned', 'cancelled') OR edi_state = 'not_sent'", name=op.f("orders_closed_is_not_sent")
        ),
        sa.ForeignKeyConstraint(["interchange_id"], ["interchange.id"], name=op.f("orders_interchange_id_fk")),
        sa.PrimaryKeyConstraint("id", name=op.f("orders_pk")),
        sa.UniqueConstraint("number", name=op.f("orders_number_unique")),
    )
    op.create_index(
        "orders_exportable",
        "orders",
        ["id"],
        unique=False,
        postgresql_where=sa.text("status = 'validated' AND edi_state = 'not_sent' AND export_error IS NULL"),
    )
    op.create_index(
        "orders_interchange_id_index",
        "orders",
        ["interchange_id"],
        unique=False,
        postgresql_where=sa.text("interchange_id IS NOT NULL"),
    )
    op.create_table(
        "changelog",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("order_id", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("statement_timestamp()"), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("change_request_id", sa.BigInteger(), nullable=True),
        sa.Column("note", sa.Text(), nullable=True),
        sa.Column("before", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("after", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.ForeignKeyConstraint(
            ["change_request_id"], ["change_request.id"], name=op.f("changelog_change_request_id_fk")
        ),
        sa.ForeignKeyConstraint(["order_id"], ["orders.id"], name=op.f("changelog_order_id_fk")),
        sa.PrimaryKeyConstraint("id", name=op.f("changelog_pk")),
        sa.UniqueConstraint("change_request_id", "action", name=op.f("changelog_change_request_id_action_unique")),
    )
    op.create_index(op.f("changelog_order_id_index"), "changelog", ["order_id"], unique=False)
    op.create_table(
        "order_line",
        sa.Column("order_id", sa.BigInteger(), nullable=False),
        sa.Column("line_no", sa.Integer(), nullable=False),
        sa.Column("sku", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("quantity", sa.Integer(), nullable=False),
        sa.Column("unit_price", sa.Numeric(), nullable=False),
        sa.CheckConstraint("quantity > 0", name=op.f("order_line_quantity_is_positive")),
        sa.CheckConstraint("unit_price >= 0", name=op.f("order_line_price_is_not_negative")),
        sa.ForeignKeyConstraint(["order_id"], ["orders.id"], name=op.f("order_line_order_id_fk")),
        sa.PrimaryKeyConstraint("order_id", "line_no", name=op.f("order_line_pk")),
    )
    op.create_table(
        "stock_movement",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("order_id", sa.BigInteger(), nullable=False),
        sa.Column("line_no", sa.Integer(), nullable=False),
        sa.Column("cause", sa.Text(), nullable=False),
        sa.Column("sku", sa.Text(), nullable=False),
        sa.Column("quantity", sa.Integer(), nullable=False),
        sa.Column("change_request_id", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("statement_timestamp()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["change_request_id"], ["change_request.id"], name=op.f("stock_movement_change_request_id_fk")
        ),
        sa.ForeignKeyConstraint(["order_id"], ["orders.id"], name=op.f("stock_movement_order_id_fk")),
        sa.PrimaryKeyConstraint("id", name=op.f("stock_movement_pk")),
        sa.UniqueConstraint("order_id", "line_no", "cause", name=op.f("stock_movement_order_id_line_no_cause_unique")),
    )
    _create_guards()


def downgrade() -> None:
    for table in (
        "stock_movement",
        "order_line",
        "changelog",
        "orders",
        "notification",
        "interchange",
        "effect",
        "stock",
        "partner",
        "dead_letter",
        "change_request",
    ):
        op.drop_table(table)
    op.execute("DROP FUNCTION refuse()")
