"""Why a job waits, in words for people; read from Redis alone."""

from __future__ import annotations

from collections.abc import Sequence

from local_llm_service.producers.service import redis_url, workers
from local_llm_service.worker.fingerprint import full_name
from local_llm_service.worker.store import keys
from local_llm_service.worker.store.connection import reachable
from local_llm_service.worker.store.presence import Presence, away_engine, fails, serves
from local_llm_service.worker.store.states import JobRecord, JobState
from local_llm_service.worker.store.store import process_store


def explain(task_id: str) -> str | None:
    """What a parked job waits for; None for a job in another state. Raises BrokerUnreachable."""
    with reachable(redis_url()):
        record = process_store().jobs.record(task_id)
    if record is None or record.state is not JobState.PARKED:
        return None
    return _parked(record, workers())


def _parked(record: JobRecord, there: Sequence[Presence]) -> str:
    is_default = record.model == keys.DEFAULT_MODEL
    asked = "the workers' default model" if is_default else f"model {record.model!r}"
    having = [worker for worker in there if _has(worker, record)]
    failing = [worker.name for worker in having if fails(worker, _asked(worker, record))]
    failed = record.failed_by.split()
    free = [one.name for one in having if one.name not in (*failing, *failed)]
    away = [] if having else [name for worker in there for name in _away(worker, record)]
    text = f"waits for a worker with {asked}"
    if free:
        text += f": {', '.join(free)}"
    elif away:
        text += f": {', '.join(away)} does not answer"
    elif not having:
        text += f": none of the {len(there)} workers has it" if there else ": no worker is running"
    if failed:
        text += f"; the engine failed it at {', '.join(failed)}"
    if failing:
        text += f"; the engine fails this model at {', '.join(failing)}"
    return text


def _asked(worker: Presence, record: JobRecord) -> str:
    is_default = record.model == keys.DEFAULT_MODEL
    return full_name(worker.model if is_default else record.model)


def _has(worker: Presence, record: JobRecord) -> bool:
    return serves(worker, _asked(worker, record))


def _away(worker: Presence, record: JobRecord) -> list[str]:
    """The engine of a worker that had the model when it was last there, in words."""
    engine = away_engine(worker, _asked(worker, record))
    return [] if engine is None else [f"engine {engine.name} of {worker.name}"]
