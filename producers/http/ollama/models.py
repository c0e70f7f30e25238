"""The models that workers have, as Ollama's /api/tags, /api/show and /api/ps list them.

Told is what workers publish; nobody asks an Ollama for it.
"""

from __future__ import annotations

import re
from typing import Any

from starlette.responses import PlainTextResponse, Response

from local_llm_service.producers.http.call import Call
from local_llm_service.producers.http.ollama.bodies import ShowBody
from local_llm_service.producers.http.replies import json_reply
from local_llm_service.producers.http.service import HttpService
from local_llm_service.worker.errors import InvalidRequest, ModelMissing, OllamaUnreachable

#: Go's time of nothing.
NO_TIME = "0001-01-01T00:00:00Z"

#: The Ollama whose API this is, where no worker has one: docs/http.md is compared with it.
SPOKEN = "0.24.0"

Row = dict[str, Any]


async def running(_: Call) -> Response:
    """What Ollama says at its root, where clients probe whether it is there."""
    return PlainTextResponse("Ollama is running")


async def tags(call: Call) -> Response:
    """All models."""
    return json_reply({"models": [listed(row) for row in await call.service.nameable()]})


async def show(call: Call) -> Response:
    """One model. The file's template, parameters and tensors are not told: no worker reads them."""
    body = await call.read(ShowBody)
    name = body.model or body.name
    if not name:
        raise InvalidRequest("model: is required")
    row = await there(call.service, name)
    return json_reply(shown(row))


async def ps(call: Call) -> Response:
    """The models that are in the memory of a worker's Ollama."""
    return json_reply(
        {"models": [in_memory(row) for row in await call.service.models() if row["loaded"]]}
    )


async def version(call: Call) -> Response:
    """The oldest Ollama that a worker has: what it can, all can. Raises OllamaUnreachable."""
    workers = (await call.service.health())["workers"]
    told = [(one["kind"], one["version"]) for worker in workers for one in worker["engines"]]
    # A worker of an earlier version names no engines.
    told += [("ollama", worker["ollama_version"]) for worker in workers if not worker["engines"]]
    if not any(version for _, version in told):
        raise _nobody()
    versions = [version for kind, version in told if version and kind == "ollama"] or [SPOKEN]
    # A worker that takes this for its Ollama would ask itself: it looks for the header
    # (worker/engine/ollama/client.py).
    return json_reply({"version": oldest(versions)}, headers={"X-Local-LLM-Service": "http"})


async def known(service: HttpService, model: str) -> Row | None:
    """A model, an alias or a route, with or without its tag; None where no worker has it now."""
    return await service.named(model)


async def there(service: HttpService, model: str) -> Row:
    """The same. Raises ModelMissing; OllamaUnreachable where no worker has any model."""
    row = await known(service, model)
    if row is not None:
        return row
    if not await service.models():
        raise _nobody()
    raise ModelMissing(
        "model: not found, no worker has it",
        "Run `ollama pull` on a worker's host, or take one that /api/tags lists.",
    )


def _nobody() -> OllamaUnreachable:
    return OllamaUnreachable(
        "no worker is running that reaches its Ollama",
        "Start one with `python -m local_llm_service.worker`.",
    )


def listed(row: Row) -> dict[str, Any]:
    """A model in the reply of /api/tags."""
    facts = _facts(row)
    details = _details(row) | {
        "context_length": _context(row) or 0,
        "embedding_length": facts.get("embedding_length") or 0,
    }
    return {
        **{"name": row["name"], "model": row["name"], "modified_at": row["modified_at"] or NO_TIME},
        **{"size": row["size_bytes"], "digest": row["digest"], "details": details},
        "capabilities": facts.get("capabilities") or ["completion"],
    }


def shown(row: Row) -> dict[str, Any]:
    """The reply of /api/show."""
    facts = _facts(row)
    architecture = facts.get("architecture") or "unknown"
    info = {
        "general.architecture": architecture,
        "general.parameter_count": facts.get("parameter_count"),
        f"{architecture}.context_length": _context(row),
        f"{architecture}.embedding_length": facts.get("embedding_length"),
    }
    return {
        **{"modelfile": "", "parameters": "", "template": ""},
        "details": _details(row),
        "model_info": {name: value for name, value in info.items() if value is not None},
        "tensors": [],
        "capabilities": facts.get("capabilities") or ["completion"],
        "modified_at": row["modified_at"] or NO_TIME,
    }


def in_memory(row: Row) -> dict[str, Any]:
    """A model in the reply of /api/ps."""
    loaded = row["loaded"]
    return {
        **{"name": row["name"], "model": row["name"], "size": loaded["size_bytes"]},
        **{"digest": row["digest"], "details": _details(row)},
        "expires_at": loaded["expires_at"] or NO_TIME,
        "size_vram": loaded["vram_bytes"],
        "context_length": loaded["context_tokens"] or _context(row) or 0,
    }


def _details(row: Row) -> dict[str, Any]:
    unknown = {
        **{"parent_model": "", "format": "", "family": "", "families": None},
        **{"parameter_size": "", "quantization_level": ""},
    }
    return unknown | (_facts(row).get("details") or {})


def _context(row: Row) -> int | None:
    """The context that the model has here, tokens: a client that asks for as much gets it."""
    tokens: int | None = row["num_ctx"] or row["context_tokens"]
    return tokens


def _facts(row: Row) -> dict[str, Any]:
    return row["facts"] or {}


def oldest(versions: list[str]) -> str:
    """The lowest of these versions."""
    return min(versions, key=_numbers)


def _numbers(version: str) -> tuple[list[int], str]:
    return [int(part) for part in re.findall(r"\d+", version.partition("-")[0])[:3]], version
