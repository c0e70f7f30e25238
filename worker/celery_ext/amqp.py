"""Celery's connections, which tell Flower the broker's scheme instead of our transport's class.

Flower decides by the scheme how to read queue lengths. It does not know a transport that is named
by a dotted path, and would show no queues.
"""

from __future__ import annotations

import os
from typing import Any
from urllib.parse import urlsplit

from celery.app.amqp import AMQP as CeleryAMQP
from kombu import Exchange, Queue
from kombu.connection import Connection as KombuConnection
from kombu.pools import ProducerPool

from local_llm_service.worker.lazy_settings import lazy_settings
from local_llm_service.worker.store import keys

#: The queues as Celery declares them.
QUEUES = [Queue(name, Exchange(name, type="direct"), routing_key=name) for name in keys.QUEUES]


#: What a forked child never uses and never closes.
_LEFT: list[Any] = []


class Connection(KombuConnection):
    """A connection that shows its address as `redis://…` (or `rediss://…`)."""

    def as_uri(self, *args: Any, **kwargs: Any) -> str:
        """The address, which holds the password only with `include_password`."""
        _, _, rest = str(super().as_uri(*args, **kwargs)).partition("://")
        return f"{_scheme()}://{rest}"


class OwnPoolAMQP(CeleryAMQP):
    """The AMQP class of an app with connections of its own (OwnPoolApp)."""

    _producer_pool: Any

    def __init__(self, app: Any) -> None:
        super().__init__(app)
        os.register_at_fork(after_in_child=self._begin_anew)

    @property
    def producer_pool(self) -> Any:
        """Producers on the app's own connections."""
        if self._producer_pool is None:
            pool = self.app.pool
            self._producer_pool = ProducerPool(pool, limit=pool.limit)
        return self._producer_pool

    def _begin_anew(self) -> None:
        """Leave the pools of connections to the parent; its threads may have held their locks.

        kombu and Celery do this only for children of billiard, which `os.fork` does not make.
        """
        _LEFT.append((self._producer_pool, self.app._pool))
        self._producer_pool = self.app._pool = None


class AMQP(OwnPoolAMQP):
    """The AMQP class of our app; its connections are of the class above.

    No message shows a `repr` of its arguments, which Celery would put into its headers.
    """

    argsrepr_maxsize = kwargsrepr_maxsize = 0
    Connection = Connection


def _scheme() -> str:
    return urlsplit(lazy_settings().redis_url).scheme
