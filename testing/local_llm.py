"""What the fixture `local_llm` gives to a test: the script of the model, and what it was asked."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, Self

from celery.signals import after_task_publish

from local_llm_service.producers import stats, status
from local_llm_service.testing.scripted_engine import Asked, ScriptedEngine
from local_llm_service.testing.scripted_run import Scripted, Text
from local_llm_service.testing.service import SETTINGS, GivenSettings, service_here
from local_llm_service.testing.stand_in import StandIn
from local_llm_service.worker.celery_ext.in_process import InProcessWorker
from local_llm_service.worker.errors import (
    BrokerUnreachable,
    BrokerUnsafe,
    InvalidRequest,
    InvalidSetting,
    NotFound,
    NotReady,
    QueueFull,
    ServiceError,
)
from local_llm_service.worker.prompt import FunctionCall, ToolCall
from local_llm_service.worker.store.states import JobState

#: The model of a call that names none.
MODEL = "scripted:1b"
#: What no engine says; each with how a test gets it.
_NOT_OF_AN_ENGINE: Mapping[type[ServiceError], str] = {
    BrokerUnreachable: "use `with local_llm.redis_away():`",
    QueueFull: "mark the test with @pytest.mark.local_llm(settings={'max_queue_length': 1})",
    InvalidRequest: "send a call with a wrong argument",
    BrokerUnsafe: "no test needs it",
    InvalidSetting: "no test needs it",
    NotFound: "ask for an id that nobody has submitted",
    NotReady: "use `with local_llm.held():`",
}


@dataclass(frozen=True)
class SubmittedJob:
    """A job that was queued, with the arguments of its call."""

    id: str
    kind: str
    priority: str
    arguments: Mapping[str, Any]

    @property
    def state(self) -> JobState:
        """Its state now."""
        return status(self.id)


class _Sent:
    """Listens to Celery, which tells of each message that this process sends."""

    def __init__(self) -> None:
        self.jobs: list[SubmittedJob] = []

    def __call__(self, sender: str, body: Any, headers: Any, routing_key: Any, **_: Any) -> None:
        if not sender.startswith("llm."):
            return  # another app's
        kind, queue = sender.removeprefix("llm."), str(routing_key)
        priority = queue.removeprefix("llm.")
        self.jobs.append(SubmittedJob(headers["id"], kind, priority, dict(body[1])))


class LocalLLM:
    """The service in a test's own process. Each `reply`, `stream` and `fail` scripts one answer.

    Answers are given in the order of the script, whichever job asks. A job that is tried again asks
    again. Without a script the model echoes; see default_answer.py.
    """

    def __init__(
        self, engine: ScriptedEngine, redis: StandIn, worker: InProcessWorker, sent: _Sent
    ) -> None:
        self._engine, self._redis, self._worker, self._sent = engine, redis, worker, sent

    # --- the script ----------------------------------------------------------------------------

    def reply(self, text: Text, *, times: int | None = 1) -> Self:
        """Answer with a text, or with what a function makes of the prompt's messages.

        `times`: so many times; None: from now on, whenever nothing else is scripted.
        """
        if not isinstance(text, str) and not callable(text):
            raise TypeError(f"reply() takes text or a function, not {type(text).__name__}")
        return self._add(Scripted((text,)), times)

    def reply_json(self, value: object, *, times: int | None = 1) -> Self:
        """Answer with a value as JSON, for a kind or a chat that asks for JSON."""
        return self._add(Scripted((json.dumps(value, ensure_ascii=False),)), times)

    def reply_calls(self, *calls: FunctionCall, text: str = "", times: int | None = 1) -> Self:
        """Call functions of a chat's tools, each as `{"name", "arguments"}`, after a text."""
        made = tuple(ToolCall(function={**call}) for call in calls)
        if not made or not all(call["function"].keys() == {"name", "arguments"} for call in made):
            raise TypeError('reply_calls() takes {"name": …, "arguments": {…}}, at least one')
        return self._add(Scripted((text,) if text else (), tool_calls=made), times)

    def stream(self, *pieces: str, pause_seconds: float = 0.0, times: int | None = 1) -> Self:
        """Answer in these pieces, with a pause between each two."""
        if not pieces or not all(isinstance(piece, str) for piece in pieces):
            raise TypeError("stream() takes pieces of text, at least one")
        return self._add(Scripted(pieces, pause_seconds=pause_seconds), times)

    def fail(
        self,
        error: type[ServiceError] | ServiceError,
        *pieces: str,
        pause_seconds: float = 0.0,
        times: int | None = 1,
    ) -> Self:
        """Fail with an error of `worker.errors`, after these pieces of text if any are given.

        A job is tried again after a retryable one, MAX_ATTEMPTS (3) times in all: `times=3` fails
        it. Raises TypeError for what no model server can say.
        """
        made = error("scripted by the test") if isinstance(error, type) else error
        if not isinstance(made, ServiceError):
            raise TypeError(f"fail() takes an error of the service, not {type(made).__name__}")
        if how := _NOT_OF_AN_ENGINE.get(type(made)):
            raise TypeError(f"{type(made).__name__} does not come from a model: {how}")
        return self._add(Scripted(pieces or None, made, pause_seconds=pause_seconds), times)

    def delay(self, seconds: float) -> Self:
        """Let the next answer begin so late: `local_llm.delay(0.2).reply("Late.")`."""
        if not 0 <= seconds < float("inf"):
            raise ValueError(f"delay() takes seconds, 0 or more, not {seconds}")
        self._engine.delay(seconds)
        return self

    def held(self) -> AbstractContextManager[None]:
        """Let every answer wait until the end of a `with` block, in which jobs run."""
        return self._engine.held()

    def wait_until_asked(self, times: int = 1, timeout_seconds: float = 5.0) -> None:
        """Wait until the model was asked so often in all. Raises AssertionError after the time."""
        if not self._engine.wait_until_asked(times, timeout_seconds):
            asked = len(self.prompts)
            raise AssertionError(
                f"the model was asked {asked} of {times} times in {timeout_seconds:g} s"
            )

    def _add(self, step: Scripted, times: int | None) -> Self:
        if times is not None and times < 1:
            raise ValueError("times is 1 or more, or None for every answer from now on")
        self._engine.add(step, times)
        return self

    # --- what has happened ---------------------------------------------------------------------

    @property
    def prompts(self) -> list[Asked]:
        """What the model was asked, in order, one for each step of a job; a retry asks again.

        That the tokens of a text were counted is not in it.
        """
        return list(self._engine.asked)

    @property
    def unused(self) -> int:
        """How many scripted answers nobody has asked for."""
        return self._engine.left

    @property
    def submitted(self) -> list[SubmittedJob]:
        """The jobs that were queued, in order, also later steps of a chain.

        What the cache answers at once is not queued: `stats()` counts it.
        """
        return [job for job in self._sent.jobs if job.state is not JobState.UNKNOWN]

    def stats(self) -> dict[str, Any]:
        """The service's statistics: `total_requests`, `hits`, `misses`, `joined` and so on."""
        return stats()

    # --- the world -----------------------------------------------------------------------------

    @property
    def context_tokens(self) -> int:
        """Tokens of the context, prompt and answer together: NUM_CTX, unless a test says more
        or less. What does not fit is a ContextOverflow; long texts are read in pieces."""
        return self._engine.context

    @context_tokens.setter
    def context_tokens(self, tokens: int) -> None:
        if isinstance(tokens, bool) or not isinstance(tokens, int) or tokens < 1:
            raise ValueError(f"context_tokens is a whole number, 1 or more, not {tokens!r}")
        self._engine.context = tokens

    def add_model(self, name: str) -> None:
        """Let the worker have one more model, as after `ollama pull`."""
        self._engine.model_names.append(name)
        self._worker.publish()

    @contextmanager
    def redis_away(self) -> Iterator[None]:
        """In this block Redis refuses every connection; what it holds is there afterwards."""
        with self._redis.away():
            yield


@contextmanager
def local_llm_service(
    redis: StandIn, models: Sequence[str], slots: int, settings: Mapping[str, Any]
) -> Iterator[LocalLLM]:
    """The service on an empty Redis, until the end of the block."""
    if not models:
        raise ValueError("models: one model at least, which is the default")
    if unknown := sorted(settings.keys() - GivenSettings.model_fields.keys()):
        raise ValueError(f"settings: there is no setting {', '.join(unknown)}")
    given = GivenSettings(**{**SETTINGS, "model_name": models[0], "concurrency": slots, **settings})
    engine, sent = ScriptedEngine(models), _Sent()
    engine.context = given.num_ctx
    with service_here(given, redis.dial, engine) as worker:
        after_task_publish.connect(sent, weak=False)
        try:
            yield LocalLLM(engine, redis, worker, sent)
        finally:
            after_task_publish.disconnect(sent)
    if engine.faults:
        raise engine.faults[0]
