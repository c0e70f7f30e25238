"""The typed client: the five kinds, with checked arguments and typed answers.

>>> client = Client()
>>> client.summarize(text, max_summary_tokens=60, priority="low").get(timeout=60).summary
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Generic, TypedDict, TypeVar, Unpack, cast

import celery.exceptions
from celery.result import AsyncResult

from local_llm_service import tasks
from local_llm_service.producers.service import cancel, status
from local_llm_service.tasks.answer import Answer
from local_llm_service.tasks.compress import CompressAnswer
from local_llm_service.tasks.extract_parameters import ExtractAnswer
from local_llm_service.tasks.generate import GenerateAnswer
from local_llm_service.tasks.job import KindTask
from local_llm_service.tasks.request import Priority
from local_llm_service.tasks.structured_output import StructuredAnswer
from local_llm_service.tasks.summarize import SummarizeAnswer
from local_llm_service.worker.app import app
from local_llm_service.worker.errors import InternalError
from local_llm_service.worker.store.states import JobState

A = TypeVar("A", bound=Answer)


class Options(TypedDict, total=False):
    """The options of every call beside its own arguments; see `tasks.request.JobRequest`."""

    model: str
    priority: Priority
    cache: bool
    cache_scope: str
    deadline_seconds: float


class Handle(Generic[A]):
    """A submitted job. Any process can make the handle again from its `task_id`."""

    def __init__(self, task_id: str, answer: type[A]) -> None:
        self.task_id = task_id
        self._answer = answer
        self._result: AsyncResult = app.AsyncResult(task_id)

    def get(self, timeout: float | None = None) -> A:
        """Wait for the answer, at most `timeout` seconds (None: forever).

        Raises the job's own error (a class of `worker.errors`), TimeoutError if there is no result
        in time, BrokerUnreachable if Redis is away: within 5 s when it was away from the start. A
        wait goes on while Redis restarts, without a timeout for a minute.
        """
        try:
            answer = self._result.get(timeout=timeout)
        except celery.exceptions.TimeoutError:
            raise TimeoutError(f"no result within {timeout} s") from None
        return self._answer.model_validate(answer)

    def cancel(self) -> JobState:
        """Cancel the job; see `producers.cancel`."""
        return cancel(self.task_id)

    def status(self) -> JobState:
        """The job's state. Raises BrokerUnreachable."""
        return status(self.task_id)


def job(task_id: str) -> Handle[Any]:
    """The handle of a job that any process has submitted; its answer is of the job's kind.

    Nothing is asked: of an id that nobody knows, `status()` is unknown.
    """
    return Handle(task_id, cast(type[Answer], _OfItsKind))


class _OfItsKind:
    """Stands in for a class of answers, and reads an answer as that of its kind."""

    @classmethod
    def model_validate(cls, answer: dict[str, Any]) -> Answer:
        """Return the typed answer. Raises InternalError for a kind that this version lacks."""
        task = getattr(tasks, str(answer.get("kind")), None)
        if not isinstance(task, KindTask):
            raise InternalError("the answer's kind is not known here", "Update local-llm-service.")
        return task.kind.answer.model_validate(answer)


class Client:
    """Submits jobs; every method returns at once.

    Raises InvalidRequest, QueueFull or BrokerUnreachable; then nothing was queued. None stands for
    the default of the kind's request.
    """

    def generate(
        self,
        prompt: str,
        *,
        system_prompt: str | None = None,
        max_tokens: int | None = None,
        temperature: float | None = None,
        **options: Unpack[Options],
    ) -> Handle[GenerateAnswer]:
        """Free text for a prompt."""
        own = {
            "system_prompt": system_prompt,
            "max_tokens": max_tokens,
            "temperature": temperature,
        }
        return _submit(tasks.generate, GenerateAnswer, (prompt,), {**own, **options})

    def summarize(
        self, context: str, *, max_summary_tokens: int | None = None, **options: Unpack[Options]
    ) -> Handle[SummarizeAnswer]:
        """A text in whole sentences within a budget of tokens."""
        own = {"max_summary_tokens": max_summary_tokens}
        return _submit(tasks.summarize, SummarizeAnswer, (context,), {**own, **options})

    def compress(
        self,
        messages: list[dict[str, str]],
        *,
        target_tokens: int | None = None,
        **options: Unpack[Options],
    ) -> Handle[CompressAnswer]:
        """A conversation as one message that can take its place."""
        own = {"target_tokens": target_tokens}
        return _submit(tasks.compress, CompressAnswer, (messages,), {**own, **options})

    def extract_parameters(
        self, user_message: str, function_schema: dict[str, Any], **options: Unpack[Options]
    ) -> Handle[ExtractAnswer]:
        """The arguments of a function call, read out of a user's message."""
        arguments = (user_message, function_schema)
        return _submit(tasks.extract_parameters, ExtractAnswer, arguments, options)

    def structured_output(
        self, prompt: str, schema: dict[str, Any] | bool, **options: Unpack[Options]
    ) -> Handle[StructuredAnswer]:
        """An instance of a JSON Schema."""
        return _submit(tasks.structured_output, StructuredAnswer, (prompt, schema), options)


def _submit(
    task: KindTask, answer: type[A], arguments: tuple[Any, ...], options: Mapping[str, Any]
) -> Handle[A]:
    given = {name: value for name, value in options.items() if value is not None}
    result = cast(AsyncResult, task.apply_async(arguments, given))
    return Handle(str(result.id), answer)
