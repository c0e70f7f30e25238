"""What may leave the house at all. Nothing that is said here can be overruled by anything else."""

from __future__ import annotations

from local_llm_service.tasks.request import JobRequest
from local_llm_service.worker.fleet.fleet import Fleet

#: The kinds whose prompts a remote model may get. All others hold what callers want to keep: whole
#: documents, whole conversations, what their users say.
MAY_LEAVE = ("generate", "chat", "structured_output")


def why_local(kind: str, request: JobRequest, fleet: Fleet) -> str:
    """Why a job's prompts must not leave one's own hardware; empty if they may."""
    if kind not in MAY_LEAVE:
        return f"{kind} stays local"
    if request.keep_local:
        return "keep_local"
    if request.cache_scope in fleet.local_scopes:
        return "keep_local of its cache_scope"
    return ""
