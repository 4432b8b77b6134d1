"""`countermand up` where it is hard: in anybody's folder, under `nohup`, unread, with processes that stand still."""

import json
import os
import signal
import subprocess
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError

import psutil
import pytest

from tests.builders import a_request, an_order, encoded
from tests.chaos.embedded import Embedded, embedded_up
from tests.chaos.servers import a_port
from tests.processes import COMMAND, await_that, countermand, environment, log_of
from tests.rooms import ROOMS
from workers.accounts import PROCESSES, SERVERS

# All that lies at the top of this project, and a few of what it uses.
NAMES = (*ROOMS, "celeryconfig", "celery", "redis")
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
DESKS = """
[desks.standard]
source = "shop"
webhook_secret = "SHOP_WEBHOOK_SECRET"
"""

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


@pytest.fixture
def somebodys_folder(tmp_path: Path) -> Path:
    """A folder with modules of somebody's own, under all of our names."""
    folder = tmp_path / "somebody's"
    for name in NAMES:
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").write_text(f"raise ImportError('{name} of the current folder')\n")
    return folder


def lines(log: Path) -> list[dict[str, Any]]:
    """Returns the lines of a log, each of which is JSON."""
    return [json.loads(line) for line in log.read_text().splitlines()]


def ready(port: int) -> dict[str, Any]:
    """Returns what `/readyz` says."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=30) as answer:
            return dict(json.load(answer))
    except HTTPError as error:
        return dict(json.load(error))
    except URLError:
        # HTTP is being started.
        return {"ok": False, "stalled": []}


@contextmanager
def started(home: Path, *before: str, cwd: Path | None = None, **more: str) -> Iterator[subprocess.Popen[bytes]]:
    """Starts `up` for the block, from when it says that it is up."""
    env = environment(COUNTERMAND_HOME=str(home), COUNTERMAND_HTTP_PORT=str(a_port()), **more)
    env.setdefault("COUNTERMAND_START_SECONDS", "180")
    as_is = ["--as-root"] if os.geteuid() == 0 and not more.get("COUNTERMAND_DESKS") else []
    with log_of(home).open("wb") as out:
        up = subprocess.Popen([*before, str(COMMAND), "up", *as_is], cwd=cwd, env=env, stdout=out, stderr=out)
    try:
        await_that(lambda: "countermand is up" in log_of(home).read_text() or up.poll() is not None, "it is up", 200)
        assert up.poll() is None, log_of(home).read_text()
        yield up
    finally:
        if up.poll() is None:
            up.terminate()
            up.wait(60)


def test_it_works_in_a_folder_with_all_of_our_names_and_its_log_is_json_that_names_each_process(
    somebodys_folder: Path, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    with started(home, cwd=somebodys_folder) as up:
        audit = subprocess.run(
            [str(COMMAND), "audit"], cwd=somebodys_folder, env=environment(COUNTERMAND_HOME=str(home)), check=False
        )
        assert audit.returncode == 0
        everything = psutil.Process(up.pid).children(recursive=True)
        for _ in range(4):
            up.send_signal(signal.SIGINT)
        assert up.wait(60) == 0
        # It says so when it is true.
        assert [one for one in everything if one.is_running() and one.status() != psutil.STATUS_ZOMBIE] == []
    said = lines(log_of(home))
    assert said[-1]["event"] == "countermand stopped"
    assert {line["process"] for line in said} >= {"up", "worker", "answerer", "exporter", "intake", "http"}


def test_the_demo_works_in_a_folder_with_all_of_our_names(somebodys_folder: Path) -> None:
    command = [str(COMMAND), "demo", "--orders", "20", "--requests", "20"]
    done = subprocess.run(command, cwd=somebodys_folder, env=environment(), capture_output=True, check=False)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, b"every promise holds"), done.stderr


def test_under_nohup_it_outlives_the_terminal(tmp_path: Path) -> None:
    with started(tmp_path / "home", "nohup") as up:
        up.send_signal(signal.SIGHUP)
        up.send_signal(signal.SIGHUP)
        with pytest.raises(subprocess.TimeoutExpired):
            up.wait(3)
        up.terminate()
        assert up.wait(60) == 0


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Embedded]:
    """A running `up`, for the tests that leave it running."""
    with embedded_up(tmp_path_factory.mktemp("up")) as up:
        yield up


def test_a_log_that_nobody_reads_stops_no_decision(running: Embedded) -> None:
    requests = b"".join(encoded(a_request("UNREAD", id=f"unread-{number}")) + b"\n" for number in range(3000))
    running.load(an_order("UNREAD"))
    running.up.suspend()
    try:
        submitted = countermand("requests", "submit", "-", env=running.env, given=requests)
        assert submitted.returncode == 0, submitted.stderr
        settled = countermand("requests", "wait", "--timeout", "120", "--json", env=running.env)
        assert json.loads(settled.stdout)["decided"] >= 3000
    finally:
        running.up.resume()
    # Nothing of it was lost either.
    await_that(lambda: running.log().count('"unread-') >= 3000, "what was written meanwhile is shown")


@pytest.mark.parametrize(("program", "names"), [("exporter", ["export"]), ("intake", ["intake"]), ("beat", ["beat"])])
def test_a_process_that_stands_still_is_noticed_within_a_minute_or_so(
    running: Embedded, program: str, names: list[str]
) -> None:
    await_that(lambda: ready(running.port)["ok"], "all get on", 180)
    processes = running.program(program)
    before = len(running.log())
    for process in processes:
        process.suspend()
    try:
        await_that(lambda: set(names) <= set(ready(running.port)["stalled"]), f"/readyz says {names}", 75)
        await_that(lambda: f'"{program} does not get on"' in running.log()[before:], f"up names {program}", 90)
    finally:
        for process in processes:
            process.resume()
    await_that(lambda: f'"{program} gets on again"' in running.log()[before:], f"{program} gets on again", 120)


def test_a_supervisord_that_is_killed_is_started_again(running: Embedded) -> None:
    [supervisord] = running.program("supervisord")
    worker = running.program("worker")[0]
    supervisord.kill()
    await_that(lambda: not worker.is_running(), "what it ran is ended")
    await_that(lambda: bool(running.program("worker")), "it runs again", 120)
    assert "supervisord ended by itself, it is started again" in running.log()
    await_that(lambda: ready(running.port)["ok"], "all get on", 180)


def test_what_is_not_ready_in_time_is_reported_in_one_line_and_everything_is_ended(tmp_path: Path) -> None:
    env = environment(
        COUNTERMAND_HOME=str(tmp_path / "home"),
        COUNTERMAND_HTTP_PORT=str(a_port()),
        COUNTERMAND_BROKER_URL=f"redis://127.0.0.1:{a_port()}/0",
        COUNTERMAND_START_SECONDS="15",
    )
    as_is = ["--as-root"] if os.geteuid() == 0 else []
    done = countermand("up", *as_is, env=env)
    assert done.returncode == 3
    last = done.stderr.decode().splitlines()[-1]
    assert last.startswith("countermand: not ready after 15 seconds: ")
    assert "countermand is up" not in done.stderr.decode()


@as_root
def test_started_by_root_nothing_that_speaks_to_the_outside_is_root_and_no_server_sees_a_secret() -> None:
    # Pytest's own folder is closed to others again by each run of pytest.
    with tempfile.TemporaryDirectory(prefix="countermand-test-") as name:
        folder = Path(name)
        (folder / "desks.toml").write_text(DESKS)
        with started(folder / "home", COUNTERMAND_DESKS=str(folder / "desks.toml"), SHOP_WEBHOOK_SECRET=SECRET) as up:
            users: dict[str, set[str]] = {}
            knows: dict[str, bool] = {}
            for process in psutil.Process(up.pid).children(recursive=True):
                words = process.cmdline()
                role = words[4] if "cli.run" in words else process.name()
                users.setdefault(role, set()).add(process.username())
                knows[role] = knows.get(role, False) or SECRET in process.environ().values()
            assert {name for name, who in users.items() if who == {SERVERS}} == {"postgres", "valkey-server"}
            rest = {name: who for name, who in users.items() if who != {SERVERS}}
            assert set().union(*rest.values()) == {PROCESSES}
            programs = {name for name, does in knows.items() if does}
            assert programs >= {"http", "worker", "answerer"}
            assert programs.isdisjoint({"postgres", "valkey-server", "beat", "intake", "exporter"})
            modes = {path: path.stat().st_mode & 0o777 for path in (folder / "home").iterdir() if path.is_dir()}
            assert all(mode & 0o067 == 0 for mode in modes.values()), modes
            assert (folder / "home").stat().st_mode & 0o777 == 0o710
