"""The shape that all kinds share: a request, an answer, and two pure functions between."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from local_llm_service.tasks.answer import Answer
from local_llm_service.tasks.request import JobRequest, Priority
from local_llm_service.worker.prompt import Completion, Prompt, ToEmbed


@dataclass(frozen=True)
class Kind:
    """One kind of job.

    `prompt(request, max_output_tokens)` returns the prompt for the model, or texts whose vectors
    are wanted. `read(request, completion)` returns the answer's own fields, with `finish_reason`
    where it is another than the completion's, or raises InvalidOutput if the completion breaks the
    contract of the kind. Both ask nobody anything.

    Raise `template_version` with every change of the prompt or of how an answer is read; a test
    pins the prompt. `cut_is_answer`: an answer that was stopped at its token budget is what the
    caller asked for, and may be cached.
    """

    name: str
    description: str
    request: type[JobRequest]
    answer: type[Answer]
    default_priority: Priority
    prompt: Callable[[Any, int], Prompt | ToEmbed]
    read: Callable[[Any, Completion], Mapping[str, object]]
    template_version: int = 1
    cut_is_answer: bool = False


class JobTask(Protocol):
    """The parts of the Celery task (job.py) that both halves of a job's path need."""

    kind: Kind
    #: The Celery application.
    app: Any
    #: Celery's context of the current call, and its result backend.
    request: Any
    backend: Any
    #: Celery's handle of a task id.
    AsyncResult: Callable[[str], Any]

    def parse(self, args: Sequence[Any] | None, kwargs: Mapping[str, Any] | None) -> JobRequest:
        """Read the call as the kind's request. Raises InvalidRequest."""
