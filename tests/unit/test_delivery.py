"""The delivery kernel: its examples are true, and the failures of transports and desks map to its outcomes."""

import doctest
from types import ModuleType

import pytest

from delivery import backoff, leases, outcomes
from delivery.leases import LostFence, expect_fence
from delivery.outcomes import DeliveryError, Failure, NotDelivered, OutcomeUnknown, Refused
from desks.channels import Forbidden, Misdelivered
from edi.transports import transport


@pytest.mark.parametrize("module", [backoff, leases, outcomes], ids=lambda one: one.__name__)
def test_the_examples_are_true(module: ModuleType) -> None:
    done = doctest.testmod(module)
    assert (done.failed, done.attempted > 0) == (0, True)


@pytest.mark.parametrize(
    ("error", "unknown", "final"),
    [
        (NotDelivered("no"), False, False),
        (Forbidden("no"), False, False),
        (OutcomeUnknown("no"), True, False),
        (Refused("no"), False, True),
        (Misdelivered("no"), True, True),
        (transport.NotDelivered("no"), False, False),
        (transport.DeliveryUnknown("no"), True, False),
        (transport.DeliveryConflict("no"), False, False),
    ],
    ids=lambda one: type(one).__name__ if isinstance(one, Exception) else str(one),
)
def test_a_failure_says_whether_it_may_have_been_delivered(error: DeliveryError, unknown: bool, final: bool) -> None:
    failure = Failure.of(error)
    assert (failure.outcome_unknown, failure.is_final) == (unknown, final)
    assert Failure.of(error, look_first=True).outcome_unknown


@pytest.mark.parametrize("found", [("claimed", 3), ("sent", 2)])
def test_another_state_or_fence_is_a_lost_lease(found: tuple[str, int]) -> None:
    expect_fence("it", ("claimed", 2), ("claimed", 2))
    with pytest.raises(LostFence, match="expected claimed at fence 2"):
        expect_fence("it", found, ("claimed", 2))


def test_a_destination_that_was_away_for_weeks_is_tried_as_often_as_before() -> None:
    assert [backoff.PARTNER.pause(failures) for failures in (9, 10_000)] == [backoff.PARTNER.longest] * 2
