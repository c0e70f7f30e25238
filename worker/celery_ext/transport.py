"""kombu's Redis transport, made trustworthy; `broker_transport` names it by dotted path.

Differences from the stock transport (with the measured fault in brackets, see docs/delivery.md):
- One script pops a message and records its delivery [a message was lost after the pop when the
  worker died or the connection was half-open]. A worker waits on a short list, the doorbell, and
  then takes a message; a lost ring costs a second.
- Closing a channel never reads from a broken connection [the worker died when Redis went away].
- A broken connection puts nothing back: running jobs go on and keep their leases [every running
  job ran twice].
- In-flight deliveries are counted per worker, not per connection.
- Messages with `countdown` or `eta` wait in Redis, not in worker memory.
- Key names are this service's own.
- Bodies are plain JSON as text [base64 and escapes made 8 MB of 0.4 million emoji, and kombu's JSON
  made objects of data].
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from queue import Empty
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any

import redis
from kombu.transport import redis as kombu_redis
from kombu.transport import virtual

from local_llm_service.worker.celery_ext import plain_json
from local_llm_service.worker.celery_ext.message import QueuedMessage, TextBodies
from local_llm_service.worker.celery_ext.plain_app import republish
from local_llm_service.worker.celery_ext.result_backend import fail
from local_llm_service.worker.errors import InvalidRequest
from local_llm_service.worker.lease.in_flight import InFlightDelivery
from local_llm_service.worker.store import keys
from local_llm_service.worker.store.dialling import dialled
from local_llm_service.worker.store.outcomes import Delivery
from local_llm_service.worker.store.store import Store, process_store
from local_llm_service.worker.task_names import is_foreign

if TYPE_CHECKING:
    from local_llm_service.worker.runtime import WorkerRuntime

logger = logging.getLogger(__name__)

#: A worker's connection holds the runtime under this option, and a job's request holds it under
#: this header.
OPTION = "llm_runtime"

#: The pause before a job runs again because Redis (out of memory, read-only) refused its result.
NO_RESULT_PAUSE_SECONDS = 5.0
#: Between two looks into the queues of a Redis that cannot write.
REFUSED_PAUSE_SECONDS = 0.5


class QoS(kombu_redis.QoS):
    """Counts deliveries and ends them; Redis has recorded each before Celery hears of it."""

    def can_consume(self) -> bool:
        """Whether a slot is free and the gate lets any job in. Control channels have no limit."""
        if not self.prefetch_count:
            return True
        runtime: WorkerRuntime = self.channel.llm_runtime
        busy = len(runtime.in_flight) + runtime.engine.occupied
        free = busy < self.prefetch_count and runtime.isolation.may_take
        return runtime.gate.may_end_jobs and free

    def append(self, message: Any, delivery_tag: str) -> None:
        """Remember a delivered message, which take.lua has recorded already."""
        virtual.QoS.append(self, message, delivery_tag)

    def ack(self, delivery_tag: str) -> None:
        """Forget a delivery that settle.lua has ended; put the message back if it has no result."""
        runtime, in_flight = self._find(delivery_tag)
        if runtime is not None and in_flight is not None:
            delivery = in_flight.delivery
            logger.error("job %s ended without a result and will run again", delivery.task_id)
            runtime.release(
                delivery.task_id,
                delivery.token,
                delay_seconds=NO_RESULT_PAUSE_SECONDS,
                attempts=delivery.attempts + 1,
                work=in_flight.work_so_far,
            )
        virtual.QoS.ack(self, delivery_tag)

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        """Put the message back at the head of its queue, or drop it."""
        runtime, in_flight = self._find(delivery_tag)
        if runtime is not None and in_flight is not None:
            delivery = in_flight.delivery
            if requeue:
                runtime.release(delivery.task_id, delivery.token, work=in_flight.work_so_far)
            else:
                _drop(runtime, delivery)
        virtual.QoS.ack(self, delivery_tag)

    def _find(self, token: str) -> tuple[WorkerRuntime | None, InFlightDelivery | None]:
        runtime: WorkerRuntime | None = self.channel.llm_runtime
        return runtime, None if runtime is None else runtime.in_flight.get(token)

    def restore_unacked_once(self, stderr: Any = None) -> None:
        """Put nothing back: running jobs go on, and the reaper returns those of a dead worker."""
        self._on_collect.cancel()

    def restore_visible(self, *_: Any, **__: Any) -> None:
        """Put nothing back: lease/reaper.py does so and counts crashes."""


class Channel(TextBodies, kombu_redis.Channel):
    """A channel with our key names, which records a delivery at the moment of the pop.

    `llm_runtime` is the runtime of its worker; None in a producer.
    """

    QoS = QoS
    llm_runtime: WorkerRuntime | None = None
    _is_refused = False
    from_transport_options = (*kombu_redis.Channel.from_transport_options, OPTION)
    keyprefix_queue = keys.BINDING
    keyprefix_binding_deadlines = keys.BINDING_DEADLINES
    keyprefix_binding_permanent = keys.BINDING_PERMANENT

    def _connparams(self, asynchronous: bool = False) -> dict[str, Any]:
        """As kombu's; over the stand-in for Redis where there is one."""
        instead = dialled()
        if instead:
            self.connection_class = instead["connection_class"]
        found: dict[str, Any] = super()._connparams(asynchronous)
        return {**instead, **found}

    @property
    def _store(self) -> Store:
        """The worker's, or the producer's."""
        return process_store() if self.llm_runtime is None else self.llm_runtime.store

    def _put(self, queue: str, message: dict[str, Any], **kwargs: Any) -> None:
        """Queue a message and ring the doorbell; a message with an `eta` is deferred."""
        headers = message.get("headers") or {}
        if queue not in keys.QUEUES:
            if "task" in headers and is_foreign(headers["task"]):
                republish(queue, message)
            else:
                super()._put(queue, message, **kwargs)
            return
        queued = QueuedMessage.of(queue, message)
        backlog = self._store.jobs.put(*queued.put_arguments)
        if backlog is not None:
            raise queued.refused(backlog)

    def _job_queues(self) -> list[str]:
        """The job queues that this channel consumes, most urgent first.

        The order is always the declared one: kombu would put a queue that is added again last.
        """
        active = set(self.active_queues)
        return [queue for queue in keys.QUEUES if queue in active]

    def _brpop_start(self, timeout: float | None = None) -> None:
        """Wait for a ring, one second at most; read a queue of control replies as kombu does."""
        if not self._job_queues():
            super()._brpop_start(timeout or 1)  # kombu before 5.6 reads None as "forever"
            return
        self._in_poll = self.client.connection
        self._brpop_sent_at = monotonic()
        seconds = timeout or self.brpop_timeout
        self.client.connection.send_command("BRPOP", *self._bells(), seconds)

    def _bells(self) -> list[str]:
        """The doorbell of all workers, and those of the models that this one serves.

        With a closed gate, not where it would take a ring from other workers.
        """
        keys_, runtime = self._store.keys, self.llm_runtime
        if runtime is None:
            return [keys_.doorbell]
        if not runtime.gate.is_open:
            return [keys_.end_bell]
        return [keys_.doorbell, *map(keys_.bell_of, runtime.served.rings())]

    def _brpop_read(self, **options: Any) -> bool:
        """After a ring, or a second without one, take a message and deliver it.

        Raises queue.Empty if there is none.
        """
        if not self._job_queues():
            return bool(super()._brpop_read(**options))
        try:
            self._wait_for_ring(**options)
            runtime = self.llm_runtime
            delivery = None if runtime is None else self._take(runtime)
        except redis.ResponseError as error:
            # Redis is there and cannot write: its disk is full, or it has become a replica.
            # Celery would end the worker; this one looks again until Redis can.
            if not self._is_refused:
                logger.warning("Redis refuses to hand out jobs: %s", type(error).__name__)
            self._is_refused = True
            sleep(REFUSED_PAUSE_SECONDS)
            raise Empty from None
        self._is_refused = False
        if runtime is None or delivery is None:
            raise Empty
        self._hand_over(runtime, runtime.in_flight.add(delivery))
        return True

    def _wait_for_ring(self, **options: Any) -> None:
        try:
            self.client.parse_response(self.client.connection, "BRPOP", **options)
        except self.connection_errors:
            self.client.connection.disconnect()
            raise
        finally:
            self._in_poll = None

    def _take(self, runtime: WorkerRuntime) -> Delivery | None:
        return take_next(runtime, self._job_queues())

    def _hand_over(self, runtime: WorkerRuntime, in_flight: InFlightDelivery) -> None:
        """Give the message to Celery, with the runtime and the delivery that its job needs."""
        delivery = in_flight.delivery
        message = prepared(runtime, in_flight)
        if message is None:
            return
        try:
            self.connection._deliver(message, delivery.queue)
        except self.connection_errors:
            raise
        except Exception as error:  # noqa: BLE001  # no message may end the worker
            logger.error("job %s: message refused: %s", delivery.task_id, type(error).__name__)
            refuse(runtime, delivery)

    def close(self) -> None:
        """Close without reading the pending reply, which is only a ring."""
        connection, self._in_poll = self._in_poll, None
        if connection:
            connection.disconnect()
        super().close()


class Transport(kombu_redis.Transport):
    """The transport that `broker_transport` names."""

    Channel = Channel


def take_next(runtime: WorkerRuntime, queues: Sequence[str]) -> Delivery | None:
    """Take the most urgent message that the gate lets in and this worker can run, if any."""
    is_open = runtime.gate.is_open
    models = runtime.served.now() if is_open else []
    if models is None:  # Ollama has not answered yet: its first answer opens the queues
        return None
    runtime.consumption.looks_into(queues)
    isolation = runtime.isolation
    delivery = runtime.store.jobs.take(
        queues,
        worker=runtime.name,
        may_take_quarantined=isolation.may_take_quarantined,
        nonce=runtime.consumption.nonce,
        models=models,
        only_to_end=not is_open,
        others_first=isolation.others_first,
        on_clear=isolation.clear,
    )
    isolation.took(delivery)
    runtime.consumption.replied(found=delivery is not None)
    return delivery


def prepared(runtime: WorkerRuntime, in_flight: InFlightDelivery) -> dict[str, Any] | None:
    """The message of a delivery for Celery, with all that its job needs in its headers.

    None when there is nothing to run: it was refused, or waits for its time.
    """
    # Imported here, because a producer needs none of it.
    from local_llm_service.worker.celery_ext.by_name import goes_on, is_unfit

    delivery = in_flight.delivery
    try:
        message: dict[str, Any] = plain_json.loads(delivery.message)
    except (ValueError, RecursionError):  # cjson accepts numbers that are not JSON
        refuse(runtime, delivery)
        return None
    if is_unfit(message):
        refuse(runtime, delivery)
        return None
    if not goes_on(runtime, in_flight, message):
        return None
    # In this process the fencing token is the delivery tag, as it is new for each delivery. The
    # message in Redis keeps its own tag, which is the same for all of its deliveries.
    message["headers"] |= {OPTION: runtime, "llm_delivery": in_flight}
    message["properties"]["delivery_tag"] = delivery.token
    if message.get("content-type") == plain_json.WIRE_TYPE:
        message["content-type"] = plain_json.CONTENT_TYPE
    return message


def refuse(
    runtime: WorkerRuntime, delivery: Delivery, why: str = "the message cannot be decoded"
) -> None:
    """Fail a job whose message cannot be run. Raises redis-py's errors."""
    error = InvalidRequest(why)
    fail(runtime, delivery.task_id, error, token=delivery.token)
    runtime.in_flight.end(delivery.token)


def _drop(runtime: WorkerRuntime, delivery: Delivery) -> None:
    try:
        runtime.store.jobs.drop(delivery.task_id, delivery.tag, delivery.token)
    except redis.RedisError as error:
        logger.warning("job %s: delivery not ended: %s", delivery.task_id, type(error).__name__)
    runtime.in_flight.end(delivery.token)
