"""kombu's Redis transport, made trustworthy: `broker_transport` names it by dotted path.

What differs from stock (measured faults in brackets, see docs/delivery.md):
- One script pops a message and records its delivery [a message was lost after the pop when the
  worker died or the connection was half-open]. A worker waits on a short list, the doorbell, and
  then takes; a ring that is lost costs a second.
- Closing a channel reads from no broken connection [the worker died when Redis went away].
- A broken connection puts nothing back: what runs here goes on, its lease is kept [every running
  job ran twice].
- The number of in-flight deliveries is counted for the worker, not for the connection.
- `countdown` and `eta` wait in Redis, not in worker memory.
- Key names are this service's own.
"""

from __future__ import annotations

import logging
from queue import Empty
from time import monotonic
from typing import TYPE_CHECKING, Any

import redis
from kombu.transport import redis as kombu_redis
from kombu.transport import virtual
from kombu.utils.json import dumps, loads

from local_llm_service.worker.celery_ext.delay import delay_seconds
from local_llm_service.worker.celery_ext.result_backend import fail
from local_llm_service.worker.errors import InvalidRequest
from local_llm_service.worker.lease.in_flight import InFlightDelivery
from local_llm_service.worker.store import keys
from local_llm_service.worker.store.states import Delivery
from local_llm_service.worker.store.store import process_store

if TYPE_CHECKING:
    from local_llm_service.worker.runtime import WorkerRuntime

logger = logging.getLogger(__name__)

#: A worker's connection holds its runtime under this option, and a job's request under this header.
OPTION = "llm_runtime"

#: A job whose result Redis would not take (out of memory, read-only) is not repeated at once.
NO_RESULT_PAUSE_SECONDS = 5.0


class QoS(kombu_redis.QoS):
    """Redis knows of a delivery before Celery does; here it is only counted and ended."""

    def can_consume(self) -> bool:
        """Whether a slot is free and the gate is open. Channels of control have no limit."""
        if not self.prefetch_count:
            return True
        runtime: WorkerRuntime = self.channel.llm_runtime
        return runtime.gate.is_open and len(runtime.in_flight) < self.prefetch_count

    def append(self, message: Any, delivery_tag: str) -> None:
        """Remember a delivered message; take.lua has recorded it already."""
        virtual.QoS.append(self, message, delivery_tag)

    def ack(self, delivery_tag: str) -> None:
        """Forget it. Settling has ended the delivery before; one without a result goes back."""
        runtime, in_flight = self._find(delivery_tag)
        if runtime is not None and in_flight is not None:
            task_id, token = in_flight.delivery.task_id, in_flight.delivery.token
            logger.error("job %s ended without a result: it runs again", task_id)
            runtime.release(task_id, token, delay_seconds=NO_RESULT_PAUSE_SECONDS, counts=True)
        virtual.QoS.ack(self, delivery_tag)

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        """Put it back at the head of its queue, or forget it."""
        runtime, in_flight = self._find(delivery_tag)
        if runtime is not None and in_flight is not None:
            delivery = in_flight.delivery
            if requeue:
                runtime.release(delivery.task_id, delivery.token)
            else:
                _drop(runtime, delivery)
        virtual.QoS.ack(self, delivery_tag)

    def _find(self, token: str) -> tuple[WorkerRuntime | None, InFlightDelivery | None]:
        runtime: WorkerRuntime | None = self.channel.llm_runtime
        return runtime, None if runtime is None else runtime.in_flight.get(token)

    def restore_unacked_once(self, stderr: Any = None) -> None:
        """Nothing: what runs here goes on; what does not, the lease gives to others."""
        self._on_collect.cancel()

    def restore_visible(self, *_: Any, **__: Any) -> None:
        """Nothing: lease/reaper.py does it, with crashes counted."""


class Channel(kombu_redis.Channel):
    """A channel whose keys are ours and whose deliveries are held from the moment of the pop.

    `llm_runtime` is the worker that it belongs to; None in a producer.
    """

    QoS = QoS
    llm_runtime: WorkerRuntime | None = None
    from_transport_options = (*kombu_redis.Channel.from_transport_options, OPTION)
    keyprefix_queue = keys.BINDING
    keyprefix_binding_deadlines = keys.BINDING_DEADLINES
    keyprefix_binding_permanent = keys.BINDING_PERMANENT

    def _put(self, queue: str, message: dict[str, Any], **kwargs: Any) -> None:
        """Queue a message and ring; one with an `eta` waits among the deferred."""
        if queue not in keys.QUEUES:
            super()._put(queue, message, **kwargs)
            return
        headers = message.get("headers") or {}
        delay = delay_seconds(headers)
        if delay > 0:
            headers["eta"] = None  # the worker that takes it later shall start it at once
        task_id = headers.get("id") or message["properties"]["delivery_tag"]
        process_store().jobs.put(queue, dumps(message), str(task_id), delay)

    def _job_queues(self) -> list[str]:
        """Those of our queues that this channel consumes, most urgent first.

        Always in the declared order: kombu's own puts a queue that is taken up again at the end.
        """
        active = set(self.active_queues)
        return [queue for queue in keys.QUEUES if queue in active]

    def _brpop_start(self, timeout: float | None = None) -> None:
        """Wait for a ring, one second at most. A queue of control replies is read as in kombu."""
        if not self._job_queues():
            super()._brpop_start(timeout or 1)  # kombu before 5.6 reads None as "for ever"
            return
        self._in_poll = self.client.connection
        self._brpop_sent_at = monotonic()
        seconds = timeout or self.brpop_timeout
        doorbell = process_store().keys.doorbell
        self.client.connection.send_command("BRPOP", doorbell, seconds)

    def _brpop_read(self, **options: Any) -> bool:
        """A ring, or a second without one: look into the queues and deliver what is found."""
        if not self._job_queues():
            return bool(super()._brpop_read(**options))
        try:
            try:
                self.client.parse_response(self.client.connection, "BRPOP", **options)
            except self.connection_errors:
                self.client.connection.disconnect()
                raise
        finally:
            self._in_poll = None
        runtime = self.llm_runtime
        delivery = None if runtime is None else self._take(runtime)
        if runtime is None or delivery is None:
            raise Empty
        self._hand_over(runtime, runtime.in_flight.add(delivery))
        return True

    def _take(self, runtime: WorkerRuntime) -> Delivery | None:
        """The most urgent message, now held by this worker."""
        queues = self._job_queues()
        runtime.consumption.looks_into(queues)
        delivery = runtime.store.jobs.take(
            queues,
            worker=runtime.name,
            may_take_quarantined=not runtime.in_flight.has_quarantined(),
            nonce=runtime.consumption.nonce,
        )
        runtime.consumption.replied(found=delivery is not None)
        return delivery

    def _hand_over(self, runtime: WorkerRuntime, in_flight: InFlightDelivery) -> None:
        """Give the message to Celery, with what its job needs to know of this worker."""
        delivery = in_flight.delivery
        try:
            message = loads(delivery.message)
        except ValueError:  # cjson reads numbers that JSON does not have
            _refuse(runtime, delivery)
            return
        # In this process only: in Redis the message keeps its own tag, which is the same for every
        # delivery of it. Here the handle is the fencing token, which is not.
        message["headers"] |= {OPTION: runtime, "llm_delivery": in_flight}
        message["properties"]["delivery_tag"] = delivery.token
        try:
            self.connection._deliver(message, delivery.queue)
        except self.connection_errors:
            raise
        except Exception as error:  # noqa: BLE001  # what is in a message must not end the worker
            logger.error("job %s: message refused: %s", delivery.task_id, type(error).__name__)
            _refuse(runtime, delivery)

    def close(self) -> None:
        """Close without reading the reply that may still come: it is only a ring."""
        connection, self._in_poll = self._in_poll, None
        if connection:
            connection.disconnect()
        super().close()


class Transport(kombu_redis.Transport):
    """What `broker_transport` keys."""

    Channel = Channel


def _refuse(runtime: WorkerRuntime, delivery: Delivery) -> None:
    """Give a job whose message nobody can read its failure. Raises redis-py's errors."""
    error = InvalidRequest("the message cannot be decoded")
    fail(runtime, delivery.task_id, error, token=delivery.token)
    runtime.in_flight.end(delivery.token)


def _drop(runtime: WorkerRuntime, delivery: Delivery) -> None:
    try:
        runtime.store.jobs.drop(delivery.task_id, delivery.tag, delivery.token)
    except redis.RedisError as error:
        logger.warning("job %s: delivery not ended: %s", delivery.task_id, type(error).__name__)
    runtime.in_flight.end(delivery.token)
