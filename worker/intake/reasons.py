"""Why a worker cannot answer, in words that say what to do: for `health` and its reader."""

from __future__ import annotations

from local_llm_service.worker.fingerprint import full_name
from local_llm_service.worker.intake.gate import Reason
from local_llm_service.worker.store.presence import Presence


def reasons_of(presence: Presence) -> list[str]:
    """Why this worker cannot answer calls that name no model; empty while it can."""
    host, model = presence.ollama_host, presence.model
    if not presence.ollama_reachable:
        return [f"Ollama does not answer at {host}: start it with `ollama serve`"]
    found = []
    if full_name(model) not in {full_name(one.name) for one in presence.models}:
        found.append(f"model {model!r} is not on the Ollama at {host}: run `ollama pull {model}`")
    elif full_name(model) in presence.failing:
        found.append(
            f"the Ollama at {host} fails jobs with model {model!r}: see the log of `ollama serve`"
        )
    if Reason.OLLAMA in presence.closed_by:
        found.append(f"Ollama at {host} was away a moment ago")
    if Reason.DRAINING in presence.closed_by:
        found.append("it is shutting down")
    return found
