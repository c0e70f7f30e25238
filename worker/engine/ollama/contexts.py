"""How large a context each model can have: Ollama clamps `num_ctx` to what it was trained for.

It does so without a word (tests/wire/ctx_num_ctx_over_trained.json), so the service asks first.
`/api/tags` has the trained length since 0.33; `/api/show` of every version tells it, and more.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

from local_llm_service.worker.engine.ollama.client import OllamaClient
from local_llm_service.worker.engine.ollama.errors import FOREIGN
from local_llm_service.worker.fingerprint import full_name
from local_llm_service.worker.prompt import ModelFacts

logger = logging.getLogger(__name__)

#: How long all questions of one look may take; what is not known then is asked at the next.
ASK_SECONDS = 1.5


class Contexts:
    """What each model's file says, by digest, above all its context; all on the engine's loop."""

    def __init__(self, client: OllamaClient, num_ctx: int) -> None:
        self._client, self._num_ctx = client, num_ctx
        self._by_digest: dict[str, ModelFacts] = {}
        self._by_name: dict[str, int] = {}
        #: Sentences for the operator, by model.
        self._clamped: dict[str, str] = {}

    @property
    def notes(self) -> list[str]:
        """One sentence for each model that is too small for NUM_CTX."""
        return sorted(self._clamped.values())

    async def learn(self, entries: Sequence[Any]) -> dict[str, ModelFacts]:
        """What is known of the models of one `/api/tags`, by digest."""
        unknown = {e.digest: e.model for e in entries if e.digest not in self._by_digest}
        if unknown:
            await self._ask(unknown)
        self._by_name = {}
        for entry in entries:
            known = self._by_digest.get(entry.digest)
            if known is not None:
                # A file that does not say it may have any context.
                self._note(full_name(entry.model or ""), known.context_tokens or self._num_ctx)
        self._clamped = {
            name: text for name, text in self._clamped.items() if name in self._by_name
        }
        there = {entry.digest for entry in entries}
        return {digest: facts for digest, facts in self._by_digest.items() if digest in there}

    async def num_ctx(self, model: str) -> int:
        """The context to ask for: NUM_CTX, or what the model was trained for if that is less."""
        name = full_name(model)
        if name not in self._by_name:
            try:
                async with asyncio.timeout(ASK_SECONDS):
                    tokens = (await self._client.facts(model)).context_tokens
            except TimeoutError:
                tokens = None
            except FOREIGN:
                tokens = None  # the request itself will say what is wrong
            self._note(name, tokens or self._num_ctx)
        return min(self._num_ctx, self._by_name[name])

    async def _ask(self, unknown: dict[str, str]) -> None:
        questions = {
            asyncio.ensure_future(self._client.facts(name)): digest
            for digest, name in unknown.items()
        }
        done, late = await asyncio.wait(questions, timeout=ASK_SECONDS)
        for question in late:
            question.cancel()
        await asyncio.gather(*late, return_exceptions=True)
        for question in done:
            # What a file does not say is not asked again.
            if not question.exception():
                self._by_digest[questions[question]] = question.result()

    def _note(self, name: str, tokens: int) -> None:
        self._by_name[name] = tokens
        if tokens < self._num_ctx and name not in self._clamped:
            self._clamped[name] = (
                f"{name} runs with a context of {tokens} tokens, for which it was trained, instead "
                f"of NUM_CTX {self._num_ctx}"
            )
            logger.warning("%s", self._clamped[name])
