"""The shape that all five kinds share: a request, an answer, and two pure functions between."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tasks.answer import Answer
from tasks.request import JobRequest, Priority
from worker.prompt import Completion, Prompt


@dataclass(frozen=True)
class Kind:
    """One kind of job.

    `prompt(request, max_output_tokens)` says what to ask the model. `read(request, completion)`
    returns the answer's own fields, or raises InvalidOutput where the completion breaks the kind's
    promise. Both are pure.
    """

    name: str
    promise: str
    request: type[JobRequest]
    answer: type[Answer]
    default_priority: Priority
    prompt: Callable[[Any, int], Prompt]
    read: Callable[[Any, Completion], Mapping[str, object]]
