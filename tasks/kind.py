"""The shape that all kinds share: a request, an answer, and a small program between."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from local_llm_service.tasks.answer import Answer
from local_llm_service.tasks.request import JobRequest, Priority
from local_llm_service.tasks.steps.protocol import Program


@dataclass(frozen=True)
class Kind:
    """One kind of job.

    `work(request, ask)` returns the answer's own fields (see Program), and asks its engine as often
    as it needs; `one_step` makes it of two functions. It talks to nobody else, and its prompts
    depend on nothing but the request and the completions before: a job that runs again finds its
    finished steps by them.

    Raise `template_version` with every change of a prompt or of how an answer is read; a test pins
    the prompts. `cut_is_answer`: an answer that was stopped at its token budget is what the caller
    asked for, and may be cached.
    """

    name: str
    description: str
    request: type[JobRequest]
    answer: type[Answer]
    default_priority: Priority
    work: Program
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
