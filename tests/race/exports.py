"""An export of one order, and what the partner has to have of it in the end."""

import shutil
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Any
from unittest.mock import patch

import tasks.export
from edi.transports.transport import is_leftover
from tests.builders import an_order, load, order, rows
from tests.race.cancellations import assert_that_every_promise_is_kept
from tests.race.crash_points import has_passed
from workers.app import app

SENT = ["edi_claimed", "edi_sent"]


def exporting() -> None:
    """Exports, in the process that is killed."""
    app.finalize()
    tasks.export.export()


def export_unheard() -> None:
    with patch.object(tasks.export, "wake"):
        tasks.export.export()


class Export:
    """One order a row. What the partner sees is the folder, empty or not there at the beginning."""

    def __init__(self, outbox: Path) -> None:
        self._outbox = outbox
        self._rows = count(1)
        self._row = 0
        self._last = 0
        self._content: bytes | None = None

    def prepare(self) -> None:
        self.clear()
        self._row = next(self._rows)
        self._content = None
        [(self._last,)] = rows("SELECT coalesce(max(id), 0) FROM interchange")
        load(an_order(str(self._row)))

    def clear(self) -> None:
        shutil.rmtree(self._outbox, ignore_errors=True)

    def look(self, passed: Sequence[str]) -> None:
        """What was stored stays as it is, and whatever can be seen in the folder is that, whole."""
        is_claimed = self._content is not None or has_passed("claim: commit", passed)
        stored = self.interchanges()
        assert len(stored) == is_claimed
        self._content = self._content or (stored[0].content if stored else None)
        files = self.files()
        visible = [(name, files.pop(name)) for name in [*files] if not name.startswith(".")]
        assert visible in ([], [(row.filename, self._content) for row in stored])
        assert all(is_leftover(name, stored[0].filename) for name in files)

    def recover(self) -> None:
        """The lease runs out."""
        rows("UPDATE interchange SET lease_until = now() - interval '1 second' WHERE state = 'claimed' RETURNING id")

    def check(self) -> None:
        [sent] = self.interchanges()
        assert (sent.control_number, sent.state) == (self._row, "sent")
        assert sent.content == (self._content or sent.content)
        assert self.files() == {sent.filename: sent.content}
        found = self.order()
        assert (found["edi"], found["interchange"]["control_number"]) == ("sent", self._row)
        assert [entry["action"] for entry in found["changelog"]] == ["loaded", *SENT]
        assert_that_every_promise_is_kept()

    def order(self) -> dict[str, Any]:
        return order(str(self._row))

    def interchanges(self) -> Sequence[Any]:
        return rows("SELECT * FROM interchange WHERE id > :last ORDER BY id", last=self._last)

    def files(self) -> dict[str, bytes]:
        return {file.name: file.read_bytes() for file in self._outbox.iterdir()} if self._outbox.is_dir() else {}


class ExportThatFails(Export):
    """A file stands where the folder should be: known not to be delivered, the interchange is released."""

    def prepare(self) -> None:
        super().prepare()
        self._outbox.write_text("in the way")

    def look(self, passed: Sequence[str]) -> None:
        is_released = has_passed("release what was not delivered: commit", passed)
        is_claimed = has_passed("claim: commit", passed) and not is_released
        assert self.order()["edi"] == ("claimed" if is_claimed else "not_sent")

    def recover(self) -> None:
        super().recover()
        if self._outbox.is_file():
            self._outbox.unlink()
        rows("UPDATE partner SET not_before = now() RETURNING name")

    def check(self) -> None:
        """Sent once by now, or by the next run: under its first number or, once that was released, another."""
        self.recover()
        export_unheard()
        actions = [entry["action"] for entry in self.order()["changelog"]]
        assert actions in (["loaded", *SENT], ["loaded", "edi_claimed", "edi_released", *SENT])
        *released, sent = self.interchanges()
        assert [row.state for row in released] == ["released"] * actions.count("edi_released")
        assert (sent.state, self.files()) == ("sent", {sent.filename: sent.content})
        assert_that_every_promise_is_kept()
