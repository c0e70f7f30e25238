"""One asyncio loop in one thread talks to Ollama for all slots; a slot waits for its answer.

Measured: closing a synchronous client from another thread did nothing for seconds, cancelling an
asynchronous call closes the socket, and so stops the generation, in about a millisecond.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError, Future
from typing import Any, Protocol, TypeVar

import httpx

from local_llm_service.worker.engine.ollama.client import OllamaClient
from local_llm_service.worker.engine.ollama.errors import FOREIGN, FormatRefused, translate
from local_llm_service.worker.engine.ollama.stream import TokenTimeouts, read_completion
from local_llm_service.worker.errors import (
    DeadlineExceeded,
    ModelFailed,
    ModelMissing,
    ServiceError,
)
from local_llm_service.worker.prompt import Completion, JsonSchema, Prompt
from local_llm_service.worker.settings import Settings
from local_llm_service.worker.store.presence import Model

T = TypeVar("T")

logger = logging.getLogger(__name__)

PROBE_SECONDS = 3.0


class Stoppable(Protocol):
    """Who may want a generation to stop; see worker/delivery/held.py."""

    @property
    def reason(self) -> ServiceError | None:
        """Why, once it is so."""

    def on_stop(self, stop: Callable[[], None] | None) -> None:
        """Call `stop` then, at once if it is so already; None: no more."""

    @property
    def wanted_seconds(self) -> Callable[[], float]:
        """How long somebody still waits when the time is over. May block."""


class Engine:
    """Blocking calls for slots and threads; everything asynchronous stays inside."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._timeouts = TokenTimeouts(settings.first_token_seconds, settings.next_token_seconds)
        self._client = OllamaClient(settings.ollama_host, connect_seconds=settings.connect_seconds)
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, name="engine", daemon=True).start()

    def complete(
        self,
        prompt: Prompt,
        *,
        model: str,
        remaining_seconds: float,
        stoppable: Stoppable | None = None,
    ) -> Completion:
        """Run one prompt, once. A request to stop closes the stream, which ends the generation.

        Raises DeadlineExceeded when `remaining_seconds` are over and nobody else waits, the reason
        of a stop, else any error of `worker.errors`.
        """
        wanted_seconds = None if stoppable is None else stoppable.wanted_seconds
        work = self._within(remaining_seconds, self._formats(prompt, model), wanted_seconds)
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        if stoppable is None:
            return future.result()
        stoppable.on_stop(lambda: _cancel(future))
        try:
            return future.result()
        except CancelledError:
            if stoppable.reason is None:
                raise
            raise stoppable.reason from None
        finally:
            stoppable.on_stop(None)

    def version(self) -> str:
        """Ollama's version. Raises OllamaUnreachable or another ServiceError within 3 s."""
        return self._run(self._probe(self._client.version()))

    def models(self) -> list[Model]:
        """The models on disk. Raises OllamaUnreachable or another ServiceError within 3 s."""
        return [
            Model(
                name=entry.model or "",
                digest=entry.digest or "",
                size_bytes=int(entry.size or 0),
                context_tokens=getattr(entry.details, "context_length", None),
            )
            for entry in self._run(self._probe(self._client.list())).models
        ]

    def close(self) -> None:
        """Close the connections and end the loop's thread."""
        self._run(self._client.close())  # type: ignore[no-untyped-call]
        self._loop.call_soon_threadsafe(self._loop.stop)

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _probe(self, call: Coroutine[Any, Any, T]) -> T:
        host, model = self._settings.masked_ollama_host, self._settings.model_name
        try:
            async with asyncio.timeout(PROBE_SECONDS):
                return await call
        except TimeoutError:
            raise translate(httpx.ConnectTimeout("probe"), host=host, model=model) from None
        except FOREIGN as error:
            raise translate(error, host=host, model=model) from None

    async def _within(
        self,
        remaining_seconds: float,
        work: Coroutine[Any, Any, Completion],
        wanted_seconds: Callable[[], float] | None,
    ) -> Completion:
        running = asyncio.ensure_future(work)
        try:
            while remaining_seconds > 0:
                await asyncio.wait({running}, timeout=remaining_seconds)
                if running.done():
                    return running.result()
                remaining_seconds = 0.0
                if wanted_seconds is not None:
                    remaining_seconds = await asyncio.to_thread(wanted_seconds)
        finally:
            running.cancel()
            # The stream is closed before the slot is free.
            await asyncio.gather(running, return_exceptions=True)
        raise DeadlineExceeded("the deadline passed while the job was running")

    async def _formats(self, prompt: Prompt, model: str) -> Completion:
        """Ask with the schema as grammar; where Ollama cannot express it, with a looser one."""
        for constraint in _formats(prompt.schema):
            try:
                return await self._generate(prompt, model, constraint)
            except FormatRefused as error:
                logger.info("%s; trying a looser one", error.message)
        try:
            return await self._generate(prompt, model, None)
        except FormatRefused as error:  # without a format it speaks of something else
            raise ModelFailed(f"Ollama refused the request for model {model!r}") from error

    async def _generate(self, prompt: Prompt, model: str, format: object) -> Completion:
        host = self._settings.masked_ollama_host
        try:
            stream = await self._client.stream_chat(
                model, prompt, num_ctx=self._settings.num_ctx, format=format
            )
            return await read_completion(stream, prompt, self._timeouts)
        except FOREIGN as error:
            ours = translate(error, host=host, model=model)
        if isinstance(ours, ModelMissing):
            raise ModelMissing(ours.message, await self._missing_hint(model))
        raise ours

    async def _missing_hint(self, model: str) -> str:
        hint = f"Run `ollama pull {model}` on the worker's host"
        try:
            there = sorted(entry.model or "" for entry in (await self._client.list()).models)
        except FOREIGN:
            there = []
        return f"{hint}, or use one that is there: {', '.join(there)}." if there else f"{hint}."


def _cancel(future: Future[Completion]) -> None:
    future.cancel()


def _formats(schema: JsonSchema | None) -> list[object]:
    """What to send as `format`, strictest first; empty for free text.

    Ollama takes an object only, and `{}` as "any JSON object".
    """
    if schema is None:
        return []
    strict = schema if isinstance(schema, dict) else {}
    kind = strict.get("type", "object")
    return [strict, {"type": kind}] if isinstance(kind, str) else [strict]
