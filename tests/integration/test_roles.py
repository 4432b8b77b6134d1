"""Least privilege: each role does all the work of its processes and no more, on a real server, as a login user."""

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from itertools import count
from pathlib import Path
from unittest.mock import patch

import httpx2
import pytest
from sqlalchemy import Engine, make_url, text
from sqlalchemy.exc import DBAPIError, ProgrammingError
from structlog.testing import capture_logs

import tasks.changes
from configuration.settings import settings
from database import roles, transactions
from database.faults import describe_fault as why
from database.roles import PRIVILEGES, Role, role_name
from database.tables import metadata
from database.transactions import in_transaction
from edi import interchanges
from orders.inbox import Delivery
from tasks.answers import answer_one
from tasks.changes import apply_changes, park_unknown
from tasks.effects import notify, restock
from tasks.export import export
from tasks.intake import take
from tasks.partners import partners
from tasks.receipts import read_inboxes
from tests.acknowledgements import contrl
from tests.builders import a_request, an_address, an_order, deliver, encoded, load, rows, settle
from tests.commands import Countermand, error_line
from tests.deliveries import a_delivery, sign
from tests.roles import DENIED, REFUSED_BY_A_TRIGGER, fate
from tests.serving import send
from workers.embedded import Services

pytestmark = pytest.mark.usefixtures("system")

AT_WORK = (Role.WORKER, Role.EXPORTER, Role.READER)
PASSWORD = "a-password-of-tests"

LogIn = Callable[[str], AbstractContextManager[None]]
_numbers = count()


@pytest.fixture
def prefix(engine: Engine) -> Iterator[str]:
    """What the names of this test's roles begin with: roles belong to the whole server, which may be somebody's."""
    made = f"cm{os.getpid()}_{next(_numbers)}"
    yield made
    with engine.begin() as connection:
        known = text("SELECT rolname FROM pg_roles WHERE starts_with(rolname, :prefix)")
        for name in connection.scalars(known, {"prefix": f"{made}_"}).all():
            connection.execute(text(f"REASSIGN OWNED BY {name} TO CURRENT_USER"))
            connection.execute(text(f"DROP OWNED BY {name}"))
            connection.execute(text(f"DROP ROLE {name}"))


@pytest.fixture
def log_in(system: Services) -> LogIn:
    """Lets this process work as another user of the database."""

    @contextmanager
    def as_user(name: str) -> Iterator[None]:
        url = make_url(system.database_url).set(username=name, password=PASSWORD)
        with pytest.MonkeyPatch.context() as patched:
            patched.setenv("COUNTERMAND_DATABASE_URL", url.render_as_string(hide_password=False))
            settings.cache_clear()
            own = transactions.engine.__wrapped__()
            patched.setattr(transactions, "engine", lambda: own)
            try:
                yield
            finally:
                own.dispose()
        settings.cache_clear()

    return as_user


@pytest.fixture
def made(prefix: str, engine: Engine) -> str:
    """The roles, each with a login user of that name and `_user`; returns their prefix."""
    with engine.begin() as connection:
        roles.make_roles(connection, prefix)
        for role in Role:
            name = role_name(prefix, role)
            connection.execute(text(f"CREATE ROLE {name}_user LOGIN PASSWORD '{PASSWORD}'"))
            connection.execute(text(f"GRANT {name} TO {name}_user"))
    return prefix


@pytest.fixture
def as_role(made: str, log_in: LogIn) -> Callable[[Role], AbstractContextManager[None]]:
    """Lets this process work as a login user of a role."""
    return lambda role: log_in(f"{role_name(made, role)}_user")


AsRole = Callable[[Role], AbstractContextManager[None]]


# The table of privileges


def test_every_table_has_a_line_that_says_who_may_do_what() -> None:
    assert set(PRIVILEGES) == set(metadata.tables) | {"alembic_version"}


def test_nothing_is_granted_to_the_owner_and_nothing_but_reading_to_the_reader() -> None:
    assert all(Role.OWNER not in allowed for allowed in PRIVILEGES.values())
    assert {allowed[Role.READER] for allowed in PRIVILEGES.values() if Role.READER in allowed} == {"SELECT"}


# What each can do


@pytest.fixture
def north(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A partner with a schedule and an inbox; returns the folder of both."""
    (home / "in").mkdir(parents=True)
    file = home / "partners.toml"
    file.write_text(
        f"""
        [partners.NORTH]
        our_id = "SHOP01"
        our_qualifier = "14"
        their_id = "WH01"
        their_qualifier = "14"
        standard = "edifact-orders-d96a"
        character_set = "UNOC"
        grace_minutes = 0
        orders_per_interchange = 1
        reuse_released_numbers = true
        schedule = ["* * * * *"]
        time_zone = "UTC"
        acknowledged_within_minutes = 60
        [partners.NORTH.directory]
        outbox = "{home}/out"
        inbox = "{home}/in"
        """
    )
    monkeypatch.setenv("COUNTERMAND_PARTNERS", str(file))
    settings.cache_clear()
    return home


def test_the_worker_role_can_do_all_the_work_of_its_processes(
    as_role: AsRole, countermand: Countermand, http: httpx2.Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COUNTERMAND_API_TOKEN", "a-token")
    monkeypatch.setenv("COUNTERMAND_PATIENCE_SECONDS", "0.001")
    file = tmp_path / "orders"
    with as_role(Role.WORKER):
        for status in ("pre_order", "validated"):
            lines = [an_order("1001", status=status), *(an_order(str(number)) for number in range(1002, 1006))]
            file.write_bytes(b"\n".join(encoded(one) for one in lines))
            assert countermand("orders", "load", str(file)).code == 0
        asked = [
            a_request("1002"),
            a_request("1003", "change_address", addresses={"shipping": an_address(city="Bonn")}),
            a_request("unknown"),
        ]
        taken = take([Delivery("test", str(place), one) for place, one in enumerate([*map(encoded, asked), b"{"])])
        assert (taken.new, taken.dead) == (3, 1)
        conflict = encoded({**asked[0], "data": {**asked[0]["data"], "note": "otherwise"}})
        again = take([Delivery("test", "9", encoded(asked[0])), Delivery("test", "10", conflict)])
        assert (again.repeated, again.dead) == (1, 1)
        delivery = a_delivery("zendesk", order="1004", kind="cancel", note="Twice", requester="jane@example.com")
        assert [send(http, delivery).status_code for _ in range(2)] == [202, 200]
        assert send(http, sign("zendesk", b"{}")).json()["state"] == "dead_letter"
        key = f"/requests/zendesk%3Aacme/{asked[0]['id']}"
        assert http.get(key, headers={"Authorization": "Bearer a-token"}).status_code == 200
        apply_changes()
        park_unknown()
        restock()
        notify()
        # No server answers for the desk: it fails, and backs off.
        assert answer_one()
    rows("UPDATE effect SET not_before = now() WHERE state = 'pending' RETURNING id")
    rows("UPDATE destination SET not_before = now() WHERE failures > 0 RETURNING name")
    with as_role(Role.WORKER):
        with patch("desks.desk.TicketChannel.deliver"):
            assert answer_one()
        assert countermand("reprocess").code == 0
        assert countermand("dead-letters", "repair", "1", "-", stdin=encoded(a_request("1006"))).code == 0
        assert countermand("dead-letters", "requeue", "1").code == 0
        with patch.object(tasks.changes, "decide_requests", side_effect=ValueError):
            deliver(a_request("1005"))
            apply_changes()
    found = rows("SELECT state, count(*) AS n FROM change_request GROUP BY state ORDER BY state")
    assert [(row.state, row.n) for row in found] == [("decided", 3), ("received", 2)]
    assert rows("SELECT sum(quantity) AS n FROM stock")[0].n == 8
    assert rows("SELECT count(*) AS n FROM notification WHERE state = 'sent'")[0].n >= 1
    assert rows("SELECT attempts FROM change_request WHERE order_number = '1005'")[0].attempts == 1


def test_an_intake_decides_at_once_and_takes_nothing_where_its_role_may_not_yet(
    as_role: AsRole, made: str, engine: Engine
) -> None:
    load(an_order("1001"), an_order("1002"))
    first, second = (Delivery("test", None, encoded(a_request(number))) for number in ("1001", "1002"))
    with as_role(Role.WORKER):
        assert take([first]).new == 1
    # As the role was made by the version before.
    with engine.begin() as connection:
        privilege = "INSERT (state, outcome, reasons, decided_at, decided_place)"
        connection.execute(text(f"REVOKE {privilege} ON change_request FROM {role_name(made, Role.WORKER)}"))
    with as_role(Role.WORKER), pytest.raises(ProgrammingError) as refused:
        take([second])
    assert why(refused.value).startswith("the database's user may not do this (permission denied")
    found = rows("SELECT order_number, state FROM change_request")
    assert [tuple(row) for row in found] == [("1001", "decided")]


def test_the_exporter_role_can_do_all_the_work_of_its_processes(
    as_role: AsRole, countermand: Countermand, north: Path
) -> None:
    unrenderable = an_order("1009", shipping=an_address(name="x" * 250))
    load(*(an_order(str(number)) for number in range(1001, 1005)), unrenderable)
    deliver(a_request("1004"))
    with as_role(Role.EXPORTER):
        export()
    rows("UPDATE partner SET scheduled_until = now() - interval '1 hour' RETURNING name")
    with as_role(Role.EXPORTER):
        (north / "out").write_text("where the folder should be")
        export()
    assert rows("SELECT failures, last_control_number AS last FROM partner") == [(1, 0)]
    rows("UPDATE partner SET not_before = now() RETURNING name")
    (north / "out").unlink()
    (north / "out").mkdir()
    (north / "out" / "NORTH-000000001.edi").write_text("another's")
    with as_role(Role.EXPORTER):
        export()
        (north / "out" / "NORTH-000000001.edi").unlink()
        assert countermand("interchanges", "resend", "NORTH", "1").code == 0
        assert countermand("export").code == 1
        (north / "in" / "1.edi").write_bytes(contrl(1, "4", reference="1"))
        (north / "in" / "2.edi").write_bytes(contrl(2, reference="2"))
        (north / "in" / "3.edi").write_bytes(b"nothing that we read")
        assert countermand("interchanges", "receive").code == 1
        assert countermand("interchanges", "resend", "NORTH", "1").code == 0
    load(an_order("1006"))
    rows("UPDATE interchange SET sent_at = now() - interval '1 day' WHERE state = 'sent' RETURNING id")
    with as_role(Role.EXPORTER):
        read_inboxes()
        in_transaction(lambda connection: interchanges.claim(connection, partners()[0], patience=timedelta(minutes=15)))
    rows("UPDATE interchange SET lease_until = now() WHERE state = 'claimed' RETURNING id")
    with as_role(Role.EXPORTER):
        assert countermand("interchanges", "release", "NORTH", "4", "--i-asked-the-partner").code == 0
    found = rows("SELECT state, count(*) AS n FROM interchange GROUP BY state ORDER BY state")
    assert [(row.state, row.n) for row in found] == [("acknowledged", 1), ("released", 2), ("sent", 2)]
    assert rows("SELECT number FROM orders WHERE export_error IS NOT NULL") == [("1009",)]
    assert rows("SELECT count(*) AS n FROM partner_file")[0].n == 3
    assert rows("SELECT count(*) AS n FROM interchange WHERE late_told_at IS NOT NULL")[0].n == 2


def test_the_reader_role_can_read_and_audit_everything(as_role: AsRole, countermand: Countermand) -> None:
    load(an_order("1001"), an_order("1002"))
    asked = a_request("1001")
    deliver(asked, a_request("unknown"), b"{")
    settle()
    assert countermand("export").code == 0
    with as_role(Role.READER):
        for command in (
            ["audit"],
            ["orders", "list"],
            ["orders", "show", "1002"],
            ["requests", "list"],
            ["requests", "show", asked["source"], asked["id"]],
            ["requests", "wait", "--timeout", "1"],
            ["dead-letters", "list"],
            ["dead-letters", "show", "1"],
            ["interchanges", "list"],
            ["interchanges", "show", "WAREHOUSE", "1"],
            ["interchanges", "received"],
            ["partners", "check"],
            ["reprocess", "--dry-run"],
        ):
            ended = countermand(*command)
            assert (ended.code, ended.err) == (0, ""), command


# What none of them can do

_BY_NOBODY = (
    "DROP TABLE changelog",
    "ALTER TABLE changelog DISABLE TRIGGER ALL",
    "ALTER TABLE orders DROP CONSTRAINT orders_closed_is_not_sent",
    "DROP TRIGGER changelog_is_append_only ON changelog",
    "CREATE TRIGGER mine BEFORE INSERT ON changelog FOR EACH ROW EXECUTE FUNCTION refuse()",
    "CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
    "CREATE OR REPLACE FUNCTION order_key(number text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT number'",
    "CREATE RULE mine AS ON INSERT TO changelog DO INSTEAD NOTHING",
    "SET session_replication_role = replica",
    "CREATE TABLE mine (id int)",
    "CREATE FUNCTION mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "UPDATE alembic_version SET version_num = '0001'",
    "DELETE FROM alembic_version",
    "SELECT setval('changelog_id_seq', 1)",
    "SELECT nextval('change_request_id_seq')",
    "SET ROLE {prefix}_owner",
    "CREATE ROLE mine",
    "COPY changelog TO PROGRAM 'true'",
    "COPY orders TO '/dev/null'",
    *(f"{verb} {table}" for verb in ("DELETE FROM", "TRUNCATE") for table in sorted(metadata.tables)),
)
_BY_THE_WORKER = (
    "UPDATE changelog SET note = 'never said'",
    "INSERT INTO changelog (order_id, actor, action, at) VALUES (1, 'store', 'loaded', '2020-01-01')",
    "SELECT note FROM changelog",
    "UPDATE stock_movement SET quantity = 1000",
    "UPDATE order_line SET quantity = 1000",
    "UPDATE orders SET number = 'another'",
    "UPDATE orders SET customer = '{{}}'",
    "UPDATE orders SET edi_state = 'sent'",
    "UPDATE orders SET edi_state = 'not_sent', interchange_id = NULL",
    "UPDATE change_request SET body = '{{}}'",
    "UPDATE change_request SET received_at = '2020-01-01'",
    "INSERT INTO change_request (source, external_id, order_number, kind, body, data_sha256, state, parked_at) "
    "VALUES ('x', '1', '1001', 'cancel', '', '', 'parked', now())",
    "INSERT INTO change_request (source, external_id, order_number, kind, body, data_sha256, received_at) "
    "VALUES ('x', '1', '1001', 'cancel', '', '', '2020-01-01')",
    "UPDATE notification SET body = 'never said'",
    "UPDATE effect SET payload = '{{}}'",
    "UPDATE dead_letter SET raw = ''",
    "UPDATE partner SET last_control_number = 0",
    "UPDATE interchange SET state = 'released'",
    "SELECT content FROM interchange",
    "INSERT INTO interchange (partner, control_number, filename, content, sha256, orders, lease_until, patience_since) "
    "VALUES ('WAREHOUSE', 9, 'x', '', '', 1, now(), now())",
    "SELECT * FROM acknowledgement",
    "SELECT * FROM partner_file",
)
_BY_THE_EXPORTER = (
    "UPDATE changelog SET note = 'never said'",
    "INSERT INTO changelog (order_id, actor, action, at) VALUES (1, 'store', 'loaded', '2020-01-01')",
    "INSERT INTO notification (change_request_id, channel, visibility, subject, body, state) "
    "VALUES (1, 'mail', 'public', 'x', 'x', 'pending')",
    "SELECT * FROM notification",
    "UPDATE change_request SET state = 'parked'",
    "UPDATE change_request SET outcome = 'refused'",
    "INSERT INTO change_request (source, external_id, order_number, kind, body, data_sha256) "
    "VALUES ('x', '1', '1001', 'cancel', '', '')",
    "SELECT body FROM change_request",
    "UPDATE orders SET status = 'cancelled'",
    "UPDATE orders SET shipping = '{{}}'",
    "INSERT INTO orders (number, status, placed_at, currency, warehouse, customer, shipping, billing) "
    "VALUES ('x', 'pre_order', now(), 'EUR', 'MAIN', '{{}}', '{{}}', '{{}}')",
    "UPDATE order_line SET quantity = 1000",
    "UPDATE effect SET state = 'done', done_at = now()",
    "INSERT INTO effect (change_request_id, kind) VALUES (1, 'notify')",
    "UPDATE stock SET quantity = 0",
    "INSERT INTO stock_movement (order_id, line_no, cause, sku, quantity, change_request_id) "
    "VALUES (1, 1, 'x', 'x', 1, 1)",
    "SELECT * FROM dead_letter",
    "UPDATE interchange SET content = ''",
    "UPDATE interchange SET control_number = 9",
    "UPDATE acknowledgement SET verdict = 'acknowledged'",
    "UPDATE partner_file SET content = ''",
    "SELECT content FROM partner_file",
)
_BY_THE_READER = (
    *(f"INSERT INTO {table} DEFAULT VALUES" for table in sorted(metadata.tables)),
    *(f"UPDATE {name} SET {[*table.c][-1].name} = NULL" for name, table in sorted(metadata.tables.items())),
    *(f"SELECT * FROM {table} FOR UPDATE" for table in sorted(metadata.tables)),
)
# What a role may write in general, and the tables refuse in particular.
_BY_A_TRIGGER = {
    Role.WORKER: (
        "UPDATE change_request SET outcome = 'refused' WHERE state = 'decided'",
        "UPDATE change_request SET state = 'received', outcome = NULL, decided_at = NULL, decided_place = NULL "
        "WHERE state = 'decided'",
        "UPDATE orders SET status = 'validated' WHERE status = 'cancelled'",
        "UPDATE orders SET shipping = '{{}}' WHERE edi_state = 'sent'",
        "UPDATE notification SET state = 'pending' WHERE state = 'sent'",
        "UPDATE effect SET state = 'pending', done_at = NULL WHERE state = 'done'",
    ),
    Role.EXPORTER: (
        "UPDATE orders SET edi_state = 'not_sent', interchange_id = NULL WHERE edi_state = 'sent'",
        "UPDATE interchange SET state = 'released', sent_at = NULL, released_at = now() WHERE state = 'sent'",
    ),
    Role.READER: (),
}
_FORBIDDEN = {Role.WORKER: _BY_THE_WORKER, Role.EXPORTER: _BY_THE_EXPORTER, Role.READER: _BY_THE_READER}


@pytest.mark.parametrize("role", AT_WORK)
def test_a_role_is_refused_whatever_is_not_its_work(
    as_role: AsRole, made: str, role: Role, countermand: Countermand
) -> None:
    load(an_order("1001"), an_order("1002"))
    deliver(a_request("1001"))
    settle()
    assert countermand("export").code == 0
    forbidden = {one.format(prefix=made): DENIED for one in (*_BY_NOBODY, *_FORBIDDEN[role])}
    forbidden |= {one.format(): REFUSED_BY_A_TRIGGER for one in _BY_A_TRIGGER[role]}
    with as_role(role):
        assert {statement: fate(transactions.engine(), statement) for statement in forbidden} == forbidden


def test_a_command_by_the_wrong_role_is_told_so_in_one_line(as_role: AsRole, countermand: Countermand) -> None:
    load(an_order())
    with as_role(Role.READER):
        line = error_line(countermand("export"), 2)
    assert line == (
        "the database's user may not do this (permission denied for table orders): use one with the role for it, see "
        "docs/security.md"
    )


def test_a_process_of_the_wrong_role_loses_nothing_and_parks_nothing(as_role: AsRole) -> None:
    load(an_order())
    deliver(a_request())
    with as_role(Role.READER), pytest.raises(DBAPIError):
        take([Delivery("test", "1", encoded(a_request()))])
    with as_role(Role.EXPORTER), capture_logs() as logged:
        apply_changes()
    assert "the database's user may not do this" in logged[0]["error"]
    assert rows("SELECT state, attempts FROM change_request") == [("received", 0)]
    assert rows("SELECT count(*) AS n FROM dead_letter")[0].n == 0


# Making them


def test_what_was_granted_by_hand_is_taken_back_the_next_time(as_role: AsRole, made: str, engine: Engine) -> None:
    by_hand = (
        f"GRANT UPDATE (note) ON changelog TO {made}_worker",
        f"GRANT ALL ON changelog TO {made}_worker",
        "GRANT ALL ON changelog TO PUBLIC",
        "GRANT CREATE ON SCHEMA public TO PUBLIC",
    )
    tried = ["UPDATE changelog SET note = 'x'", "TRUNCATE changelog", "CREATE TABLE mine (id int)"]
    for statement in by_hand:
        assert fate(engine, statement) is None
    in_transaction(lambda connection: roles.make_roles(connection, made))
    with as_role(Role.WORKER):
        assert [fate(transactions.engine(), statement) for statement in tried] == [DENIED] * 3


def test_a_table_of_a_later_migration_is_nobodys_until_the_roles_are_made_again(
    as_role: AsRole, made: str, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert fate(engine, "CREATE TABLE later (id int)") is None
    with as_role(Role.READER):
        assert fate(transactions.engine(), "SELECT * FROM later") == DENIED
    monkeypatch.setattr(roles, "PRIVILEGES", {**PRIVILEGES, "later": {Role.READER: "SELECT"}})
    assert in_transaction(lambda connection: roles.make_roles(connection, made)) == []
    with as_role(Role.READER):
        assert fate(transactions.engine(), "SELECT * FROM later") is None
        assert fate(transactions.engine(), "INSERT INTO later VALUES (1)") == DENIED
    with as_role(Role.WORKER):
        assert fate(transactions.engine(), "SELECT * FROM later") == DENIED


@pytest.fixture
def administrator(prefix: str, engine: Engine) -> str:
    """A user that owns the database and its tables, as on a managed server, and is no superuser; may log in."""
    name = f"{prefix}_administrator"
    with engine.begin() as connection:
        connection.execute(text(f"CREATE ROLE {name} LOGIN PASSWORD '{PASSWORD}'"))
        connection.execute(text(f"ALTER DATABASE {engine.url.database} OWNER TO {name}"))
        for table in PRIVILEGES:
            connection.execute(text(f"ALTER TABLE {table} OWNER TO {name}"))
        for function in ("refuse()", "order_key(text)"):
            connection.execute(text(f"ALTER FUNCTION {function} OWNER TO {name}"))
    return name


def test_a_user_that_may_not_make_roles_is_told_so_in_one_line_and_nothing_is_done(
    administrator: str, prefix: str, log_in: LogIn, countermand: Countermand
) -> None:
    with log_in(administrator):
        line = error_line(countermand("migrate", "--roles", "--role-prefix", prefix), 2)
    assert line == (
        f"the database user {administrator} may not make the roles (permission denied to create role): do it as a user "
        f"that owns the database and its tables and may make roles (ALTER ROLE {administrator} CREATEROLE), or as a "
        "superuser; nothing was changed"
    )
    assert rows("SELECT rolname FROM pg_roles WHERE rolname = :name", name=f"{prefix}_worker") == []


def test_the_owner_of_the_database_makes_the_roles_again_and_again_and_stays_able_to_migrate(
    administrator: str, prefix: str, engine: Engine, log_in: LogIn, countermand: Countermand
) -> None:
    assert fate(engine, f"ALTER ROLE {administrator} CREATEROLE") is None
    with log_in(administrator):
        first, second = (countermand("migrate", "--roles", "--role-prefix", prefix) for _ in range(2))
        assert [(ended.code, ended.err) for ended in (first, second)] == [(0, "")] * 2
        assert fate(transactions.engine(), "ALTER TABLE orders ADD COLUMN later int") is None
        assert fate(transactions.engine(), "CREATE TABLE later ()") is None
    assert (first.out.count("made"), first.out.count("was there")) == (4, 0)
    assert (second.out.count("made"), second.out.count("was there")) == (0, 4)
    [owner] = {row.tableowner for row in rows("SELECT * FROM pg_tables WHERE tablename = ANY(:t)", t=list(PRIVILEGES))}
    assert owner == f"{prefix}_owner"
    assert rows("SELECT rolcanlogin FROM pg_roles WHERE starts_with(rolname, :p) GROUP BY 1 ORDER BY 1", p=prefix) == [
        (False,),
        (True,),
    ]


def test_another_user_may_migrate_and_make_the_roles_again_by_the_owner_role(
    made: str, log_in: LogIn, engine: Engine, countermand: Countermand
) -> None:
    with log_in(f"{made}_owner_user"):
        assert countermand("migrate").code == 0
        assert countermand("migrate", "--roles", "--role-prefix", made).code == 0
        assert fate(engine, "GRANT CREATE ON SCHEMA public TO PUBLIC") is None
        line = error_line(countermand("migrate", "--roles", "--role-prefix", made), 2)
    assert line.startswith("everyone may create tables in the schema public")


def test_the_lines_that_are_printed_make_a_login_user_that_can_work(
    prefix: str, engine: Engine, log_in: LogIn, countermand: Countermand
) -> None:
    ended = countermand("migrate", "--roles", "--role-prefix", prefix)
    assert ended.code == 0
    lines = [line.strip() for line in ended.out.splitlines() if line.startswith("  ") and line.endswith(";")]
    assert len(lines) == 2
    for line in lines:
        ours = line.replace("countermand_1", f"{prefix}_1").replace("…", PASSWORD)
        assert fate(engine, ours.replace("%", "%%")) is None
    load(an_order())
    with log_in(f"{prefix}_1"):
        deliver(a_request())
        apply_changes()
    assert rows("SELECT state FROM change_request") == [("decided",)]


@pytest.mark.parametrize("given", ["Acme", "1st", "a-b", 'a"; DROP TABLE orders; --', "a" * 41])
def test_a_prefix_that_is_no_plain_name_is_refused(countermand: Countermand, given: str) -> None:
    assert "--role-prefix" in error_line(countermand("migrate", "--roles", "--role-prefix", given), 2)


def test_without_the_option_no_role_is_made(countermand: Countermand, prefix: str) -> None:
    assert countermand("migrate", "--role-prefix", prefix).code == 0
    assert rows("SELECT rolname FROM pg_roles WHERE starts_with(rolname, :prefix)", prefix=prefix) == []
