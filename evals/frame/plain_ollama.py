"""The naive side: the same model asked through Ollama's own API, without any help of ours.

Prompts that are too long are cut by Ollama, as for everybody who does not ask it otherwise. Only
`shift` is as in this service's requests: with another value Ollama loads the model anew, and would
for each question, as both sides ask in turn.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from typing import Any

import httpx

from evals.frame.eval_set import Spent

TIMEOUT_SECONDS = 1800.0
#: Some models' templates put in a system message of their own where none is sent, with odd effects.
SYSTEM = "You are a helpful assistant."
#: How near to the wanted tokens a cut text has to come.
NEAR_ENOUGH = 0.97
_WORD = re.compile(r"\s*\S+")


class NoSuchModel(Exception):
    """The Ollama that was given has no model of the name that was given."""


class Refused(Exception):
    """Ollama answered with an error; `status` is that of HTTP."""

    def __init__(self, status: int) -> None:
        super().__init__(f"Ollama answered with HTTP status {status}")
        self.status = status


@dataclass(frozen=True)
class PlainReply:
    """`cut`: it was stopped at `max_tokens`, or at the end of the context."""

    text: str
    cut: bool
    spent: Spent
    tool_calls: Sequence[Mapping[str, Any]] = field(default=())


class PlainOllama:
    """One model at one Ollama; `num_ctx` is the context in tokens that the service has, too.

    `transport` is for tests.
    """

    def __init__(
        self,
        host: str,
        model: str,
        num_ctx: int,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.model, self.num_ctx = model, num_ctx
        self._http = httpx.AsyncClient(
            base_url=host, timeout=TIMEOUT_SECONDS, trust_env=False, transport=transport
        )
        self._overhead: int | None = None

    def of(self, model: str) -> PlainOllama:
        """The same Ollama with another model; it is not to be closed by itself."""
        other = copy(self)
        other.model, other._overhead = model, None
        return other

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def ask(self, text: str, **more: Any) -> PlainReply:
        """Ask with one message of the user; `more` is that of `chat`."""
        return await self.chat([{"role": "user", "content": text}], **more)

    async def chat(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        max_tokens: int | None = None,
        format: Any = None,
        tools: Sequence[Mapping[str, Any]] | None = None,
    ) -> PlainReply:
        """The most likely next message. Raises Refused."""
        if not messages or messages[0]["role"] != "system":
            messages = [{"role": "system", "content": SYSTEM}, *messages]
        options = {"num_ctx": self.num_ctx, "temperature": 0}
        if max_tokens is not None:
            options["num_predict"] = max_tokens
        more = {"format": format, "tools": tools}
        began = time.monotonic()
        done = await self._post(
            {
                "messages": messages,
                "options": options,
                **{name: value for name, value in more.items() if value is not None},
            }
        )
        spent = Spent(
            done.get("prompt_eval_count", 0),
            done.get("eval_count", 0),
            time.monotonic() - began - done.get("load_duration", 0) / 1e9,
        )
        message = done["message"]
        return PlainReply(
            message.get("content") or "",
            done.get("done_reason") == "length",
            spent,
            message.get("tool_calls") or (),
        )

    async def count(self, text: str) -> int:
        """How many tokens a text has for this model. Raises Refused if it exceeds the context."""
        if self._overhead is None:
            self._overhead = await self._evaluated("a") - 1
        return await self._evaluated(text) - self._overhead if text else 0

    async def first_words(self, text: str, tokens: int) -> str:
        """The beginning of a text: as many words as have at most so many tokens."""
        words = _WORD.findall(text)
        return "".join(words[: await self._fitting(words, tokens)])

    async def last_words(self, text: str, tokens: int) -> str:
        """The end of a text: as many words as have at most so many tokens."""
        words = _WORD.findall(text)
        number = await self._fitting(words[::-1], tokens, backwards=True)
        return "".join(words[len(words) - number :]).lstrip()

    async def _fitting(self, words: list[str], tokens: int, backwards: bool = False) -> int:
        """How many of the first words fit, nearly: each count is a request."""
        fits, too_many = 0, len(words) + 1
        guess = min(len(words), max(1, tokens * 3 // 4))
        while too_many - fits > 1:
            some = words[:guess]
            counted = await self.count("".join(some[::-1] if backwards else some).lstrip())
            if counted > tokens:
                too_many = guess
            else:
                fits = guess
                if counted >= NEAR_ENOUGH * tokens:
                    break
            aimed = round(guess * tokens * (1 + NEAR_ENOUGH) / 2 / max(counted, 1))
            guess = min(max(aimed, fits + 1), too_many - 1)
        return fits

    async def _evaluated(self, text: str) -> int:
        done = await self._post(
            {
                "messages": [{"role": "user", "content": text}],
                "options": {"num_ctx": self.num_ctx, "num_predict": 1},
                "truncate": False,
            }
        )
        return int(done["prompt_eval_count"])

    async def _post(self, body: Mapping[str, Any]) -> dict[str, Any]:
        reply = await self._http.post(
            "/api/chat", json={"model": self.model, "stream": False, "shift": False, **body}
        )
        if reply.status_code != 200:
            raise Refused(reply.status_code)
        done: dict[str, Any] = reply.json()
        return done


async def facts(host: str, model: str) -> tuple[str, str]:
    """The digest of a model and the version of an Ollama. Raises NoSuchModel.

    A name without a tag means the tag latest, as for Ollama.
    """
    async with httpx.AsyncClient(base_url=host, timeout=60.0, trust_env=False) as http:
        version = (await http.get("/api/version")).raise_for_status().json()["version"]
        models = (await http.get("/api/tags")).raise_for_status().json()["models"]
    for one in models:
        if one["name"] in (model, f"{model}:latest"):
            return str(one["digest"]).removeprefix("sha256:"), str(version)
    raise NoSuchModel(f"Ollama has no model {model}: run `ollama pull {model}`")
