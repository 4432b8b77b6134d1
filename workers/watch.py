"""Watches whether the processes of `countermand up` make progress, and if not, which one does not and why."""

import http.client
import json
from collections.abc import Mapping
from time import monotonic
from typing import Any

import structlog

from configuration.outages import Outage
from configuration.settings import settings
from tasks.running.progress import STALLED_SECONDS
from workers.errors import Unreachable
from workers.log_files import Followed
from workers.supervisor import SUPERVISORD, Supervisor

_log = structlog.get_logger()

_ASK_SECONDS, _WATCH_SECONDS = 0.5, 10.0
# HTTP itself waits four seconds for each service.
_ANSWER_SECONDS = 15.0
# The program that consumes each queue.
_WORKS_OFF = {"changes": "worker", "effects": "worker", "answers": "answerer", "export": "exporter"}

_AWAY = {"database": "the database takes no writes", "broker": "the broker does not answer"}


class _DoesNotGetOn(Exception):
    """The kind of these outages."""


class Watch:
    """Asks `/readyz`, and explains failures with the logs of the processes."""

    def __init__(self, host: str, port: int, supervisor: Supervisor, logs: Mapping[str, Followed]) -> None:
        self._where = _reachable(host), port
        self._supervisor, self._logs = supervisor, logs
        self._outages = {
            name: Outage(f"{name} does not get on", over=f"{name} gets on again", program=name)
            for name in logs
            if name != SUPERVISORD
        }
        self._all_answered_since: float | None = None

    def await_all(self) -> None:
        """Returns once `/readyz` is 200 and every process has reported since now. Raises Unreachable after a minute."""
        started, patience = monotonic(), settings().start_seconds
        while missing := self._missing(monotonic() - started):
            if monotonic() - started > patience:
                raise Unreachable(f"not ready after {patience:g} seconds: {'; '.join(missing)}")
            if self._supervisor.ended.wait(_ASK_SECONDS):
                self._start_again()

    def watch(self) -> None:
        """Logs a line a minute for each process that makes no progress, and restarts supervisord; never returns."""
        while True:
            if self._supervisor.ended.wait(_WATCH_SECONDS):
                self._start_again()
            stalled = self._stalled()
            for name, outage in self._outages.items():
                if name in stalled:
                    outage.note(_DoesNotGetOn(), stalled[name])
                else:
                    outage.end()

    def _start_again(self) -> None:
        _log.warning("supervisord ended by itself, it is started again", error=self._why(SUPERVISORD))
        self._supervisor.start()

    def _missing(self, seconds: float) -> list[str]:
        """Returns what is not ready, with reasons; a process is ready if it has reported within these seconds."""
        answer = self._ask()
        if isinstance(answer, str):
            return [f"http does not answer ({answer}), {self._why('http')}"]
        away = [reason for service, reason in _AWAY.items() if not answer[service]]
        silent = [name for name, age in answer["progress"].items() if age is None or age > seconds]
        return away or [f"{name} has not reported, {self._why(name)}" for name in self._programs(silent)]

    def _stalled(self) -> dict[str, str]:
        """Returns the programs that make no progress, each with what is known of the reason."""
        answer = self._ask()
        if isinstance(answer, str):
            return {"http": f"it does not answer ({answer}); {self._why('http')}"}
        now = monotonic()
        if not all(answer[service] for service in _AWAY):
            # The processes log it themselves, and cannot make progress.
            self._all_answered_since = None
            return {}
        if self._all_answered_since is None:
            self._all_answered_since = now
        # After an outage the processes need some time to make progress again.
        has_had_time = now - self._all_answered_since > STALLED_SECONDS
        stalled = self._programs(answer["stalled"]) if has_had_time else []
        return {name: f"no step for more than {STALLED_SECONDS:g} seconds; {self._why(name)}" for name in stalled}

    def _programs(self, names: list[str]) -> list[str]:
        """Returns the programs behind names of `tasks.running.progress`; only beat for what depends on its wake-ups."""
        if "beat" in names:
            names = [name for name in names if name not in _WORKS_OFF]
        found = dict.fromkeys(_WORKS_OFF.get(name, name) for name in names)
        return [name for name in found if name in self._logs]

    def _why(self, name: str) -> str:
        return f"it last said: {self._logs[name].last_words()}"

    def _ask(self) -> dict[str, Any] | str:
        connection = http.client.HTTPConnection(*self._where, timeout=_ANSWER_SECONDS)
        try:
            connection.request("GET", "/readyz")
            answer = json.loads(connection.getresponse().read())
            return answer if isinstance(answer, dict) else "it is not Countermand"
        except (OSError, ValueError, http.client.HTTPException) as error:
            return str(error) or type(error).__name__
        finally:
            connection.close()


def _reachable(host: str) -> str:
    """Returns the address at which a server that listens there can be reached from this machine."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)  # noqa: S104
