"""What a server says of its models, and that it answers at all, asked no oftener than needed.

Presence asks every few seconds. A server at home is asked as often; a provider is not, as long as
nothing has failed meanwhile.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Any, Final

from local_llm_service.worker.engine.openai_compatible.client import Event, OpenAiClient
from local_llm_service.worker.engine.openai_compatible.errors import FOREIGN, Refused
from local_llm_service.worker.engine.openai_compatible.said import count
from local_llm_service.worker.fingerprint import full_name

#: Seconds for which an answer of a provider stands, and one of a server at home.
_AWAY_SECONDS: Final = 60.0
_HOME_SECONDS: Final = 1.0
#: The least time between two questions while a provider does not answer.
_FAILED_SECONDS: Final = 10.0
#: Members that say a model's context as it runs, of vLLM and SGLang, OpenRouter, Groq, Mistral,
#: LiteLLM, LM Studio.
_CONTEXTS: Final = (
    "max_model_len", "context_length", "context_window", "max_context_length", "max_input_tokens",
    "loaded_context_length",
)  # fmt: skip
#: Servers that have no list, but answer so where it would be; and a provider's key may be good for
#: answers alone.
_NO_LIST: Final = (404, 405, 501)
_NOT_FOR_THIS_KEY: Final = 403


@dataclass(frozen=True, slots=True)
class Listed:
    """One model that a server lists. `context_tokens`: as it runs there, None if it does not say;
    `trained_tokens`: at most so many."""

    name: str
    context_tokens: int | None = None
    trained_tokens: int | None = None
    owner: str = ""


@dataclass(slots=True)
class _Last:
    """What was heard last, and when; `error` if that was a failure."""

    models: list[Listed] = field(default_factory=list)
    error: Exception | None = None
    at: float = float("-inf")


class Listing:
    """The models of one server; all on the engine's loop."""

    def __init__(
        self,
        client: OpenAiClient,
        *,
        leaves_the_house: bool,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client, self._clock = client, clock
        self._is_away = leaves_the_house
        self._last, self._lock = _Last(), asyncio.Lock()
        self._version: str | None = None
        #: The context of llama-server, which its list does not say.
        self._props_tokens: int | None = None

    @property
    def known(self) -> list[Listed]:
        """The models as last heard, however long ago."""
        return self._last.models

    def doubt(self) -> None:
        """Ask again at the next question: a request has failed."""
        if self._last.error is None:
            self._last.at = float("-inf")

    async def models(self) -> list[Listed]:
        """All models that the server lists; none where it has no list.

        Raises TimeoutError where the last question was given up, and one of FOREIGN.
        """
        async with self._lock:  # who asks meanwhile hears the same answer
            if self._clock() - self._last.at >= self._lasting_seconds:
                await self._ask()
        if self._last.error is not None:
            raise self._last.error.with_traceback(None)
        return self._last.models

    @property
    def _lasting_seconds(self) -> float:
        if self._is_away:
            return _FAILED_SECONDS if self._last.error else _AWAY_SECONDS
        return 0.0 if self._last.error else _HOME_SECONDS

    async def version(self) -> str:
        """Something that proves that it answers: its version, if it tells one."""
        await self.models()
        if self._version is None:
            self._version = "" if self._is_away else await self._told_version()
        return self._version or "unknown"

    async def _ask(self) -> None:
        # A question that is given up has failed.
        self._last = _Last(self._last.models, TimeoutError(), self._clock())
        try:
            found = _read(await self._client.models())
        except Refused as refused:
            is_for_others = self._is_away and refused.said.status == _NOT_FOR_THIS_KEY
            if refused.said.status not in _NO_LIST and not is_for_others:
                self._last.error = refused
                return
            found = []
        except FOREIGN as error:
            self._last.error = error
            return
        if [one.name for one in found] != [one.name for one in self._last.models]:
            self._version = None  # it may be another server by now
            self._last.models = found
            await self._ask_for_props(found)
        self._last = _Last([self._completed(one) for one in found], None, self._clock())

    async def _ask_for_props(self, found: list[Listed]) -> None:
        """An older llama-server says only in `/props` what context it runs with."""
        self._props_tokens = None
        if self.is_llama_server and not any(one.context_tokens for one in found):
            said = await _or_nothing(self._client.at_root("props"))
            settings = said.get("default_generation_settings")
            self._props_tokens = count((settings or {}).get("n_ctx"))

    def _completed(self, one: Listed) -> Listed:
        if one.context_tokens is not None or self._props_tokens is None:
            return one
        return replace(one, context_tokens=self._props_tokens)

    @property
    def is_llama_server(self) -> bool:
        """Whether it is llama.cpp's: it answers for whatever model, and can tell its progress."""
        return any(one.owner == "llamacpp" for one in self.known)

    async def _told_version(self) -> str:
        told = (await _or_nothing(self._client.at_root("version"))).get("version")
        return told if isinstance(told, str) else ""

    def find(self, model: str) -> Listed | None:
        """The model of this name, as last heard."""
        full = full_name(model)
        return next((one for one in self.known if full_name(one.name) == full), None)


async def _or_nothing(question: Awaitable[Event]) -> Event:
    try:
        return await question
    except FOREIGN:
        return {}


def _read(said: Event) -> list[Listed]:
    entries = said.get("data")
    if not isinstance(entries, list):
        raise ValueError("no list of models")
    return [_listed(one) for one in entries if isinstance(one, dict) and one.get("id")]


def _listed(entry: dict[str, Any]) -> Listed:
    meta = entry.get("meta")
    meta = meta if isinstance(meta, dict) else {}
    said = [count(entry.get(name)) for name in _CONTEXTS]
    context = next((one for one in [*said, count(meta.get("n_ctx"))] if one is not None), None)
    return Listed(
        str(entry["id"]), context, count(meta.get("n_ctx_train")), str(entry.get("owned_by"))
    )
