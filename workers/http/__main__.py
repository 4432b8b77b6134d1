"""The HTTP process."""

import structlog
import uvicorn

from configuration import ConfigurationError
from tasks.database import expect_usable
from tasks.helpdesks import helpdesks
from tasks.settings import settings
from workers.discovery import find_services
from workers.errors import CommandError
from workers.http.app import make_app
from workers.logs import configure_logs, end_with

_log = structlog.get_logger()

# Beyond these uvicorn answers 503 at once, whatever is asked: many more than the application answers at once, so that
# health can be told while it is busy, and fewer than the 1,024 files that a process usually may open.
_MAX_CONNECTIONS = 800


def main() -> None:
    """Serves until it is stopped, on COUNTERMAND_HTTP_HOST and COUNTERMAND_HTTP_PORT."""
    configure_logs()
    find_services()
    desks = helpdesks()
    expect_usable()
    host, port = settings().http_host, settings().http_port
    _log.info("http ready", host=host, port=port, desks=sorted(desks.desks))
    uvicorn.run(
        make_app(desks),
        host=host,
        port=port,
        log_config=None,
        access_log=False,
        server_header=False,
        limit_concurrency=_MAX_CONNECTIONS,
        # Between two requests of a connection, and at the end for those that are being answered.
        timeout_keep_alive=5,
        timeout_graceful_shutdown=10,
    )


if __name__ == "__main__":
    try:
        main()
    except (CommandError, ConfigurationError) as error:
        end_with(f"http: {error}", getattr(error, "exit_code", 2))
