"""The schema: migrations and models agree, and what must never happen is refused by the database itself."""

import re
import shutil
from collections.abc import Sequence, Set
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg.errors
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError

from configuration import ConfigurationError
from database.migrate import _MIGRATIONS as MIGRATIONS
from database.migrate import alembic_config, current_revision, draft, migrate, newest_revision
from database.order_numbers import ORDER_KEY
from database.revisions import VERSIONS
from database.tables import (
    AcknowledgementState,
    DeadLetterState,
    EffectState,
    InterchangeState,
    NoteState,
    NotificationState,
    RequestState,
    Verdict,
    metadata,
)
from database.transactions import in_transaction
from desks.notices import Visibility
from edi.interchanges import claim
from edi.outcomes import confirm, release
from orders.request_retries import park_unknown_orders
from rules.model import Edi, Effect, Kind, Outcome, Status
from tasks.partners import partners
from tests.builders import a_request, an_order, decide_all, deliver, load, order, rows, settle

pytestmark = pytest.mark.usefixtures("system")

PATIENCE = timedelta(minutes=15)


# Models and migrations


def test_the_key_of_a_number_is_the_same_function_in_the_models_and_the_migrations() -> None:
    [body] = rows("SELECT prosrc FROM pg_proc WHERE proname = 'order_key'")
    assert body.prosrc == ORDER_KEY.split("$$")[1]


def differences(connection: Connection) -> list[Any]:
    context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
    found: list[Any] = compare_metadata(context, metadata)
    return found


def test_autogenerate_finds_no_difference_between_models_and_migrations(engine: Engine) -> None:
    with engine.connect() as connection:
        assert differences(connection) == []


# Autogenerate compares neither the text of a CHECK nor the condition of an index.
_DEFINITIONS = """
    SELECT conrelid::regclass::text AS of, conname AS name, pg_get_constraintdef(pg_constraint.oid) AS definition
    FROM pg_constraint WHERE connamespace = current_schema()::regnamespace
    UNION ALL
    SELECT tablename, indexname, replace(indexdef, current_schema() || '.', '')
    FROM pg_indexes WHERE schemaname = current_schema()
"""


def definitions(connection: Connection) -> set[tuple[str, ...]]:
    return {tuple(row) for row in connection.execute(text(_DEFINITIONS)) if not row.of.endswith("alembic_version")}


def test_constraints_and_indexes_of_models_and_migrations_are_the_same_to_the_letter(engine: Engine) -> None:
    with engine.connect() as connection:
        migrated = definitions(connection)
        connection.execute(text("CREATE SCHEMA modelled"))
        connection.execute(text("SET LOCAL search_path TO modelled"))
        metadata.create_all(connection)
        assert definitions(connection) == migrated


def test_downgrading_to_nothing_leaves_nothing_and_upgrading_again_brings_everything_back(engine: Engine) -> None:
    with engine.begin() as connection:
        before = definitions(connection), triggers(connection)
        command.downgrade(alembic_config(connection), "base")
        left = connection.execute(
            text(
                "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace"
                " UNION ALL SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace"
            )
        )
        assert {name for name in left.scalars() if not name.startswith("alembic_version")} == set()
        assert current_revision(connection) is None
    with engine.begin() as connection:
        assert migrate(connection) == newest_revision(connection)
        assert (definitions(connection), triggers(connection)) == before
        assert differences(connection) == []


def test_migrating_twice_is_harmless(engine: Engine) -> None:
    load(an_order())
    with engine.begin() as connection:
        assert migrate(connection) == migrate(connection) == newest_revision(connection)
    assert rows("SELECT number FROM orders") == [("1001",)]


# Words of the program, words of the database

_WORDS: dict[str, Set[str]] = {
    "orders_status_is_known": set(Status),
    "orders_edi_state_is_known": set(Edi),
    "interchange_state_is_known": set(InterchangeState),
    "acknowledgement_state_is_known": set(AcknowledgementState),
    "acknowledgement_verdict_is_known": set(Verdict),
    "change_request_state_is_known": set(RequestState),
    "change_request_kind_is_known": set(Kind),
    "change_request_outcome_is_known": set(Outcome) - {Outcome.DEFERRED},
    "effect_kind_is_known": set(Effect),
    "effect_state_is_known": set(EffectState),
    "notification_channel_is_known": {"ticket", "mail", "log"},
    "notification_state_is_known": set(NotificationState),
    "ticket_note_state_is_known": set(NoteState),
    "notification_visibility_is_known": set(Visibility),
    "dead_letter_state_is_known": set(DeadLetterState),
}


def test_the_database_knows_the_same_words_as_the_program() -> None:
    checks = rows(
        "SELECT conname, pg_get_constraintdef(oid) AS definition FROM pg_constraint"
        " WHERE contype = 'c' AND conname LIKE '%is_known'"
    )
    allowed = {check.conname: set(re.findall(r"'(\w+)'::text", check.definition)) for check in checks}
    assert allowed == _WORDS


def test_a_request_is_undecided_since_it_was_received_to_the_microsecond() -> None:
    deliver(*(a_request(str(number)) for number in range(300)))
    assert rows("SELECT id FROM change_request WHERE undecided_since <> received_at") == []


# What is refused


def make_history() -> None:
    """Commits orders, requests and interchanges of every state; each order is named for what it is."""
    warehouse = partners()[0]

    def claimed(partner_name: str) -> Any:
        partner = replace(warehouse, name=partner_name)
        found = in_transaction(lambda connection: claim(connection, partner, patience=PATIENCE)).interchange
        assert found is not None
        return found

    load(an_order("sent"))
    sent = claimed("WAREHOUSE")
    in_transaction(lambda connection: confirm(connection, sent))
    load(an_order("open"))
    released = claimed("AWAY")
    in_transaction(lambda connection: release(connection, released, "the folder is gone"))
    deliver(a_request("open", id="open"))
    load(an_order("claimed"))
    claimed("WAREHOUSE")
    rows(
        "WITH file AS (INSERT INTO partner_file (partner, name, content, sha256)"
        " VALUES ('WAREHOUSE', 'contrl.edi', 'UNB', 'a hash') RETURNING id)"
        " INSERT INTO acknowledgement (partner_file_id, place, kind, reference, control_number, verdict, state,"
        " interchange_id) SELECT id, 1, 'CONTRL', '1', 1, 'acknowledged', 'matched', 1 FROM file RETURNING id"
    )
    load(an_order("abandoned", status="pre_order"), an_order("pre_order", status="pre_order"), an_order("cancelled"))
    deliver(a_request("abandoned", id="abandon"), a_request("cancelled", id="cancel"), a_request("unknown", id="lost"))
    rows("INSERT INTO renumbering (partner, last_used, next_before, next_after) VALUES ('AWAY', 1, 2, 9) RETURNING id")
    rows("UPDATE change_request SET not_before = now() + interval '1 day' WHERE external_id = 'open' RETURNING id")
    settle()
    in_transaction(lambda connection: park_unknown_orders(connection, patience=timedelta(0), limit=9))
    load(an_order("pending"))
    deliver(a_request("pending", id="pending"))
    decide_all()
    rows(
        "INSERT INTO notification (change_request_id, channel, visibility, subject, body, state)"
        " SELECT id, 'ticket', 'public', '', '', 'pending' FROM change_request WHERE external_id = 'pending'"
        " RETURNING id"
    )
    rows(_A_NOTE.format("1", "'open', 'pending'") + " RETURNING id")
    rows(_A_NOTE.format("NULL", "'told', 'sent'") + " RETURNING id")
    rows(
        "INSERT INTO escalation_hold (order_id, reason, change_request_id, held_until)"
        " VALUES (1, 'partial_cancellation', 1, now() + interval '4 hours') RETURNING order_id"
    )


def attempt(engine: Engine, statement: str) -> DBAPIError:
    """Returns the error that a statement ends in."""
    try:
        with engine.begin() as connection:
            connection.exec_driver_sql(statement)
    except DBAPIError as refused:
        return refused
    pytest.fail(f"not refused: {statement}")


def triggers(connection: Connection) -> dict[str, tuple[str, str]]:
    """Returns every trigger of ours with its table and what it says."""
    found = connection.execute(
        text(
            "SELECT tgname, tgrelid::regclass::text AS of, encode(tgargs, 'escape') AS why"
            " FROM pg_trigger WHERE NOT tgisinternal"
        )
    )
    return {row.tgname: (row.of, row.why.removesuffix("\\000")) for row in found}


def _each(template: str, *values: str) -> list[str]:
    return [template.format(value) for value in values]


_A_NOTE = (
    "INSERT INTO ticket_note (change_request_id, source, ticket, cause, destination, subject, body, key, state)"
    " VALUES ({}, 'zendesk:acme', '1', 'unknown_order', 'zendesk:acme', '', '', {})"
)

_GUARDED: dict[str, Sequence[str]] = {
    "changelog_is_append_only": ["UPDATE changelog SET note = 'no'", "DELETE FROM changelog"],
    "order_line_is_fixed": ["UPDATE order_line SET quantity = 99", "DELETE FROM order_line"],
    "stock_movement_is_append_only": ["UPDATE stock_movement SET quantity = 99", "DELETE FROM stock_movement"],
    "change_request_is_kept": _each("DELETE FROM change_request WHERE state = '{}'", "received", "decided", "parked"),
    "change_request_is_decided_once": _each(
        "UPDATE change_request SET {} WHERE external_id = 'cancel'",
        "outcome = 'refused'",
        "reasons = '{note_required}'",
        "decided_at = now()",
        "state = 'received', outcome = NULL",
        "state = 'parked', outcome = NULL, parked_at = now()",
        "state = 'decided'",
    ),
    "change_request_says_what_it_said": _each(
        "UPDATE change_request SET {} WHERE external_id = 'open'",
        "source = 'other'",
        "external_id = 'other'",
        "order_number = 'sent'",
        "kind = 'change_items'",
        "ticket = 'other'",
        "data_sha256 = 'other'",
        "body = 'other'",
        "received_at = now() + interval '1 day'",
    ),
    "effect_is_done_once": _each(
        "UPDATE effect SET {} WHERE state = 'done'",
        "state = 'pending', done_at = NULL",
        "state = 'dead', done_at = NULL",
        "done_at = now()",
        "kind = 'notify'",
        "change_request_id = 1",
    ),
    "order_is_kept": _each(
        "DELETE FROM orders WHERE number = '{}'", "open", "pre_order", "abandoned", "cancelled", "claimed", "sent"
    ),
    "order_sent_is_final": _each(
        "UPDATE orders SET {} WHERE number = 'sent'",
        "edi_state = 'not_sent', interchange_id = NULL",
        "edi_state = 'claimed'",
    ),
    "order_closed_is_final": [
        "UPDATE orders SET status = 'validated' WHERE number = 'cancelled'",
        "UPDATE orders SET status = 'abandoned' WHERE number = 'cancelled'",
        "UPDATE orders SET status = 'pre_order' WHERE number = 'abandoned'",
        "UPDATE orders SET status = 'validated', edi_state = 'claimed', interchange_id = 1 WHERE number = 'cancelled'",
    ],
    "order_in_an_interchange_is_frozen": [
        f"UPDATE orders SET {change} WHERE number = '{number}'"
        for number in ("claimed", "sent")
        for change in (
            "number = 'other'",
            "status = 'cancelled'",
            "status = 'abandoned'",
            "placed_at = now()",
            "currency = 'USD'",
            "customer = '{}'",
            "shipping = '{}'",
            "billing = '{}'",
        )
    ]
    # Not in one step with its release either: that would be a change nobody can date.
    + [
        "UPDATE orders SET status = 'cancelled', edi_state = 'not_sent', interchange_id = NULL WHERE number = 'claimed'"
    ],
    "order_stays_in_its_interchange": [
        "UPDATE orders SET interchange_id = 2 WHERE number = 'sent'",
        "UPDATE orders SET interchange_id = 1 WHERE number = 'claimed'",
    ],
    "effect_is_kept": _each("DELETE FROM effect WHERE state = '{}'", "pending", "done"),
    "notification_is_kept": ["DELETE FROM notification"],
    "notification_says_what_it_said": _each(
        "UPDATE notification SET {} WHERE state = 'pending'",
        "change_request_id = 999",
        "channel = 'mail'",
        "visibility = 'internal'",
        "subject = 'other'",
        "body = 'other'",
    ),
    "notification_is_sent_once": _each(
        "UPDATE notification SET {} WHERE state = 'sent'", "state = 'pending'", "state = 'sending'", "fence = 9"
    ),
    "ticket_note_is_kept": ["DELETE FROM ticket_note"],
    "ticket_note_says_what_it_said": _each(
        "UPDATE ticket_note SET {} WHERE state = 'pending'",
        "change_request_id = NULL",
        "source = 'other'",
        "ticket = 'other'",
        "cause = 'other'",
        "key = 'other'",
        "destination = 'other'",
        "subject = 'other'",
        "body = 'other'",
    ),
    "ticket_note_is_sent_once": _each(
        "UPDATE ticket_note SET {} WHERE state = 'sent'", "state = 'pending'", "state = 'sending'", "fence = 9"
    ),
    "escalation_hold_is_only_shortened": _each(
        "UPDATE escalation_hold SET {}",
        "order_id = 2",
        "reason = 'other'",
        "change_request_id = 2",
        "held_at = now() - interval '1 day'",
        "held_until = held_until + interval '1 second'",
    ),
    "escalation_hold_is_kept": ["DELETE FROM escalation_hold"],
    "interchange_is_kept": _each("DELETE FROM interchange WHERE state = '{}'", "claimed", "sent", "released"),
    "interchange_says_what_it_said": [
        f"UPDATE interchange SET {change} WHERE state = '{state}'"
        for state in ("claimed", "sent", "released")
        for change in (
            "partner = 'OTHER'",
            "control_number = 99",
            "filename = 'other.edi'",
            "content = 'other'",
            "sha256 = 'other'",
            "orders = 99",
            "claimed_at = now()",
            "patience_since = now()",
        )
    ],
    "interchange_outcome_is_final": [
        "UPDATE interchange SET state = 'claimed', sent_at = NULL WHERE state = 'sent'",
        "UPDATE interchange SET state = 'released', sent_at = NULL, released_at = now() WHERE state = 'sent'",
        "UPDATE interchange SET state = 'claimed', released_at = NULL WHERE state = 'released'",
        "UPDATE interchange SET state = 'sent', released_at = NULL, sent_at = now() WHERE state = 'released'",
        "UPDATE interchange SET state = 'rejected', released_at = NULL, sent_at = now(), answered_at = now()"
        " WHERE state = 'released'",
    ],
    "partner_file_is_append_only": ["UPDATE partner_file SET content = 'other'", "DELETE FROM partner_file"],
    "acknowledgement_is_append_only": [
        "UPDATE acknowledgement SET verdict = 'rejected'",
        "DELETE FROM acknowledgement",
    ],
    "renumbering_is_append_only": ["UPDATE renumbering SET next_after = 3", "DELETE FROM renumbering"],
    # With CASCADE, or a foreign key would refuse before the trigger is asked.
    **{
        f"{table}_is_never_truncated": [f"TRUNCATE {table} CASCADE"]
        for table in (
            "changelog",
            "change_request",
            "effect",
            "escalation_hold",
            "interchange",
            "notification",
            "ticket_note",
            "order_line",
            "orders",
            "stock_movement",
            "partner_file",
            "acknowledgement",
            "renumbering",
        )
    },
}


def test_every_trigger_of_the_database_has_an_attempt_here(engine: Engine) -> None:
    with engine.connect() as connection:
        assert set(triggers(connection)) == set(_GUARDED)


def test_every_trigger_refuses_what_it_should(engine: Engine) -> None:
    make_history()
    with engine.connect() as connection:
        said = triggers(connection)
    for trigger, statements in _GUARDED.items():
        table, why = said[trigger]
        for statement in statements:
            refused = attempt(engine, statement)
            assert isinstance(refused.orig, psycopg.errors.RestrictViolation), f"{trigger}: {statement}: {refused}"
            operation = statement.split()[0]
            assert refused.orig.diag.message_primary == f"{operation} on {table} refused: {why}", statement


_A_LINE = "INSERT INTO order_line (order_id, line_no, sku, description, quantity, unit_price) "
_A_HOLD = "INSERT INTO escalation_hold (order_id, reason, change_request_id, held_until) "
_A_REQUEST = "INSERT INTO change_request (source, external_id, order_number, kind, body, data_sha256, {}) "
_AN_INTERCHANGE = (
    "INSERT INTO interchange (partner, control_number, filename, content, sha256, orders, state, sent_at, lease_until,"
    " patience_since) VALUES ({}, 'x.edi', '', '', 1, {}, now(), now())"
)
_AN_ACKNOWLEDGEMENT = (
    "INSERT INTO acknowledgement (kind, reference, control_number, partner_file_id, place, verdict, state,"
    " interchange_id) VALUES ('CONTRL', '1', 1, {})"
)
_A_RENUMBERING = "INSERT INTO renumbering (partner, last_used, next_before, next_after) VALUES ({})"
_A_NOTIFICATION = (
    "INSERT INTO notification (change_request_id, channel, visibility, subject, body, state)"
    " SELECT id, {} FROM change_request WHERE external_id = 'open'"
)
_A_MOVEMENT = "INSERT INTO stock_movement (order_id, line_no, cause, sku, quantity, change_request_id) "

_CONSTRAINED: dict[str, Sequence[str]] = {
    # A ticket that is to be read, and how far a desk was listed
    "ticket_to_read_source_ticket_unique": [
        "INSERT INTO ticket_to_read (source, ticket) VALUES ('a', '1'), ('a', '1')"
    ],
    "destination_failures_have_a_reason": [
        "INSERT INTO destination (name, turn_at, failures) VALUES ('a', now(), 1)",
        "INSERT INTO destination (name, turn_at, failures, not_before) VALUES ('a', now(), 1, now())",
        "INSERT INTO destination (name, turn_at, not_before, error) VALUES ('a', now(), now(), 'away')",
    ],
    "ticket_to_read_read_is_what_was_wanted": [
        "INSERT INTO ticket_to_read (source, ticket, read) VALUES ('a', '1', 2)"
    ],
    "desk_progress_listing_has_both_ends": [
        "INSERT INTO desk_progress (source, seen_until, listing_since) VALUES ('a', now(), now())",
        "INSERT INTO desk_progress (source, seen_until, listing_until) VALUES ('a', now(), now())",
    ],
    # An order
    "orders_closed_is_not_sent": [
        f"UPDATE orders SET edi_state = '{state}', interchange_id = 1 WHERE number = '{number}'"
        for state in ("claimed", "sent")
        for number in ("abandoned", "cancelled")
    ],
    "orders_pre_order_is_not_sent": _each(
        "UPDATE orders SET edi_state = '{}', interchange_id = 1 WHERE number = 'pre_order'", "claimed", "sent"
    ),
    "orders_validated_has_its_time": [
        "UPDATE orders SET validated_at = NULL WHERE number = 'open'",
        "UPDATE orders SET validated_at = NULL WHERE number = 'cancelled'",
        "UPDATE orders SET validated_at = now() WHERE number = 'pre_order'",
        "UPDATE orders SET validated_at = now() WHERE number = 'abandoned'",
        "UPDATE orders SET status = 'validated' WHERE number = 'pre_order'",
    ],
    "orders_sent_by_an_interchange": [
        "UPDATE orders SET edi_state = 'claimed' WHERE number = 'open'",
        "UPDATE orders SET edi_state = 'sent' WHERE number = 'open'",
        "UPDATE orders SET interchange_id = 1 WHERE number = 'open'",
        "UPDATE orders SET interchange_id = NULL WHERE number = 'claimed'",
        "UPDATE orders SET edi_state = 'not_sent' WHERE number = 'claimed'",
    ],
    "orders_status_is_known": ["UPDATE orders SET status = 'shipped' WHERE number = 'open'"],
    "orders_edi_state_is_known": ["UPDATE orders SET edi_state = 'lost', interchange_id = 1 WHERE number = 'open'"],
    "orders_number_unique": ["UPDATE orders SET number = 'sent' WHERE number = 'open'"],
    "orders_interchange_id_fk": ["UPDATE orders SET edi_state = 'claimed', interchange_id = 999 WHERE number = 'open'"],
    "order_line_quantity_is_positive": _each(_A_LINE + "VALUES (1, 9, 'X', '', {}, 1)", "0", "-1"),
    "order_line_price_is_not_negative": [_A_LINE + "VALUES (1, 9, 'X', '', 1, -0.01)"],
    "order_line_order_id_fk": [_A_LINE + "VALUES (999, 1, 'X', '', 1, 1)"],
    # A hold
    "escalation_hold_ends_after_it_began": ["UPDATE escalation_hold SET held_until = held_at - interval '1 second'"],
    "escalation_hold_order_id_fk": [_A_HOLD + "VALUES (999, 'x', 1, now() + interval '1 hour')"],
    "escalation_hold_change_request_id_fk": [_A_HOLD + "VALUES (1, 'x', 999, now() + interval '1 hour')"],
    # A request
    "change_request_source_external_id_unique": [
        _A_REQUEST.format("ticket") + "VALUES ('zendesk:acme', 'open', 'open', 'cancel', '', '', NULL)"
    ],
    "change_request_state_is_known": [
        "UPDATE change_request SET state = 'open', reasons = '{x}' WHERE external_id = 'open'"
    ],
    "change_request_kind_is_known": [
        _A_REQUEST.format("ticket") + "VALUES ('zendesk:acme', 'new', 'open', 'delete', '', '', NULL)"
    ],
    "change_request_outcome_is_known": _each(
        "UPDATE change_request SET state = 'decided', outcome = '{}', reasons = '{{x}}', decided_at = now(),"
        " decided_place = 0 WHERE external_id = 'open'",
        "deferred",
        "lost",
    ),
    "change_request_decided_has_its_decision": _each(
        "UPDATE change_request SET reasons = '{{x}}', {} WHERE external_id = 'open'",
        "state = 'decided'",
        "state = 'decided', outcome = 'refused', decided_at = now()",
        "state = 'decided', outcome = 'refused', decided_place = 0",
        "state = 'decided', decided_at = now(), decided_place = 0",
        "outcome = 'refused', decided_at = now(), decided_place = 0",
    ),
    "change_request_parked_has_its_time": _each(
        "UPDATE change_request SET reasons = '{{x}}', {} WHERE external_id = 'open'",
        "state = 'parked'",
        "parked_at = now()",
    ),
    "change_request_has_its_reasons": _each(
        "UPDATE change_request SET {} WHERE external_id = 'open'",
        "state = 'parked', parked_at = now()",
        "state = 'decided', outcome = 'refused', decided_at = now(), decided_place = 0",
    ),
    "change_request_faults_of_an_invalid_address": _each(
        "UPDATE change_request SET address_faults = '[]'{} WHERE external_id = 'open'",
        "",
        ", state = 'parked', parked_at = now(), reasons = '{{invalid_address}}'",
        ", state = 'decided', outcome = 'refused', decided_at = now(), decided_place = 0, reasons = '{{x}}'",
    ),
    # What follows from a decision
    "changelog_change_request_id_action_unique": [
        "INSERT INTO changelog (order_id, actor, action, change_request_id)"
        " SELECT order_id, actor, action, change_request_id FROM changelog WHERE action = 'cancelled'"
    ],
    "changelog_order_id_fk": ["INSERT INTO changelog (order_id, actor, action) VALUES (999, 'store', 'loaded')"],
    "changelog_change_request_id_fk": [
        "INSERT INTO changelog (order_id, actor, action, change_request_id) VALUES (1, 'store', 'loaded', 999)"
    ],
    "effect_change_request_id_kind_unique": _each(
        "INSERT INTO effect (change_request_id, kind) SELECT change_request_id, kind FROM effect WHERE kind = '{}'",
        "restock",
        "notify",
    ),
    "effect_change_request_id_fk": ["INSERT INTO effect (change_request_id, kind) VALUES (999, 'notify')"],
    "effect_kind_is_known": ["UPDATE effect SET kind = 'invoice' WHERE state = 'pending'"],
    "effect_state_is_known": ["UPDATE effect SET state = 'lost' WHERE state = 'pending'"],
    "effect_done_has_its_time": _each(
        "UPDATE effect SET {} WHERE state = 'pending'", "done_at = now()", "state = 'done'"
    ),
    "stock_movement_order_id_line_no_cause_unique": [
        _A_MOVEMENT + "SELECT order_id, line_no, cause, 'OTHER', 1, change_request_id FROM stock_movement"
    ],
    "stock_movement_order_id_fk": [_A_MOVEMENT + "VALUES (999, 1, 'order_cancelled', 'X', 1, 1)"],
    "stock_movement_change_request_id_fk": [_A_MOVEMENT + "VALUES (1, 1, 'order_cancelled', 'X', 1, 999)"],
    "notification_change_request_id_unique": [
        "INSERT INTO notification (change_request_id, channel, visibility, subject, body, state)"
        " SELECT change_request_id, channel, visibility, subject, body, state FROM notification"
    ],
    "notification_change_request_id_fk": [
        "INSERT INTO notification (change_request_id, channel, visibility, subject, body, state)"
        " VALUES (999, 'log', 'public', '', '', 'sent')"
    ],
    "notification_visibility_is_known": [_A_NOTIFICATION.format("'log', 'secret', '', '', 'sent'")],
    "notification_channel_is_known": [_A_NOTIFICATION.format("'fax', 'public', '', '', 'sent'")],
    "notification_state_is_known": [_A_NOTIFICATION.format("'log', 'public', '', '', 'lost'")],
    "ticket_note_source_ticket_cause_key_unique": [_A_NOTE.format("NULL", "'open', 'pending'")],
    "ticket_note_change_request_id_fk": [_A_NOTE.format("999", "'other', 'pending'")],
    "ticket_note_state_is_known": ["UPDATE ticket_note SET state = 'lost' WHERE state = 'pending'"],
    # An interchange
    "interchange_partner_control_number_unique": [_AN_INTERCHANGE.format("'WAREHOUSE', 1", "'sent', now()")],
    "interchange_one_in_flight": [_AN_INTERCHANGE.format("'WAREHOUSE', 3", "'claimed', NULL")],
    "interchange_partner_fk": [_AN_INTERCHANGE.format("'NOBODY', 1", "'sent', now()")],
    "interchange_state_is_known": ["UPDATE interchange SET state = 'lost' WHERE state = 'claimed'"],
    "interchange_sent_has_its_time": [
        "UPDATE interchange SET state = 'sent' WHERE state = 'claimed'",
        "UPDATE interchange SET sent_at = NULL WHERE state = 'sent'",
        "UPDATE interchange SET sent_at = now() WHERE state = 'claimed'",
    ],
    "interchange_released_has_its_time": [
        "UPDATE interchange SET state = 'released' WHERE state = 'claimed'",
        "UPDATE interchange SET released_at = NULL WHERE state = 'released'",
        "UPDATE interchange SET released_at = now() WHERE state = 'claimed'",
    ],
    "interchange_answered_has_its_time": [
        "UPDATE interchange SET state = 'acknowledged' WHERE state = 'sent'",
        "UPDATE interchange SET answered_at = now() WHERE state = 'sent'",
    ],
    "interchange_number_is_free_when_released": _each(
        "UPDATE interchange SET number_is_free = true WHERE state = '{}'", "claimed", "sent"
    ),
    "interchange_delivered_late_when_released": _each(
        "UPDATE interchange SET delivered_late_at = now() WHERE state = '{}'", "claimed", "sent"
    ),
    "interchange_clean_fence_is_no_future_one": ["UPDATE interchange SET clean_fence = fence + 1"],
    "renumbering_partner_fk": [_A_RENUMBERING.format("'NOBODY', 1, 2, 3")],
    "renumbering_is_of_unused_numbers": _each(_A_RENUMBERING, "'AWAY', 1, 1, 3", "'AWAY', 1, 3, 1"),
    # What a partner answered
    "partner_file_partner_name_sha256_unique": [
        "INSERT INTO partner_file (partner, name, content, sha256) SELECT partner, name, '', sha256 FROM partner_file"
    ],
    "acknowledgement_partner_file_id_fk": [_AN_ACKNOWLEDGEMENT.format("999, 1, 'rejected', 'unmatched', NULL")],
    "acknowledgement_interchange_id_fk": [_AN_ACKNOWLEDGEMENT.format("1, 2, 'rejected', 'matched', 999")],
    "acknowledgement_partner_file_id_place_unique": [_AN_ACKNOWLEDGEMENT.format("1, 1, 'rejected', 'unmatched', NULL")],
    "acknowledgement_verdict_is_known": [_AN_ACKNOWLEDGEMENT.format("1, 2, 'lost', 'unmatched', NULL")],
    "acknowledgement_state_is_known": [_AN_ACKNOWLEDGEMENT.format("1, 2, 'rejected', 'lost', 1")],
    "acknowledgement_matched_has_its_interchange": [
        _AN_ACKNOWLEDGEMENT.format("1, 2, 'rejected', 'matched', NULL"),
        _AN_ACKNOWLEDGEMENT.format("1, 2, 'rejected', 'unmatched', 1"),
    ],
    # A dead letter
    "dead_letter_origin_position_unique": [
        "INSERT INTO dead_letter (origin, position, raw, reason, error)"
        " SELECT 'stream', '1-1', '', 'not_json', '' FROM generate_series(1, 2)"
    ],
    "dead_letter_state_is_known": [
        "INSERT INTO dead_letter (origin, raw, reason, error, state) VALUES ('stream', '', 'not_json', '', 'lost')"
    ],
}


def test_every_constraint_of_the_database_has_an_attempt_here() -> None:
    # Primary keys and NOT NULL go without saying; a unique index without a constraint is one, too.
    constraints = rows(
        "SELECT conname FROM pg_constraint WHERE connamespace = 'public'::regnamespace AND contype NOT IN ('p', 'n')"
        " UNION SELECT indexrelid::regclass::text FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid"
        " WHERE relnamespace = 'public'::regnamespace AND indisunique AND NOT indisprimary"
    )
    assert {row.conname for row in constraints} == set(_CONSTRAINED)


def test_every_constraint_refuses_what_it_should(engine: Engine) -> None:
    make_history()
    for constraint, statements in _CONSTRAINED.items():
        for statement in statements:
            refused = attempt(engine, statement)
            assert isinstance(refused.orig, psycopg.errors.IntegrityError), f"{constraint}: {statement}: {refused}"
            assert refused.orig.diag.constraint_name == constraint, statement


def test_a_broker_that_gives_no_positions_may_leave_many_dead_letters() -> None:
    added = rows(
        "INSERT INTO dead_letter (origin, position, raw, reason, error)"
        " SELECT 'queue', NULL, '', 'not_json', '' FROM generate_series(1, 2) RETURNING id"
    )
    assert len(added) == 2


def test_a_parked_request_may_become_undecided_again_and_a_claimed_order_may_be_released(engine: Engine) -> None:
    make_history()
    with engine.begin() as connection:
        for statement in (
            "UPDATE change_request SET state = 'received', reasons = '{}', parked_at = NULL WHERE state = 'parked'",
            "UPDATE orders SET edi_state = 'not_sent', interchange_id = NULL WHERE number = 'claimed'",
            "UPDATE orders SET status = 'cancelled' WHERE number = 'claimed'",
            "UPDATE orders SET edi_state = 'sent' WHERE number = 'sent'",
            "UPDATE interchange SET fence = fence + 1, lease_until = now(), error = 'late' WHERE state = 'claimed'",
        ):
            assert connection.exec_driver_sql(statement).rowcount == 1


@pytest.mark.usefixtures("system")
def test_a_changed_order_stays_on_its_page() -> None:
    load(*(an_order(f"{number}") for number in range(100)))
    before = page_of("50")
    deliver(a_request("50"))
    settle()
    assert order("50")["status"] == "cancelled"
    assert page_of("50") == before


def page_of(number: str) -> int:
    [(page,)] = rows("SELECT (CAST(CAST(ctid AS text) AS point))[0] FROM orders WHERE number = :number", number=number)
    return int(page)


# The next migration


def test_a_file_of_a_migration_begins_with_its_revision_and_each_follows_one_other() -> None:
    scripts = list(ScriptDirectory(str(MIGRATIONS)).walk_revisions())
    names = {script.revision: Path(script.path).name for script in scripts}
    assert len(names) == len(scripts) == len(list(VERSIONS.glob("*_*.py")))
    assert all(name.startswith(f"{revision}_") for revision, name in names.items())
    assert [script.down_revision for script in scripts] == [*sorted(names, reverse=True)[1:], None]


def test_a_draft_takes_the_next_number_brings_what_is_missing_and_can_be_migrated_to(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied = tmp_path / "migrations"
    shutil.copytree(MIGRATIONS, copied, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr("database.migrate._MIGRATIONS", copied)
    with engine.begin() as connection:
        newest = newest_revision(connection)
        assert newest is not None
        connection.execute(text("ALTER TABLE orders DROP COLUMN export_error"))
        file = Path(draft(connection, "orders say why"))
        assert file.name == f"{int(newest) + 1:04}_orders_say_why.py"
        assert 'op.add_column("orders"' in file.read_text().replace("'", '"')
        assert migrate(connection) == f"{int(newest) + 1:04}"
        connection.execute(text("SELECT export_error FROM orders"))
        command.downgrade(alembic_config(connection), newest)
        with pytest.raises(ConfigurationError, match="migrate it first"):
            draft(connection, "too early")


def test_a_moment_of_an_address_that_lies_ahead_is_set_back_to_its_change(engine: Engine) -> None:
    load(an_order("1"), an_order("2"), an_order("3"))
    with engine.begin() as connection:
        command.downgrade(alembic_config(connection), "0007")
        connection.execute(text("UPDATE orders SET shipping_asked_at = '2098-01-01Z' WHERE number IN ('1', '2')"))
        connection.execute(text("UPDATE orders SET billing_asked_at = '2026-01-01Z' WHERE number = '3'"))
        connection.execute(
            text(
                "INSERT INTO changelog (order_id, at, actor, action)"
                " SELECT id, '2026-02-01Z', 'helpdesk:a', 'shipping_address_changed' FROM orders WHERE number = '1'"
            )
        )
        migrate(connection)
    moments = dict(rows("SELECT number, to_char(shipping_asked_at AT TIME ZONE 'UTC', 'YYYY-MM') FROM orders"))
    assert (moments["1"], moments["3"]) == ("2026-02", None)
    assert rows(
        "SELECT 1 FROM orders WHERE number = '2' AND shipping_asked_at BETWEEN now() - interval '1 minute' AND now()"
    )
    assert rows("SELECT 1 FROM orders WHERE number = '3' AND billing_asked_at = '2026-01-01Z'")


def test_outlets_and_destinations_become_one_and_two_again(engine: Engine) -> None:
    with engine.begin() as connection:
        command.downgrade(alembic_config(connection), "0013")
        connection.execute(text("INSERT INTO destination (name, turn_at) VALUES ('a', '2026-01-01Z'), ('b', now())"))
        connection.execute(
            text(
                "INSERT INTO outlet (name, failures, not_before, error)"
                " VALUES ('a', 3, '2026-02-01Z', 'away'), ('c', 1, '2026-03-01Z', 'busy')"
            )
        )
        migrate(connection)
    found = "SELECT name, failures, not_before IS NOT NULL, error FROM destination ORDER BY name"
    assert rows(found) == [("a", 3, True, "away"), ("b", 0, False, None), ("c", 1, True, "busy")]
    assert rows("SELECT name FROM destination WHERE turn_at = '2026-01-01Z'") == [("a",)]
    with engine.begin() as connection:
        command.downgrade(alembic_config(connection), "0013")
        kept = connection.execute(text("SELECT name, failures, error FROM outlet ORDER BY name")).all()
        migrate(connection)
    assert kept == [("a", 3, "away"), ("c", 1, "busy")]
