"""A job's message as Redis holds it, made of kombu's: for the transport and for the clients."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from local_llm_service.worker.celery_ext import plain_json
from local_llm_service.worker.celery_ext.delay import delay_seconds
from local_llm_service.worker.celery_ext.patience import is_repeated
from local_llm_service.worker.celery_ext.queue_full import queue_full
from local_llm_service.worker.errors import QueueFull
from local_llm_service.worker.lazy_settings import lazy_settings
from local_llm_service.worker.store.states import Backlog


@dataclass
class QueuedMessage:
    """What `Jobs.put` takes. `max_bytes`: of the queue's whole backlog, 0 for no limit."""

    queue: str
    text: str = field(repr=False)
    task_id: str
    delay_seconds: float
    max_bytes: int
    nonce: str

    @classmethod
    def of(cls, queue: str, message: dict[str, Any]) -> QueuedMessage:
        """Make it of a message whose body is encoded."""
        headers = message.get("headers") or {}
        delay = delay_seconds(headers)
        if delay > 0:
            headers["eta"] = None  # the worker that takes the message later starts it at once
        task_id = headers.get("id") or message["properties"]["delivery_tag"]
        if message.get("content-type") == plain_json.CONTENT_TYPE:
            message = {**message, "content-type": plain_json.WIRE_TYPE}
        # A step that a worker sends has been paid for by the steps before it.
        is_step = headers.get("parent_id") or is_repeated()
        submitted = headers.get("llm_submitted")  # older versions wrote true
        return cls(
            queue,
            plain_json.dumps(message),
            str(task_id),
            delay,
            max_bytes=0 if is_step else lazy_settings().max_queue_bytes,
            nonce=submitted if isinstance(submitted, str) else "",
        )

    @property
    def put_arguments(self) -> tuple[str, str, str, float, int, str]:
        """The arguments of `Jobs.put`."""
        return (
            *(self.queue, self.text, self.task_id),
            *(self.delay_seconds, self.max_bytes, self.nonce),
        )

    def refused(self, backlog: Backlog) -> QueueFull:
        """The error where `put` has found this backlog."""
        return queue_full(self.queue, backlog, len(self.text.encode()))


class TextBodies:
    """The part of a kombu channel that writes bodies: JSON as text, without base64."""

    #: Text that is one already; stock senders' base64 says so in each message.
    body_encoding = "utf-8"

    def encode_body(self, body: Any, encoding: str | None = None) -> tuple[Any, str | None]:
        """Leave text as it is. Bytes (compressed, or not JSON) need base64."""
        if isinstance(body, str) and encoding == self.body_encoding:
            return body, encoding  # kombu before 5.5 has no codec of this name
        encoded: tuple[Any, str | None] = super().encode_body(body, "base64")  # type: ignore[misc]
        return encoded

    def decode_body(self, body: Any, encoding: str | None = None) -> Any:
        """Leave text as it is, which kombu before 5.5 cannot."""
        if encoding == self.body_encoding:
            return body
        return super().decode_body(body, encoding)  # type: ignore[misc]
