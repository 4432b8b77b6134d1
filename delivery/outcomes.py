"""What becomes of a delivery: it is delivered, or it is not, or nobody knows, or it is refused for good."""

from dataclasses import dataclass
from typing import ClassVar, Self


class DeliveryError(Exception):
    """Something was not delivered, or is not known to be; the text is the reason and quotes nothing personal.

    `retry_after` is the number of seconds that the other side asked us to wait, if it did. `destination_works` is true
    if the failure concerns this delivery alone, so that others to the same destination can go on. `is_in_doubt` is true
    if the fault may be this delivery's or the destination's, and only another call can tell.
    """

    # Whether it is certain that this attempt has delivered nothing.
    delivered_nothing: ClassVar[bool] = False

    def __init__(
        self,
        reason: str,
        retry_after: float | None = None,
        *,
        destination_works: bool = False,
        is_in_doubt: bool = False,
    ) -> None:
        super().__init__(reason)
        self.retry_after = retry_after
        self.destination_works = destination_works
        self.is_in_doubt = is_in_doubt


class NotDelivered(DeliveryError):
    """This attempt has certainly delivered nothing, and a later one may succeed."""

    delivered_nothing = True


class OutcomeUnknown(DeliveryError):
    """This attempt may have delivered it: the next one must look first, or repeat exactly the same."""


class Refused(DeliveryError):
    """It was not delivered and never will be."""

    delivered_nothing = True


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an attempt failed, as it is recorded.

    `outcome_unknown`: this attempt or an earlier one may have succeeded. `is_final`: no other attempt can succeed.
    """

    reason: str
    outcome_unknown: bool = False
    is_final: bool = False
    retry_after: float | None = None
    destination_works: bool = False

    @classmethod
    def of(cls, error: DeliveryError, *, look_first: bool = False) -> Self:
        """Returns the failure that an error stands for; with `look_first` an earlier attempt may have succeeded.

        >>> Failure.of(NotDelivered("answered 503", 30))
        Failure(reason='answered 503', outcome_unknown=False, is_final=False, retry_after=30, destination_works=False)
        >>> Failure.of(NotDelivered("answered 503"), look_first=True).outcome_unknown
        True
        """
        return cls(
            str(error),
            # A later attempt cannot tell what became of an earlier one.
            outcome_unknown=look_first or not error.delivered_nothing,
            is_final=isinstance(error, Refused),
            retry_after=error.retry_after,
            destination_works=error.destination_works,
        )
