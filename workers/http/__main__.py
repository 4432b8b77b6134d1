"""The HTTP process."""

import structlog
import uvicorn

from tasks.settings import settings
from workers.discovery import find_services
from workers.errors import CommandError
from workers.helpdesks import find_helpdesks
from workers.http.app import make_app
from workers.logs import configure_logs

_log = structlog.get_logger()

# Beyond these uvicorn answers 503 at once: each may hold a body of 256 KiB.
_MAX_CONNECTIONS = 200


def main() -> None:
    """Serves until it is stopped, on COUNTERMAND_HTTP_HOST and COUNTERMAND_HTTP_PORT."""
    configure_logs()
    find_services()
    desks = find_helpdesks()
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
    )


if __name__ == "__main__":
    try:
        main()
    except CommandError as error:
        raise SystemExit(f"http: {error}") from error
