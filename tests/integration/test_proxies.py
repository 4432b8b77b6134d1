"""What stands between us and a desk's API: only what the desks file names."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import pytest

from configuration import ConfigurationError
from desks.api import Api
from desks.desk import Desk, account_of_key
from desks.registry import open_desks
from tests.deliveries import BOT, a_desk, desks_file, environment

_VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")
_ANSWER = f'{{"user": {{"email": "{BOT}"}}}}'.encode()


@contextmanager
def listening(received: list[bytes]) -> Iterator[str]:
    """A server on this machine that keeps what it receives and answers as Zendesk does; yields its URL."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    received.append(connection.recv(65536))
                    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(_ANSWER)}\r\nConnection: close\r\n\r\n"
                    connection.sendall(head.encode() + _ANSWER)

        thread = Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
        thread.join(10)


def test_a_proxy_of_the_environment_receives_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    at_proxy: list[bytes] = []
    at_desk: list[bytes] = []
    with listening(at_proxy) as proxy, listening(at_desk) as url:
        for variable in _VARIABLES:
            monkeypatch.setenv(variable, proxy)
        monkeypatch.setenv("NO_PROXY", "")
        assert account_of_key(a_desk(tmp_path, "zendesk", url=url)) == BOT
    assert [one.split(b"\r\n")[0] for one in at_desk] == [b"GET /api/v2/users/me.json HTTP/1.1"]
    assert at_proxy == []


def test_a_proxy_that_the_desks_file_names_receives_the_call(tmp_path: Path) -> None:
    received: list[bytes] = []
    with listening(received) as proxy:
        for desk in (a_desk(tmp_path, "zendesk", url="http://localhost:9", proxy=proxy), of_all(tmp_path, proxy)):
            assert account_of_key(desk) == BOT
    lines = [one.split(b"\r\n")[0] for one in received]
    assert lines == [b"GET http://localhost:9/api/v2/users/me.json HTTP/1.1"] * 2


def of_all(folder: Path, proxy: str) -> Desk:
    file = folder / "desks.toml"
    file.write_text(f'proxy = "{proxy}"\n' + desks_file({"zendesk": {"url": "http://localhost:9"}}))
    return open_desks(file, environment()).desks["zendesk"]


def test_a_call_on_this_machine_does_not_go_through_a_proxy_elsewhere(tmp_path: Path) -> None:
    received: list[bytes] = []
    with listening(received) as url:
        desk = a_desk(tmp_path, "zendesk", url=url, proxy="http://proxy.acme.example:3128")
        assert account_of_key(desk) == BOT
    assert len(received) == 1


@pytest.mark.parametrize("proxy", ["proxy:3128", "socks5://proxy:1", "http://user:secret@proxy:3128", "http://p/x"])
def test_what_is_no_proxy_is_reported_without_quoting_it(tmp_path: Path, proxy: str) -> None:
    with pytest.raises(ConfigurationError, match=r"desks\.zendesk\.proxy: must be ") as reported:
        a_desk(tmp_path, "zendesk", proxy=proxy)
    assert "secret" not in str(reported.value)


def test_every_desk_calls_by_its_own_proxy(tmp_path: Path) -> None:
    made: list[object] = []
    desks = ("zendesk", "freshdesk", "gorgias", "zammad", "chatwoot", "shop")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Api, "__init__", lambda _, *__, proxy, **___: made.append(proxy))
        for number, name in enumerate(desks):
            a_desk(tmp_path, name, proxy=f"http://proxy-{number}.acme.example:3128").api()
    assert made == [f"http://proxy-{number}.acme.example:3128" for number in range(len(desks))]
