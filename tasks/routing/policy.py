"""What may leave the house at all. Nothing that is said here can be overruled by anything else."""

from __future__ import annotations

from local_llm_service.tasks.request import JobRequest
from local_llm_service.worker.errors import InvalidRequest
from local_llm_service.worker.fleet.fleet import AUTO, Fleet

#: The kinds whose prompts a remote model may get. All others hold what callers want to keep: whole
#: documents, whole conversations, what their users say.
MAY_LEAVE = ("generate", "chat", "structured_output")


def why_local(kind: str, request: JobRequest, fleet: Fleet) -> str:
    """Why a job's prompts must not leave one's own hardware; empty if they may.

    Over HTTP a scope within a tenant's is `tenant/scope`: who keeps the first keeps the second.
    """
    if kind not in MAY_LEAVE:
        return f"{kind} stays local"
    if request.keep_local:
        return "keep_local"
    within = f"{request.cache_scope or ''}/"
    if any(within.startswith(f"{one.rstrip('/')}/") for one in fleet.local_scopes):
        return "keep_local of its cache_scope"
    return ""


def home_of(model: str, request: JobRequest, fleet: Fleet) -> str | None:
    """The model at home that makes a context short, before one that leaves the house gets it; None
    where nothing has to be.

    Raises InvalidRequest where there is none: a context never leaves the house as it is.
    """
    if getattr(request, "context", None) is None or not fleet.leaves_the_house(model):
        return None
    route = fleet.route(AUTO)
    if route is None:
        raise InvalidRequest(
            "context: no local model is there to make it short, and it must not leave as it is",
            "Name a local model as MODEL_NAME, or put the text into the prompt.",
        )
    return route.local


def check_may_get(model: str, kind: str, request: JobRequest, fleet: Fleet) -> None:
    """Raise InvalidRequest where a model must not get a job's prompts, as they would leave."""
    if not fleet.leaves_the_house(model):
        return
    reason = why_local(kind, request, fleet)
    if reason:
        raise InvalidRequest(
            f"model: it would leave the house, and must not: {reason}",
            "Name a local model, or none.",
        )
