"""A Redis that drops keys when its memory runs out: accepted jobs would be lost without a trace.

Workers ask at their start. A producer asks before its first job, and again once redis-py has made a
new connection: behind the same address there may be another server. Other calls cost nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import redis

from local_llm_service.worker.errors import BrokerUnsafe
from local_llm_service.worker.store.calls import Calls, Command, drive

#: The one policy that drops nothing.
KEEPS_ALL = "noeviction"


def dropping_policy(client: redis.Redis) -> str | None:
    """The `maxmemory-policy` by which Redis drops keys; None when it keeps all, or does not say.

    Raises redis-py's errors.
    """
    command: Callable[..., Any] = client.execute_command
    calls = _dropping_policy()
    return drive(calls, lambda call: command(*call.words) if isinstance(call, Command) else None)


def _dropping_policy() -> Calls[str | None]:
    try:
        policy = (yield Command(("INFO", "memory"))).get("maxmemory_policy")
    except redis.exceptions.NoPermissionError:
        return None  # this login may not ask
    return None if policy in (None, KEEPS_ALL) else str(policy)


def unsafe(policy: str) -> BrokerUnsafe:
    """The error for a Redis with this policy."""
    return BrokerUnsafe(f"Redis drops keys when memory runs out (maxmemory-policy {policy})")


class EvictionCheck:
    """A producer's check of the Redis behind its connections; threads share it."""

    def __init__(self) -> None:
        self._is_known_to_keep_all = False

    def watch(self, client: redis.Redis) -> None:
        """Ask again once this client has made a new connection."""
        pool = getattr(client, "connection_pool", None)  # a cluster has none
        if pool is not None:
            pool.connection_kwargs["redis_connect_func"] = self._connect

    def ask_again(self) -> None:
        """There is a new connection."""
        self._is_known_to_keep_all = False

    def refuse_jobs(self) -> Calls[None]:
        """Raise BrokerUnsafe where jobs could be dropped."""
        if self._is_known_to_keep_all:
            return
        policy = yield from _dropping_policy()
        if policy is not None:
            raise unsafe(policy)
        self._is_known_to_keep_all = True

    def _connect(self, connection: Any) -> None:
        connection.on_connect()
        self.ask_again()
