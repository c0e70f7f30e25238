"""Collects messages that applications with stock Celery put on bare lists.

The names of our queue lists begin with the key prefix. A stock sender does not know the prefix and
puts its message on the list `llm.normal` itself, which a Redis Cluster may keep in another slot. So
a message is first copied under its task id and then removed. Both steps can be repeated: each id is
copied once.
"""

from __future__ import annotations

import base64
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import redis
from kombu.utils.json import dumps, loads
from redis.client import NEVER_DECODE

from local_llm_service.worker.celery_ext.delay import delay_seconds
from local_llm_service.worker.store import keys
from local_llm_service.worker.store.store import Store

logger = logging.getLogger(__name__)

#: Messages from each list at a time. Each costs two calls to Redis, and leases must not wait long.
AT_ONCE = 300


#: Members of a task message's third part that name what Celery calls after the job.
_CANVAS = ("callbacks", "errbacks", "chain", "chord")


@dataclass(frozen=True, slots=True)
class _Call:
    """A message that a worker can run. `text` has no `eta`, as Redis does the wait."""

    task_id: str
    kind: str
    delay_seconds: float
    canvas: bool
    text: str


def collect(store: Store, source: redis.Redis | None = None) -> int:
    """Move up to AT_ONCE messages from each bare list, oldest first; return how many.

    The lists are in `source`, by default in the store's Redis. A key of that name that is not a
    list is another application's, and stays. Raises redis-py's errors.
    """
    client = store.client if source is None else source
    call: Callable[..., Any] = client.execute_command
    collected = 0
    for queue in keys.QUEUES:
        try:
            # As bytes: after a replaced byte, Redis would not find the message to remove.
            oldest: list[bytes] = call("LRANGE", queue, -AT_ONCE, -1, **{NEVER_DECODE: True})
        except redis.ResponseError as error:
            logger.debug("%s is not a list of messages: %s", queue, type(error).__name__)
            continue
        for raw in reversed(oldest):
            _copy(store, queue, raw.decode(errors="replace"))
            client.lrem(queue, -1, cast(str, raw))
            collected += 1
    return collected


def _copy(store: Store, queue: str, raw: str) -> None:
    call = _read(raw)
    if call is None:
        store.jobs.put_unreadable(raw)
        return
    is_new = store.jobs.collect(
        queue,
        call.text,
        call.task_id,
        call.kind,
        delay_seconds=call.delay_seconds,
        canvas=call.canvas,
    )
    if not is_new:
        logger.info("job %s exists already: a message sent under its id is dropped", call.task_id)


def _read(raw: str) -> _Call | None:
    """The call; None for a message that take.lua could not read either."""
    try:
        message: Any = loads(raw)  # type: ignore[no-untyped-call]
        headers, properties = message["headers"], message["properties"]
        task_id, task = headers["id"], headers["task"]
        if not isinstance(task_id, str) or not isinstance(properties["delivery_tag"], str):
            return None
        delay = delay_seconds(headers)
    except Exception:  # noqa: BLE001  # an edge: such a list can hold anything
        return None
    canvas = _is_canvas(message)
    if delay > 0:
        headers["eta"] = None
        raw = dumps(message)  # type: ignore[no-untyped-call]
    return _Call(task_id, str(task).removeprefix("llm."), delay, canvas, raw)


def _is_canvas(message: Any) -> bool:
    """Whether Celery calls something after the job. A body that nobody can read has nothing."""
    try:
        body = message["body"]
        if message["properties"].get("body_encoding") == "base64":
            body = base64.b64decode(body)
        _, _, embed = loads(body)  # type: ignore[no-untyped-call]
        return any(embed.get(word) for word in _CANVAS)
    except Exception:  # noqa: BLE001  # an edge: the worker that takes it refuses it
        return False
