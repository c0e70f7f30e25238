"""The official asynchronous Ollama client with the two arguments that it lacks.

Without `truncate: false` and `shift: false` Ollama cuts a prompt that is too long to about half the
window, silently and with HTTP 200 (tests/wire/ctx_chat_one_long_message_default.json).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict
from typing import Any, cast

import httpx
from httpx_aiohttp import AiohttpTransport
from ollama import AsyncClient, ChatResponse, EmbedResponse, ListResponse

from local_llm_service.worker.engine.embedding import Vectors
from local_llm_service.worker.engine.ollama.model_facts import facts_in
from local_llm_service.worker.engine.ollama.tools import accepted
from local_llm_service.worker.errors import OllamaUnreachable
from local_llm_service.worker.prompt import ModelFacts, Prompt, Sampling

NANOSECONDS = 1e9

#: What HTTP of this service sends with its answer to a question for the version.
OURS_HEADER = "x-local-llm-service"


class ChatRecord(ChatResponse):
    """One record of a stream. Of a token's probability it keeps all that Ollama says."""

    logprobs: list[dict[str, Any]] | None = None  # type: ignore[assignment]


class ListedModel(ListResponse.Model):
    """One entry of `/api/tags`. `remote_host`: where Ollama hands prompts on to, for a model that
    it does not run itself; a copy under another name, and what is made of it, has it, too."""

    remote_host: str | None = None


class ModelsListed(ListResponse):
    """The answer of `/api/tags`."""

    models: Sequence[ListedModel]


def sampling_options(sampling: Sampling) -> dict[str, float]:
    """The sampling as Ollama's options. All of it is sent, whatever the server's defaults are."""
    options: dict[str, float] = asdict(sampling)
    if sampling.seed is None:
        del options["seed"]  # the default, -1, is another text each time
    return options


class OllamaClient(AsyncClient):
    """One connection pool to one Ollama.

    Only connecting and sending have a timeout here. The engine bounds reading itself, because it
    allows another time for the first token than for the next.
    """

    def __init__(self, host: str, *, connect_seconds: float) -> None:
        super().__init__(
            host,
            timeout=httpx.Timeout(None, connect=connect_seconds, write=30),
            # aiohttp's connections under httpx's interface: 1.0 ms of CPU for a streamed answer
            # instead of 2.8. 0 means no limit: the number of slots is the limit.
            transport=AiohttpTransport(limits=httpx.Limits(max_connections=0), trust_env=False),
            trust_env=False,  # never a proxy between a worker and the Ollama beside it
        )

    async def stream_chat(
        self, model: str, prompt: Prompt, *, num_ctx: int, format: object = None
    ) -> AsyncIterator[ChatRecord]:
        """Stream one answer.

        The runner options (`num_ctx`, `shift`) are the same for every kind of job: a change of
        either makes Ollama reload the model.
        """
        body: dict[str, Any] = {
            "model": model,
            "messages": list(prompt.messages),
            "stream": True,
            "truncate": False,
            "shift": False,
            "options": {
                "num_ctx": num_ctx,
                "num_predict": prompt.max_tokens,
                **sampling_options(prompt.sampling),
            },
        }
        if format is not None:
            body["format"] = format
        if prompt.tools:
            body["tools"] = [accepted(tool) for tool in prompt.tools]
        if prompt.stop:
            body["options"]["stop"] = list(prompt.stop)
        if prompt.top_logprobs is not None:
            body |= {"logprobs": True, "top_logprobs": prompt.top_logprobs}
        return cast(
            AsyncIterator[ChatRecord],
            await self._request(ChatRecord, "POST", "/api/chat", json=body, stream=True),
        )

    async def vectors(self, model: str, texts: Sequence[str], *, num_ctx: int) -> Vectors:
        """One vector for each text. A text that is too long is refused, not cut."""
        body = {
            "model": model,
            "input": list(texts),
            "truncate": False,
            "options": {"num_ctx": num_ctx},
        }
        said = await self._request(EmbedResponse, "POST", "/api/embed", json=body)
        return Vectors(
            vectors=said.embeddings,
            model=said.model or "",
            tokens=said.prompt_eval_count or 0,
            load_seconds=(said.load_duration or 0) / NANOSECONDS,
            seconds=(said.total_duration or 0) / NANOSECONDS,
        )

    async def listed(self) -> Sequence[ListedModel]:
        """All models, in Ollama's order."""
        return (await self._request(ModelsListed, "GET", "/api/tags")).models

    async def facts(self, model: str) -> ModelFacts:
        """What the model's file says."""
        said = await self._request_raw(  # type: ignore[no-untyped-call]
            "POST", "/api/show", json={"model": model}
        )
        return facts_in(said.json())

    async def version(self) -> str:
        """The server's version, e.g. "0.33.0".

        Raises OllamaUnreachable where HTTP of this service answers: it would ask its workers, this
        one among them.
        """
        response = await self._request_raw("GET", "/api/version")  # type: ignore[no-untyped-call]
        if OURS_HEADER in response.headers:
            raise OllamaUnreachable(
                "OLLAMA_HOST leads to HTTP of local-llm, which asks its workers",
                "Set OLLAMA_HOST of the worker to Ollama itself.",
            )
        answer = response.json()
        if not isinstance(answer, dict) or not isinstance(answer.get("version"), str):
            raise ValueError("no version in the answer")
        return str(answer["version"])
