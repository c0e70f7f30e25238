"""The engine over Ollama: what is asked of it, in which form, and who waits for whom."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from functools import partial
from typing import Any, TypeVar

import httpx

from local_llm_service.worker.engine.abandoned import PROBE, AbandonedPrompts, noting
from local_llm_service.worker.engine.embedding import embed_texts
from local_llm_service.worker.engine.engine_loop import PROBE_SECONDS, EngineLoop
from local_llm_service.worker.engine.ollama.client import OllamaClient
from local_llm_service.worker.engine.ollama.contexts import Contexts
from local_llm_service.worker.engine.ollama.errors import FOREIGN, FormatRefused, translate
from local_llm_service.worker.engine.ollama.grammar import constraints
from local_llm_service.worker.engine.ollama.model_turns import ModelTurns
from local_llm_service.worker.engine.ollama.models import Models
from local_llm_service.worker.engine.ollama.stream import read_completion
from local_llm_service.worker.engine.ollama.versions import concern
from local_llm_service.worker.engine.protocol import Capabilities, Stoppable, TextSink
from local_llm_service.worker.engine.text_feed import TextFeed
from local_llm_service.worker.engine.written import TokenTimeouts
from local_llm_service.worker.errors import (
    EngineTimeout,
    ModelFailed,
    ModelMissing,
)
from local_llm_service.worker.prompt import Completion, Model, Prompt, ToEmbed
from local_llm_service.worker.settings import Settings

T = TypeVar("T")

logger = logging.getLogger(__name__)


class OllamaEngine:
    """Blocking calls for slots and threads; everything asynchronous stays inside.

    It keeps the promises of `worker.engine.protocol.Engine`, which documents the methods.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._timeouts = TokenTimeouts(settings.first_token_seconds, settings.next_token_seconds)
        self._client = OllamaClient(settings.ollama_host, connect_seconds=settings.connect_seconds)
        self._contexts = Contexts(self._client, settings.num_ctx)
        self._models = Models(self._client, self._contexts)
        self._turns = ModelTurns(settings.ollama_max_loaded_models)
        self._abandoned = AbandonedPrompts("Ollama", FOREIGN)
        #: As the server last said; None until it did. Presence asks every few seconds.
        self._version: str | None = None
        self._loop = EngineLoop()

    def complete(
        self,
        prompt: Prompt,
        *,
        model: str,
        remaining_seconds: float,
        stoppable: Stoppable | None = None,
        on_text: TextSink | None = None,
    ) -> Completion:
        """See Engine.complete. A stop closes the stream, which ends Ollama's generation."""
        feed = TextFeed(on_text)
        formats = self._formats(prompt)  # here, because a large schema would hold up the loop
        try:
            return self._loop.call(
                lambda: self._answer(prompt, model, feed, formats), remaining_seconds, stoppable
            )
        finally:
            feed.close()

    def embed(
        self,
        texts: ToEmbed,
        *,
        model: str,
        remaining_seconds: float,
        stoppable: Stoppable | None = None,
    ) -> Completion:
        """See Engine.embed. A stop closes the connection."""
        return self._loop.call(lambda: self._embed(texts, model), remaining_seconds, stoppable)

    @property
    def capabilities(self) -> Capabilities:
        """See Engine.capabilities. An Ollama that is too old for one says so in `notes`."""
        return Capabilities()

    def context_tokens(self, model: str) -> int:
        """See Engine.context_tokens."""
        return self._loop.run(self._probe(self._contexts.num_ctx(model)))

    def version(self) -> str:
        """See Engine.version."""
        self._version = self._loop.run(self._probe(self._client.version()))
        return self._version

    def models(self) -> list[Model]:
        """See Engine.models."""
        return self._loop.run(self._probe(self._models.all()))

    @property
    def occupied(self) -> int:
        """See Engine.occupied."""
        return self._abandoned.count

    def notes(self) -> list[str]:
        """See Engine.notes."""
        return self._loop.run(self._notes())

    def on_free(self, tell: Callable[[], None]) -> None:
        """See Engine.on_free."""
        self._abandoned.on_free(tell)

    def close(self) -> None:
        """See Engine.close."""
        self._loop.close(self._disconnect)

    async def _disconnect(self) -> None:
        await self._client.close()  # type: ignore[no-untyped-call]

    async def _notes(self) -> list[str]:
        said = None if self._version is None else concern(self._version)
        concerns = [] if said is None else [said]
        found = [*concerns, *self._models.notes, *self._contexts.notes]
        return [*found, *self._abandoned.notes]

    async def _probe(self, call: Coroutine[Any, Any, T]) -> T:
        host, model = self._settings.masked_ollama_host, self._settings.model_name
        try:
            async with asyncio.timeout(PROBE_SECONDS):
                return await call
        except TimeoutError:
            raise translate(httpx.ConnectTimeout("probe"), host=host, model=model) from None
        except FOREIGN as error:
            raise translate(error, host=host, model=model) from None

    async def _answer(
        self, prompt: Prompt, model: str, feed: TextFeed, formats: list[dict[str, object]]
    ) -> Completion:
        """Ask with the schema as grammar; where Ollama cannot express it, with a looser one.

        Ollama refuses a grammar before the first token (tests/wire/chat_format_bad_*.json), so no
        text is handed out twice.
        """
        for constraint in formats:
            try:
                return await self._generate(prompt, model, constraint, feed)
            except FormatRefused as error:
                logger.info("%s; trying a looser one", error.message)
        try:
            return await self._generate(prompt, model, None, feed)
        except FormatRefused as error:  # without a format it speaks of something else
            raise ModelFailed(f"Ollama refused the request for model {model!r}") from error

    async def _generate(
        self, prompt: Prompt, model: str, constraint: object, feed: TextFeed
    ) -> Completion:
        return await self._in_turn(model, partial(self._send, prompt, model, constraint, feed))

    async def _embed(self, texts: ToEmbed, model: str) -> Completion:
        return await self._in_turn(model, partial(self._send_texts, texts, model))

    async def _in_turn(
        self, model: str, ask: Callable[[int], Coroutine[Any, Any, Completion]]
    ) -> Completion:
        """Ask with the model's context, once its turn has come. Raises errors of ours alone."""
        self._models.check(model)
        host = self._settings.masked_ollama_host
        try:
            num_ctx = await self._contexts.num_ctx(model)
            async with self._turns.of(model):
                return await ask(num_ctx)
        except FOREIGN as error:
            ours = translate(error, host=host, model=model)
        if isinstance(ours, ModelMissing):
            raise ModelMissing(ours.message, await self._missing_hint(model))
        raise ours

    async def _send(
        self, prompt: Prompt, model: str, constraint: object, feed: TextFeed, num_ctx: int
    ) -> Completion:
        """Send the request that has its turn; the wait for the first token begins here.

        Who leaves before that token may leave a prompt behind that Ollama goes on to evaluate.
        """
        begun = asyncio.Event()
        chat = partial(self._client.stream_chat, model, num_ctx=num_ctx)
        stream = noting(await chat(prompt, format=constraint), begun.set)
        try:
            return await read_completion(stream, prompt, self._timeouts, feed.send, num_ctx)
        except (asyncio.CancelledError, EngineTimeout):
            if not begun.is_set():
                self._abandoned.probe(self._wait_for_slot(chat(PROBE), self._turns.hold(model)))
            raise

    async def _send_texts(self, texts: ToEmbed, model: str, num_ctx: int) -> Completion:
        """Send texts that have their turn. Ollama says nothing before their vectors are there."""
        vectors = partial(self._client.vectors, model, num_ctx=num_ctx)
        try:
            return await embed_texts(vectors, texts.texts, self._timeouts.first_seconds)
        except (asyncio.CancelledError, EngineTimeout):
            self._abandoned.probe(self._wait_for_embedding(vectors(("Hi",)), model))
            raise

    async def _wait_for_embedding(self, request: Awaitable[object], model: str) -> None:
        let_go = self._turns.hold(model)
        try:
            await request
        finally:
            let_go()

    async def _wait_for_slot(
        self, request: Awaitable[AsyncIterator[object]], let_go: Callable[[], None]
    ) -> None:
        try:
            async for _ in await request:
                pass
        finally:
            let_go()

    async def _missing_hint(self, model: str) -> str:
        hint = f"Run `ollama pull {model}` on the worker's host"
        try:
            there = sorted(entry.model or "" for entry in await self._client.listed())
        except FOREIGN:
            there = []
        return f"{hint}, or use one that is there: {', '.join(there)}." if there else f"{hint}."

    def _formats(self, prompt: Prompt) -> list[dict[str, object]]:
        """What to send as `format`, strictest first; empty for free text."""
        if prompt.schema is None or not prompt.grammar:
            return []
        found = constraints(prompt.schema, self._version)
        if found[0] is not prompt.schema:
            logger.info("a JSON Schema goes out without what Ollama %s cannot take", self._version)
        return found
