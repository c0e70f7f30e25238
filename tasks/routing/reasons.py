"""Why a route chose a model, in words for people. There are few, and always the same, so that
answers can be grouped by them. None holds a model's name, nor anything that a caller wrote."""

from __future__ import annotations

from typing import Final

from local_llm_service.worker.errors import (
    BudgetExceeded,
    ContextOverflow,
    EngineTimeout,
    InvalidOutput,
    InvalidRequest,
    ModelMissing,
    OllamaBusy,
    OllamaUnreachable,
    ServiceError,
    StreamBroken,
)

#: The local model was chosen.
NO_REMOTE: Final = "no remote in the route"
DIRECT: Final = "a direct call stays local"
SIMPLE: Final = "simple prompt"
ROUTER_FAILED: Final = "the router failed, so local"
#: The remote model was chosen, and the local one not asked.
COMPLEX: Final = "complex prompt"
TOO_LONG: Final = "too long for local"
NO_TOOLS: Final = "local takes no tools"
NO_LOGPROBS: Final = "local gives no log-probabilities"
#: What was wrong with an answer. The subject of these and the following is a model.
CUT: Final = "was cut"
EMPTY: Final = "wrote nothing"
REFUSED: Final = "refused"
REPEATED: Final = "repeated itself"
UNSURE: Final = "was unsure"
BROKE_CONTRACT: Final = "broke the contract"
#: Why there was none.
OVERFLOWED: Final = "had no room"
LACKS: Final = "cannot do what is asked for"
FAILED: Final = "failed"
AWAY: Final = "is away"

_OF_ERRORS: Final[tuple[tuple[type[ServiceError], str], ...]] = (
    (BudgetExceeded, "is over budget"),
    (ContextOverflow, OVERFLOWED),
    (InvalidOutput, BROKE_CONTRACT),
    (InvalidRequest, LACKS),
    (OllamaUnreachable, AWAY),
    (OllamaBusy, "is busy"),
    (ModelMissing, "is missing"),
    (EngineTimeout, "was too slow"),
    (StreamBroken, "broke off"),
)


def reason_of(error: ServiceError) -> str:
    """Why a model gave no answer."""
    return next((reason for kind, reason in _OF_ERRORS if isinstance(error, kind)), FAILED)


def after_local(reason: str) -> str:
    """Why the remote model answers after the local one."""
    return f"local {reason}"


def after_remote(reason: str) -> str:
    """Why the local model answers in place of the remote one."""
    return f"remote {reason}, so local"
