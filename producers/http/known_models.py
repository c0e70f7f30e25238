"""Refuses a model that no worker has, at once.

The queue itself would wait MODEL_WAIT_SECONDS for a worker that has it, as one may be restarting
or pulling it. A name that no worker has said for a day is a wrong one.
"""

from __future__ import annotations

from typing import Any

from local_llm_service.producers.http.service import HttpService
from local_llm_service.worker.errors import ModelMissing
from local_llm_service.worker.fingerprint import full_name
from local_llm_service.worker.store.calls import Calls, Command
from local_llm_service.worker.store.keys import Keys


async def check_model(service: HttpService, name: Any) -> None:
    """Raise ModelMissing for a model, an alias or a route that no worker has or has had.

    Raises BrokerUnreachable. None is the default model; what is no name, the kind refuses.
    """
    if not isinstance(name, str) or not name:
        return
    if not await service.models() or await service.named(name) is not None:
        return
    if not await service.drive(_was_served(service.store.keys, full_name(name))):
        raise ModelMissing(
            "model: no worker has it",
            "Ask for one that GET /v1/models names, or run `ollama pull` on a worker's host.",
        )


async def default_model(service: HttpService) -> str:
    """The model of a call that names none; MODEL_NAME where no worker says. Raises
    BrokerUnreachable."""
    models = await service.models()
    default = next((str(one["name"]) for one in models if one["default"]), "")
    return default or service.settings.model_name


def _was_served(keys: Keys, name: str) -> Calls[bool]:
    return (yield Command(("ZSCORE", keys.served, name))) is not None
