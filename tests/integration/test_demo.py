"""`countermand demo` and `countermand up` as a person runs them: real processes, in a home of their own."""

import json
import signal
import urllib.request
from contextlib import suppress
from pathlib import Path

import psutil

from tasks.running.progress import EXPECTED
from tests.builders import a_request, an_order, encoded
from tests.processes import countermand, environment, running_up
from workers.embedded.valkey import _free_port


def test_the_demo_decides_everything_and_its_audit_is_clean() -> None:
    done = countermand("demo", "--orders", "60", "--requests", "90", "--seed", "7", "--json", env=environment())
    reported = json.loads(done.stdout)
    assert done.returncode == 0, done.stderr
    assert set(reported) == {
        "orders",
        "requests",
        "seconds",
        "requests_per_second",
        "outcomes",
        "reasons",
        "exported",
        "interchanges",
        "audit",
    }
    assert (reported["orders"], reported["requests"], sum(reported["outcomes"].values())) == (60, 90, 90)
    assert reported["audit"]["ok"]
    assert [check["promise"] for check in reported["audit"]["checks"]] == list(range(1, 10))
    assert reported["exported"] > 0
    assert reported["interchanges"] > 0


def test_up_runs_everything_and_a_killed_process_comes_back(tmp_path: Path) -> None:
    home, port = tmp_path / "home", int(_free_port(""))
    env = environment(COUNTERMAND_HOME=str(home), COUNTERMAND_EXPORT_SECONDS="1", COUNTERMAND_SWEEP_SECONDS="0.5")
    with running_up(home, port, env) as up:
        for process in psutil.Process(up.pid).children(recursive=True):
            # One of a pool ends with its worker.
            with suppress(psutil.NoSuchProcess):
                if "cli.run" in process.cmdline():
                    process.kill()
        submitted = countermand("requests", "submit", "-", env=env, given=encoded(a_request()) + b"\n")
        assert submitted.returncode == 0, submitted.stderr
        loaded = countermand("orders", "load", "-", env=env, given=encoded(an_order()) + b"\n")
        assert loaded.returncode == 0, loaded.stderr
        settled = countermand("requests", "wait", "--timeout", "60", "--json", env=env)
        assert json.loads(settled.stdout) == {
            "settled": True,
            "on_broker": 0,
            "received": 0,
            "decided": 1,
            "parked": 0,
            "effects_pending": 0,
        }
        audited = countermand("audit", "--json", env=env)
        assert json.loads(audited.stdout)["ok"], audited.stdout
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=10) as answer:  # ours
            ready = json.load(answer)
            assert (ready["ok"], ready["stalled"], ready["progress"].keys()) == (True, [], set(EXPECTED))
        everything = psutil.Process(up.pid).children(recursive=True)
    _, alive = psutil.wait_procs(everything, timeout=10)
    assert alive == [], "what `up` started is still running"
    after = countermand("audit", env=env)
    assert (after.returncode, after.stderr.count(b"\n")) == (3, 1), after.stderr


def test_up_ends_with_its_terminal(tmp_path: Path) -> None:
    with running_up(tmp_path / "home", int(_free_port("")), environment()) as up:
        everything = psutil.Process(up.pid).children(recursive=True)
        up.send_signal(signal.SIGHUP)
        assert up.wait(60) == 0
    assert psutil.wait_procs(everything, timeout=10)[1] == []


def test_a_second_up_on_the_same_home_is_refused_in_one_line(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with running_up(home, int(_free_port("")), environment()):
        second = countermand("up", "--home", str(home), env=environment())
    assert (second.returncode, second.stderr.count(b"\n")) == (3, 1)
    assert b"is up in" in second.stderr
