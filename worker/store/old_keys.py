"""Recognizes a Redis that version 0.1 has used: its keys had another prefix and other forms."""

from __future__ import annotations

import redis

#: A counter without a lifetime that every worker of version 0.1 wrote, and all of its keys.
OLD_FENCE = "llm:fence"
OLD_PATTERN = "llm:*"


def old_keys(client: redis.Redis) -> str | None:
    """Why a worker must not run on this Redis, and what to do; None when it may.

    Raises redis-py's errors.
    """
    if not client.exists(OLD_FENCE):
        return None
    return (
        "this Redis holds keys of version 0.1 (`llm:...`), which this version does not read. "
        "Use another Redis database; or let the old workers finish, stop them, and delete the old "
        f"keys: redis-cli -u \"$REDIS_URL\" --scan --pattern '{OLD_PATTERN}' | "
        "xargs -r -d '\\n' redis-cli -u \"$REDIS_URL\" del (docs/operations.md has the steps)"
    )
