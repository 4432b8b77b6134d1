"""Errors carry facts; the command adds what an operator can do."""

from pathlib import Path

import pytest

from cli.advice import with_advice
from edi.transports.directory import DirectoryTransport
from edi.transports.transport import DeliveryConflict, InboxMissing, NotDelivered


def test_a_conflict_is_shown_with_the_way_out_also_as_a_stored_text(tmp_path: Path) -> None:
    (tmp_path / "N-1.edi").write_bytes(b"theirs")
    with pytest.raises(DeliveryConflict) as raised:
        DirectoryTransport(tmp_path).put("N-1.edi", b"ours")
    stored = str(raised.value)
    assert stored.endswith("; it was left as it is")
    assert with_advice(raised.value) == with_advice(stored)
    assert with_advice(stored).startswith(f"{stored}; find out who wrote the file and move it away, then send again")
    assert with_advice(stored).endswith("see `countermand partners next-number`")


def test_a_missing_inbox_is_shown_with_the_command_that_makes_it() -> None:
    assert with_advice(InboxMissing("/srv/in")) == (
        "/srv/in does not exist; make it, for the user that runs countermand: mkdir -p /srv/in"
    )


def test_other_errors_are_shown_as_they_are() -> None:
    assert with_advice(NotDelivered("the disk is full")) == "the disk is full"
