"""A database that a later version has migrated: one line, exit 2, by every command and every process."""

import json
import os
import subprocess

import httpx2
import pytest
from sqlalchemy import Engine, text

from database.migrate import newest_revision
from database.revisions import revisions
from database.transactions import in_transaction
from tests.builders import rows
from tests.commands import Countermand, error_line
from tests.processes import COMMAND, environment
from workers.embedded import Services
from workers.supervisor import programs

LINE = "the database is newer than this program (its tables are at revision 9999, and those of this version at "
REMEDY = "run the version that migrated it, or a later one"


@pytest.fixture
def _newer(engine: Engine) -> None:
    rows("UPDATE alembic_version SET version_num = '9999' RETURNING version_num")
    engine.dispose()


@pytest.mark.usefixtures("_newer")
@pytest.mark.parametrize(
    "arguments",
    [["migrate"], ["migrate", "--roles"], ["orders", "list"], ["requests", "wait"], ["export"], ["audit"]],
    ids=" ".join,
)
def test_a_command_ends_with_2_and_a_line_that_says_what_to_do(countermand: Countermand, arguments: list[str]) -> None:
    line = error_line(countermand(*arguments), 2)
    assert line.startswith(LINE)
    assert line.endswith(REMEDY)


@pytest.mark.usefixtures("_newer")
@pytest.mark.parametrize("name", ["worker", "intake", "http"])
def test_a_process_ends_with_2_and_the_same_line(system: Services, name: str) -> None:
    ended = subprocess.run(programs()[name], env=os.environ, capture_output=True, timeout=60, check=False)
    lines = ended.stderr.decode().splitlines()
    assert (ended.returncode, len(lines)) == (2, 1), lines
    said = json.loads(lines[0])
    assert f"{said['event']}: {said.get('error', '')}".startswith((f"cannot start: {LINE}", f"{name}: {LINE}"))


@pytest.mark.usefixtures("_newer")
def test_up_ends_with_2_before_anything_is_started(system: Services) -> None:
    env = environment(**{name: value for name, value in os.environ.items() if name.startswith("COUNTERMAND_")})
    ended = subprocess.run([COMMAND, "up", "--port", "18973"], env=env, capture_output=True, timeout=60, check=False)
    assert ended.returncode == 2
    assert ended.stderr.decode().startswith(f"countermand: {LINE}")
    assert ended.stderr.count(b"\n") == 1


def test_what_runs_is_not_ready_once_it_connects_anew(http: httpx2.Client, request: pytest.FixtureRequest) -> None:
    assert http.get("/readyz").status_code == 200
    request.getfixturevalue("_newer")
    assert http.get("/readyz").status_code == 503


def test_the_revisions_are_those_of_the_migrations(system: Services) -> None:
    newest = in_transaction(newest_revision)
    assert (max(revisions()), newest in revisions()) == (newest, True)


def test_a_user_that_may_not_read_the_revision_is_let_in(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE alembic_version RENAME TO another"))
    engine.dispose()
    assert rows("SELECT 1") == [(1,)]
