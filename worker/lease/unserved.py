"""Says why no worker could run a job that waits for its model."""

from __future__ import annotations

from collections.abc import Iterable

from local_llm_service.worker.errors import ModelFailed, ModelMissing, ServiceError
from local_llm_service.worker.fleet.fleet import AUTO
from local_llm_service.worker.intake.gate import Reason
from local_llm_service.worker.store import keys
from local_llm_service.worker.store.presence import Presence, away_engine, fails, serves
from local_llm_service.worker.store.states import JobRecord


def unserved_error(record: JobRecord, workers: Iterable[Presence]) -> ServiceError:
    """Why no worker could run a job, with the names of those that tried."""
    there = sorted(workers, key=lambda worker: worker.name)
    model = _model_of(record, there)
    asked = f"model {model!r}" if model else "the default model of the workers"
    failing = [one.name for one in there if fails(one, model or one.model)]
    names = ", ".join(dict.fromkeys([*record.failed_by.split(), *failing]))
    if names:
        return ModelFailed(f"no live worker can run {asked}; its engine failed at {names}")
    models = sorted({name for worker in there for name in _names(worker)})
    pull = f"Run `ollama pull {model or 'MODEL_NAME'}` on a worker's host"
    use = f", or use one that is there: {', '.join(models)}." if models else "."
    return ModelMissing(f"no live worker has {asked}", pull + use)


def _names(worker: Presence) -> list[str]:
    """What callers may name and get an answer; `auto` goes without saying."""
    others = [*worker.aliases, *(name for name in worker.routes if name != AUTO)]
    return [*(one.name for one in worker.models), *(one for one in others if serves(worker, one))]


def _model_of(record: JobRecord, workers: list[Presence]) -> str:
    """The model that a job asks for; empty for the default where workers have several, or none."""
    if record.model != keys.DEFAULT_MODEL:
        return record.model
    defaults = {worker.model for worker in workers}
    return defaults.pop() if len(defaults) == 1 else ""


def can_be_run(record: JobRecord, workers: Iterable[Presence]) -> bool:
    """Whether a live worker serves the job's model, and its engine has not failed the job.

    An engine that does not answer now counts: its jobs wait for it.
    """
    tried = record.failed_by.split()
    for worker in workers:
        model = worker.model if record.model == keys.DEFAULT_MODEL else record.model
        has = serves(worker, model) or away_engine(worker, model) is not None
        fine = has and not fails(worker, model)
        drains = Reason.DRAINING in worker.closed_by
        if fine and not drains and worker.name not in tried:
            return True
    return False
