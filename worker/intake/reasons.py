"""Why a worker cannot answer, in words that say what to do: for `health` and its reader."""

from __future__ import annotations

from local_llm_service.worker.intake.gate import Reason
from local_llm_service.worker.store.presence import Presence, fails, serves


def reasons_of(presence: Presence) -> list[str]:
    """Why this worker cannot answer calls that name no model; empty while it can."""
    host, model = presence.ollama_host, presence.model
    is_ollama = all(one.kind == "ollama" for one in presence.engines if one.url == host)
    name = "Ollama" if is_ollama else "the engine"
    if not presence.ollama_reachable:
        start = "start it with `ollama serve`" if is_ollama else "start it, and check its url"
        return [f"{name} does not answer at {host}: {start}"]
    found = []
    if not serves(presence, model):
        pull = f"run `ollama pull {model}`" if is_ollama else "check MODEL_NAME and ENGINES_FILE"
        the = "the Ollama" if is_ollama else "the engine"
        found.append(f"model {model!r} is not on {the} at {host}: {pull}")
    elif fails(presence, model):
        log = "the log of `ollama serve`" if is_ollama else "its log"
        the = "the Ollama" if is_ollama else "the engine"
        found.append(f"{the} at {host} fails jobs with model {model!r}: see {log}")
    if Reason.OLLAMA in presence.closed_by:
        found.append(f"{name} at {host} was away a moment ago")
    if Reason.DRAINING in presence.closed_by:
        found.append("it is shutting down")
    return found
