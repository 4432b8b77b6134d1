"""What acknowledgements say about our interchanges, in any standard."""

from dataclasses import dataclass
from enum import StrEnum

from database.tables import Verdict

__all__ = ["Acknowledgement", "Kind", "Reading", "UnreadableAcknowledgement", "Verdict"]


class UnreadableAcknowledgement(ValueError):
    """The file cannot be trusted; the message completes "<file> …" and quotes no data of it."""


class Kind(StrEnum):
    """The type of the message."""

    CONTRL = "CONTRL"
    X12_997 = "997"
    X12_999 = "999"
    TA1 = "TA1"


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """A partner's answer to the interchange of ours with this control number.

    `reference` is the control number of their interchange; with `kind` and `control_number` it recognises a repeated
    answer. `test` is their test indicator. `reasons` hold codes, meanings and positions, never values of a document.
    """

    kind: Kind
    control_number: int
    verdict: Verdict
    reasons: tuple[str, ...]
    reference: str
    test: bool


@dataclass(frozen=True, slots=True)
class Reading:
    """The content of one file: `others` names messages that answer no interchange of ours, which are kept and shown."""

    acknowledgements: tuple[Acknowledgement, ...]
    others: tuple[str, ...]
