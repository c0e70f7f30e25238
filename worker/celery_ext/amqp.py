"""Celery's connections, which tell Flower the scheme of the broker and not our transport's class.

Flower chooses by the scheme how to read queue lengths; with a transport named by dotted path it
would find none that it knows, and show no queues.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import redis
from celery.app.amqp import AMQP as CeleryAMQP
from kombu import Exchange, Queue
from kombu.connection import Connection as KombuConnection
from kombu.exceptions import OperationalError

from local_llm_service.worker.lazy_settings import lazy_settings
from local_llm_service.worker.store import keys

#: What sending a message raises when Redis is away. RuntimeError is how Celery's result backend
#: says that it has given up.
SEND_ERRORS = (OperationalError, redis.RedisError, RuntimeError)

#: The queues as Celery declares them.
QUEUES = [Queue(name, Exchange(name, type="direct"), routing_key=name) for name in keys.QUEUES]


class Connection(KombuConnection):
    """A connection whose address begins with `redis://` (or `rediss://`)."""

    def as_uri(self, *args: Any, **kwargs: Any) -> str:
        """The address; the password only with `include_password`."""
        _, _, rest = str(super().as_uri(*args, **kwargs)).partition("://")
        return f"{_scheme()}://{rest}"


class AMQP(CeleryAMQP):
    """What the app is made with."""

    Connection = Connection


def _scheme() -> str:
    return urlsplit(lazy_settings().redis_url).scheme
