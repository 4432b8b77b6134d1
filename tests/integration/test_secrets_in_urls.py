"""A URL's password is nowhere in what a command or a process says, however the URL is written."""

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
import structlog

from configuration import ConfigurationError
from configuration.settings import settings
from configuration.urls import check_parts, scrub, without_password
from database import transactions
from tests.commands import Countermand
from workers.embedded import Services
from workers.supervisor import programs

# Neither whole nor in pieces may it be said.
SECRET = "S3cr3tP4ss"
PIECES = (SECRET, "W0rdW0rd")
_SCHEMES = ("postgresql", "postgresql+psycopg", "redis", "rediss", "amqp", "amqps")
_MALFORMED = [
    "{}://jane:S3cr3tP4ss#W0rdW0rd@127.0.0.1:1/0",
    "{}://jane:S3cr3tP4ss@W0rdW0rd@127.0.0.1:1/0",
    "{}://jane:S3cr3tP4ss/W0rdW0rd@127.0.0.1:1/0",
    "{}://jane:S3cr3tP4ss?W0rdW0rd@127.0.0.1:1/0",
    "{}://jane:S3cr3tP4ss%zzW0rdW0rd@127.0.0.1:1/0",
    "{}://jane:S3cr3tP4ss%@127.0.0.1:1/0",
    "{}://jane:S3cr3tP4ss:W0rdW0rd@127.0.0.1:1/0",
    "{}://jane:[S3cr3tP4ss]W0rdW0rd@127.0.0.1:1/0",
    "{}://jane:S3cr3tP4ss@127.0.0.1:port/0",
    "{}://jane:S3cr3tP4ss@127.0.0.1:99999/0",
    "{}://jane:S3cr3tP4ss@::1:5432/0",
    "{}://jane:S3cr3tP4ss@[::1:5432/0",
    "{}://jane:S3cr3tP4ss@[::1]x:5432/0",
    "{}://:S3cr3tP4ss#W0rdW0rd@127.0.0.1:1/0",
    "{}://jane:S3cr3tP4ss",
    "{}://jane:S3cr3tP4ss@",
    "{}://jane:S3cr3tP4ss@/",
    "{}:/jane:S3cr3tP4ss@127.0.0.1:1/0",
    "{}://127.0.0.1:1/0?password=S3cr3tP4ss#W0rdW0rd",
    " {}://jane:S3cr3tP4ss@127.0.0.1:1/0",
    "{}//jane:S3cr3tP4ss@127.0.0.1:1/0",
    "http{}://jane:S3cr3tP4ss@127.0.0.1:1/0",
]
_WELL_FORMED = [
    "{}://jane:S3cr3tP4ss@127.0.0.1:1/0",
    "{}://jane:S3cr3tP4ss%23W0rdW0rd@127.0.0.1:1/0",
    "{}://jane:S3cr3tP4ss@nowhere.invalid:1/0",
    "{}://jane:S3cr3tP4ss@[::1]:1/0",
]
_URLS = [form.format(scheme) for scheme in _SCHEMES for form in (*_MALFORMED, *_WELL_FORMED)]


def name_of(url: str) -> str:
    return "COUNTERMAND_DATABASE_URL" if "postgresql" in url else "COUNTERMAND_BROKER_URL"


def start_anew() -> None:
    with suppress(ConfigurationError):
        transactions.engine().dispose()
    transactions.engine.cache_clear()
    settings.cache_clear()


@pytest.mark.parametrize("url", _URLS)
def test_no_command_says_the_password(
    countermand: Countermand, system: Services, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    named = {"COUNTERMAND_DATABASE_URL": system.database_url, "COUNTERMAND_BROKER_URL": system.broker_url}
    with monkeypatch.context() as patched:
        for name, value in {**named, name_of(url): url}.items():
            patched.setenv(name, value)
        for arguments in (["orders", "list"], ["requests", "wait", "--timeout", "1"], ["requests", "submit", "-"]):
            start_anew()
            ended = countermand(*arguments)
            assert [piece for piece in PIECES if piece in ended.out + ended.err] == []
            if ended.code:
                assert ended.code in (1, 2, 3)
                assert ended.err.count("\n") == 1
            start_anew()


_OF_PROCESSES = [
    "redis://:S3cr3tP4ss#W0rdW0rd@127.0.0.1:1/0",
    "amqp://jane:S3cr3tP4ss@W0rdW0rd@127.0.0.1:1/0",
    "postgresql://jane:S3cr3tP4ss%zzW0rdW0rd@127.0.0.1:1/0",
]


@pytest.mark.parametrize("url", _OF_PROCESSES)
@pytest.mark.parametrize("name", ["up", *programs()])
def test_no_process_says_the_password_when_it_starts(system: Services, name: str, url: str) -> None:
    command = [sys.executable, "-m", "workers"] if name == "up" else programs()[name]
    command = [str(Path(sys.executable).with_name("countermand")), "up"] if name == "up" else command
    ended = subprocess.run(command, env={**os.environ, name_of(url): url}, capture_output=True, timeout=60, check=False)
    said = (ended.stdout + ended.stderr).decode()
    assert (ended.returncode, said.count("\n")) == (2, 1)
    assert name_of(url) in said
    assert [piece for piece in PIECES if piece in said] == []


# What libraries say of a URL that they could not read, or of a server that refused it.
_SAID = [
    "Port could not be cast to integer value as 'S3cr3tP4ss'",
    'invalid percent-encoded token: "S3cr3tP4ss#W0rdW0rd"',
    "could not translate host name W0rdW0rd@127.0.0.1 to address",
    "redis://:S3cr3tP4ss#W0rdW0rd@127.0.0.1:1/0",
    "Error S3cr3tP4ss%23W0rdW0rd and S3cr3tP4ss%2523W0rdW0rd",
    "Error \\nS3cr3tP4ss\\\\W0rdW0rd",
]


@pytest.mark.parametrize("said", _SAID)
def test_what_a_library_says_is_scrubbed(said: str) -> None:
    for url in _URLS:
        # Of an escape that is none no library takes a part for a piece.
        if "W0rd" in url and "%zz" not in url:
            assert [piece for piece in PIECES if piece in scrub(said, url)] == []


@pytest.mark.parametrize("password", ['a"quote\\and', "p\u00e4ssw\u00f6rd", "pa%C3%A4ss", "with'quote"])
def test_a_password_is_known_in_every_form_in_which_it_may_be_quoted(password: str) -> None:
    url = f"redis://:{password}@127.0.0.1/0"
    for form in (password, repr(password)[1:-1], structlog.processors.JSONRenderer()(None, "", {"e": password})):
        assert scrub(str(form), url).count("***") == 1


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("amqp://guest:guest@127.0.0.1:5672//", "user guest was refused"),
        ("postgresql://postgres:postgres@127.0.0.1/postgres", "database postgres of postgresql"),
        ("redis://127.0.0.1:6379/0", "127.0.0.1:6379 refused the connection"),
        ("redis://:abc@127.0.0.1/0", "the alphabcet"),
        ("postgresql:///orders", "orders are there"),
    ],
)
def test_what_is_no_secret_is_left(url: str, said: str) -> None:
    assert scrub(said, url) == said


def test_a_log_and_a_traceback_are_scrubbed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COUNTERMAND_BROKER_URL", f"redis://:{SECRET}@127.0.0.1:1/0")
    code = (
        "import logging, structlog, threading\n"
        "from workers.logs import configure_logs\n"
        "configure_logs()\n"
        "structlog.get_logger().info('ours', error='S3cr3tP4ss')\n"
        "logging.getLogger('theirs').warning('%s', 'S3cr3tP4ss')\n"
        "def fail(): raise ValueError('S3cr3tP4ss')\n"
        "thread = threading.Thread(target=fail); thread.start(); thread.join()\n"
        "fail()\n"
    )
    for form in ("json", "console"):
        ended = subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, "COUNTERMAND_LOG": form}, capture_output=True, check=False
        )
        said = (ended.stdout + ended.stderr).decode()
        assert ended.returncode == 1
        assert said.count("***") >= 4
        assert SECRET not in said


@pytest.mark.parametrize("url", [form.format("redis") for form in _WELL_FORMED])
def test_a_url_whose_parts_can_be_told_apart_is_taken(url: str) -> None:
    check_parts(url)
    assert "***" not in without_password(url)
    assert [piece for piece in PIECES if piece in without_password(url)] == []
