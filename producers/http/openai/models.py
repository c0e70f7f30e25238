"""`GET /v1/models` and `GET /v1/models/{model}`: what workers can run now."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from starlette.responses import Response

from local_llm_service.producers.http.call import Call
from local_llm_service.producers.http.openai.schemas import Model, ModelList
from local_llm_service.producers.http.operations import Operation
from local_llm_service.producers.http.replies import json_reply
from local_llm_service.worker.errors import ModelMissing


def model_object(model: Mapping[str, Any]) -> dict[str, Any]:
    """The object `model` of a row of `HttpService.nameable()`."""
    owner, _, _ = model["name"].rpartition("/")
    more = {name: model[name] for name in ("alias_of", "is_route") if name in model}
    return {
        "id": model["name"],
        "object": "model",
        "created": _unix(model.get("modified_at")),
        "owned_by": "local-llm" if "is_route" in model else owner or "library",
        "local": {
            "default": model["default"],
            "context_tokens": model["context_tokens"],
            "size_bytes": model["size_bytes"],
            "digest": model["digest"],
            "workers": len(model["workers"]),
            "leaves_the_house": model["leaves_the_house"],
            **more,
        },
    }


def _unix(moment: Any) -> int:
    """Unix seconds of a time in RFC 3339; 0 where workers do not tell it."""
    try:
        return int(datetime.fromisoformat(moment).timestamp())
    except (TypeError, ValueError):
        return 0


async def list_models(call: Call) -> Response:
    """All models, by name; then their aliases, then routes."""
    models = [model_object(one) for one in await call.service.nameable()]
    return json_reply({"object": "list", "data": models})


async def retrieve_model(call: Call) -> Response:
    """One model; its name may hold "/" and ":", and stands for the tag "latest" without one."""
    found = await call.service.named(call.request.path_params["model"])
    if found is None:
        raise ModelMissing("model: no worker has it", "Ask for one that GET /v1/models names.")
    return json_reply(model_object(found))


OPERATIONS = (
    Operation(
        "GET",
        "/v1/models",
        list_models,
        "The models that workers can run now",
        "OpenAI",
        answers={200: ModelList},
    ),
    Operation(
        "GET",
        "/v1/models/{model:path}",
        retrieve_model,
        "One model that workers can run now",
        "OpenAI",
        answers={200: Model},
    ),
)
