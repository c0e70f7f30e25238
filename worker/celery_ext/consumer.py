"""Celery's consumer, which refuses a message that is not a job and prints no word of it.

Celery's own consumer logs the whole body of a message that it cannot use and leaves the caller
waiting. Here the caller gets InvalidRequest and the log gets the id.
"""

from __future__ import annotations

import logging
import time
from typing import Any

from celery.app.task import Context as CeleryContext
from celery.worker.consumer import Consumer as CeleryConsumer
from celery.worker.state import maybe_shutdown

from local_llm_service.worker.celery_ext.transport import OPTION
from local_llm_service.worker.errors import InvalidRequest, ServiceError
from local_llm_service.worker.runtime import WorkerRuntime
from local_llm_service.worker.store.keys import QUEUES

logger = logging.getLogger(__name__)

#: How long an event waits for others, to be sent with them.
EVENTS_SECONDS = 0.25


class Consumer(CeleryConsumer):
    """The consumer that `worker_consumer` names."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._flush_at = 0.0
        self._runtime: WorkerRuntime = self.controller.llm_runtime
        self._runtime.engine.on_free(self._look_again)

    def _look_again(self) -> None:
        """Look into the queues now: the hub would see only within a second that a slot is free."""
        if self.hub is not None:
            self.hub.call_soon(lambda: None)

    def add_task_queue(self, queue: Any, *args: Any, **kwargs: Any) -> Any:
        """Consume one more of our queues, and no other, whatever Flower's button says."""
        if getattr(queue, "name", queue) not in QUEUES:
            logger.warning("queue %s is not consumed: only %s", queue, ", ".join(QUEUES))
            return None
        return super().add_task_queue(queue, *args, **kwargs)

    def _update_prefetch_count(self, index: int = 0) -> Any:
        """After Flower's "pool grow" and "shrink": the worker has so many slots from now on."""
        self._runtime.slots = max(1, self._runtime.slots + index)
        return super()._update_prefetch_count(index)

    def connection_for_read(self, heartbeat: Any = None) -> Any:
        """A connection whose channels know this worker."""
        connection = self.app.connection_for_read(heartbeat=heartbeat)
        connection.transport_options = {**connection.transport_options, OPTION: self._runtime}
        return self.ensure_connected(connection)

    def on_send_event_buffered(self) -> None:
        """Send Flower's events a few times a second, not at each turn of the loop.

        Each job has three events. Sent one by one they were a third of a job's cost in a worker.
        """
        now = time.monotonic()
        if self.hub is None or now < self._flush_at:
            return
        self._flush_at = now + EVENTS_SECONDS
        self.hub.call_soon(self._flush_later)

    def _flush_later(self) -> None:
        self.hub.call_later(EVENTS_SECONDS, self._flush_events)

    def ensure_connected(self, conn: Any) -> Any:
        """Connect, trying again every second or two, forever.

        Celery's own pauses grow to 30 s: a worker would stay idle that long after Redis is back.
        """

        def say(error: Exception, pause_seconds: float) -> None:
            logger.warning(
                "no connection to Redis (%s); trying again in %.1f s",
                type(error).__name__,
                pause_seconds,
            )

        connected = conn.ensure_connection(
            say,
            None,
            interval_start=0.2,
            interval_step=0.4,
            interval_max=2,
            callback=maybe_shutdown,
        )
        self.first_connection_attempt = False
        return connected

    def on_unknown_message(self, body: Any, message: Any) -> None:
        """Refuse a message in a protocol that Celery does not know."""
        self._refuse(message, InvalidRequest("the message is not a Celery task message"))

    def on_unknown_task(self, body: Any, message: Any, exc: Exception) -> None:
        """Refuse a message for a task that is not one of this service's kinds."""
        kinds = sorted(name for name in self.app.tasks if name.startswith("llm."))
        self._refuse(
            message,
            InvalidRequest("no task of this name here", f"Use one of: {', '.join(kinds)}."),
        )

    def on_invalid_task(self, body: Any, message: Any, exc: Exception) -> None:
        """Refuse a message that is not a call: wrong shape, or a content type other than JSON."""
        self._refuse(
            message, InvalidRequest(f"the message cannot be read as a call ({type(exc).__name__})")
        )

    def on_decode_error(self, message: Any, exc: Exception) -> None:
        """Refuse a body that does not match its content type, or whose type is not accepted."""
        self._refuse(
            message,
            InvalidRequest(
                f"the message cannot be decoded ({type(exc).__name__})",
                "Send JSON: serializer='json'.",
            ),
        )

    def _refuse(self, message: Any, error: ServiceError) -> None:
        """Take the message out of Redis and store `error` for the caller who waits for its id."""
        headers = message.headers if isinstance(message.headers, dict) else {}
        task_id = headers.get("id")
        logger.error("message refused: %s task_id=%s", error.message, task_id)
        if isinstance(task_id, str):
            self.app.backend.mark_as_failure(
                task_id,
                error,
                request=CeleryContext(
                    id=task_id,
                    llm_delivery=headers.get("llm_delivery"),
                    llm_runtime=headers.get(OPTION),
                ),
            )
        message.reject_log_error(logger, self.connection_errors)
