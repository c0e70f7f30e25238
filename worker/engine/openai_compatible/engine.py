"""The engine over any server of `/v1/chat/completions`: what is asked, how, and how often."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import httpx
from httpx_sse import SSEError

from local_llm_service.worker.engine.abandoned import PROBE, AbandonedPrompts
from local_llm_service.worker.engine.embedding import Vectors, embed_texts
from local_llm_service.worker.engine.engine_loop import PROBE_SECONDS, EngineLoop
from local_llm_service.worker.engine.openai_compatible.address import Address
from local_llm_service.worker.engine.openai_compatible.client import OpenAiClient
from local_llm_service.worker.engine.openai_compatible.dialect import Dialect, essential
from local_llm_service.worker.engine.openai_compatible.errors import FOREIGN, Refused, Translator
from local_llm_service.worker.engine.openai_compatible.listing import Listing
from local_llm_service.worker.engine.openai_compatible.notes import notes_of
from local_llm_service.worker.engine.openai_compatible.overflow import Overflow
from local_llm_service.worker.engine.openai_compatible.patience import Patience
from local_llm_service.worker.engine.openai_compatible.request import chat_body, strictest_form
from local_llm_service.worker.engine.openai_compatible.said import MIDWAY, Said
from local_llm_service.worker.engine.openai_compatible.stream import read_answer
from local_llm_service.worker.engine.openai_compatible.vectors import vectors_body, vectors_in
from local_llm_service.worker.engine.protocol import Capabilities, Stoppable, TextSink
from local_llm_service.worker.engine.text_feed import TextFeed
from local_llm_service.worker.engine.written import TokenTimeouts, whole
from local_llm_service.worker.errors import (
    ContextOverflow,
    EngineTimeout,
    InvalidRequest,
    ModelFailed,
    OllamaUnreachable,
    ServiceError,
    StreamBroken,
)
from local_llm_service.worker.fleet.fleet import FleetEngine
from local_llm_service.worker.prompt import Completion, Model, Prompt, ToEmbed
from local_llm_service.worker.settings import Settings

T = TypeVar("T")

logger = logging.getLogger(__name__)

#: Forms of a request that are tried for one answer.
_MOST_TRIES = 8
_ITS_LOG = "Ask in other words, or ask another model. The log of this engine may say why."
#: Some servers do not count the last token.
_UNCOUNTED = 1


@dataclass(frozen=True, slots=True)
class _Try:
    """How one request is made. `form`: see dialect.FORMATS. `room`: the context, where a refusal
    told it and the answer was shortened to fit."""

    model: str
    name: str
    dialect: Dialect
    form: str
    most_tokens: int
    room: int | None = None


class OpenAiEngine:
    """Blocking calls for slots and threads; everything asynchronous stays inside.

    It keeps the promises of `worker.engine.protocol.Engine`, which documents the methods.
    """

    def __init__(self, entry: FleetEngine, settings: Settings) -> None:
        self._entry, self._settings = entry, settings
        self._timeouts = TokenTimeouts(settings.first_token_seconds, settings.next_token_seconds)
        self._address = Address.of(entry.url)
        self._called = f"engine {entry.name!r} at {self._address.masked}"
        self._translator = Translator(self._called, entry.leaves_the_house)
        self._client = OpenAiClient(entry, connect_seconds=settings.connect_seconds)
        self._listing = Listing(self._client, leaves_the_house=entry.leaves_the_house)
        self._dialects: dict[str, Dialect] = {}
        self._counts = True
        self._abandoned = AbandonedPrompts(self._called, (*FOREIGN, EngineTimeout))
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
        """See Engine.complete. A stop closes the stream, which ends the server's generation."""
        feed = TextFeed(on_text)
        ends_at = time.monotonic() + remaining_seconds
        try:
            return self._loop.call(
                lambda: self._answer(prompt, model, feed, ends_at), remaining_seconds, stoppable
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
        ends_at = time.monotonic() + remaining_seconds
        return self._loop.call(
            lambda: self._embed(texts, model, ends_at), remaining_seconds, stoppable
        )

    @property
    def capabilities(self) -> Capabilities:
        """See Engine.capabilities: what any server of this kind promises, and what this one has
        turned out not to do."""
        is_paid = any(one.price is not None for one in self._entry.models)
        return Capabilities(
            digests=False,
            refuses_long_prompts=False,
            counts=self._counts,
            counts_cheaply=self._counts and not (is_paid or self._entry.leaves_the_house),
        )

    def context_tokens(self, model: str) -> int:
        """See Engine.context_tokens."""
        listed = self._entry.model(model)
        if listed is not None and listed.context_tokens is not None:
            return listed.context_tokens
        return self._loop.run(self._probe(self._context_tokens(model)))

    def version(self) -> str:
        """See Engine.version."""
        return self._loop.run(self._probe(self._listing.version()))

    def models(self) -> list[Model]:
        """See Engine.models: those of ENGINES_FILE, else all."""
        return self._loop.run(self._probe(self._models()))

    @property
    def occupied(self) -> int:
        """See Engine.occupied."""
        return self._abandoned.count

    def on_free(self, tell: Callable[[], None]) -> None:
        """See Engine.on_free."""
        self._abandoned.on_free(tell)

    def notes(self) -> list[str]:
        """See Engine.notes."""
        return notes_of(
            f"the server at {self._address.masked}",  # whoever tells it says whose note it is
            self._entry,
            self._listing,
            self._dialects,
            counts=self._counts,
        )

    def close(self) -> None:
        """See Engine.close."""
        self._loop.close(self._client.close)

    async def _probe(self, question: Coroutine[Any, Any, T]) -> T:
        try:
            async with asyncio.timeout(PROBE_SECONDS):
                return await question
        except TimeoutError:
            raise self._ours(httpx.ConnectTimeout("probe"), "") from None
        except FOREIGN as error:
            raise self._ours(error, "") from None

    async def _models(self) -> list[Model]:
        there = await self._listing.models()
        names = [one.name for one in self._entry.models] or [one.name for one in there]
        if there and not (self._entry.leaves_the_house or self._listing.is_llama_server):
            # A server at home lists what it runs, and refuses all else.
            names = [name for name in names if self._listing.find(name)]
        return [Model(name, "", 0, self._known_context(name)) for name in names]

    async def _context_tokens(self, model: str) -> int:
        if self._known_context(model) is None:
            await self._listing.models()
        return self._known_context(model) or self._settings.num_ctx

    def _known_context(self, model: str) -> int | None:
        """The context as ENGINES_FILE or the server says it; at most NUM_CTX where that knows only
        what the model was trained for."""
        entry, listed = self._entry.model(model), self._listing.find(self._name_of(model))
        if entry is not None and entry.context_tokens is not None:
            return entry.context_tokens
        if listed is None or listed.context_tokens is not None:
            return None if listed is None else listed.context_tokens
        return listed.trained_tokens and min(listed.trained_tokens, self._settings.num_ctx)

    def _name_of(self, model: str) -> str:
        """The server's own name of a model."""
        entry = self._entry.model(model)
        listed = None if entry else self._listing.find(model)
        return entry.name if entry else listed.name if listed else model

    async def _answer(
        self, prompt: Prompt, model: str, feed: TextFeed, ends_at: float
    ) -> Completion:
        """Ask until the server takes the request; nothing is handed out by one that it refuses."""
        dialect = self._dialects.get(model, Dialect())
        form = dialect.form_from(strictest_form(prompt))
        most = min(prompt.max_tokens, dialect.most_tokens or prompt.max_tokens)
        asked = _Try(model, self._name_of(model), dialect, form, most)
        patience, tries = Patience(ends_at), 0
        while True:
            body = chat_body(
                asked.name, prompt, asked.dialect, most_tokens=asked.most_tokens, form=asked.form
            )
            try:
                return await self._send(body, prompt, asked, feed)
            except Refused as refused:
                again = self._after(refused.said, asked, body) if tries < _MOST_TRIES else None
                if again is None and not await patience.waited(refused.retry_after_seconds):
                    raise self._refusal(refused, model) from None
                asked, tries = again or asked, tries + 1
            except FOREIGN as error:
                raise self._ours(error, model) from None
            except ServiceError as error:
                error.was_begun = True
                raise

    async def _send(
        self, body: dict[str, Any], prompt: Prompt, asked: _Try, feed: TextFeed
    ) -> Completion:
        if self._listing.is_llama_server:
            # Else it goes on with a prompt whose client has gone (tests/wire_openai).
            body = {**body, "return_progress": True}
        begun = asyncio.Event()
        try:
            async with aclosing(self._client.stream(body)) as events:
                read = await read_answer(
                    events, prompt, self._timeouts, feed.send, self._called, begun.set
                )
        except (asyncio.CancelledError, EngineTimeout):
            if not (begun.is_set() or self._entry.leaves_the_house):
                self._abandoned.probe(self._wait_for_slot(asked))
            raise
        before = self._dialects.get(asked.model, Dialect())
        self._dialects[asked.model] = replace(before.and_also(asked.dialect), is_proven=True)
        self._counts = read.counted or (self._counts and not read.ended)
        completion = replace(read.completion, model=read.completion.model or asked.name)
        limit, room = asked.dialect.most_tokens, asked.room or self._known_context(asked.model)
        _check_not_refused(completion, room)
        if not read.counted or completion.completion_tokens + _UNCOUNTED >= (
            limit or prompt.max_tokens
        ):
            return completion
        used = completion.prompt_tokens + completion.completion_tokens
        return whole(completion, prompt, room or used)

    async def _wait_for_slot(self, asked: _Try) -> None:
        """Ask a server at home for one token: it may go on with a prompt that nobody wants."""
        body = chat_body(asked.name, PROBE, asked.dialect, most_tokens=1, form="")
        async with aclosing(self._client.stream(body)) as events:
            async for event in events:
                if not event:
                    break

    def _after(self, said: Said, asked: _Try, body: dict[str, Any]) -> _Try | None:
        """How to ask again after a refusal; None where that would not help.

        Raises InvalidRequest for what the answer depends on and the server does not take.
        """
        overflow = Overflow.of(said)
        if overflow is not None:
            # Like Ollama's engine: an answer may be short, whatever it was allowed.
            room = 0 if said.status == MIDWAY else overflow.room_for_answer(asked.most_tokens)
            return replace(asked, most_tokens=room, room=overflow.room) if room else None
        if error := essential(said, body, asked.model, self._entry.name):
            raise error
        if said.status not in (400, 403, 422):
            return None
        if dialect := asked.dialect.without(said, body):
            most = min(asked.most_tokens, dialect.most_tokens or asked.most_tokens)
            form = dialect.form_from(asked.form)
            return replace(asked, dialect=dialect, most_tokens=most, form=form)
        if asked.form and said.status != 403:
            logger.info("%s refuses a JSON Schema; trying a looser form", self._called)
            return replace(asked, form=asked.dialect.looser(asked.form))
        return None

    async def _embed(self, texts: ToEmbed, model: str, ends_at: float) -> Completion:
        name, patience = self._name_of(model), Patience(ends_at)

        async def ask(some: Sequence[str]) -> Vectors:
            while True:
                began_at = time.monotonic()
                try:
                    said = await self._client.vectors(vectors_body(name, some))
                except Refused as refused:
                    if not await patience.waited(refused.retry_after_seconds):
                        raise
                else:
                    return vectors_in(said, time.monotonic() - began_at)

        try:
            return await embed_texts(
                ask, texts.texts, self._timeouts.first_seconds, server=self._called
            )
        except FOREIGN as error:
            raise self._ours(error, model) from None

    def _refusal(self, refused: Refused, model: str) -> ServiceError:
        """A refusal as one of ours. Where the model has answered before, one of a request that is
        like others is about what the caller wrote: it says nothing against the engine, which would
        else be left alone by everybody after a few of them."""
        ours = self._ours(refused, model)
        is_proven = self._dialects.get(model, Dialect()).is_proven
        if isinstance(ours, ModelFailed) and refused.said.status in (400, 422) and is_proven:
            return InvalidRequest(f"{self._called} refuses this request", _ITS_LOG)
        return ours

    def _ours(self, error: Exception, model: str) -> ServiceError:
        """The error as one of ours; a server that may be away is asked at the next question."""
        ours = self._translator.translate(error, model=model)
        # What is no stream of events, or holds no JSON, came with status 200.
        is_answer = isinstance(error, SSEError | ValueError)
        ours.was_begun = is_answer or (isinstance(error, Refused) and error.said.status == MIDWAY)
        if isinstance(ours, OllamaUnreachable | StreamBroken | EngineTimeout):
            self._listing.doubt()
        return ours


def _check_not_refused(completion: Completion, room: int | None) -> None:
    """Raise ContextOverflow for a refusal without a word: LM Studio answers a prompt that is longer
    than its context in order, with counts and no text (shapes/lm_studio_silent_overflow)."""
    is_empty = not (completion.text or completion.tool_calls)
    if is_empty and room is not None and completion.prompt_tokens > room:
        raise ContextOverflow.of(ContextOverflow.REFUSED, completion.prompt_tokens, room)
