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
        "Let the old workers finish and stop them, then delete the keys "
        f"(redis-cli --scan --pattern '{OLD_PATTERN}' | xargs redis-cli del), "
        "or use another Redis database"
    )
