"""Sends other apps' tasks, and stores results for them, as a plain Celery app would.

A backend that has a Celery app of its own uses our jobs as steps beside its tasks. Its workers know
stock Celery's names and format only, in the Redis of CALLBACK_BROKER_URL.
"""

from __future__ import annotations

import time
from base64 import b64decode
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import redis
from celery import Celery
from celery.backends.base import KeyValueStoreBackend

from local_llm_service.worker.app import OwnPoolApp
from local_llm_service.worker.celery_ext import plain_json
from local_llm_service.worker.celery_ext.amqp import Connection
from local_llm_service.worker.celery_ext.patience import is_repeated, patience_seconds
from local_llm_service.worker.celery_ext.send_errors import SEND_ERRORS
from local_llm_service.worker.errors import BrokerUnreachable
from local_llm_service.worker.lazy_settings import lazy_settings
from local_llm_service.worker.store.connection import connect

if TYPE_CHECKING:
    from local_llm_service.worker.settings import Settings

#: Replaces the repr of the arguments in a message's headers: they hold our answers.
_HIDDEN = {"argsrepr": "-", "kwargsrepr": "-"}
_SHORT_RETRY = {"max_retries": 1, "interval_start": 0, "interval_step": 0.1, "interval_max": 0.2}
_REDIS_TIMEOUTS = {"socket_timeout": 3, "socket_connect_timeout": 2, "socket_keepalive": True}
_REDIS = ("redis", "rediss", "redis+socket", "sentinel")


class PlainApp(OwnPoolApp):
    """A Celery app without settings of ours, whose results only others wait for."""

    def _get_backend(self) -> Any:
        backend = super()._get_backend()
        backend.on_task_call = _subscribe_to_nothing
        return backend


def _subscribe_to_nothing(*_: Any, **__: Any) -> None:
    """Stands in for a subscription to the result of each task that is sent."""


@lru_cache(maxsize=1)
def plain_app() -> Celery:
    """The app on CALLBACK_BROKER_URL and CALLBACK_RESULT_BACKEND; connects at the first use."""
    settings = lazy_settings()
    broker, backend = settings.callback_broker, settings.callback_backend
    app = PlainApp(
        "callbacks",
        set_as_current=False,
        fixups=[],
        broker=broker,
        backend=backend,
        amqp="local_llm_service.worker.celery_ext.amqp:OwnPoolAMQP",
    )
    app.conf.update(
        broker_connection_timeout=2,
        broker_transport_options=_REDIS_TIMEOUTS if _is_redis(broker) else {},
        task_publish_retry_policy=_SHORT_RETRY,
        result_expires=settings.result_ttl,
        result_backend_transport_options={"retry_policy": _SHORT_RETRY},
        redis_socket_timeout=3,
        redis_socket_connect_timeout=2,
        redis_socket_keepalive=True,
    )
    return app


def send(name: str, args: Any, kwargs: Any, options: dict[str, Any]) -> Any:
    """Send another app's task to its queue.

    A worker that continues a canvas waits while the broker is away. Raises BrokerUnreachable.
    """
    app = plain_app()
    # A producer of ours would put it under our prefix, and our queues are not its default.
    options = {**_HIDDEN, **options, "producer": None}
    # Where a process has both apps, Celery binds the other's shared tasks to ours too, and gives
    # them our serializer, which no worker of the other knows.
    if options.get("serializer") == plain_json.NAME:
        options["serializer"] = "json"
    continued = is_repeated() or options.get("parent_id") is not None
    end = time.monotonic() + (patience_seconds() if continued else 0)
    while True:
        try:
            return app.send_task(name, args, kwargs, **options)
        except SEND_ERRORS as error:
            if time.monotonic() >= end:
                raise _unreachable(error) from None
            time.sleep(1)


def republish(queue: str, message: dict[str, Any]) -> None:
    """Send on a message of another app that was given to our transport. Raises kombu's errors.

    A group of ours and of its tasks gives all of them to one connection.
    """
    properties = message["properties"]
    known = ("correlation_id", "reply_to", "delivery_mode", "priority")
    with plain_app().producer_or_acquire() as producer:
        producer.publish(
            _body(message),
            exchange="",
            routing_key=queue,
            declare=[plain_app().amqp.queues[queue]],
            headers=message["headers"],
            content_type=message["content-type"],
            content_encoding=message["content-encoding"],
            **{name: properties[name] for name in known if properties.get(name) is not None},
        )


def _body(message: dict[str, Any]) -> Any:
    encoded = message["properties"].get("body_encoding") == "base64"
    return b64decode(message["body"]) if encoded else message["body"]


def store(task_id: str, meta: dict[str, Any], text: str) -> None:
    """Store a result where other apps look for it; `meta` is what `text` holds.

    Raises what the backend raises.
    """
    backend = plain_app().backend
    if isinstance(backend, KeyValueStoreBackend):
        backend.set(backend.get_key_for_task(task_id), text)
    else:
        result = meta["result"]
        if meta["status"] != "SUCCESS":
            result = backend.exception_to_python(result)
        backend.store_result(task_id, result, meta["status"])


def callback_redis(settings: Settings) -> redis.Redis | None:
    """A client of the Redis of CALLBACK_BROKER_URL; None where it is REDIS_URL's or no Redis."""
    url = settings.callback_broker
    same = (urlsplit(url)[1:3], urlsplit(settings.redis_url)[1:3])
    if same[0] == same[1] or url.partition("://")[0] not in ("redis", "rediss"):
        return None
    return connect(url)


def is_ours(producer: Any) -> bool:
    """Whether a producer is of our app, and not of another that sends a group."""
    return isinstance(producer.connection, Connection)


def _is_redis(url: str) -> bool:
    return url.partition("://")[0] in _REDIS


def _unreachable(error: Exception) -> BrokerUnreachable:
    kind = type(error.__cause__ or error).__name__
    return BrokerUnreachable(
        f"the broker of other apps' tasks does not take a message ({kind})",
        "Check CALLBACK_BROKER_URL; without it, that is the Redis of REDIS_URL.",
    )
