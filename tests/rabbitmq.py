"""A virtual host of RabbitMQ of a test's own, where the queues may have the product's names and be of any make."""

import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import kombu
import pytest

from workers.broker import connection_to
from workers.supervisor import programs

URL = os.environ.get("COUNTERMAND_TEST_AMQP_URL", "")

needs_rabbitmq = pytest.mark.skipif(not URL, reason="COUNTERMAND_TEST_AMQP_URL names no RabbitMQ to test with")
needs_rabbitmqctl = pytest.mark.skipif(
    not URL or shutil.which("rabbitmqctl") is None or urlsplit(URL).hostname not in ("127.0.0.1", "localhost"),
    reason="needs a RabbitMQ on this machine, and the right to run rabbitmqctl",
)


def rabbitmqctl(*arguments: str) -> str:
    """Runs it and returns what it says."""
    program = shutil.which("rabbitmqctl") or ""
    ended = subprocess.run([program, "-q", *arguments], check=True, capture_output=True, timeout=120)
    return ended.stdout.decode()


@contextmanager
def virtual_host(*options: str) -> Iterator[str]:
    """Makes a virtual host for the block; returns the URL that leads there."""
    name = f"countermand-test-{uuid.uuid4().hex}"
    rabbitmqctl("add_vhost", name, *options)
    try:
        permit(name)
        yield urlsplit(URL)._replace(path=f"/{name}").geturl()
    finally:
        rabbitmqctl("delete_vhost", name)


def permit(virtual_host: str, *, read: str = ".*") -> None:
    """Lets the user of the tests do anything there, or read only some queues."""
    rabbitmqctl("set_permissions", "-p", virtual_host, urlsplit(URL).username or "guest", ".*", ".*", read)


def declare(url: str, name: str, **arguments: object) -> None:
    """Declares a durable queue as somebody else would."""
    with connection_to(url) as connection:
        kombu.Queue(name, durable=True, queue_arguments=arguments)(connection.default_channel).queue_declare()


def delete(url: str, name: str) -> None:
    """Deletes a queue."""
    with connection_to(url) as connection:
        connection.default_channel.queue_delete(name)


@contextmanager
def running(name: str, url: str, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Runs one of our processes on this RabbitMQ for the block."""
    env = {**os.environ, "COUNTERMAND_BROKER_URL": url, "COUNTERMAND_LOG": "json"}
    with log.open("wb") as out, subprocess.Popen(programs()[name], env=env, stdout=out, stderr=out) as process:
        try:
            yield process
        finally:
            process.terminate()
            process.wait(60)
