"""What a job's run comes to: the answer that its program makes, or an error."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from local_llm_service.tasks.answer import Timings, Usage
from local_llm_service.tasks.kind import JobTask, Kind
from local_llm_service.tasks.program_run import ProgramRun
from local_llm_service.tasks.request import JobRequest
from local_llm_service.worker.errors import InternalError, InvalidOutput, ServiceError
from local_llm_service.worker.fingerprint import full_name
from local_llm_service.worker.fleet.price import usd_of
from local_llm_service.worker.store.bounds import LAST_TEXT_CHARS
from local_llm_service.worker.store.outcomes import NO_WORK, Work

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of a job in this worker: an answer or an error, and the work done for it."""

    result: dict[str, Any] | Exception
    work: Work = NO_WORK


def do_work(
    job: JobTask,
    request: JobRequest,
    run: ProgramRun,
    *,
    queued_seconds: float | None,
) -> Outcome:
    """Run the kind's program; the outcome is an error if there is no answer.

    What its steps have cost counts all the same.
    """
    kind: Kind = job.kind
    is_whole, cacheable, last_text = False, False, ""
    result: dict[str, Any] | Exception
    try:
        result = _compose(job, run.fields(kind, request), run, queued_seconds)
        is_whole = kind.cut_is_answer or result["finish_reason"] != "length"
        cacheable = is_whole and run.is_repeatable
    except ServiceError as error:
        result = error
        if isinstance(error, InvalidOutput):
            last_text = _kept(error.text)
    except Exception as error:  # noqa: BLE001  # an edge: a foreign error may quote the prompt
        result = unexpected(job, error)
    spent, wasted, is_kept = run.spent, run.wasted, is_whole and run.keeps_contract
    work = Work(
        prompt_tokens=spent.prompt_tokens,
        completion_tokens=spent.completion_tokens,
        generation_seconds=spent.seconds,
        cacheable=cacheable,
        last_text=last_text,
        model=full_name(run.model),
        route=run.route_name,
        # A paid model is compared only for an answer that kept its contract.
        answer_prompt_tokens=spent.answer_prompt_tokens if is_kept else 0,
        answer_completion_tokens=spent.answer_completion_tokens if is_kept else 0,
        wasted_prompt_tokens=wasted.prompt_tokens,
        wasted_completion_tokens=wasted.completion_tokens,
    )
    return Outcome(result, work)


def _compose(
    job: JobTask, fields: Mapping[str, object], run: ProgramRun, queued_seconds: float | None
) -> dict[str, Any]:
    spent = run.spent
    own: dict[str, Any] = {"finish_reason": spent.finish_reason, **fields}
    answer = job.kind.answer(
        task_id=str(job.request.id),
        kind=job.kind.name,
        model=spent.model or run.model,
        origin="computed",
        usage=Usage(prompt_tokens=spent.prompt_tokens, completion_tokens=spent.completion_tokens),
        timings=Timings(
            queued_seconds=queued_seconds,
            load_seconds=spent.load_seconds,
            prompt_seconds=spent.prompt_seconds,
            generation_seconds=spent.generation_seconds,
        ),
        route=run.route,
        paid_usd=float(usd_of(run.paid_nano_usd)),
        **own,
    )
    return answer.plain()


def _kept(text: str) -> str:
    """What a dead letter keeps of a model's text; half a character cannot be stored."""
    left_out = len(text) - LAST_TEXT_CHARS
    if left_out > 0:
        text = f"{text[:LAST_TEXT_CHARS]}… and {left_out} more characters"
    return text.encode(errors="replace").decode()


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
