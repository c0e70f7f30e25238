"""This service's own connections to Redis (Celery has others), quick to fail."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from urllib.parse import urlsplit

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from local_llm_service.worker.errors import BrokerUnreachable
from local_llm_service.worker.store.refusals import refusal

#: Two seconds to connect and two to answer, tried twice: with Redis away or its packets dropped,
#: the caller knows within 4 s. redis-py's own defaults are 5 s and several tries.
TIMEOUT_SECONDS = 2.0


@lru_cache(maxsize=4)
def connect(url: str) -> redis.Redis:
    """The process's client for `url`; threads share it.

    The second try is for a pooled connection that died with the last Redis.
    """
    return redis.Redis.from_url(
        url,
        decode_responses=True,
        encoding_errors="replace",  # whatever another app has put into a queue can be read
        max_connections=1024,  # the default of 100 fails the 101st thread of a healthy producer
        socket_timeout=TIMEOUT_SECONDS,
        socket_connect_timeout=TIMEOUT_SECONDS,
        retry=Retry(NoBackoff(), 1),
    )


@contextmanager
def reachable(url: str) -> Iterator[redis.Redis]:
    """A client whose connection errors are BrokerUnreachable, with the address and the fix."""
    client = connect(url)
    try:
        yield client
    except redis.RedisError as error:
        raise unreachable(url, error) from None


def unreachable(url: str, error: Exception) -> BrokerUnreachable:
    """The error to raise for a Redis that does not answer. Passwords stay out of it."""
    parts = urlsplit(url)
    address = f"{parts.hostname}:{parts.port or 6379}" if parts.hostname else parts.path
    refused = refusal(error)
    if refused is None:
        return BrokerUnreachable(f"Redis at {address}: no answer")
    reason, hint = refused
    return BrokerUnreachable(f"Redis at {address}: {reason}", hint)
