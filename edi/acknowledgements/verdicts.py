"""What a partner's inbox says about our interchanges, whichever standard it says it in."""

from dataclasses import dataclass
from enum import StrEnum

from database.tables import Verdict

__all__ = ["Acknowledgement", "Kind", "Reading", "UnreadableAcknowledgement", "Verdict"]


class UnreadableAcknowledgement(ValueError):
    """Nothing of the file may be believed; the message completes "<file> …" and quotes no data of it."""


class Kind(StrEnum):
    """The message that carries the answer."""

    CONTRL = "CONTRL"
    X12_997 = "997"
    X12_999 = "999"
    TA1 = "TA1"


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """A partner's answer to the interchange of ours with this control number.

    `reference` is the control number of their interchange: with `kind` and `control_number`, a repeated answer has the
    same one. `test` is their mark of a test. `reasons` hold codes, words and places, never a value of a document.
    """

    kind: Kind
    control_number: int
    verdict: Verdict
    reasons: tuple[str, ...]
    reference: str
    test: bool


@dataclass(frozen=True, slots=True)
class Reading:
    """All that one file holds: `others` names what answers no interchange of ours, to be kept and shown."""

    acknowledgements: tuple[Acknowledgement, ...]
    others: tuple[str, ...]
