"""The embedded services, really started."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import psutil
import psycopg
import pytest
import redis

from workers.accounts import SERVERS, system_user
from workers.embedded import ServiceError, Services, embedded_services
from workers.embedded.processes import run

NOBODY = 65534

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")

# Starts the services of the home in argv[1], reports, and waits inside the block until it is interrupted or killed.
HOLDER = """
import signal, sys
from pathlib import Path
from workers.embedded import embedded_services
with embedded_services(Path(sys.argv[1]), durable=False) as services:
    try:
        print(services.database_url, services.broker_url, flush=True)
        signal.pause()
    except KeyboardInterrupt:
        print("interrupted", flush=True)
        sys.stdin.readline()
print("stopped", flush=True)
"""

# Starts as root, becomes nobody, and starts again. It changes its user instead of starting anew as another, because
# the interpreter may lie where only root can read; the first start has imported all that the second needs.
ROOT_THEN_NOBODY = """
import os, sys
from pathlib import Path
from workers.embedded import embedded_services
with embedded_services(Path(sys.argv[1]), durable=False):
    pass
os.setgroups([]), os.setgid(65534), os.setuid(65534)
with embedded_services(Path(sys.argv[2]), durable=False) as services:
    import psycopg
    with psycopg.connect(services.database_url.replace("+psycopg", "")) as connection:
        print(connection.execute("SELECT current_database()").fetchone()[0])
"""

CONNECT_AS_NOBODY = """
import os, socket, sys
os.setgroups([]), os.setgid(65534), os.setuid(65534)
with socket.socket(socket.AF_UNIX) as client:
    client.connect(sys.argv[1])
"""


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """A folder that other users may pass through, unlike pytest's own, which each pytest closes again."""
    folder = Path(tempfile.mkdtemp(prefix="countermand-test-")).resolve()
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def home(place: Path) -> Path:
    """One home for all tests that need no fresh one, because the first start of a home takes the longest."""
    return place / "home"


def _connect(services: Services) -> psycopg.Connection:
    return psycopg.connect(services.database_url.replace("+psycopg", ""), autocommit=True)


def _socket_of(services: Services) -> Path:
    query = parse_qs(urlsplit(services.database_url).query)
    return Path(query["host"][0]) / f".s.PGSQL.{query['port'][0]}"


def _postmaster(home: Path) -> psutil.Process:
    return psutil.Process(int((home / "data" / "postgres" / "postmaster.pid").read_text().split()[0]))


def _valkey(services: Services) -> psutil.Process:
    with redis.Redis.from_url(services.broker_url) as client:
        return psutil.Process(client.info("server")["process_id"])


def _hold(home: Path) -> tuple[subprocess.Popen[str], Services]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(home)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    database_url, broker_url = process.stdout.readline().split()
    return process, Services(database_url, broker_url)


def _is_at_work(process: psutil.Process) -> bool:
    return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)


def _only_answer(services: Services, question: str) -> object:
    with _connect(services) as connection:
        row = connection.execute(question).fetchone()
    assert row is not None
    return row[0]


def test_rows_and_entries_survive_a_restart_at_the_same_addresses(home: Path) -> None:
    with embedded_services(home) as first:
        assert _only_answer(first, "SELECT current_setting('fsync') || current_setting('synchronous_commit')") == "onon"
        assert _only_answer(first, "SHOW timezone") == "UTC"
        with _connect(first) as connection, redis.Redis.from_url(first.broker_url) as client:
            connection.execute("CREATE TABLE kept_over_a_restart AS SELECT 7 AS number")
            client.xadd("kept_over_a_restart", {"number": "7"})
            servers = [_postmaster(home), _valkey(first)]
        idle = _connect(first)  # a client that stays does not delay the stop
    assert not any(map(_is_at_work, servers))
    idle.close()

    with embedded_services(home, durable=False) as second, redis.Redis.from_url(second.broker_url) as client:
        assert second == first
        assert _only_answer(second, "SELECT number FROM kept_over_a_restart") == 7
        assert client.xlen("kept_over_a_restart") == 1
        assert (
            _only_answer(second, "SELECT current_setting('fsync') || current_setting('synchronous_commit')") == "offoff"
        )


def test_an_acknowledged_entry_survives_a_killed_valkey(home: Path) -> None:
    with embedded_services(home, durable=False) as services:
        with redis.Redis.from_url(services.broker_url) as client:
            client.xadd("kept_over_a_kill", {"number": "7"})
        _valkey(services).kill()
    with embedded_services(home) as services, redis.Redis.from_url(services.broker_url) as client:
        assert client.xlen("kept_over_a_kill") == 1


def test_a_home_may_have_a_long_path_with_spaces_and_quotes(place: Path) -> None:
    home = place / f'it\'s "{"a long" * 20}" ü' / "the home"
    with embedded_services(home, durable=False) as services, redis.Redis.from_url(services.broker_url) as client:
        assert _only_answer(services, "SELECT 1") == 1
        assert client.ping()
        assert (home / "data" / "valkey" / "appendonlydir").is_dir()


def test_what_a_killed_process_left_running_is_taken_over(home: Path) -> None:
    holder, left = _hold(home)
    with holder, redis.Redis.from_url(left.broker_url) as client, _connect(left) as connection:
        connection.execute("CREATE TABLE taken_over AS SELECT 7 AS number")
        client.xadd("taken_over", {"number": "7"})
        orphans = [_postmaster(home), _valkey(left)]
        holder.kill()
        holder.wait()
        assert all(map(_is_at_work, orphans))

        with embedded_services(home, durable=False) as services, redis.Redis.from_url(services.broker_url) as anew:
            assert not any(map(_is_at_work, orphans))
            assert _only_answer(services, "SELECT number FROM taken_over") == 7
            assert anew.xlen("taken_over") == 1


def test_an_old_number_that_another_process_has_by_now_does_not_block_the_start(home: Path) -> None:
    with embedded_services(home, durable=False) as services:
        path = _socket_of(services)
        pid_file = home / "data" / "postgres" / "postmaster.pid"
        lines = pid_file.read_text().splitlines()
    with subprocess.Popen(
        ["/bin/sh", "-c", "read wait"], stdin=subprocess.PIPE, user=pid_file.parent.stat().st_uid
    ) as bystander:
        path.parent.mkdir()
        for file in (pid_file, path.with_name(f"{path.name}.lock")):
            file.write_text("\n".join([str(bystander.pid), *lines[1:]]) + "\n")
        with embedded_services(home, durable=False) as services:
            assert _only_answer(services, "SELECT 1") == 1
        assert bystander.poll() is None


def test_ctrl_c_reaches_the_one_who_works_with_the_services_first(home: Path) -> None:
    holder, services = _hold(home)
    with holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        servers = [_postmaster(home), _valkey(services)]
        os.killpg(holder.pid, signal.SIGINT)
        assert holder.stdout.readline() == "interrupted\n"
        assert {os.getpgid(server.pid) for server in servers}.isdisjoint({holder.pid})
        assert all(map(_is_at_work, servers))
        holder.stdin.write("\n")
        holder.stdin.flush()
        assert holder.stdout.readline() == "stopped\n"
    assert not any(map(_is_at_work, servers))


def test_a_home_in_use_is_refused(home: Path) -> None:
    with embedded_services(home, durable=False) as services:
        with pytest.raises(ServiceError, match="run already"), embedded_services(home):
            pass
        assert _only_answer(services, "SELECT 1") == 1


def test_a_port_that_another_took_is_exchanged(home: Path) -> None:
    home.mkdir(exist_ok=True)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        (home / "valkey.port").write_text(str(taken.getsockname()[1]))
        with embedded_services(home, durable=False) as services:
            assert urlsplit(services.broker_url).port != taken.getsockname()[1]


def test_an_impossible_home_is_reported_in_one_line(place: Path) -> None:
    (place / "a file").write_text("")
    with pytest.raises(ServiceError, match="File exists") as raised, embedded_services(place / "a file"):
        pass
    assert len(str(raised.value).splitlines()) == 1


def test_a_server_that_does_not_start_is_reported_with_its_own_reason(place: Path) -> None:
    home = place / "outdated"
    with embedded_services(home, durable=False):
        pass
    (home / "data" / "postgres" / "PG_VERSION").write_text("9.6\n")
    with (
        pytest.raises(ServiceError, match=r"PostgreSQL did not start: .*FATAL.*postgres\.log"),
        embedded_services(home),
    ):
        pass


def test_what_the_last_run_of_a_server_said_is_kept_over_a_start(home: Path) -> None:
    log = home / "data" / "postgres.log"
    for _ in range(2):
        with embedded_services(home, durable=False):
            assert "starting PostgreSQL" in log.read_text()
    assert "database system is shut down" in log.with_name("postgres.log.1").read_text()


def test_a_home_of_a_version_without_a_password_gets_one(home: Path) -> None:
    with embedded_services(home, durable=False):
        pass
    (home / "postgres.password").unlink()
    (home / "data" / "postgres" / "pg_hba.conf").write_text("local all all trust\n")
    with embedded_services(home, durable=False) as services:
        assert _only_answer(services, "SELECT 1") == 1
        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(host=str(_socket_of(services).parent), user="postgres", password="another")


def test_a_server_gets_nothing_of_our_environment(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_WEBHOOK_SECRET", "a-secret-of-a-desk")
    with embedded_services(home, durable=False) as services:
        for server in (_postmaster(home), _valkey(services)):
            # Valkey writes its title over what it was given.
            assert set(server.environ()) <= {"PATH"}
            assert b"a-secret-of-a-desk" not in Path(f"/proc/{server.pid}/environ").read_bytes()


def test_a_helper_that_fails_on_a_full_disk_is_reported_in_one_line() -> None:
    says = "echo 'FATAL:  could not extend file: No space left on device' >&2; echo more >&2; exit 1"
    with pytest.raises(ServiceError, match=r"^sh failed: FATAL: .*: free some of its disk$"):
        run("/bin/sh", "-c", says)


@as_root
def test_the_database_wants_its_password_also_from_the_user_that_it_runs_as(home: Path) -> None:
    with embedded_services(home, durable=False) as services:
        account = system_user(SERVERS)
        code = f"""
import os, psycopg
os.setgroups([]), os.setgid({account.gid}), os.setuid({account.uid})
psycopg.connect(host={str(_socket_of(services).parent)!r}, user="postgres", dbname="countermand")
"""
        refused = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert "no password supplied" in refused.stderr


def test_an_error_in_the_block_passes_through_and_the_services_stop(home: Path) -> None:
    error = OSError("of the block")
    servers = []

    def fail() -> None:
        with embedded_services(home, durable=False) as services:
            servers.extend([_postmaster(home), _valkey(services)])
            raise error

    with pytest.raises(OSError, match="of the block") as raised:
        fail()
    assert raised.value is error
    assert not any(map(_is_at_work, servers))


def test_secrets_are_for_the_owner_alone(home: Path) -> None:
    with embedded_services(home, durable=False) as services:
        files = [home / "lock", home / "valkey.password", home / "data" / "postgres.log", home / "data" / "valkey.log"]
        assert {file.stat().st_mode & 0o777 for file in files} == {0o600}
        assert home.stat().st_mode & 0o066 == 0
        password = urlsplit(services.broker_url).password or ""
        assert not any(password in argument for argument in _valkey(services).cmdline())
        with socket.create_connection(("127.0.0.1", urlsplit(services.broker_url).port or 0)) as stranger:
            stranger.sendall(b"PING\r\n")
            assert stranger.recv(64).startswith(b"-NOAUTH")


def test_the_brokers_url_names_a_user_who_may_log_in_as_redis_cli_does(home: Path) -> None:
    with embedded_services(home, durable=False) as services:
        url = urlsplit(services.broker_url)
        with socket.create_connection(("127.0.0.1", url.port or 0)) as client:
            # Always with the name that stands there, be it empty.
            client.sendall(f"AUTH {url.username!r} {url.password}\r\n".encode())
            assert client.recv(64) == b"+OK\r\n"


@as_root
@pytest.mark.parametrize("name", ["home", "home" * 50])
def test_another_user_cannot_connect(place: Path, name: str) -> None:
    with embedded_services(place / name, durable=False) as services:
        assert _only_answer(services, "SELECT 1") == 1
        path = _socket_of(services)
        path.parent.chmod(0o711)  # the socket itself refuses, even if its folder lets others pass
        for _ in range(2):
            command = [sys.executable, "-c", CONNECT_AS_NOBODY, str(path)]
            refused = subprocess.run(command, capture_output=True, text=True, check=False)
            assert refused.stderr.splitlines()[-1].startswith("PermissionError")
            path.parent.chmod(0o700)


@as_root
def test_an_ordinary_user_can_start_after_root_has(place: Path) -> None:
    theirs = place / "theirs"
    theirs.mkdir(mode=0o700)
    os.chown(theirs, NOBODY, -1)
    command = [sys.executable, "-c", ROOT_THEN_NOBODY, str(place / "root's"), str(theirs)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=place)
    assert done.stdout == "countermand\n", done.stderr
    assert (theirs / "data" / "postgres").stat().st_uid == NOBODY


@as_root
def test_a_socket_folder_that_someone_else_made_is_refused(home: Path) -> None:
    with embedded_services(home, durable=False) as services:
        folder = _socket_of(services).parent
    folder.mkdir()
    os.chown(folder, NOBODY, -1)
    try:
        with pytest.raises(ServiceError, match="not a folder of ours"), embedded_services(home):
            pass
    finally:
        folder.rmdir()


@as_root
def test_root_opens_the_folders_above_for_passing_and_never_for_reading(place: Path) -> None:
    above = place / "above"
    above.mkdir(mode=0o700)
    with embedded_services(above / "home", durable=False) as services:
        assert above.stat().st_mode & 0o777 == 0o701
        assert _postmaster(above / "home").username() == SERVERS
        assert _only_answer(services, "SELECT 1") == 1
