"""Least privilege: the roles of the database, and exactly what the processes of each may do.

All are group roles without a login; an operator grants them to login users. A trigger is no defence against
the owner of its table, so no process of ours runs as the owner. Roles belong to the whole server, hence the prefix.
"""

from collections.abc import Mapping
from enum import StrEnum

from sqlalchemy import Connection, func, select, text
from sqlalchemy.exc import ProgrammingError

from database.faults import INSUFFICIENT_PRIVILEGE


class Role(StrEnum):
    """Who works on the database."""

    OWNER = "owner"
    WORKER = "worker"
    EXPORTER = "exporter"
    READER = "reader"


RUN_AS: Mapping[Role, str] = {
    Role.OWNER: "migrate",
    Role.WORKER: (
        "intake, http, worker, answerer, beat; orders load, reprocess, dead-letters repair, requeue; desks pull"
    ),
    Role.EXPORTER: "exporter; export, interchanges resend, release, receive; partners next-number --set",
    Role.READER: "audit; orders, requests, dead-letters, interchanges: list, show, wait, received; partners check",
}

# Of what is inserted alone SQLAlchemy asks for the id.
_LOGGED = "SELECT (id), INSERT (order_id, actor, action, change_request_id, note, before, after)"

# What a role may do on a table, as GRANT has it; what is not here is not allowed. Columns are named where more would
# let a role rewrite what another has said, or date it back. A row lock needs one column that may be updated.
PRIVILEGES: Mapping[str, Mapping[Role, str]] = {
    # The worker decides and the store loads; only the exporter says what a warehouse has.
    "orders": {
        Role.WORKER: """
            SELECT,
            INSERT (number, status, placed_at, currency, warehouse, hold_until, validated_at, customer, shipping,
                    billing),
            UPDATE (status, version, validated_at, shipping, billing, shipping_asked_at, billing_asked_at, export_error)
            """,
        Role.EXPORTER: "SELECT, UPDATE (edi_state, interchange_id, version, export_error)",
        Role.READER: "SELECT",
    },
    "order_line": {Role.WORKER: "SELECT, INSERT", Role.EXPORTER: "SELECT", Role.READER: "SELECT"},
    # No process may change what was asked: a trigger allows another spelling of the order's number, and no more.
    # The exporter sees that there is a request, of which kind, and nothing it says.
    "change_request": {
        Role.WORKER: """
            SELECT,
            INSERT (source, external_id, order_number, kind, ticket, body, data_sha256, state, outcome, reasons,
                    address_faults, decided_at, decided_place),
            UPDATE (order_number, state, outcome, reasons, address_faults, decided_at, decided_place, parked_at,
                    undecided_since,
                    attempts, not_before, error)
            """,
        Role.EXPORTER: "SELECT (id, order_number, state, undecided_since, kind, ticket, parked_at)",
        Role.READER: "SELECT",
    },
    # A process that writes it can neither read it, nor take anything back, nor choose its moment.
    "changelog": {Role.WORKER: _LOGGED, Role.EXPORTER: _LOGGED, Role.READER: "SELECT"},
    "effect": {
        Role.WORKER: """
            SELECT,
            INSERT (change_request_id, kind, payload),
            UPDATE (state, attempts, not_before, done_at, error, destination)
            """,
        Role.READER: "SELECT",
    },
    # A process that decides may hold an order, and cannot date that back. The exporter sees until when, and not why.
    "escalation_hold": {
        Role.WORKER: "SELECT, INSERT (order_id, reason, change_request_id, held_until)",
        Role.EXPORTER: "SELECT (order_id, held_until)",
        Role.READER: "SELECT",
    },
    "stock": {Role.WORKER: "SELECT, INSERT, UPDATE (quantity)", Role.READER: "SELECT"},
    "stock_movement": {
        Role.WORKER: """
            SELECT (sku, quantity),
            INSERT (order_id, line_no, cause, sku, quantity, change_request_id)
            """,
        Role.READER: "SELECT",
    },
    "notification": {
        Role.WORKER: """
            SELECT,
            INSERT (change_request_id, channel, visibility, subject, body, state),
            UPDATE (state, fence, leased_at)
            """,
        Role.READER: "SELECT",
    },
    # The exporter asks whether colleagues know of a parked request, and sees nothing of the words.
    "ticket_note": {
        Role.WORKER: """
            SELECT,
            INSERT (change_request_id, source, ticket, cause, key, destination, subject, body),
            UPDATE (state, attempts, not_before, fence, leased_at, error)
            """,
        Role.EXPORTER: "SELECT (change_request_id, state)",
        Role.READER: "SELECT",
    },
    "destination": {
        Role.WORKER: "SELECT, INSERT, UPDATE (turn_at, took, failures, not_before, error)",
        Role.READER: "SELECT",
    },
    "ticket_to_read": {
        Role.WORKER: """
            SELECT,
            INSERT (source, ticket),
            UPDATE (wanted, read, noted_at, attempts, not_before, fence, lease_until, error)
            """,
        Role.READER: "SELECT",
    },
    "desk_progress": {
        Role.WORKER: """
            SELECT,
            INSERT (source, seen_until),
            UPDATE (seen_until, listing_since, listing_until, cursor, listed_at, fence, lease_until, failures,
                    not_before, error)
            """,
        Role.READER: "SELECT",
    },
    "dead_letter": {
        Role.WORKER: "SELECT, INSERT (origin, position, raw, reason, error), UPDATE (state, repaired)",
        Role.READER: "SELECT",
    },
    "partner": {
        Role.EXPORTER: """
            SELECT,
            INSERT (name, first_control_number, last_control_number),
            UPDATE (first_control_number, last_control_number, failures, not_before, scheduled_until, error,
                    failing_since, inbox_read_at, inbox_lease_until, inbox_failures, inbox_not_before, inbox_error)
            """,
        Role.READER: "SELECT",
    },
    "renumbering": {
        Role.EXPORTER: "SELECT, INSERT (partner, last_used, next_before, next_after)",
        Role.READER: "SELECT",
    },
    # The bytes are written once, and never by anyone else.
    "interchange": {
        Role.EXPORTER: """
            SELECT,
            INSERT (partner, control_number, filename, content, sha256, orders, lease_until, patience_since,
                    acknowledge_within),
            UPDATE (state, fence, lease_until, clean_fence, sent_at, released_at, answered_at, answer_reasons,
                    delivered_late_at, late_told_at, number_is_free, error)
            """,
        Role.READER: "SELECT",
    },
    "partner_file": {
        Role.EXPORTER: "SELECT (id, partner, name, sha256, at), INSERT (partner, name, content, sha256, error)",
        Role.READER: "SELECT",
    },
    "acknowledgement": {Role.EXPORTER: "SELECT, INSERT", Role.READER: "SELECT"},
    # Every process records its progress.
    "progress": {
        Role.WORKER: "SELECT, INSERT, UPDATE (at)",
        Role.EXPORTER: "SELECT, INSERT, UPDATE (at)",
        Role.READER: "SELECT",
    },
    # Every process checks at each connection that the tables are those of its version.
    "alembic_version": dict.fromkeys((Role.WORKER, Role.EXPORTER, Role.READER), "SELECT"),
}


class NotAllowed(Exception):
    """The connecting user may not make the roles; says what it lacks."""


def role_name(prefix: str, role: Role) -> str:
    """Returns the name of a role on the server."""
    return f"{prefix}_{role}"


def make_roles(connection: Connection, prefix: str) -> list[str]:
    """Makes the roles that are missing and gives each exactly what it needs; returns the names of the new ones.

    The tables go over to the owner role, and the connecting user into it: for them nothing changes. Raises NotAllowed.
    """
    user = connection.execute(select(func.current_user())).scalar_one()
    try:
        made = [name for role in Role if _make(connection, name := role_name(prefix, role))]
        _hand_over(connection, role_name(prefix, Role.OWNER))
        _grant(connection, {role: role_name(prefix, role) for role in Role})
    except ProgrammingError as error:
        if getattr(error.orig, "sqlstate", None) != INSUFFICIENT_PRIVILEGE:
            raise
        reason = str(error.orig).partition("\n")[0]
        raise NotAllowed(
            f"the database user {user} may not make the roles ({reason}): do it as a user that owns the database and "
            f"its tables and may make roles (ALTER ROLE {user} CREATEROLE), or as a superuser; nothing was changed"
        ) from None
    return made


def _make(connection: Connection, name: str) -> bool:
    known = text("SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = :name)")
    if connection.execute(known, {"name": name}).scalar_one():
        return False
    connection.execute(text(f"CREATE ROLE {name} NOLOGIN"))
    return True


def _hand_over(connection: Connection, owner: str) -> None:
    """Makes the owner role the owner of all there is, and the connecting user a member: it goes on as before."""
    if not connection.execute(select(func.pg_has_role(owner, "USAGE"))).scalar_one():
        connection.execute(text(f"GRANT {owner} TO CURRENT_USER"))
    schema = _quoted(connection, _schema(connection))
    connection.execute(text(f"GRANT USAGE, CREATE ON SCHEMA {schema} TO {owner}"))
    # Only those of another owner: each one locks out everybody else, if only for a moment.
    others = text(
        "SELECT tablename FROM pg_tables WHERE schemaname = current_schema() AND tablename = ANY(:tables)"
        " AND tableowner <> :owner ORDER BY tablename"
    )
    for table in connection.scalars(others, {"tables": list(PRIVILEGES), "owner": owner}).all():
        connection.execute(text(f"ALTER TABLE {table} OWNER TO {owner}"))
    for function in ("refuse()", "order_key(text)"):
        connection.execute(text(f"ALTER FUNCTION {function} OWNER TO {owner}"))


def _grant(connection: Connection, names: Mapping[Role, str]) -> None:
    """Revokes every privilege and grants those in PRIVILEGES; no other session sees the moment between."""
    at_work = ", ".join(names[role] for role in Role if role is not Role.OWNER)
    schema = _schema(connection)
    # Until PostgreSQL 14 everyone could put a table or a function of his own there, and have it used for ours.
    connection.execute(text(f"REVOKE CREATE ON SCHEMA {_quoted(connection, schema)} FROM PUBLIC, {at_work}"))
    if connection.execute(select(func.has_schema_privilege("public", schema, "CREATE"))).scalar_one():
        raise NotAllowed(
            f"everyone may create tables in the schema {schema}, and the connecting user may not forbid it: as the "
            f"owner of the database, REVOKE CREATE ON SCHEMA {schema} FROM PUBLIC; nothing was changed"
        )
    connection.execute(text(f"GRANT USAGE ON SCHEMA {_quoted(connection, schema)} TO {at_work}"))
    for table, allowed in PRIVILEGES.items():
        connection.execute(text(f"REVOKE ALL ON {table} FROM PUBLIC, {at_work}"))
        for role, privileges in allowed.items():
            connection.execute(text(f"GRANT {privileges} ON {table} TO {names[role]}"))


def _schema(connection: Connection) -> str:
    return str(connection.execute(select(func.current_schema())).scalar_one())


def _quoted(connection: Connection, name: str) -> str:
    return connection.dialect.identifier_preparer.quote(name)
