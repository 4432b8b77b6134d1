"""Who we talk to and who we are: the pinned host key, one login, no secret in any message, and a limit of time."""

import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import asyncssh
import paramiko  # type: ignore[import-untyped]  # publishes no types
import pytest

from edi.transports import ssh
from edi.transports.sftp import SftpConfig, SftpTransport
from edi.transports.transport import NotDelivered, NotReady, NotReceived, TransportError
from tests.integration.sftp_server import CONTENT, NAME, PASSWORD, Warehouse

PASSPHRASE = "battery staple"
FINGERPRINT = "SHA256:" + "A" * 43


@pytest.fixture
def warehouse(tmp_path: Path) -> Warehouse:
    return Warehouse(tmp_path / "warehouse")


@pytest.fixture
def config(warehouse: Warehouse) -> Iterator[SftpConfig]:
    with warehouse.running():
        yield warehouse.config


def openssh(key: asyncssh.SSHKey, passphrase: str | None) -> str:
    """Returns the key as ssh-keygen writes it: with a comment, and fewer rounds than bcrypt likes."""
    # Without a comment paramiko 5.1 takes an end without padding for a broken key.
    key.set_comment("store@example.org")
    return key.export_private_key("openssh", passphrase, rounds=16, ignore_few_rounds=True).decode()


def deliver(config: SftpConfig, warehouse: Warehouse) -> None:
    SftpTransport(config).put(NAME, CONTENT)
    assert warehouse.files() == [NAME]


def refused(config: SftpConfig, match: str) -> str:
    """Expects every method to be refused, each with its own kind of error; returns one message."""
    transport = SftpTransport(config)
    tried: list[tuple[type[TransportError], Callable[[], object]]] = [
        (NotReady, transport.check),
        (NotReceived, transport.list_inbox),
        (NotDelivered, lambda: transport.put(NAME, CONTENT)),
    ]
    for kind, method in tried:
        with pytest.raises(kind, match=match) as error:
            method()
        assert PASSWORD not in str(error.value)
        assert PASSPHRASE not in str(error.value)
    return str(error.value)


def test_the_key_or_its_fingerprint_is_pinned(config: SftpConfig, warehouse: Warehouse) -> None:
    deliver(config, warehouse)
    deliver(replace(config, host_key=warehouse.host_keys[0].get_fingerprint()), warehouse)


def test_another_host_key_is_refused_before_the_password_is_sent(config: SftpConfig, warehouse: Warehouse) -> None:
    other = asyncssh.generate_private_key("ssh-ed25519")
    for pin in (other.export_public_key().decode(), other.get_fingerprint()):
        message = refused(replace(config, host_key=pin), "host key refused")
        assert f"found ssh-ed25519 {warehouse.host_keys[0].get_fingerprint()}" in message
        assert f"{other.get_fingerprint()}" in message
    assert set(warehouse.journal) == {"connect"}


def test_a_server_with_several_keys_is_asked_for_the_pinned_one(warehouse: Warehouse) -> None:
    kinds = ("ssh-rsa", "ecdsa-sha2-nistp256", "ssh-ed25519")
    warehouse.host_keys = tuple(asyncssh.generate_private_key(kind) for kind in kinds)
    with warehouse.running():
        for key in warehouse.host_keys:
            deliver(replace(warehouse.config, host_key=key.export_public_key().decode()), warehouse)


def test_a_server_without_a_key_of_the_pinned_type_is_refused(config: SftpConfig) -> None:
    rsa = asyncssh.generate_private_key("ssh-rsa").export_public_key().decode()
    refused(replace(config, host_key=rsa), "no acceptable host key")


@pytest.mark.parametrize(
    "pin",
    ["", "SHA256:", FINGERPRINT[:-1], "MD5:00", "ssh-ed25519", "ssh-ed25519 AAAA", "ssh-rsa !", "yes"],
)
def test_what_is_no_host_key_is_a_mistake_of_the_caller(pin: str) -> None:
    with pytest.raises(ValueError, match=r"host_key is neither .*`ssh-keyscan "):
        SftpConfig(host="h", user="u", host_key=pin, password=PASSWORD, folder="")


def test_a_wrong_password_or_user_is_refused(config: SftpConfig) -> None:
    refused(replace(config, password="wrong"), "Authentication failed")
    message = refused(replace(config, user="other"), "Authentication failed")
    assert message.startswith(f"sftp://other@127.0.0.1:{config.port}: ")


@pytest.mark.parametrize("kind", ["ssh-ed25519", "ecdsa-sha2-nistp256", "ssh-rsa"])
@pytest.mark.parametrize("passphrase", [None, PASSPHRASE])
def test_a_private_key_with_or_without_passphrase_lets_us_in(
    config: SftpConfig, warehouse: Warehouse, kind: str, passphrase: str | None
) -> None:
    key = asyncssh.generate_private_key(kind)
    warehouse.keys = (key.convert_to_public(),)
    text = openssh(key, passphrase)
    deliver(replace(config, password=None, private_key=text, passphrase=passphrase), warehouse)


@pytest.mark.parametrize("kind", ["ecdsa-sha2-nistp256", "ssh-rsa"])
@pytest.mark.parametrize("passphrase", [None, PASSPHRASE])
def test_a_pem_key_lets_us_in(config: SftpConfig, warehouse: Warehouse, kind: str, passphrase: str | None) -> None:
    key = asyncssh.generate_private_key(kind)
    warehouse.keys = (key.convert_to_public(),)
    text = key.export_private_key("pkcs1-pem", passphrase).decode()
    deliver(replace(config, password=None, private_key=text, passphrase=passphrase), warehouse)


def test_a_key_that_the_server_does_not_know_is_refused(config: SftpConfig, warehouse: Warehouse) -> None:
    stranger, known = (asyncssh.generate_private_key("ssh-ed25519") for _ in range(2))
    warehouse.keys = (known.convert_to_public(),)
    refused(replace(config, password=None, private_key=stranger.export_private_key().decode()), "Authentication failed")


@pytest.mark.parametrize(("passphrase", "found"), [(None, "none"), ("wrong", "one")])
def test_a_key_that_cannot_be_read_is_refused_without_a_connection(
    config: SftpConfig, warehouse: Warehouse, passphrase: str | None, found: str
) -> None:
    text = openssh(asyncssh.generate_private_key("ssh-ed25519"), PASSPHRASE)
    for key in (text, "no key at all"):
        keyed = replace(config, password=None, private_key=key, passphrase=passphrase)
        message = refused(keyed, rf"private_key cannot be read: .* \(found {found}\)")
        assert key not in message
    assert warehouse.journal == []


def test_secrets_do_not_show() -> None:
    config = SftpConfig(host="h", user="u", host_key=FINGERPRINT, private_key="k3y", passphrase=PASSPHRASE, folder="")
    shown = f"{config} {config!r} {SftpTransport(config)!r}"
    assert "k3y" not in shown
    assert PASSPHRASE not in shown
    assert PASSWORD not in repr(replace(config, private_key=None, password=PASSWORD))


@pytest.mark.parametrize("secrets", [{}, {"password": PASSWORD, "private_key": "key"}, {"password": ""}])
def test_one_way_to_log_in_is_expected(secrets: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="of password and private_key, expected one") as error:
        SftpConfig(host="h", user="u", host_key=FINGERPRINT, folder="", **secrets)  # type: ignore[arg-type]  # not port
    assert PASSWORD not in str(error.value)


def test_a_limit_of_time_is_expected() -> None:
    with pytest.raises(ValueError, match="timeout is 0, expected more"):
        SftpConfig(host="h", user="u", host_key=FINGERPRINT, password=PASSWORD, folder="", timeout=0)


def test_nobody_listening_means_not_delivered(config: SftpConfig) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    refused(replace(config, port=port), "Connection refused")


def test_a_server_that_says_nothing_is_left_when_the_time_is_up(config: SftpConfig) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        silent = replace(config, port=listener.getsockname()[1], timeout=0.1)
        refused(silent, r"no answer within 0\.1 seconds")


@pytest.mark.parametrize(
    ("greeting", "match"),
    [
        (b"220 mail.example.org ESMTP\r\n" * 100, "protocol version|SSH protocol banner"),
        (b"SSH-2.0-gone\r\n", "the connection ended|Negotiation failed|reset"),
    ],
)
def test_what_does_not_go_on_as_an_ssh_server_is_refused(config: SftpConfig, greeting: bytes, match: str) -> None:
    def answer(listener: socket.socket) -> None:
        for _ in range(3):
            with listener.accept()[0] as connection:
                connection.sendall(greeting)
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(1000):
                    pass

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=answer, args=(listener,))
        thread.start()
        refused(replace(config, port=listener.getsockname()[1]), match)
        thread.join()
    # paramiko's timer would keep this process from ending.
    for timer in [thread for thread in threading.enumerate() if isinstance(thread, threading.Timer)]:
        timer.join(5)
        assert not timer.is_alive()


@pytest.mark.parametrize("ends_by", ["a cut", "the alarm"])
def test_an_end_that_paramiko_forgets_does_not_make_us_wait_for_ever(
    config: SftpConfig, monkeypatch: pytest.MonkeyPatch, ends_by: str
) -> None:
    # The line ends just before paramiko clears the event for which it then waits without a limit.
    clear, rung = paramiko.Channel._event_pending, threading.Event()

    class Noted(ssh.Alarm):
        def fire(self) -> None:
            super().fire()
            rung.set()

    def end_and_clear(channel: Any) -> None:
        if ends_by == "a cut":
            channel.get_transport().close()
        else:
            assert rung.wait(10)
        clear(channel)

    monkeypatch.setattr(ssh, "Alarm", Noted)
    monkeypatch.setattr(paramiko.Channel, "_event_pending", end_and_clear)
    with pytest.raises(NotDelivered, match="no answer within"):
        SftpTransport(replace(config, timeout=1.0)).put(NAME, CONTENT)


def test_nothing_of_a_connection_is_left(config: SftpConfig, warehouse: Warehouse) -> None:
    before = threading.active_count()
    deliver(config, warehouse)
    refused(replace(config, password="wrong"), "Authentication failed")
    assert not [thread for thread in threading.enumerate() if isinstance(thread, paramiko.Transport)]
    # The server's own may be one more: it looks names up in a thread.
    assert threading.active_count() <= before + 1


def test_nothing_of_this_user_takes_part(
    config: SftpConfig, warehouse: Warehouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home" / ".ssh"
    home.mkdir(parents=True)
    key = asyncssh.generate_private_key("ssh-ed25519")
    key.write_private_key(home / "id_ed25519")
    (home / "known_hosts").write_text(f"[127.0.0.1]:{config.port} {warehouse.host_key}")
    warehouse.keys = (key.convert_to_public(),)
    monkeypatch.setenv("HOME", str(home.parent))
    monkeypatch.setattr(paramiko.Agent, "__init__", lambda _: pytest.fail("the agent was asked"))
    refused(replace(config, password="wrong"), "Authentication failed")
    refused(replace(config, host_key=FINGERPRINT), "host key refused")


def test_a_further_step_of_the_login_is_refused(config: SftpConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paramiko.Transport, "auth_password", lambda *_: ["publickey"])
    refused(config, "the server also asks for publickey")
