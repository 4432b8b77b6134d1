"""What the worker logs when Celery loses its broker."""

import logging
from collections.abc import Iterator

import pytest
from kombu.message import Message

from workers.app import shorten_lost_acknowledgement

LOST = ConnectionResetError("connection reset by peer")


class LostChannel:
    """A channel whose connection has ended."""

    no_ack_consumers = None

    def basic_ack(self, *_: object, **__: object) -> None:
        raise LOST

    def basic_reject(self, *_: object, **__: object) -> None:
        raise LOST


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    made = logging.getLogger("tests.celery.worker.request")
    made.addFilter(shorten_lost_acknowledgement)
    yield made
    made.removeFilter(shorten_lost_acknowledgement)


@pytest.mark.parametrize("settle", ["ack_log_error", "reject_log_error"])
def test_a_lost_acknowledgement_is_a_warning_of_one_line(
    logger: logging.Logger, caplog: pytest.LogCaptureFixture, settle: str
) -> None:
    message = Message(body=b"", delivery_tag=7, channel=LostChannel())
    getattr(message, settle)(logger, (ConnectionError,))
    [record] = caplog.records
    assert (record.levelname, record.exc_info, record.getMessage()) == (
        "WARNING",
        None,
        "a wake-up could not be acknowledged, the broker delivers it again: "
        "the broker cannot be reached: connection reset by peer",
    )
    assert "Traceback" not in caplog.text


def test_other_records_of_celery_stay_as_they_are(logger: logging.Logger, caplog: pytest.LogCaptureFixture) -> None:
    try:
        raise LOST
    except ConnectionError:
        logger.critical("Couldn't start %r, reason:%r", 7, LOST, exc_info=True)
    [record] = caplog.records
    assert (record.levelname, record.exc_info is None) == ("CRITICAL", False)
    assert "Couldn't start 7" in record.getMessage()
