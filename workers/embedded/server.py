"""A server program as a child process: started, awaited, started again when it ends by itself, stopped."""

import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from signal import Signals
from threading import Event, Lock, Thread
from typing import Any

import psutil

from configuration.outages import Outage
from workers.accounts import Account
from workers.embedded.processes import PATIENCE_SECONDS, ServiceError, bare_environment, private
from workers.signals import uninterrupted

# Before it is started again: a disk that is full has to be given time.
_PAUSE_SECONDS = 2.0
# Neither server runs on less.
_LITTLE = 1024 * 1024


class Server:
    """A server that works in `data`; one that ends by itself is started again, however often that takes."""

    def __init__(
        self,
        name: str,
        command: list[str],
        data: Path,
        stop: Signals,
        ready: Callable[[int], bool],
        account: Account | None,
    ) -> None:
        self._name, self._command, self._stop, self._ready = name, command, stop, ready
        # In a session of its own the terminal's Ctrl-C does not reach it: whoever works with it stops first.
        self._how: dict[str, Any] = {"cwd": data, "start_new_session": True, "env": bare_environment()}
        self._how |= account.options() if account else {}
        self._process: subprocess.Popen[bytes] | None = None
        self._log = data.with_name(f"{data.name}.log")
        self._outage = Outage(f"{name} ended by itself, it is started again", over=f"{name} runs again")
        # Nothing is started once this is set, which is done under the lock.
        self._over, self._lock = Event(), Lock()

    @contextmanager
    def running(self, config: str = "", prepare: Callable[[], object] = lambda: None) -> Iterator[None]:
        """Run it for the block, from the moment it is ready; stop it by its signal, in its own time."""
        if self._log.exists() and self._log.stat().st_size:
            # Perhaps it says why the last run ended.
            self._log.replace(self._log.with_name(f"{self._log.name}.1"))
        # Both are kept for its next start: a disk that is full by then takes no new file.
        with private(self._log) as output, tempfile.TemporaryFile("w+") as stdin:
            stdin.write(config)
            stdin.flush()
            self._how |= {"stdin": stdin, "stdout": output, "stderr": output}
            keeper = Thread(target=self._keep_alive, args=(prepare,), daemon=True)
            try:
                self._start(prepare)
                keeper.start()
                yield
            finally:
                with self._lock:
                    self._over.set()
                self._end()
                if keeper.ident:
                    keeper.join()

    def _start(self, prepare: Callable[[], object]) -> None:
        prepare()
        with uninterrupted(), self._lock:
            if self._over.is_set():
                raise ServiceError(f"{self._name} is to end")
            self._how["stdin"].seek(0)
            process = subprocess.Popen(self._command, **self._how)  # noqa: S603 - no part of it comes from outside
            self._process = process
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not self._ready(process.pid):
            if process.poll() is not None or time.monotonic() > deadline:
                raise ServiceError(f"{self._name} did not start: {self._last_words()} (see {self._log})")
            time.sleep(0.02)

    def _keep_alive(self, prepare: Callable[[], object]) -> None:
        while self._process and not self._over.is_set():
            self._process.wait()
            if not self._over.wait(_PAUSE_SECONDS):
                full = shutil.disk_usage(self._log.parent).free < _LITTLE
                why = "its disk is full, free some of it" if full else self._last_words()
                self._outage.note(ServiceError(), f"{why} (see {self._log})")
                with suppress(ServiceError, OSError, psutil.Error):
                    self._start(prepare)
                    self._outage.end()

    def _end(self) -> None:
        if process := self._process:
            process.send_signal(self._stop)
            try:
                process.wait(PATIENCE_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()  # both recover from their logs
                process.wait()

    def _last_words(self) -> str:
        lines = self._log.read_text(errors="replace").splitlines() or ["it gave no reason"]
        bad = (line for line in reversed(lines) if re.search("FATAL|PANIC| # (?!WARNING)", line))
        return next(bad, lines[-1]).strip()
