"""A delivery by SFTP whose line breaks: at every step, anywhere, or by a server that says nothing more."""

from collections.abc import Iterator
from contextlib import nullcontext, suppress
from pathlib import Path

import pytest

from edi.transports import ssh
from edi.transports.sftp import SftpTransport
from edi.transports.sftp_session import Session
from edi.transports.transport import DeliveryUnknown, NotDelivered, TransportError
from tests.integration.sftp_line import breaking_line
from tests.integration.sftp_server import CONTENT, NAME, Cut, Moment, Warehouse

LOGIN = ["connect", "authenticate", "let in", "open session"]
WRITING = ["open hidden", "write", "write", "write", "fsync", "close", "stat hidden"]
DELIVERY = ["stat visible", *WRITING, "rename", "list"]


@pytest.fixture
def warehouse(tmp_path: Path) -> Iterator[Warehouse]:
    with Warehouse(tmp_path / "warehouse").running() as running:
        yield running
        assert running.torn == []


@pytest.fixture
def transport(warehouse: Warehouse) -> SftpTransport:
    return SftpTransport(warehouse.config)


def test_a_file_is_written_hidden_made_durable_and_renamed(warehouse: Warehouse, transport: SftpTransport) -> None:
    transport.put(NAME, CONTENT)
    assert warehouse.journal == LOGIN + DELIVERY
    assert warehouse.files() == [NAME]
    assert (warehouse.drop / NAME).read_bytes() == CONTENT


def steps(names: list[str]) -> list[tuple[str, int]]:
    return [(name, names[: at + 1].count(name)) for at, name in enumerate(names)]


def outcome(step: str, moment: Moment) -> type[TransportError] | None:
    if step == "list" or (step, moment) == ("rename", Moment.ANSWERED):
        return None
    return DeliveryUnknown if step == "rename" else NotDelivered


CUTS = [Cut(step) for step in LOGIN] + [Cut(step, nth, moment) for step, nth in steps(DELIVERY) for moment in Moment]


@pytest.mark.parametrize("cut", CUTS, ids=str)
def test_a_cut_at_this_step_is_told_truly_and_the_next_attempt_leaves_one_whole_file(
    warehouse: Warehouse, transport: SftpTransport, monkeypatch: pytest.MonkeyPatch, cut: Cut
) -> None:
    warehouse.cut = cut
    expected = outcome(cut.step, cut.moment)
    with monkeypatch.context() as patched:
        notice_a_cut_before_the_next_request(warehouse, patched)
        with pytest.raises(expected) if expected else nullcontext():
            transport.put(NAME, CONTENT)
    assert warehouse.has_cut
    is_delivered = cut.step == "list" or (cut.step == "rename" and cut.moment is not Moment.BEFORE)
    assert (NAME in warehouse.files()) is is_delivered
    warehouse.cut = None
    transport.put(NAME, CONTENT)
    assert warehouse.files() == [NAME]
    assert (warehouse.drop / NAME).read_bytes() == CONTENT


def notice_a_cut_before_the_next_request(warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it a request could be sent, to nobody, before we know that the line is cut."""
    send = Session._send

    def send_later(self: Session, packet: bytes) -> None:
        if warehouse.has_cut:
            self._channel.get_transport().join(10)  # type: ignore[attr-defined]  # paramiko's channel has it
        send(self, packet)

    monkeypatch.setattr(Session, "_send", send_later)


@pytest.mark.parametrize("direction", ["to the server", "to us"])
def test_wherever_the_line_breaks_the_next_attempt_leaves_one_whole_file(
    warehouse: Warehouse, transport: SftpTransport, direction: str
) -> None:
    final = warehouse.drop / NAME
    with breaking_line(warehouse, direction, after=None) as unbroken:
        SftpTransport(unbroken.config).put(NAME, CONTENT)
    for after in range(0, unbroken.carried, max(1, unbroken.carried // 12)):
        final.unlink()
        warehouse.journal.clear()
        with breaking_line(warehouse, direction, after=after) as line, suppress(DeliveryUnknown):
            try:
                SftpTransport(line.config).put(NAME, CONTENT)
                assert final.read_bytes() == CONTENT
            except NotDelivered:
                assert "rename" not in warehouse.journal
        transport.put(NAME, CONTENT)
        assert warehouse.files() == [NAME]
        assert final.read_bytes() == CONTENT


@pytest.mark.parametrize("step", ["authenticate", "stat visible", "write", "close", "rename", "list"])
def test_a_server_that_hangs_at_this_step_is_left_when_the_time_is_up(
    warehouse: Warehouse, transport: SftpTransport, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    alarms = []

    class Noted(ssh.Alarm):
        def __enter__(self) -> ssh.Alarm:
            alarms.append(self)
            return super().__enter__()

    monkeypatch.setattr(ssh, "Alarm", Noted)
    warehouse.hangs_at, warehouse.hanging = step, lambda: alarms[0].fire()
    expected = outcome(step, Moment.BEFORE)
    with pytest.raises(expected, match=r"no answer within \d+\.\d seconds") if expected else nullcontext():
        transport.put(NAME, CONTENT)
    warehouse.hangs_at = None
    transport.put(NAME, CONTENT)
    assert warehouse.files() == [NAME]
