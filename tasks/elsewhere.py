"""What a worker's engine could not do may be done elsewhere: passes a failed job to the others.

An engine that lacks a model, or answers with errors, ends a job in a millisecond: the worker with
it would take and fail nearly every job. So a job fails only when no other live worker can run it.
"""

from __future__ import annotations

import logging

import redis
from celery.exceptions import Ignore

from local_llm_service.worker import metrics
from local_llm_service.worker.errors import DeadlineExceeded, ModelMissing, ServiceError
from local_llm_service.worker.intake.model_breakers import ENGINE_FAULTS
from local_llm_service.worker.lease.in_flight import InFlightDelivery
from local_llm_service.worker.lease.unserved import can_be_run, unserved_error
from local_llm_service.worker.runtime import WorkerRuntime
from local_llm_service.worker.store.outcomes import Delivery
from local_llm_service.worker.store.presence import read_all

logger = logging.getLogger(__name__)


def pass_on(
    error: ServiceError, runtime: WorkerRuntime, in_flight: InFlightDelivery
) -> ServiceError:
    """Leave a job that is to fail with `error` to another worker, and raise Ignore.

    That does not count as a try, and each worker fails a job once at most. Where nobody else can
    run it, returns the error, which then names the workers that tried.
    """
    if not isinstance(error, ENGINE_FAULTS) or not in_flight.model:
        return error
    delivery = in_flight.delivery
    try:
        passed = runtime.store.jobs.pass_on(
            delivery.task_id,
            delivery.token,
            worker=runtime.name,
            model=in_flight.model,
            work=in_flight.work_so_far,
        )
    except redis.RedisError:
        # The result could not be stored either: the job runs again, here or elsewhere.
        runtime.release(delivery.task_id, delivery.token, work=in_flight.work_so_far)
        raise Ignore from None
    if not passed.done:
        tried = ", ".join(passed.failed_by)
        return type(error)(f"{error.message} (tried by {tried})", error.hint)
    _left(error, runtime, delivery)
    raise Ignore


def leave_after_death(
    error: ServiceError, runtime: WorkerRuntime, in_flight: InFlightDelivery
) -> bool:
    """Leave a job, with which this worker's engine died while it ran alone, to another worker.

    An engine whose every connection breaks would otherwise give up a job that another one answers.
    The death is charged all the same. False where nobody else can run the job: it runs here again.
    """
    delivery = in_flight.delivery
    try:
        passed = runtime.store.jobs.pass_on(
            delivery.task_id,
            delivery.token,
            worker=runtime.name,
            model=in_flight.model,
            engine_died=True,
            work=in_flight.work_so_far,
        )
    except redis.RedisError:
        return False
    if passed.done:
        _left(error, runtime, delivery)
    return passed.done


def _left(error: ServiceError, runtime: WorkerRuntime, delivery: Delivery) -> None:
    logger.warning("job %s: %s; left to other workers", delivery.task_id, error.code)
    runtime.in_flight.end(delivery.token)
    metrics.RELEASES.labels("elsewhere").inc()


def given_up_error(runtime: WorkerRuntime, delivery: Delivery) -> ServiceError:
    """Why a job fails that no worker could run, and that this one only has to end."""
    store = runtime.store
    try:
        record = store.jobs.record(delivery.task_id)
        workers = read_all(store)
        if record is not None and can_be_run(record, workers) and delivery.remaining_seconds <= 0:
            return DeadlineExceeded("the deadline passed while the job waited in its queue")
        if record is not None:
            return unserved_error(record, workers)
    except redis.RedisError:
        logger.warning("job %s: its record cannot be read", delivery.task_id)
    return ModelMissing(f"no live worker has model {delivery.model!r}")
