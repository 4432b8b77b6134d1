"""What the HTTP side answers besides the views: openapi.json is made of both, and tests check real answers by them."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

from database.tables import RequestState
from orders.views import AnyReason, FinalOutcome, Moment


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
    """What the customer may be answered."""
    decided_at: Moment | None


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


class Health(_Answer):
    """The process lives."""

    ok: Literal[True]


class Ready(_Answer):
    """Whether each of the services that are needed answers, whether all processes get on, and all of that together."""

    ok: bool
    database: bool
    broker: bool
    progress: dict[str, float | None]
    """How many seconds ago each did its last step: beat, the intake, and the workers of each queue of wake-ups; null
    where none is known."""
    stalled: list[str]
    """Those that have done no step for a minute."""
