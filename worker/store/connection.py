"""This service's own connections to Redis (Celery has others), quick to fail."""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from local_llm_service.worker.errors import BrokerUnreachable
from local_llm_service.worker.store.dialling import Dial, dial_instead, dialled, dialled_async
from local_llm_service.worker.store.refusals import refusal

#: Two seconds to connect and two to answer, tried twice: with Redis away or its packets dropped,
#: the caller knows within 4 s. redis-py's own defaults are 5 s and several tries.
TIMEOUT_SECONDS = 2.0

#: For what is tried once after a failure: the caller has waited long enough.
HURRY_SECONDS = 0.4

TLS_HINT = (
    "rediss:// needs Redis's TLS port and a certificate that this host trusts: name its authority "
    "with ?ssl_ca_certs=FILE, or use redis:// for a port without TLS."
)


@lru_cache(maxsize=8)
def connect(
    url: str, *, decoded: bool = True, timeout_seconds: float = TIMEOUT_SECONDS, tries: int = 2
) -> redis.Redis:
    """The process's client for `url`; threads share it. Its replies are text, or bytes.

    The second try is for a pooled connection that died with the last Redis.
    """
    client = redis.Redis.from_url(
        url,
        decode_responses=decoded,
        encoding_errors="replace",  # whatever another app has put into a queue can be read
        max_connections=1024,  # the default of 100 fails the 101st thread of a healthy producer
        socket_timeout=timeout_seconds,
        socket_connect_timeout=timeout_seconds,
        retry=Retry(NoBackoff(), tries - 1),
        **dialled(),
    )
    _MADE.append(client)
    return client


#: All clients of this process and of those that it was forked from.
_MADE: list[redis.Redis] = []


@contextmanager
def dialling(dial: Dial) -> Iterator[None]:
    """In this block, `dial` makes the socket of each new connection to a Redis, in all threads.

    For a process whose Redis is replaced, as in tests. Clients that were made before are not used
    in it, and those that were made in it are closed at its end.
    """
    before, made = dial_instead(dial), len(_MADE)
    connect.cache_clear()
    try:
        yield
    finally:
        dial_instead(before)
        connect.cache_clear()
        for client in _MADE[made:]:
            client.close()
        del _MADE[made:]


def _begin_anew() -> None:
    """Leave the clients to the parent. A forked child makes its own.

    redis-py knows of forks, but a pool whose lock a thread of the parent held would hang the child:
    at its use, and when it is closed. So they are kept, and closed by nobody.
    """
    for client in _MADE:
        client.auto_close_connection_pool = False
    connect.cache_clear()


os.register_at_fork(after_in_child=_begin_anew)


def open_connection(url: str) -> Any:
    """A connection of its own, for channels: it is not tried twice, and speaks RESP2.

    Its owner has to know of each break, as what is published meanwhile is not heard. The first
    command connects and raises redis-py's errors.
    """
    pool = redis.ConnectionPool.from_url(
        url,
        socket_timeout=TIMEOUT_SECONDS,
        socket_connect_timeout=TIMEOUT_SECONDS,
        retry=Retry(NoBackoff(), 0),
        # Later versions of redis-py take RESP3, where messages come another way.
        **{**dialled(), "protocol": 2},
    )
    return pool.connection_class(**pool.connection_kwargs)


def connect_async(url: str, most: int, made: Callable[[], None]) -> Any:
    """A client of redis.asyncio as `connect` makes them, for the running event loop alone.

    It has `most` connections at most; a command that finds none free fails. `made` is called at
    each new connection.
    """
    # Imported here: few processes have an event loop.
    from redis.asyncio import Redis
    from redis.asyncio.retry import Retry as AsyncRetry

    async def connected(connection: Any) -> None:
        await connection.on_connect()
        made()

    return Redis.from_url(
        url,
        redis_connect_func=connected,
        decode_responses=True,
        encoding_errors="replace",
        max_connections=most,
        socket_timeout=TIMEOUT_SECONDS,
        socket_connect_timeout=TIMEOUT_SECONDS,
        retry=AsyncRetry(NoBackoff(), 1),
        **dialled_async(),
    )


def open_async_connection(url: str) -> Any:
    """A connection of its own for channels, as `open_connection` makes them; `connect` it first.

    It may be silent for as long as nobody asks.
    """
    from redis.asyncio import ConnectionPool
    from redis.asyncio.retry import Retry as AsyncRetry

    pool = ConnectionPool.from_url(
        url,
        socket_timeout=None,
        socket_connect_timeout=TIMEOUT_SECONDS,
        retry=AsyncRetry(NoBackoff(), 0),
        **{**dialled_async(), "protocol": 2},
    )
    return pool.connection_class(**pool.connection_kwargs)


def drop(connection: Any, *, loop_runs: bool) -> None:
    """Close a connection of redis.asyncio at once, without awaiting anything.

    Also that of an event loop which runs no more. What redis-py and asyncio offer there warns of an
    unclosed connection, or wants the loop.
    """
    writer = getattr(connection, "_writer", None)
    if writer is None:
        return
    connection._writer = connection._reader = None
    with suppress(RuntimeError):  # the loop is closed
        writer.transport.abort()
    # What `abort` would have the loop do.
    rest = getattr(writer.transport, "_call_connection_lost", None)
    if rest is not None and not loop_runs:
        with suppress(RuntimeError):
            rest(None)


def database_of(client: redis.Redis) -> int:
    """The number of the database that `client` uses; 0 for a cluster, which has only that one."""
    pool = getattr(client, "connection_pool", None)
    return 0 if pool is None else int(pool.connection_kwargs.get("db") or 0)


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
    if refused := refusal(error):
        reason, hint = refused
    elif problem := tls_problem(error):
        reason, hint = f"no TLS connection ({problem})", TLS_HINT
    else:
        return BrokerUnreachable(f"Redis at {address}: no answer")
    return BrokerUnreachable(f"Redis at {address}: {reason}", hint)


def tls_problem(error: BaseException | None) -> str | None:
    """What went wrong in the TLS handshake that ended in `error`; None where it was not that.

    OpenSSL's own word, such as CERTIFICATE_VERIFY_FAILED.
    """
    while error is not None:
        if isinstance(error, ssl.SSLError):
            return str(error.reason or type(error).__name__)
        if isinstance(error, OSError) and "handshake" in str(error):
            return "the handshake timed out"  # as with a Redis that speaks no TLS at this port
        error = error.__cause__ or error.__context__
    return None
