"""The error of a call that its queue has no room for: in jobs or in bytes."""

from __future__ import annotations

from local_llm_service.worker.errors import QueueFull
from local_llm_service.worker.lazy_settings import lazy_settings
from local_llm_service.worker.store.states import Backlog


def queue_full(queue: str, backlog: Backlog | None, message_bytes: int = 0) -> QueueFull:
    """Say how many jobs and bytes there are, and how many there may be.

    `message_bytes` is the size of a message that was refused, where it is known.
    """
    there, settings = backlog or Backlog(0, 0), lazy_settings()
    this = f"; this one has {message_bytes}" if message_bytes else ""
    return QueueFull(
        f"{queue} holds {there.jobs} jobs (MAX_QUEUE_LENGTH={settings.max_queue_length}) and "
        f"{there.bytes} bytes (MAX_QUEUE_BYTES={settings.max_queue_bytes}){this}"
    )
