"""A wake-up into a channel that kombu has closed: its connection was lost, and that is the broker's outage."""

import pytest
from celery import current_app
from kombu.transport.redis import Channel
from structlog.testing import capture_logs

from tasks.running.wakeups import WakeUp, wake
from workers.app import app

pytestmark = pytest.mark.usefixtures("system")


def test_a_ring_into_a_channel_whose_connection_was_lost_is_one_that_nobody_hears(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    app.finalize()

    def lose_the_connection(channel: Channel, *_: object, **__: object) -> None:
        channel.close()
        channel.conn_or_acquire().__enter__()

    wake(WakeUp.APPLY_CHANGES)
    with monkeypatch.context() as patched, capture_logs() as logs:
        patched.setattr(Channel, "_put", lose_the_connection)
        wake(WakeUp.APPLY_CHANGES)
        assert [(log["event"], log["error"]) for log in logs] == [
            ("could not send a wake-up, beat will send one", "the broker cannot be reached: the connection was lost")
        ]
    with capture_logs() as logs:
        wake(WakeUp.APPLY_CHANGES)
    assert [log["event"] for log in logs] == ["sends wake-ups again"]


def test_any_other_attribute_that_is_missing_is_a_bug(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise AttributeError("no such thing", name="thing", obj=current_app)

    monkeypatch.setattr(current_app, "send_task", fail)
    with pytest.raises(AttributeError, match="no such thing"):
        wake(WakeUp.APPLY_CHANGES)
