"""Collects messages that applications with stock Celery put on bare lists.

The names of our queue lists begin with the key prefix. A stock sender does not know the prefix and
puts its message on the list `llm.normal` itself, which a Redis Cluster may keep in another slot. So
a message is first copied under its task id and then removed. Both steps can be repeated: each id is
copied once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import redis
from redis.client import NEVER_DECODE

from local_llm_service.worker.celery_ext import plain_json
from local_llm_service.worker.celery_ext.by_name import Wishes, wishes
from local_llm_service.worker.lease.turns import turn
from local_llm_service.worker.store import keys
from local_llm_service.worker.store.store import Store
from local_llm_service.worker.task_id import is_usable

logger = logging.getLogger(__name__)

#: Messages from each list at a time. Each costs two calls to Redis, and leases must not wait long.
AT_ONCE = 300


@dataclass(frozen=True, slots=True)
class _Call:
    """A message that a worker can run. `text` has no `eta`, as Redis does the wait."""

    task_id: str
    kind: str
    wishes: Wishes
    text: str


def collect_all(store: Store) -> None:
    """Collect until the lists are empty, for one turn at most. Raises redis-py's errors."""
    turn(lambda: collect(store) >= AT_ONCE)


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
        delay_seconds=call.wishes.delay_seconds,
        canvas=call.wishes.canvas,
        deadline_seconds=call.wishes.deadline(store.jobs.default_deadline_seconds),
    )
    if not is_new:
        logger.info("job %s exists already: a message sent under its id is dropped", call.task_id)


def _read(raw: str) -> _Call | None:
    """The call; None for one that take.lua could not read either, or whose id no log can show."""
    try:
        message: Any = plain_json.loads(raw)
        headers, properties = message["headers"], message["properties"]
        task_id, task = headers["id"], headers["task"]
        if not is_usable(task_id) or not isinstance(properties["delivery_tag"], str):
            return None
        wanted = wishes(message)
        if wanted.delay_seconds > 0:
            headers["eta"] = None
    except Exception:  # noqa: BLE001  # an edge: such a list can hold anything
        return None
    return _Call(task_id, str(task).removeprefix("llm."), wanted, _text(message))


def _text(message: Any) -> str:
    """The message with its body as text; a body that nobody can read stays, to be refused."""
    try:
        return plain_json.dumps(plain_json.with_plain_body(message))
    except Exception:  # noqa: BLE001  # an edge, as above
        return plain_json.dumps(message)
