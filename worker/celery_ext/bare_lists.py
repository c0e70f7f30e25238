"""Collects messages that applications with stock Celery put on bare lists.

Our queue lists bear the key prefix. A stock sender does not know it and puts its message on the
list `llm.normal` itself, which a Redis Cluster may keep in another slot; so a message is first
copied under its id and then removed. Both can be repeated: the copy is made once per id.
"""

from __future__ import annotations

import logging
from typing import Any, cast

from kombu.utils.json import dumps, loads

from local_llm_service.worker.celery_ext.delay import delay_seconds
from local_llm_service.worker.store import keys
from local_llm_service.worker.store.store import Store

logger = logging.getLogger(__name__)

AT_ONCE = 100


def collect(store: Store) -> int:
    """Take up to AT_ONCE messages of each bare list, the oldest first; returns how many.

    Raises redis-py's errors.
    """
    collected = 0
    for queue in keys.QUEUES:
        oldest = cast(list[str], store.client.lrange(queue, -AT_ONCE, -1))
        for raw in reversed(oldest):
            _copy(store, queue, raw)
            store.client.lrem(queue, -1, raw)
            collected += 1
    return collected


def _copy(store: Store, queue: str, raw: str) -> None:
    call = _read(raw)
    if call is None:
        store.jobs.put_unreadable(raw)
        return
    task_id, kind, delay, text = call
    if not store.jobs.collect(queue, text, task_id, kind, delay):
        logger.info("job %s was sent again by name: it exists", task_id)


def _read(raw: str) -> tuple[str, str, float, str] | None:
    """Task id, kind, delay and the message, which is to start at once when its time has come."""
    try:
        message: Any = loads(raw)  # type: ignore[no-untyped-call]
        headers = message["headers"]
        task_id, task = headers["id"], headers["task"]
        if not isinstance(task_id, str) or not isinstance(message["properties"], dict):
            return None
        delay = delay_seconds(headers)
    except Exception:  # noqa: BLE001  # the edge: anything can be on such a list
        return None
    if delay > 0:
        headers["eta"] = None
        raw = dumps(message)  # type: ignore[no-untyped-call]
    return task_id, str(task).removeprefix("llm."), delay, raw
