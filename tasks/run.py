"""The worker's half of a job's path: validate → claim → work → answer.

Celery passes the answer to its result backend, which settles the job
(celery_ext/result_backend.py).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import redis
from celery.exceptions import CeleryError, Ignore

from local_llm_service.tasks import engine_death, retry
from local_llm_service.tasks.admission import fingerprint_of
from local_llm_service.tasks.bounded import bounded_by
from local_llm_service.tasks.elsewhere import given_up_error, leave_after_death, pass_on
from local_llm_service.tasks.kind import JobTask
from local_llm_service.tasks.outcome import Outcome, do_work, unexpected
from local_llm_service.tasks.program_run import OneModelRun, ProgramRun
from local_llm_service.tasks.request import JobRequest
from local_llm_service.tasks.routing import reasons
from local_llm_service.tasks.routing.choice import known_by
from local_llm_service.tasks.routing.policy import MAY_LEAVE, home_of, why_local
from local_llm_service.tasks.routing.routed_run import Parts, RoutedRun
from local_llm_service.tasks.spoken_texts import SpokenTexts
from local_llm_service.tasks.steps.engine_steps import DirectSteps
from local_llm_service.tasks.worker_steps import WorkerSteps
from local_llm_service.worker import metrics
from local_llm_service.worker.celery_ext.result_format import NO_TIMINGS
from local_llm_service.worker.errors import (
    Cancelled,
    CrashedTooOften,
    DeadlineExceeded,
    InternalError,
    ServiceError,
)
from local_llm_service.worker.fingerprint import full_name
from local_llm_service.worker.fleet.fleet import Fleet
from local_llm_service.worker.lease.in_flight import InFlightDelivery
from local_llm_service.worker.runtime import WorkerRuntime
from local_llm_service.worker.settings import get_settings
from local_llm_service.worker.store.outcomes import Claim, SharedAnswer, SharedFailure
from local_llm_service.worker.store.savings import tenant_of

logger = logging.getLogger(__name__)


def run(job: JobTask, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Do a job and return its answer; see Job.run.

    In a worker, the transport has put the delivery and the worker's runtime into the request. A
    direct call, `summarize("...")`, has neither: it runs in this process, shares no answer and is
    not retried.
    """
    in_flight: InFlightDelivery | None = job.request.get("llm_delivery")
    runtime: WorkerRuntime | None = job.request.get("llm_runtime")
    try:
        if in_flight is None or runtime is None:
            outcome = _run_directly(job, args, kwargs)
        else:
            outcome = _Run(job, runtime, in_flight).outcome(args, kwargs)
    except ServiceError as error:
        outcome = Outcome(error)
    except CeleryError:
        raise
    except Exception as error:  # noqa: BLE001  # an edge: a foreign error may quote the prompt
        outcome = Outcome(unexpected(job, error))
    if in_flight is not None and runtime is not None:
        outcome = _final(outcome, runtime, in_flight)
        if _goes_back(outcome, runtime, in_flight):
            raise Ignore
        if isinstance(outcome.result, ServiceError) and outcome.work.origin == "computed":
            outcome = replace(outcome, result=pass_on(outcome.result, runtime, in_flight))
        # The result backend stores and counts it. What another has done has its row already.
        is_own = outcome.work.origin == "computed"
        in_flight.work = in_flight.entered(outcome.work) if is_own else outcome.work
    if isinstance(outcome.result, Exception):
        raise outcome.result from None
    return outcome.result


def _run_directly(job: JobTask, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Outcome:
    settings, request = get_settings(), job.parse(args, kwargs)
    model = request.model or settings.model_name
    route = Fleet.of(settings).route(model)
    if route is None:
        direct = OneModelRun(DirectSteps(model, settings))
    else:
        reason = reasons.DIRECT if route.remote else reasons.NO_REMOTE
        direct = OneModelRun(DirectSteps(route.local, settings), route.name, reason)
    return do_work(job, request, direct, queued_seconds=None)


class _Run:
    """The run of one job in one worker."""

    def __init__(self, job: JobTask, runtime: WorkerRuntime, in_flight: InFlightDelivery) -> None:
        self._job, self._kind, self._runtime = job, job.kind, runtime
        self._in_flight, self._delivery = in_flight, in_flight.delivery
        request = job.request
        self._canvas = bool(request.callbacks or request.errbacks or request.chain or request.chord)
        #: Of the group that this job leads; empty while it runs for itself.
        self._leads = ""

    def outcome(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Outcome:
        """Find the answer or make it.

        Raises a ServiceError if it fails before any work, and Ignore if there is nothing to do.
        """
        self._check_delivery()
        request = self._job.parse(args, kwargs)
        runtime = self._runtime
        self._in_flight.tenant = tenant_of(request.cache_scope)
        asked_for = request.model or runtime.settings.model_name
        route, model = runtime.fleet.route(asked_for), full_name(asked_for)
        self._in_flight.route = "" if route is None else route.name
        revision = runtime.catalog.revision(model) if request.cache else None
        shared = self._claim(request, model, revision)
        if shared is not None:
            return shared
        run = self._program_run(request, revision)
        with bounded_by(self._in_flight):
            queued_seconds = self._delivery.queued_seconds
            outcome = do_work(self._job, request, run, queued_seconds=queued_seconds)
        run.acquit()
        if isinstance(outcome.result, dict) and why_local(MAY_LEAVE[0], request, runtime.fleet):
            outcome.result["keep_local"] = True  # for what a chain makes of it
        in_flight = self._in_flight
        in_flight.model = full_name(run.model)  # that whose outcome it is
        if run.route is not None:
            to = "remote" if runtime.fleet.leaves_the_house(run.model) else "local"
            metrics.ROUTED.labels(to, run.route.reason).inc()
        work = replace(outcome.work, model=runtime.fleet.model_of(run.model))
        outcome = replace(outcome, work=in_flight.entered(work))
        # A model that was pulled again in the meantime is a different one.
        if revision is None or runtime.catalog.revision(model) != revision:
            outcome = replace(outcome, work=replace(outcome.work, cacheable=False))
        return self._end_canvas(outcome) if self._canvas else outcome

    def _program_run(self, request: JobRequest, revision: str | None) -> ProgramRun:
        """The run by the model that the call names, or by those of its route.

        Raises InvalidRequest for a model that must not get what is asked.
        """
        runtime, leads = self._runtime, self._leads
        texts = SpokenTexts(request, runtime, self._in_flight, leads)

        def steps_of(model: str, revision: str | None) -> WorkerSteps:
            return WorkerSteps(
                self._kind,
                request,
                runtime,
                self._in_flight,
                model=model,
                leads=leads,
                revision=revision,
                texts=texts,
            )

        def of_route(model: str) -> WorkerSteps:
            caches = request.cache
            return steps_of(model, runtime.catalog.revision(full_name(model)) if caches else None)

        model = request.model or runtime.settings.model_name
        route = runtime.fleet.route(model)
        if route is None:
            steps = steps_of(model, revision)
            if (home := home_of(model, request, runtime.fleet)) is not None:
                steps.home = of_route(home)
            return OneModelRun(steps)
        if route.remote is None:
            return OneModelRun(of_route(route.local), route.name, reasons.NO_REMOTE)
        known, look = known_by(runtime, self._in_flight), runtime.breaker.is_away
        parts = Parts(runtime.fleet, known, of_route, look, runtime.without_logprobs)
        return RoutedRun(route, parts)

    def _check_delivery(self) -> None:
        delivery, settings = self._delivery, self._runtime.settings
        if delivery.cancelled:
            raise Cancelled("the job was cancelled")
        if delivery.given_up:
            raise given_up_error(self._runtime, delivery)
        if delivery.attempts >= settings.max_attempts:
            raise InternalError("the job's result could not be stored")
        if delivery.crashes >= settings.max_crashes:
            raise CrashedTooOften(f"the job's worker died {delivery.crashes} times")
        engine_death.check(delivery, settings.max_crashes)
        if delivery.remaining_seconds <= 0:
            raise DeadlineExceeded("the deadline passed while the job waited in its queue")

    def _claim(self, request: JobRequest, model: str, revision: str | None) -> Outcome | None:
        """The outcome of an identical job; None if this job has to do the work.

        Raises Ignore if there is nothing to do, and Cancelled.
        """
        if not request.cache:
            return None
        task_id, token = self._delivery.task_id, self._delivery.token
        single_flight = self._runtime.store.single_flight
        if revision is None:
            self._detach()
            return None
        name = fingerprint_of(self._kind, request, model, revision)
        try:
            claim, shared, text_wanted, attempts = single_flight.claim(
                task_id, token, name, canvas=self._canvas, stream=request.stream
            )
        except redis.RedisError as error:
            # Redis is away: doing the work twice is better than not at all.
            logger.warning("job %s runs on its own: %s", task_id, type(error).__name__)
            return None
        if claim is Claim.CANCELLED:
            raise Cancelled("the job was cancelled")
        if claim is Claim.LEAD:
            self._leads, self._in_flight.wanted_seconds = name, self._wanted_seconds
            # Another of the group may have failed since this one was taken.
            self._in_flight.delivery = replace(self._delivery, attempts=attempts)
            if text_wanted:
                self._in_flight.want_text()
            return None
        if shared is None:
            logger.info("job %s: %s", task_id, claim)
            self._runtime.in_flight.end(token)
            raise Ignore
        return self._shared(shared)

    def _shared(self, shared: SharedAnswer | SharedFailure) -> Outcome:
        work = replace(shared.work, tenant=self._in_flight.tenant)
        if isinstance(shared, SharedFailure):
            return Outcome(self._job.backend.exception_to_python(shared.error), work)
        timings = {**NO_TIMINGS, "queued_seconds": self._delivery.queued_seconds}
        own = {"task_id": self._delivery.task_id, "origin": work.origin}
        return Outcome({**own, **shared.members, "timings": timings}, work)

    def _end_canvas(self, outcome: Outcome) -> Outcome:
        """Fail a canvas job that was cancelled or is too late, once its waiters have the answer.

        It could not leave them before, because only a worker that holds its message can end it.
        """
        if isinstance(outcome.result, Exception):
            return outcome
        task_id, token = self._delivery.task_id, self._delivery.token
        try:
            cancelled = self._runtime.store.jobs.is_cancel_requested(task_id)
            if not cancelled and not self._in_flight.is_overdue:
                return outcome
            backend = self._job.backend
            backend.settle_waiters(task_id, token, outcome.result, outcome.work)
        except redis.RedisError:
            return outcome  # the job is answered as if it had not been cancelled
        if cancelled:
            return Outcome(Cancelled("the job was cancelled"))
        return Outcome(DeadlineExceeded("the deadline passed while the job was running"))

    def _detach(self) -> None:
        """Take the job out of the group that submit may have put it into: it shares no answer."""
        try:
            delivery = self._delivery
            self._runtime.store.single_flight.detach(delivery.task_id, delivery.token)
        except redis.RedisError as error:
            name = type(error).__name__
            logger.warning("job %s is still a waiter: %s", self._delivery.task_id, name)

    def _wanted_seconds(self) -> float:
        try:
            return self._runtime.store.single_flight.wanted_seconds(self._delivery.task_id)
        except redis.RedisError:
            return 0.0


def _final(outcome: Outcome, runtime: WorkerRuntime, in_flight: InFlightDelivery) -> Outcome:
    """The outcome, or that the job is given up as it has killed too many engines."""
    error = outcome.result
    if not isinstance(error, ServiceError):
        return outcome
    final = engine_death.final(
        error, in_flight.delivery, runtime.settings.max_crashes, runtime.engine_deaths
    )
    return replace(outcome, result=final)


def _goes_back(outcome: Outcome, runtime: WorkerRuntime, in_flight: InFlightDelivery) -> bool:
    """Put the message back, and return True, if a later try makes sense, here or elsewhere."""
    error, delivery = outcome.result, in_flight.delivery
    if not isinstance(error, ServiceError) or outcome.work.origin != "computed":
        return False  # an answer, or the failure of the job that this one had followed
    again = retry.decide(
        error,
        attempts=delivery.attempts,
        max_attempts=runtime.settings.max_attempts,
        base_seconds=runtime.settings.retry_base_seconds,
        is_away=partial(runtime.breaker.is_away, in_flight.model or runtime.settings.model_name),
        comes_back=lambda: delivery.model in (runtime.served.now() or ()),
        turn=runtime.looks.wait_seconds,
        wanted_for=lambda: max(in_flight.wanted_for(), in_flight.wanted_seconds()),
    )
    if again is None:
        return False
    if again.counts:
        pause = again.delay_seconds
        logger.warning("job %s: %s; next try in %.1f s", delivery.task_id, error.code, pause)
    died = again.cause == "engine_died"
    if died and engine_death.is_charged(delivery) and leave_after_death(error, runtime, in_flight):
        return True
    if died:
        logger.warning("job %s: %s; it runs again alone", delivery.task_id, error.message)
    runtime.release(
        delivery.task_id,
        delivery.token,
        delay_seconds=again.delay_seconds,
        attempts=delivery.attempts + 1 if again.counts else 0,
        engine_died=engine_death.how_it_ran(delivery) if died else "",
        yields=again.cause == "yielded",
        work=in_flight.work_so_far,
    )
    metrics.RELEASES.labels(again.cause).inc()
    return True
