"""A Redis that drops keys when its memory runs out: accepted jobs would be lost without a trace.

Workers ask at their start. A producer asks before its first job, and again once redis-py has made a
new connection: behind the same address there may be another server. Other calls cost nothing.
"""

from __future__ import annotations

from typing import Any

import redis

from local_llm_service.worker.errors import BrokerUnsafe

#: The one policy that drops nothing.
KEEPS_ALL = "noeviction"


def dropping_policy(client: redis.Redis) -> str | None:
    """The `maxmemory-policy` by which Redis drops keys; None when it keeps all, or does not say.

    Raises redis-py's errors.
    """
    try:
        policy = client.info("memory").get("maxmemory_policy")
    except redis.exceptions.NoPermissionError:
        return None  # this login may not ask
    return None if policy in (None, KEEPS_ALL) else str(policy)


def unsafe(policy: str) -> BrokerUnsafe:
    """The error for a Redis with this policy."""
    return BrokerUnsafe(f"Redis drops keys when memory runs out (maxmemory-policy {policy})")


class EvictionCheck:
    """A producer's check of the Redis behind `client`; threads share it."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._is_known_to_keep_all = False
        pool = getattr(client, "connection_pool", None)  # a cluster has none
        if pool is not None:
            pool.connection_kwargs["redis_connect_func"] = self._connected

    def refuse_jobs(self) -> None:
        """Raise BrokerUnsafe where jobs could be dropped. Raises redis-py's errors."""
        if self._is_known_to_keep_all:
            return
        policy = dropping_policy(self._client)
        if policy is not None:
            raise unsafe(policy)
        self._is_known_to_keep_all = True

    def _connected(self, connection: Any) -> None:
        connection.on_connect()
        self._is_known_to_keep_all = False
