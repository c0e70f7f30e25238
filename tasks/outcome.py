"""What a job's run comes to: an answer that is read from the completion, or an error."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import Any

from local_llm_service.tasks.answer import Timings, Usage
from local_llm_service.tasks.kind import JobTask, Kind
from local_llm_service.tasks.request import JobRequest
from local_llm_service.worker.errors import InternalError, ServiceError
from local_llm_service.worker.prompt import Completion
from local_llm_service.worker.settings import Settings
from local_llm_service.worker.store.outcomes import NO_WORK, Work

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of a job in this worker: an answer or an error, and the work done for it."""

    result: dict[str, Any] | Exception
    work: Work = NO_WORK


def read_answer(
    job: JobTask,
    request: JobRequest,
    completion: Completion,
    settings: Settings,
    *,
    queued_seconds: float | None,
) -> Outcome:
    """Read the answer from the completion; the outcome is an error if there is none in it."""
    kind: Kind = job.kind
    work = Work(
        prompt_tokens=completion.prompt_tokens,
        completion_tokens=completion.completion_tokens,
        generation_seconds=completion.load_seconds
        + completion.prompt_seconds
        + completion.generation_seconds,
    )
    try:
        answer = _compose(job, request, completion, settings, queued_seconds)
    except ServiceError as error:
        return Outcome(error, work)
    except Exception as error:  # noqa: BLE001  # an edge: what was generated counts all the same
        return Outcome(unexpected(job, error), work)
    whole = kind.cut_is_answer or completion.finish_reason != "length"
    return Outcome(answer, replace(work, cacheable=whole))


def _compose(
    job: JobTask,
    request: JobRequest,
    completion: Completion,
    settings: Settings,
    queued_seconds: float | None,
) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "finish_reason": completion.finish_reason,
        **job.kind.read(request, completion),
    }
    answer = job.kind.answer(
        task_id=str(job.request.id),
        kind=job.kind.name,
        model=completion.model or request.model or settings.model_name,
        origin="computed",
        usage=Usage(
            prompt_tokens=completion.prompt_tokens, completion_tokens=completion.completion_tokens
        ),
        timings=Timings(
            queued_seconds=queued_seconds,
            load_seconds=completion.load_seconds,
            prompt_seconds=completion.prompt_seconds,
            generation_seconds=completion.generation_seconds,
        ),
        **fields,
    )
    return answer.model_dump(mode="json")


def unexpected(job: JobTask, error: Exception) -> InternalError:
    """What the caller gets; the log gets the place, and neither gets the error's words."""
    logger.error("job %s: unexpected %s", job.request.id, place_of(error))
    return InternalError(f"unexpected {type(error).__name__} in the worker")


def place_of(error: Exception) -> str:
    """The type and innermost place of an error, without its message."""
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    where = f"{place.tb_frame.f_code.co_filename}:{place.tb_lineno}" if place else "?"
    return f"{type(error).__name__} at {where}"
