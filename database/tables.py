"""The tables. PostgreSQL is the truth: what must never happen is forbidden here, not only avoided elsewhere.

Triggers (append-only changelog, frozen interchanges) are in the migrations: they are not part of the metadata.
"""

from enum import StrEnum
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ColumnElement,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    Integer,
    Interval,
    LargeBinary,
    MetaData,
    Numeric,
    Table,
    Text,
    UniqueConstraint,
    event,
    func,
    literal,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from database.order_numbers import ORDER_KEY
from rules.model import Edi, Effect, Kind, Outcome, Status

metadata = MetaData(
    naming_convention={
        "pk": "%(table_name)s_pk",
        "uq": "%(table_name)s_%(column_0_N_name)s_unique",
        "ck": "%(table_name)s_%(constraint_name)s",
        "fk": "%(table_name)s_%(column_0_name)s_fk",
        "ix": "%(table_name)s_%(column_0_N_name)s_index",
    }
)
# Indexes are made of it.
event.listen(metadata, "before_create", lambda _, connection, **__: connection.execute(text(ORDER_KEY)))


class RequestState(StrEnum):
    """A request is `received` until it is decided or set aside."""

    RECEIVED = "received"
    DECIDED = "decided"
    PARKED = "parked"


class EffectState(StrEnum):
    """An effect is `pending` until it is done; `dead` means its attempts are used up."""

    PENDING = "pending"
    DONE = "done"
    DEAD = "dead"


class NotificationState(StrEnum):
    """A notification is `sending` while an attempt may have delivered it and nobody knows."""

    PENDING = "pending"
    SENDING = "sending"
    SENT = "sent"


class NoteState(StrEnum):
    """A note on a ticket is `sending` as a notification is, and `dead` as an effect is."""

    PENDING = "pending"
    SENDING = "sending"
    SENT = "sent"
    DEAD = "dead"


class InterchangeState(StrEnum):
    """An interchange is `claimed` until its outcome is known; one that was sent is perhaps answered by the partner."""

    CLAIMED = "claimed"
    SENT = "sent"
    ACKNOWLEDGED = "acknowledged"
    REJECTED = "rejected"
    RELEASED = "released"


class Verdict(StrEnum):
    """What has become of one delivery of an interchange.

    `acknowledged`: the partner has it. CONTRL 8 and TA1 judge the envelope alone, so a rejection may still follow.
    `rejected`: they refuse it or a part of it; the reasons say which.
    `duplicate`: they refuse this copy, as they have had that number before; "the earlier transmission may have been
    rejected" (code list 0085, 26), so this proves that it came, and changes nothing about what they said to the first.
    """

    ACKNOWLEDGED = "acknowledged"
    REJECTED = "rejected"
    DUPLICATE = "duplicate"


class AcknowledgementState(StrEnum):
    """What an acknowledgement was to us: news of an interchange, said before, or of none that we sent."""

    MATCHED = "matched"
    REPEATED = "repeated"
    UNMATCHED = "unmatched"


class DeadLetterState(StrEnum):
    """A dead letter stays `new` until it is put back on the broker."""

    NEW = "new"
    REQUEUED = "requeued"


def constant(word: StrEnum) -> ColumnElement[Any]:
    """Returns a word as part of a statement's text.

    As a parameter it would be unknown to a plan that serves all values, and no partial index serves such a plan.
    """
    return literal(word, Text, literal_execute=True)


def _one_of(column: str, values: type[StrEnum], *without: StrEnum) -> CheckConstraint:
    allowed = ", ".join(f"'{value}'" for value in values if value not in without)
    return CheckConstraint(f"{column} IN ({allowed})", name=f"{column}_is_known")


def _moment(name: str, *, nullable: bool = True) -> Column[object]:
    return Column(name, DateTime(timezone=True), nullable=nullable)


def _moment_now(name: str) -> Column[object]:
    # The statement's time, not the transaction's: it was sent after the locks were had, and times of one order must
    # follow the order of its locks.
    return Column(name, DateTime(timezone=True), nullable=False, server_default=func.statement_timestamp())


partner = Table(
    "partner",
    metadata,
    Column("name", Text, primary_key=True),
    # A counter row and not a SEQUENCE: a sequence leaves a gap for every rollback.
    Column("last_control_number", BigInteger, nullable=False, server_default="0"),
    Column("first_control_number", BigInteger, nullable=False, server_default="1"),
    Column("failures", Integer, nullable=False, server_default="0"),
    _moment("not_before"),
    # Up to when its schedule has been kept; NULL before its first cut-off.
    _moment("scheduled_until"),
    Column("error", Text),
    # Since the first of the failures in a row.
    _moment("failing_since"),
    # When its inbox was last begun to be read, and until when nobody else reads any.
    _moment("inbox_read_at"),
    _moment("inbox_lease_until"),
    # After readings that failed, its inbox backs off.
    Column("inbox_failures", Integer, nullable=False, server_default="0"),
    _moment("inbox_not_before"),
    Column("inbox_error", Text),
)

# What an operator did to a partner's counter, as after a restore: without it a gap would be a lost interchange.
renumbering = Table(
    "renumbering",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("partner", Text, ForeignKey("partner.name"), nullable=False),
    _moment_now("at"),
    # The last number that an interchange bore then; all that is skipped follows it.
    Column("last_used", BigInteger, nullable=False),
    # Which number would have come next, and which does now.
    Column("next_before", BigInteger, nullable=False),
    Column("next_after", BigInteger, nullable=False),
    CheckConstraint("next_before > last_used AND next_after > last_used", name="is_of_unused_numbers"),
)

interchange = Table(
    "interchange",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("partner", Text, ForeignKey("partner.name"), nullable=False),
    Column("control_number", BigInteger, nullable=False),
    Column("filename", Text, nullable=False),
    Column("content", LargeBinary, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("orders", Integer, nullable=False),
    Column("state", Text, nullable=False, server_default=InterchangeState.CLAIMED),
    # The sender holds the lease; each new holder raises the fence, so that a late one cannot confirm.
    Column("fence", Integer, nullable=False, server_default="1"),
    _moment("lease_until", nullable=False),
    # Every attempt up to this fence is known to have delivered nothing.
    Column("clean_fence", Integer, nullable=False, server_default="0"),
    _moment_now("claimed_at"),
    # Requests accepted before this had used up their patience when the interchange was claimed.
    _moment("patience_since", nullable=False),
    _moment("sent_at"),
    _moment("released_at"),
    # By what the partner is to acknowledge it, counted from `sent_at`; NULL: it need not.
    Column("acknowledge_within", Interval),
    _moment("answered_at"),
    # What the partner gave as its reasons.
    Column("answer_reasons", ARRAY(Text), nullable=False, server_default="{}"),
    # When it turned out that a sender which had stalled delivered it after its release.
    _moment("delivered_late_at"),
    # When the log said that its acknowledgement is late.
    _moment("late_told_at"),
    # Released, and its number taken back: the next interchange bears it.
    Column("number_is_free", Boolean, nullable=False, server_default="false"),
    Column("error", Text),
    Index(
        "interchange_partner_control_number_unique",
        "partner",
        "control_number",
        unique=True,
        postgresql_where=text("NOT number_is_free"),
    ),
    _one_of("state", InterchangeState),
    CheckConstraint(
        "(state IN ('sent', 'acknowledged', 'rejected')) = (sent_at IS NOT NULL)", name="sent_has_its_time"
    ),
    CheckConstraint(
        "(state IN ('acknowledged', 'rejected')) = (answered_at IS NOT NULL)", name="answered_has_its_time"
    ),
    CheckConstraint("(state = 'released') = (released_at IS NOT NULL)", name="released_has_its_time"),
    CheckConstraint("state = 'released' OR NOT number_is_free", name="number_is_free_when_released"),
    CheckConstraint("state = 'released' OR delivered_late_at IS NULL", name="delivered_late_when_released"),
    CheckConstraint("clean_fence <= fence", name="clean_fence_is_no_future_one"),
    # Two interchanges in flight to one partner could arrive out of sequence.
    Index("interchange_one_in_flight", "partner", unique=True, postgresql_where=text("state = 'claimed'")),
)

# What a partner has put into our inbox, as it was; `error` says why it is none of the acknowledgements that we read.
partner_file = Table(
    "partner_file",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("partner", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("content", LargeBinary, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("error", Text),
    _moment_now("at"),
    # Read again after a crash, it is the same file.
    UniqueConstraint("partner", "name", "sha256"),
)

acknowledgement = Table(
    "acknowledgement",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("partner_file_id", BigInteger, ForeignKey("partner_file.id"), nullable=False),
    # The place within its file.
    Column("place", Integer, nullable=False),
    Column("kind", Text, nullable=False),
    # The partner's own control number of what it sent.
    Column("reference", Text, nullable=False),
    # The number that it answers.
    Column("control_number", BigInteger, nullable=False),
    Column("verdict", Text, nullable=False),
    Column("reasons", ARRAY(Text), nullable=False, server_default="{}"),
    Column("state", Text, nullable=False),
    Column("interchange_id", BigInteger, ForeignKey("interchange.id"), index=True),
    UniqueConstraint("partner_file_id", "place"),
    _one_of("verdict", Verdict),
    _one_of("state", AcknowledgementState),
    CheckConstraint("(state = 'unmatched') = (interchange_id IS NULL)", name="matched_has_its_interchange"),
)

orders = Table(
    "orders",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("number", Text, nullable=False, unique=True),
    Column("status", Text, nullable=False),
    Column("edi_state", Text, nullable=False, server_default=Edi.NOT_SENT),
    Column("version", Integer, nullable=False, server_default="1"),
    _moment("placed_at", nullable=False),
    Column("currency", Text, nullable=False),
    Column("warehouse", Text, nullable=False),
    _moment("hold_until"),
    # When the store charged it: from then on a partner's grace is counted.
    _moment("validated_at"),
    Column("customer", JSONB, nullable=False),
    Column("shipping", JSONB, nullable=False),
    Column("billing", JSONB, nullable=False),
    # When the customer asked for the address in force; NULL while it is the one the order came with.
    _moment("shipping_asked_at"),
    _moment("billing_asked_at"),
    Column("interchange_id", BigInteger, ForeignKey("interchange.id")),
    # Why no document can be made of the order; such an order is held back until it changes.
    Column("export_error", Text),
    _one_of("status", Status),
    _one_of("edi_state", Edi),
    CheckConstraint("status NOT IN ('abandoned', 'cancelled') OR edi_state = 'not_sent'", name="closed_is_not_sent"),
    CheckConstraint("status <> 'pre_order' OR edi_state = 'not_sent'", name="pre_order_is_not_sent"),
    CheckConstraint(
        "(status IN ('validated', 'cancelled')) = (validated_at IS NOT NULL)", name="validated_has_its_time"
    ),
    CheckConstraint("(edi_state = 'not_sent') = (interchange_id IS NULL)", name="sent_by_an_interchange"),
    # What the exporter looks for; without it every export would read all orders ever sent.
    Index(
        "orders_exportable",
        "id",
        postgresql_where=text("status = 'validated' AND edi_state = 'not_sent' AND export_error IS NULL"),
    ),
    # An order by its number as people write it.
    Index("orders_key", text("order_key(number)")),
    # The orders of one interchange, for confirming and for releasing.
    Index("orders_interchange_id_index", "interchange_id", postgresql_where=text("interchange_id IS NOT NULL")),
    # Every order changes. On its own page that is one page to read and write instead of two, and less for the log.
    postgresql_with={"fillfactor": 85},
)

order_line = Table(
    "order_line",
    metadata,
    Column("order_id", BigInteger, ForeignKey("orders.id"), primary_key=True),
    # Lines are told apart by their place: real orders carry the same sku on several lines.
    Column("line_no", Integer, primary_key=True),
    Column("sku", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("quantity", Integer, nullable=False),
    Column("unit_price", Numeric, nullable=False),
    CheckConstraint("quantity > 0", name="quantity_is_positive"),
    CheckConstraint("unit_price >= 0", name="price_is_not_negative"),
)

change_request = Table(
    "change_request",
    metadata,
    # Handed out while the order's number is locked: ids of one order follow the order of acceptance.
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("source", Text, nullable=False),
    Column("external_id", Text, nullable=False),
    # The order that is meant, or while nobody knows which, the number as it was written (`database.order_numbers`).
    # Not a foreign key: a ticket may arrive before its order.
    Column("order_number", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("ticket", Text),
    Column("body", LargeBinary, nullable=False),
    Column("data_sha256", Text, nullable=False),
    Column("state", Text, nullable=False, server_default=RequestState.RECEIVED),
    Column("outcome", Text),
    Column("reasons", ARRAY(Text), nullable=False, server_default="{}"),
    # What of an address the document for the order's warehouse could not say, as `rules.model.AddressFault`.
    Column("address_faults", JSONB),
    _moment_now("received_at"),
    # Equal to received_at, until a parked request is reprocessed.
    _moment_now("undecided_since"),
    _moment("decided_at"),
    _moment("parked_at"),
    # The place within the batch that was decided at that moment.
    Column("decided_place", Integer),
    Column("attempts", Integer, nullable=False, server_default="0"),
    _moment_now("not_before"),
    Column("error", Text),
    UniqueConstraint("source", "external_id"),
    _one_of("state", RequestState),
    _one_of("kind", Kind),
    _one_of("outcome", Outcome, Outcome.DEFERRED),
    CheckConstraint(
        "(state = 'decided') = (outcome IS NOT NULL AND decided_at IS NOT NULL AND decided_place IS NOT NULL)",
        name="decided_has_its_decision",
    ),
    CheckConstraint("(state = 'parked') = (parked_at IS NOT NULL)", name="parked_has_its_time"),
    CheckConstraint("state = 'received' OR cardinality(reasons) > 0", name="has_its_reasons"),
    CheckConstraint(
        "address_faults IS NULL OR (state = 'decided' AND 'invalid_address' = ANY (reasons))",
        name="faults_of_an_invalid_address",
    ),
    # The backlog in order of acceptance; decided requests would make it grow for ever.
    Index("change_request_undecided", "id", postgresql_where=text("state = 'received'")),
    # Whether an order has undecided requests: asked for every order that is exported.
    Index("change_request_undecided_order", "order_number", "id", postgresql_where=text("state = 'received'")),
    # What waits, under whatever spelling, for an order that is loaded.
    Index("change_request_unsettled_key", text("order_key(order_number)"), postgresql_where=text("state <> 'decided'")),
    # What is reprocessed slice by slice; without it each slice would read all requests ever decided.
    Index("change_request_parked", "order_number", "id", postgresql_where=text("state = 'parked'")),
)

changelog = Table(
    "changelog",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("order_id", BigInteger, ForeignKey("orders.id"), nullable=False, index=True),
    _moment_now("at"),
    Column("actor", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("change_request_id", BigInteger, ForeignKey("change_request.id")),
    Column("note", Text),
    Column("before", JSONB),
    Column("after", JSONB),
    # The same change cannot be logged, and so not be made, twice for one request.
    UniqueConstraint("change_request_id", "action"),
)

# An escalation keeps its order from export for a while, so that a colleague can decide first. Once an order and
# reason: nobody can hold an order for ever by asking again.
escalation_hold = Table(
    "escalation_hold",
    metadata,
    Column("order_id", BigInteger, ForeignKey("orders.id"), primary_key=True),
    Column("reason", Text, primary_key=True),
    Column("change_request_id", BigInteger, ForeignKey("change_request.id"), nullable=False),
    _moment_now("held_at"),
    # Only ever shortened, by an earlier answer to the question.
    _moment("held_until", nullable=False),
    CheckConstraint("held_until >= held_at", name="ends_after_it_began"),
)

effect = Table(
    "effect",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("change_request_id", BigInteger, ForeignKey("change_request.id"), nullable=False),
    Column("kind", Text, nullable=False),
    Column("payload", JSONB, nullable=False, server_default="{}"),
    Column("state", Text, nullable=False, server_default=EffectState.PENDING),
    Column("attempts", Integer, nullable=False, server_default="0"),
    _moment_now("not_before"),
    _moment("done_at"),
    Column("error", Text),
    # Of an answer: a desk by its source, or `mail`. NULL before the answer is written.
    Column("destination", Text),
    UniqueConstraint("change_request_id", "kind"),
    _one_of("kind", Effect),
    _one_of("state", EffectState),
    CheckConstraint("(state = 'done') = (done_at IS NOT NULL)", name="done_has_its_time"),
    # What the effect tasks look for.
    Index("effect_pending", "kind", "id", postgresql_where=text("state = 'pending'")),
    # What the answerer looks for, destination by destination.
    Index(
        "effect_waiting",
        "destination",
        "attempts",
        "not_before",
        "id",
        postgresql_where=text("state = 'pending' AND destination IS NOT NULL"),
    ),
    # A note to a colleague is written for each.
    Index("effect_dead", "id", postgresql_where=text("state = 'dead'")),
)

stock = Table(
    "stock",
    metadata,
    Column("sku", Text, primary_key=True),
    Column("quantity", BigInteger, nullable=False),
)

stock_movement = Table(
    "stock_movement",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("order_id", BigInteger, ForeignKey("orders.id"), nullable=False),
    Column("line_no", Integer, nullable=False),
    Column("cause", Text, nullable=False),
    Column("sku", Text, nullable=False),
    Column("quantity", Integer, nullable=False),
    Column("change_request_id", BigInteger, ForeignKey("change_request.id"), nullable=False),
    _moment_now("at"),
    # A line goes back to stock once for one cause.
    UniqueConstraint("order_id", "line_no", "cause"),
)

notification = Table(
    "notification",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    # A decision is answered once.
    Column("change_request_id", BigInteger, ForeignKey("change_request.id"), nullable=False, unique=True),
    Column("channel", Text, nullable=False),
    Column("visibility", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("state", Text, nullable=False),
    _moment_now("at"),
    # Each attempt raises it, so that a late one cannot settle what another has in hand.
    Column("fence", Integer, nullable=False, server_default="0"),
    # When the attempt began that is on its way.
    _moment("leased_at"),
    CheckConstraint("channel IN ('ticket', 'mail', 'log')", name="channel_is_known"),
    CheckConstraint("visibility IN ('public', 'internal')", name="visibility_is_known"),
    _one_of("state", NotificationState),
    # What every claim of an answer asks first; there are few.
    Index("notification_sending", "change_request_id", postgresql_where=text("state = 'sending'")),
)

# An internal note for colleagues on a ticket where nothing was decided, in an outbox of its own.
ticket_note = Table(
    "ticket_note",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    # NULL: of a form that is no request.
    Column("change_request_id", BigInteger, ForeignKey("change_request.id")),
    Column("source", Text, nullable=False),
    Column("ticket", Text, nullable=False),
    # Why it is written, and what distinguishes it from another with the same cause on the same ticket.
    Column("cause", Text, nullable=False),
    Column("key", Text, nullable=False),
    Column("destination", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("state", Text, nullable=False, server_default=NoteState.PENDING),
    Column("attempts", Integer, nullable=False, server_default="0"),
    _moment_now("not_before"),
    Column("fence", Integer, nullable=False, server_default="0"),
    # When the attempt began that is on its way.
    _moment("leased_at"),
    Column("error", Text),
    _moment_now("at"),
    # It is written once.
    UniqueConstraint("source", "ticket", "cause", "key"),
    _one_of("state", NoteState),
    Index(
        "ticket_note_waiting",
        "destination",
        "attempts",
        "not_before",
        "id",
        postgresql_where=text("state IN ('pending', 'sending')"),
    ),
    Index("ticket_note_change_request_id_index", "change_request_id"),
)

# Where answers and notes go, a desk by its source or `mail`. Its turn: a slow one delays no other. Its back-off: one
# that fails costs the others no time.
destination = Table(
    "destination",
    metadata,
    Column("name", Text, primary_key=True),
    # Of several with work the one with the earliest turn is next.
    _moment("turn_at", nullable=False),
    # How long the last attempt took; NULL before the first has ended.
    Column("took", Interval),
    # In a row; 0 if it works.
    Column("failures", Integer, nullable=False, server_default="0"),
    _moment("not_before"),
    Column("error", Text),
    CheckConstraint("(failures > 0) = (not_before IS NOT NULL AND error IS NOT NULL)", name="failures_have_a_reason"),
)

# A ticket whose form is to be read by its desk's API, since a webhook or a pull named it; one row a ticket.
ticket_to_read = Table(
    "ticket_to_read",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    # The desk, by the source of its requests.
    Column("source", Text, nullable=False),
    Column("ticket", Text, nullable=False),
    # How often it was named, and up to which of these it has been read: what comes during a reading is read again.
    Column("wanted", BigInteger, nullable=False, server_default="1"),
    Column("read", BigInteger, nullable=False, server_default="0"),
    # When it was first named of what is not read yet.
    _moment_now("noted_at"),
    Column("attempts", Integer, nullable=False, server_default="0"),
    _moment_now("not_before"),
    # Who reads holds the lease; each new holder raises the fence, so that a late one cannot settle.
    Column("fence", Integer, nullable=False, server_default="0"),
    _moment("lease_until"),
    Column("error", Text),
    UniqueConstraint("source", "ticket"),
    CheckConstraint('"read" <= wanted', name="read_is_what_was_wanted"),
    # What the readers look for.
    Index("ticket_to_read_unread", "attempts", "id", postgresql_where=text('"read" < wanted')),
)

# How far a desk's tickets have been listed by its API, and its back-off after calls that failed; one row a desk.
desk_progress = Table(
    "desk_progress",
    metadata,
    Column("source", Text, primary_key=True),
    # Up to when every change of a ticket has been noted.
    _moment("seen_until", nullable=False),
    # The listing that is on its way: from when, up to when, and where its next page begins (NULL: at the first).
    _moment("listing_since"),
    _moment("listing_until"),
    Column("cursor", Text),
    _moment("listed_at"),
    Column("fence", Integer, nullable=False, server_default="0"),
    _moment("lease_until"),
    Column("failures", Integer, nullable=False, server_default="0"),
    _moment("not_before"),
    Column("error", Text),
    CheckConstraint("(listing_since IS NULL) = (listing_until IS NULL)", name="listing_has_both_ends"),
)

dead_letter = Table(
    "dead_letter",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("origin", Text, nullable=False),
    # The broker's own id of the message, where it has one: a redelivery is not a second dead letter.
    Column("position", Text),
    Column("raw", LargeBinary, nullable=False),
    Column("reason", Text, nullable=False),
    Column("error", Text, nullable=False),
    Column("state", Text, nullable=False, server_default=DeadLetterState.NEW),
    _moment_now("at"),
    # What is put back on the broker in its place.
    Column("repaired", LargeBinary),
    UniqueConstraint("origin", "position"),
    _one_of("state", DeadLetterState),
)

# Which kinds of process get on: a queue of wake-ups that is worked off, the intake, beat.
progress = Table(
    "progress",
    metadata,
    Column("name", Text, primary_key=True),
    _moment_now("at"),
)
