"""docs/limits.md says of connections, times and outages what the program does."""

import re
from pathlib import Path

import workers.intake
from database import server, session, transactions
from database.faults import _REMEDIES
from tasks import answers, intake
from tasks.running import batches
from tasks.running.wakeups import WakeUp
from workers.app import app
from workers.supervisor import connections

_TEXT = (Path(__file__).parents[2] / "docs" / "limits.md").read_text("utf-8")


def test_the_budget_of_connections_is_the_programs() -> None:
    table = _TEXT.partition("## Connections")[2].partition("## Time-outs")[0]
    reported = {name: int(number) for name, number in re.findall(r"^\| (\w+) \| (\d+) \|$", table, re.MULTILINE)}
    assert reported == connections()
    assert f"| **together** | **{sum(connections().values())}** |" in table


def test_the_times_of_tasks_and_of_an_intake_are_the_programs() -> None:
    app.finalize()
    for wakeup in (WakeUp.APPLY_CHANGES, WakeUp.RESTOCK, WakeUp.NOTIFY, WakeUp.EFFECTS):
        assert app.tasks[wakeup].time_limit == batches.TIME_LIMIT_SECONDS
    assert app.tasks[WakeUp.ANSWER].time_limit == answers._TIME_LIMIT_SECONDS
    reported = (
        f"| a task | itself | {app.conf.task_time_limit} s; decisions, restocks and notifications "
        f"{batches.TIME_LIMIT_SECONDS} s, answers {answers._TIME_LIMIT_SECONDS} s |"
    )
    assert reported in _TEXT
    assert f"| intake | itself, for one batch | {workers.intake._HANGS_AFTER_SECONDS} s |" in _TEXT


def test_how_often_a_transaction_is_tried_is_the_programs() -> None:
    attempts = (transactions._USUAL, batches._FEW_ATTEMPTS, intake._FEW_ATTEMPTS)
    assert [one.at_most for one in attempts] == [5, 2, 2]
    assert "tried again, five times in all; a batch, and an intake that decides at once, only twice" in _TEXT


def test_what_an_outage_says_is_what_the_code_says() -> None:
    said = re.findall(r"`(the (?:database|tables|disk)[^`]*?) ?\(…\): ([^`]+)`", _TEXT)
    assert len(said) == 6
    remedies = {(what, remedy.replace("`", "")) for what, remedy in _REMEDIES.values()}
    assert set(said) - remedies == set()


def test_the_settings_of_a_session_are_those_that_are_set_refused_and_reported() -> None:
    section = _TEXT.partition("## Settings of the database")[2].partition("## Outages")[0]
    ours, _, rest = section.partition("**Checked, and refused**")
    refused, _, rest = rest.partition("**Checked, and told**")
    reported = rest.partition("**Yours**")[0]
    first_cells = "".join(line.split("|")[1] for line in ours.splitlines() if line.startswith("| `"))
    named = set(re.findall(r"`([a-z_]{5,})`", first_cells))
    asked_for = {*session.SESSION, *session.SESSION_SINCE, *session.SERVERS_LINE, "client_encoding"}
    assert named == asked_for
    assert [name for name in session.REFUSED if f"`{name}`" not in refused] == []
    assert [name for name in server.EXPECTED if f"`{name}`" not in reported] == []
