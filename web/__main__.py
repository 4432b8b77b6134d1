"""The HTTP process."""

import logging
from typing import Any

import structlog
import uvicorn

from configuration import ConfigurationError
from configuration.settings import settings
from database.transactions import expect_usable
from tasks.helpdesks import helpdesks
from tasks.partners import address_check
from web.app import make_app
from web.connections import BACKLOG, OnceAMinute, Protocol
from workers.discovery import find_services
from workers.errors import CommandError
from workers.logs import configure_logs, end_with

_log = structlog.get_logger()


def serving() -> dict[str, Any]:
    """Returns the settings of uvicorn for connections, time-outs and proxies."""
    return {
        "http": Protocol,
        "backlog": BACKLOG,
        # Who a client is, only a proxy of ours may say.
        "forwarded_allow_ips": settings().http_trusted_proxies,
        "log_config": None,
        "access_log": False,
        "server_header": False,
        # Between two requests of a connection, and at the end for those that are being answered.
        "timeout_keep_alive": 5,
        "timeout_graceful_shutdown": 10,
    }


def main() -> None:
    """Serves until it is stopped, on COUNTERMAND_HTTP_HOST and COUNTERMAND_HTTP_PORT."""
    configure_logs()
    find_services()
    desks = helpdesks()
    address_check()
    expect_usable()
    host, port = settings().http_host, settings().http_port
    _log.info("http ready", host=host, port=port, desks=sorted(desks.desks))
    logging.getLogger("uvicorn.error").addFilter(OnceAMinute())
    uvicorn.run(make_app(desks), host=host, port=port, **serving())


if __name__ == "__main__":
    try:
        main()
    except (CommandError, ConfigurationError) as error:
        end_with(f"http: {error}", getattr(error, "exit_code", 2))
