"""Makes a job's message by Celery's own means, without a connection: the clients' drivers send it.

Celery builds the message as for `.delay()` (headers, signals, serializer) and publishes it to a
transport that keeps it instead of sending it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from kombu.messaging import Producer
from kombu.transport import virtual

from local_llm_service.worker.celery_ext.amqp import Connection
from local_llm_service.worker.celery_ext.message import QueuedMessage, TextBodies
from local_llm_service.worker.errors import InvalidRequest


class _Recorder(threading.local):
    """What is published in this thread now is added to `messages`."""

    messages: list[QueuedMessage] | None = None


_recorder = _Recorder()


class Channel(TextBodies, virtual.Channel):
    """A channel on which a message goes nowhere but to the recorder."""

    def _put(self, queue: str, message: dict[str, Any], **_: Any) -> None:
        if _recorder.messages is not None:
            _recorder.messages.append(QueuedMessage.of(queue, message))

    def _size(self, _: str) -> int:
        return 0


class Transport(virtual.Transport):
    """A transport that connects to nothing."""

    Channel = Channel


def recorded(send: Callable[[Any], object]) -> QueuedMessage:
    """Let Celery send by the producer that `send` is given, and return the message.

    Raises what `send` raises, and InvalidRequest where the call ran in this process instead.
    """
    # What a handler of Celery's signals sends meanwhile is no part of this call.
    before, _recorder.messages = _recorder.messages, []
    try:
        send(_producer())
        sent = _recorder.messages
    finally:
        _recorder.messages = before
    if not sent:
        raise InvalidRequest(
            "task_always_eager is set: the call has run in this process",
            "Use .delay() with task_always_eager, or unset it.",
        )
    return sent[0]


@lru_cache(maxsize=1)
def _producer() -> Producer:
    """The process's producer; threads share it, as it keeps nothing of a message."""
    connection = Connection("recording://", transport=Transport)
    return Producer(connection.default_channel, auto_declare=False)


#: What a forked child never uses and never closes.
_LEFT: list[Any] = []


def _begin_anew() -> None:
    """A thread of the parent may have held a lock of its producer."""
    if _producer.cache_info().currsize:
        _LEFT.append(_producer())
    _producer.cache_clear()


os.register_at_fork(after_in_child=_begin_anew)
