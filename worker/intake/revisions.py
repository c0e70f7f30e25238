"""What stands for a model, or a route, in a fingerprint: whatever can change its answers."""

from __future__ import annotations

import hashlib
import json
from functools import lru_cache
from pathlib import Path

from local_llm_service.worker.fingerprint import full_name
from local_llm_service.worker.fleet.fleet import Fleet
from local_llm_service.worker.fleet.parts import FleetEngine, FleetRoute
from local_llm_service.worker.prompt import Model
from local_llm_service.worker.settings import Settings


def model_revision(settings: Settings, entry: FleetEngine, model: Model) -> str | None:
    """A model's digest, the context that it runs with, and the largest answer; None: not known.

    Where the engine tells no digest, the fleet's `revision` of the model stands for it, else
    MODEL_REVISION: with the model's name, as either may be the same for several models.
    """
    digest = model.digest
    if not digest:
        listed = entry.model(model.name)
        by_hand = (listed and listed.revision) or settings.model_revision
        if not by_hand:
            return None
        digest = _digest([full_name(model.name), by_hand])
    # The context that it really runs with: less than NUM_CTX where it was trained for less.
    num_ctx = min(settings.num_ctx, model.context_tokens or settings.num_ctx)
    if entry.kind != "ollama":
        num_ctx = model.context_tokens or settings.num_ctx
    return f"{digest}/{num_ctx}/{settings.max_output_tokens}"


def route_revision(
    settings: Settings, fleet: Fleet, route: FleetRoute, local: str, remote: str | None
) -> str:
    """The revisions of a route's models, and all that decides which of them answers."""
    fitted = _content(settings.router_file)
    how = [route.complex_from, route.cascade, route.min_mean_logprob, settings.router, fitted]
    models = [fleet.model_of(route.local), local, route.remote and fleet.model_of(route.remote)]
    scopes = sorted(fleet.local_scopes)
    return f"{_digest([*models, remote, *how, scopes])}/route"


@lru_cache(maxsize=4)
def _content(path: str | None) -> str:
    """A digest of what ROUTER_FILE holds; a worker reads it once, too."""
    if path is None:
        return ""
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError:
        return path


def _digest(parts: list[object]) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
