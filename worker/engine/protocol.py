"""The seam between this service and a model server: what every engine offers, and who may stop it.

An engine knows neither Redis nor Celery. Jobs reach it as a `Prompt` and leave it as a `Completion`
or as one of `worker.errors`; nobody above it sees HTTP.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from local_llm_service.worker.errors import ServiceError, StreamBroken
from local_llm_service.worker.prompt import Completion, Model, Prompt, ToEmbed

#: Takes each piece of an answer's text; see `Engine.complete` for what it may rely on.
TextSink = Callable[[str], None]


class EngineDied(StreamBroken):
    """The model server, or the process in it that runs the model, died while it ran this prompt.

    All prompts that ran in it get this error, also those that did no harm. In a worker no caller
    sees it: tasks/engine_death.py says what becomes of the job.
    """


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a model server promises of all its models. What it does not, the service cannot either.

    `digests`: a model's digest changes with the model; without, answers are cached only under a
    revision that an operator gives. `refuses_long_prompts`: with an error instead of cutting them.
    `counts`: it says the tokens of prompt and completion. `counts_cheaply`: a prompt whose answer
    is one token may be sent just to be counted. `grammar`: it holds an answer to a JSON Schema.
    `tools`, `logprobs`, `embeddings`: it takes such requests, whatever its models make of them.
    """

    digests: bool = True
    refuses_long_prompts: bool = True
    counts: bool = True
    counts_cheaply: bool = True
    grammar: bool = True
    tools: bool = True
    logprobs: bool = True
    embeddings: bool = True


class Stoppable(Protocol):
    """A caller that may want its generation to stop before the end."""

    @property
    def reason(self) -> ServiceError | None:
        """Why the generation must stop; None while it may go on."""

    def on_stop(self, stop: Callable[[], None] | None) -> None:
        """Call `stop` once a stop is requested, at once if it was already; None: never again."""

    @property
    def wanted_seconds(self) -> Callable[[], float]:
        """Tells how long others still wait for the answer when the caller's own time is over.

        The call may block; an engine makes it away from its event loop.
        """


class Engine(Protocol):
    """One model server. Every call blocks its thread, and any thread may make it."""

    def complete(
        self,
        prompt: Prompt,
        *,
        model: str,
        remaining_seconds: float,
        stoppable: Stoppable | None = None,
        on_text: TextSink | None = None,
    ) -> Completion:
        """Run one prompt, once. A stop, like any other early end, also ends the generation.

        `on_text` gets each piece of text when it arrives, in order and never empty. It runs on the
        engine's own thread and must return at once: while it runs, no other answer proceeds.
        Together the pieces are exactly the completion's text. A call that raises has handed out
        the text that came before. No piece arrives after the call has returned or raised. A sink
        that raises is not called again in this call, and the answer goes on without it.

        Raises DeadlineExceeded when `remaining_seconds` are over and nobody else waits, the
        stoppable's reason after a stop, EngineDied, else any other error of `worker.errors`.
        """

    def embed(
        self,
        texts: ToEmbed,
        *,
        model: str,
        remaining_seconds: float,
        stoppable: Stoppable | None = None,
    ) -> Completion:
        """Turn texts into vectors, all or none: a completion with one vector for each text.

        No text is cut. Raises ContextOverflow for one that is too long, InvalidRequest for a model
        that gives no vectors, and otherwise as `complete`.
        """

    @property
    def capabilities(self) -> Capabilities:
        """What the server promises."""

    def context_tokens(self, model: str) -> int:
        """Tokens of a model's context as it runs here, prompt and answer together.

        Raises OllamaUnreachable or another ServiceError within 3 s.
        """

    def version(self) -> str:
        """The server's version. Raises OllamaUnreachable or another ServiceError within 3 s."""

    def models(self) -> list[Model]:
        """The models on the server. Raises OllamaUnreachable or another ServiceError within 3 s."""

    @property
    def occupied(self) -> int:
        """Slots that the server may still work in though no call does: their callers have left."""

    def on_free(self, tell: Callable[[], None]) -> None:
        """Call `tell`, on the engine's own thread, each time that `occupied` falls."""

    def notes(self) -> list[str]:
        """What an operator should know of this server now, in sentences; empty when all is well."""

    def close(self) -> None:
        """Release connections and threads. Calls that still run end with InternalError."""
