"""The models of an Ollama, as values of ours: what it has, what it says of them, what is loaded."""

from __future__ import annotations

import asyncio

from local_llm_service.worker.engine.ollama.client import OllamaClient
from local_llm_service.worker.engine.ollama.contexts import Contexts
from local_llm_service.worker.engine.ollama.errors import FOREIGN
from local_llm_service.worker.engine.ollama.model_facts import loaded_in
from local_llm_service.worker.fingerprint import full_name
from local_llm_service.worker.prompt import LoadedModel, Model

LOADED_SECONDS = 1.0


async def models_of(client: OllamaClient, contexts: Contexts) -> list[Model]:
    """All models, in Ollama's order. Raises one of FOREIGN."""
    entries = (await client.list()).models
    facts = await contexts.learn(entries)
    loaded = await _loaded(client)
    models = []
    for entry in entries:
        about = facts.get(entry.digest or "")
        model = Model(
            name=entry.model or "",
            digest=entry.digest or "",
            size_bytes=int(entry.size or 0),
            context_tokens=about.context_tokens if about else None,
            modified_at=None if entry.modified_at is None else entry.modified_at.isoformat(),
            facts=about,
            loaded=loaded.get(full_name(entry.model or "")),
        )
        models.append(model)
    return models


async def _loaded(client: OllamaClient) -> dict[str, LoadedModel]:
    """What is in memory. No job needs to know it, so a server need not tell."""
    try:
        async with asyncio.timeout(LOADED_SECONDS):
            return loaded_in(await client.ps())
    except TimeoutError:
        return {}
    except FOREIGN:
        return {}
