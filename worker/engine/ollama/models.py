"""The models of an Ollama, as values of ours: what it has, what it says of them, what is loaded."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from local_llm_service.worker.engine.ollama.client import ListedModel, OllamaClient
from local_llm_service.worker.engine.ollama.contexts import Contexts
from local_llm_service.worker.engine.ollama.errors import FOREIGN
from local_llm_service.worker.engine.ollama.model_facts import loaded_in
from local_llm_service.worker.errors import ModelMissing
from local_llm_service.worker.fingerprint import full_name
from local_llm_service.worker.fleet.parts import is_cloud_model
from local_llm_service.worker.prompt import LoadedModel, Model

LOADED_SECONDS = 1.0
_RENAME = "Copy it (`ollama cp`) to a name whose tag is `cloud` or ends with `-cloud`."


class Models:
    """The models of one Ollama; all on the engine's loop.

    What Ollama does not run itself but hands on leaves the house, and everybody who has to know
    that goes by the name. So a model whose name does not say it is no model here.
    """

    def __init__(self, client: OllamaClient, contexts: Contexts) -> None:
        self._client, self._contexts = client, contexts
        #: Full names of those that are left out, as last seen.
        self._disguised: tuple[str, ...] = ()

    async def all(self) -> list[Model]:
        """All models, in Ollama's order. Raises one of FOREIGN."""
        entries = await self._client.listed()
        found = [one for one in entries if one.remote_host and not is_cloud_model(one.model or "")]
        self._disguised = tuple(full_name(one.model or "") for one in found)
        return await _models_of(
            [one for one in entries if one not in found], self._client, self._contexts
        )

    def check(self, model: str) -> None:
        """Raise ModelMissing for a model that is left out."""
        if full_name(model) in self._disguised:
            raise ModelMissing(
                f"model {model!r} is run elsewhere, which its name does not say", _RENAME
            )

    @property
    def notes(self) -> list[str]:
        """A sentence for each model that is left out."""
        return [
            f"{name} is run on its maker's hardware, which its name does not say: no job gets it. "
            f"{_RENAME}"
            for name in self._disguised
        ]


async def _models_of(
    entries: Sequence[ListedModel], client: OllamaClient, contexts: Contexts
) -> list[Model]:
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
