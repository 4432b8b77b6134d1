"""What the HTTP side answers, as models: openapi.json is made of them, and tests hold real answers against them."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from database.tables import EffectState, NotificationState, RequestState
from desks.notices import Visibility
from rules.model import Effect, Kind, Outcome, ParkedReason, Reason

# A deferred request is not decided yet.
FinalOutcome = Literal[Outcome.APPLIED, Outcome.PARTLY_APPLIED, Outcome.UNCHANGED, Outcome.REFUSED, Outcome.ESCALATED]
AnyReason = Reason | ParkedReason
ShownMoment = Annotated[str, StringConstraints(pattern="Z$"), Field(json_schema_extra={"format": "date-time"})]


class _Answer(BaseModel):
    # Every field is there in every answer, null where there is nothing to say; clients pass over what they do not know.
    model_config = ConfigDict(strict=True, frozen=True, use_attribute_docstrings=True)


class Accepted(_Answer):
    """The request is kept, and will be decided."""

    source: str
    id: str
    state: Literal[RequestState.RECEIVED]


class Noted(_Answer):
    """The ticket that was named is noted, and its form will be read by the desk's API."""

    source: str
    ticket: str
    state: Literal["to_be_read"]


class Decision(_Answer):
    """What is known of a request that was sent again: its one decision, once there is one."""

    source: str
    id: str
    state: RequestState
    outcome: FinalOutcome | None
    reasons: list[AnyReason]
    advice: str | None
    """What the customer may be told."""
    decided_at: ShownMoment | None


class Ignored(_Answer):
    """The delivery asks for nothing: an answer of our own that came back, an event that is none of ours."""

    state: Literal["ignored"]
    why: str


class DeadLettered(_Answer):
    """The delivery is signed and holds no change request: it is kept as a dead letter, and nothing will change."""

    state: Literal["dead_letter"]
    error: str
    """What is wrong with it; it quotes no value that was sent."""


class Error(_Answer):
    """Why it was not done, in words for people; they quote no value that was sent."""

    error: str


class EffectShown(_Answer):
    """What follows from a decision; `dead` means that its tries are used up and that a person must look."""

    kind: Effect
    state: EffectState
    done_at: ShownMoment | None
    error: str | None = None
    """Why the last try failed; only while it is not done and one has."""
    attempts: int | None = None
    """How many tries have failed; only beside `error`."""


class NotificationShown(_Answer):
    """How the decision is told: to whom, in which words, and how far that has come."""

    channel: Literal["ticket", "mail", "log"]
    visibility: Visibility
    subject: str
    body: str
    state: NotificationState


class RequestShown(_Answer):
    """A request with its decision, what followed from it, and how it was told: `requests show --json`."""

    source: str
    id: str
    order: str
    kind: Kind
    ticket: str | None
    state: RequestState
    outcome: FinalOutcome | None
    reasons: list[AnyReason]
    advice: str | None
    """What the customer may be told."""
    received_at: ShownMoment
    decided_at: ShownMoment | None
    error: str | None
    """Why it is parked, or what the last try failed of."""
    effects: list[EffectShown]
    notification: NotificationShown | None


class Health(_Answer):
    """The process lives."""

    ok: Literal[True]


class Ready(_Answer):
    """Whether each of the services that are needed answers, whether all processes get on, and all of that together."""

    ok: bool
    database: bool
    broker: bool
    progress: dict[str, float | None]
    """How many seconds ago each did its last step: beat, the intake, and whoever works off each queue of wake-ups; null
    where none is known."""
    stalled: list[str]
    """Those that have done no step for a minute."""
