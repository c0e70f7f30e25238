"""`GET /v1/overview`: what the page for people shows; counts, names and codes, nobody's words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, Field
from starlette.responses import Response

from local_llm_service.producers.http.call import Call
from local_llm_service.producers.http.callers.caller import Caller
from local_llm_service.producers.http.replies import json_reply
from local_llm_service.producers.http.state_models import QueueNow, StatsAnswer, WorkerHealth
from local_llm_service.worker.fleet.prices import compared
from local_llm_service.worker.settings import Settings
from local_llm_service.worker.store import keys
from local_llm_service.worker.store.calls import Calls
from local_llm_service.worker.store.overview import Overview, overview
from local_llm_service.worker.store.presence import Presence, RunningJob, workers
from local_llm_service.worker.store.stats import stats_of

#: So many failures are shown, of the newest that are looked at: others may be other callers'.
FAILURES_SHOWN, FAILURES_LOOKED_AT = 20, 200


class WorkerNow(WorkerHealth):
    """One worker, with its default model and all that it has."""

    model: str
    models: list[str]


class JobNow(RunningJob):
    """A job that runs, as its worker said at most 3 s ago. `tokens`: pieces of text so far."""

    worker: str


class FailureNow(BaseModel):
    """A job that failed permanently; `error` is a code."""

    task_id: str
    seconds_ago: float
    kind: str
    queue: str
    error: str


class OverviewAnswer(BaseModel):
    """The service now. `jobs` and `failures` are the caller's own; what others run is counted in
    `running`, and in all other counts."""

    status: str = Field(description="`healthy`, `degraded` or `down`.")
    reasons: list[str]
    model: str
    queues: list[QueueNow]
    workers: list[WorkerNow]
    running: int
    deferred: int
    jobs: list[JobNow]
    cached: int
    cached_bytes: int
    stats: StatsAnswer
    failures: list[FailureNow]


async def show_overview(call: Call) -> Response:
    """The service now, with the caller's own jobs."""
    health = await call.service.health()
    seen, there = await call.service.drive(_look(call.service.store.keys))
    return json_reply(_shown(call.caller, call.service.settings, health, seen, there))


def _look(names: keys.Keys) -> Calls[tuple[Overview, list[Presence]]]:
    seen = yield from overview(FAILURES_LOOKED_AT)
    there = yield from workers(names)
    return seen, there


def _shown(
    caller: Caller,
    settings: Settings,
    health: dict[str, Any],
    seen: Overview,
    there: Sequence[Presence],
) -> dict[str, Any]:
    jobs = [
        JobNow(worker=worker.name, **job.model_dump())
        for worker in there
        for job in worker.jobs
        if caller.owns(job.task_id)
    ]
    failures = [one for one in seen.failures if caller.owns(one.task_id)][:FAILURES_SHOWN]
    stats = stats_of(
        seen.counts,
        cache_enabled=health["cache_enabled"],
        price=compared(settings.compare_model, settings.prices_file).price,
    )
    answer = OverviewAnswer(
        status=health["status"],
        reasons=health["reasons"],
        model=health["model"],
        queues=[QueueNow.model_validate(one, from_attributes=True) for one in seen.queues],
        workers=[_worker(one) for one in there],
        running=seen.running,
        deferred=seen.deferred,
        jobs=sorted(jobs, key=lambda job: -job.seconds),
        cached=seen.cached,
        cached_bytes=seen.cached_bytes,
        stats=StatsAnswer(**stats),
        failures=[FailureNow.model_validate(one, from_attributes=True) for one in failures],
    )
    return answer.model_dump()


def _worker(one: Presence) -> WorkerNow:
    models = [model.name for model in one.models]
    return WorkerNow.model_validate({**one.model_dump(), "models": models})
