"""kombu's Redis transport, made trustworthy: `broker_transport` names it by dotted path.

What differs from stock (measured faults in brackets, see CELERY.md of the project's design):
- A message is popped and taken into custody by one script [a message was lost after the pop when
  the worker died or the connection was half-open]. A worker waits on a short list, the doorbell,
  and then takes; a ring that is lost costs a second.
- Closing a channel reads from no broken connection [the worker died when Redis went away].
- A broken connection puts nothing back: what runs here goes on, its lease is kept [every running
  job ran twice].
- The number of messages in hand is counted for the process, not for the connection.
- `countdown` and `eta` wait in Redis, not in worker memory.
- Key names are this service's own.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from queue import Empty
from time import monotonic
from typing import Any
from uuid import uuid4

import redis
from kombu.transport import redis as kombu_redis
from kombu.transport import virtual
from kombu.utils.json import dumps, loads

from local_llm_service.worker.intake.gate import GATE
from local_llm_service.worker.lease.in_flight import HOLDINGS
from local_llm_service.worker.store import keys
from local_llm_service.worker.store.jobs import Taken
from local_llm_service.worker.store.local import jobs, note_queues, note_taken, refuse, worker_name

logger = logging.getLogger(__name__)

#: A job whose result Redis would not take (out of memory, read-only) is not repeated at once.
NO_RESULT_PAUSE_SECONDS = 5.0


class _Take:
    """Numbers the takes of this process, so that one that is repeated is known as such."""

    def __init__(self) -> None:
        self._process, self._number = uuid4().hex, 0

    @property
    def nonce(self) -> str:
        return f"{self._process}:{self._number}"

    def next(self) -> None:
        self._number += 1


_TAKE = _Take()


class QoS(kombu_redis.QoS):
    """Custody is in Redis before a message is delivered; here it is only counted and ended."""

    def can_consume(self) -> bool:
        """Whether a slot is free and the gate is open. Channels of control have no limit."""
        if not self.prefetch_count:
            return True
        return GATE.is_open and len(HOLDINGS) < self.prefetch_count

    def append(self, message: Any, delivery_tag: str) -> None:
        """Remember a delivered message; take.lua has recorded it already."""
        virtual.QoS.append(self, message, delivery_tag)

    def ack(self, delivery_tag: str) -> None:
        """Forget it. Its result has ended custody before; one that could not be stored is due."""
        held = HOLDINGS.get(delivery_tag)
        if held is not None:
            logger.error("job %s ended without a result: it runs again", held.taken.task_id)
            _put_back(held.taken, delay_seconds=NO_RESULT_PAUSE_SECONDS)
        virtual.QoS.ack(self, delivery_tag)

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        """Put it back at the head of its queue, or forget it."""
        held = HOLDINGS.get(delivery_tag)
        if held is not None:
            _put_back(held.taken) if requeue else _end(held.taken)
        virtual.QoS.ack(self, delivery_tag)

    def restore_unacked_once(self, stderr: Any = None) -> None:
        """Nothing: what runs here goes on; what does not, the lease gives to others."""
        self._on_collect.cancel()

    def restore_visible(self, *_: Any, **__: Any) -> None:
        """Nothing: worker/delivery/keeper.py sweeps, with crashes counted."""


class Channel(kombu_redis.Channel):
    """A channel whose keys are ours and whose deliveries are held from the moment of the pop."""

    QoS = QoS
    keyprefix_queue = keys.BINDING
    keyprefix_binding_deadlines = keys.BINDING_DEADLINES
    keyprefix_binding_permanent = keys.BINDING_PERMANENT

    def _put(self, queue: str, message: dict[str, Any], **kwargs: Any) -> None:
        """Queue a message and ring; one with an `eta` waits among the deferred."""
        if queue not in keys.QUEUES:
            super()._put(queue, message, **kwargs)
            return
        headers = message.get("headers") or {}
        delay = _delay_seconds(headers)
        if delay > 0:
            headers["eta"] = None  # the worker that takes it later shall start it at once
        task_id = headers.get("id") or message["properties"]["delivery_tag"]
        jobs().put(queue, dumps(message), str(task_id), delay)

    def _job_queues(self) -> list[str]:
        """Those of our queues that this channel consumes, most urgent first.

        Always in the declared order: kombu's own puts a queue that is taken up again at the end.
        """
        active = set(self.active_queues)
        return [queue for queue in keys.QUEUES if queue in active]

    def _brpop_start(self, timeout: float | None = None) -> None:
        """Wait for a ring, one second at most. A queue of control replies is read as in kombu."""
        if not self._job_queues():
            super()._brpop_start(timeout)
            return
        self._in_poll = self.client.connection
        self._brpop_sent_at = monotonic()
        seconds = timeout or self.brpop_timeout
        self.client.connection.send_command("BRPOP", keys.DOORBELL, seconds)

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
        taken = self._take()
        if taken is None:
            raise Empty
        HOLDINGS.add(taken)
        note_taken()
        self._hand_over(taken)
        return True

    def _hand_over(self, taken: Taken) -> None:
        """Give the message to Celery, with the token under which its result is to be stored."""
        try:
            message = loads(taken.message)
        except ValueError:  # cjson reads numbers that JSON has not
            refuse(taken.task_id, taken.token)
            HOLDINGS.end(taken.token)
            return
        # The handle of this delivery, here only: in Redis the message keeps its own tag, which is
        # the same for every delivery of it.
        message["headers"]["llm_token"] = message["properties"]["delivery_tag"] = taken.token
        try:
            self.connection._deliver(message, taken.queue)
        except self.connection_errors:
            raise
        except Exception as error:  # noqa: BLE001  # what is in a message must not end the worker
            logger.error("job %s: message refused: %s", taken.task_id, type(error).__name__)
            refuse(taken.task_id, taken.token)
            HOLDINGS.end(taken.token)

    def _take(self) -> Taken | None:
        """The most urgent message, now in this worker's custody."""
        queues = self._job_queues()
        note_queues(queues)
        taken = jobs().take(
            queues,
            worker=worker_name(),
            may_take_suspect=not HOLDINGS.has_suspect(),
            nonce=_TAKE.nonce,
        )
        _TAKE.next()  # the reply has come: the next take is another one
        return taken

    def close(self) -> None:
        """Close without reading the reply that may still come: it is only a ring."""
        connection, self._in_poll = self._in_poll, None
        if connection:
            connection.disconnect()
        super().close()


class Transport(kombu_redis.Transport):
    """What `broker_transport` keys."""

    Channel = Channel


def _end(taken: Taken) -> None:
    try:
        jobs().drop(taken.task_id, taken.tag, taken.token)
    except redis.RedisError as error:
        logger.warning("job %s: custody not ended: %s", taken.task_id, type(error).__name__)
    HOLDINGS.end(taken.token)


def _put_back(taken: Taken, *, delay_seconds: float = 0.0) -> None:
    try:
        jobs().release(
            taken.task_id, taken.token, delay_seconds=delay_seconds, counts=delay_seconds > 0
        )
    except redis.RedisError:
        HOLDINGS.release_later(taken.task_id, taken.token)
    HOLDINGS.end(taken.token)


def _delay_seconds(headers: dict[str, Any]) -> float:
    """Seconds until the message's `eta`; 0 for none, or one that cannot be read."""
    eta = headers.get("eta")
    if not isinstance(eta, str):
        return 0.0
    try:
        due = datetime.fromisoformat(eta)
    except ValueError:
        return 0.0
    aware = due if due.tzinfo else due.replace(tzinfo=UTC)
    return max(0.0, (aware - datetime.now(UTC)).total_seconds())
