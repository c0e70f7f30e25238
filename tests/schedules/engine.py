"""A model that answers when the schedule says so. Each answer names its number and its prompt."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from local_llm_service.worker.engine import Capabilities, Stoppable, TextSink
from local_llm_service.worker.errors import DeadlineExceeded, ServiceError
from local_llm_service.worker.lease.in_flight import InFlightDelivery
from local_llm_service.worker.prompt import Completion, Model, Prompt, ToEmbed
from tests.schedules.actors import here

MODEL = "fake:1b"
TOKENS = (7, 3)


@dataclass(frozen=True)
class Made:
    """One generation: its content, the schedule's `prompt` in that content, its job, and the digest
    of the model's version."""

    content: str
    prompt: str
    job: str
    number: int = 0
    digest: int = 0


class Generation:
    """A running generation. `outcome` is how the schedule lets it end, None until it decides."""

    def __init__(self, made: Made, in_flight: InFlightDelivery, worker: Any, actor: Any) -> None:
        self.made, self.in_flight, self.worker, self.actor = made, in_flight, worker, actor
        self.outcome: str | ServiceError | None = None
        self.stopping = False
        #: The model has answered.
        self.is_finished = False
        #: Its single-flight group as its worker sees it; None for a job that shares nothing.
        self.key: Any = None

    def stop(self) -> None:
        """Mark the generation as stopping; a request to stop calls this."""
        self.stopping = True


class Engine:
    """Follows the Protocol `worker.engine.Engine`; there is one per worker."""

    def __init__(
        self, worker: Any, begin: Callable[[Made, InFlightDelivery, Any], Generation]
    ) -> None:
        self._worker, self._begin = worker, begin

    @property
    def capabilities(self) -> Capabilities:
        """All that there are."""
        return Capabilities()

    def context_tokens(self, model: str) -> int:
        """Return enough for every prompt."""
        return 8192

    def version(self) -> str:
        """Return a version: this engine is never away."""
        return "0.33.0"

    def models(self) -> list[Model]:
        """Return one model, with the digest that this worker has pulled, unless it lacks it."""
        if self._worker.lacks:
            return []
        digest = f"digest-{self._worker.digest}"
        return [Model(name=MODEL, digest=digest, size_bytes=1, context_tokens=None)]

    @property
    def occupied(self) -> int:
        """No slot: this engine stops at once."""
        return 0

    def on_free(self, tell: Callable[[], None]) -> None:
        """Nothing is ever occupied."""

    def notes(self) -> list[str]:
        """There is nothing to say."""
        return []

    def close(self) -> None:
        """There is nothing to release."""

    def complete(
        self,
        prompt: Prompt,
        *,
        model: str,
        remaining_seconds: float,
        stoppable: Stoppable | None = None,
        on_text: TextSink | None = None,
    ) -> Completion:
        """Wait for the schedule; return the text in one piece."""
        actor = here()
        assert actor is not None
        assert isinstance(stoppable, InFlightDelivery)
        generation = actor.generation = self._begin(_made(prompt, stoppable), stoppable, actor)
        stoppable.on_stop(generation.stop)
        try:
            while True:
                if not generation.stopping:
                    actor.wait("engine")
                if generation.stopping and stoppable.reason is not None:
                    raise stoppable.reason
                if isinstance(generation.outcome, ServiceError):
                    raise generation.outcome
                if generation.outcome == "finish":
                    completion = _completion(generation.made)
                    generation.is_finished = True
                    if on_text is not None:
                        on_text(completion.text)
                    return completion
                if generation.outcome == "late" and stoppable.wanted_seconds() <= 0:
                    raise DeadlineExceeded("the deadline passed while the job was running")
                generation.outcome = None
        finally:
            actor.generation = None
            stoppable.on_stop(None)

    def embed(
        self,
        texts: ToEmbed,
        *,
        model: str,
        remaining_seconds: float,
        stoppable: Stoppable | None = None,
    ) -> Completion:
        """Refuse: schedules are about text."""
        raise AssertionError("no schedule has an embed job")


def _made(prompt: Prompt, in_flight: InFlightDelivery) -> Made:
    content = prompt.messages[-1]["content"]
    asked = re.search(r"prompt [a-z]", content)
    return Made(content, asked.group() if asked else "?", in_flight.delivery.task_id)


def _completion(made: Made) -> Completion:
    prompt_tokens, completion_tokens = TOKENS
    return Completion(
        text=f"The {made.number}. answer to {made.prompt}.",
        model=MODEL,
        finish_reason="stop",
        prompt_tokens=prompt_tokens,
        completion_tokens=completion_tokens,
        load_seconds=0.0,
        prompt_seconds=0.0,
        generation_seconds=0.0,
    )


def number_of(answer: dict[str, Any]) -> int:
    """The number of the generation that made this answer."""
    text = answer["text"] if "text" in answer else answer["summary"]
    found = re.match(r"The (\d+)\. answer", text)
    assert found, text
    return int(found.group(1))
