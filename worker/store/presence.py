"""What a worker says of itself in Redis, and how others read it. See worker/publisher.py."""

from __future__ import annotations

from typing import cast

import redis
from pydantic import BaseModel, ConfigDict

from local_llm_service.worker.prompt import Model
from local_llm_service.worker.store import keys


class Presence(BaseModel):
    """One worker: `slots` is its CONCURRENCY, `running` how many of them hold a job.

    `closed_by` says why it takes no jobs now ("ollama", "draining"); empty while it does.
    """

    model_config = ConfigDict(extra="ignore")  # a newer worker may say more

    name: str
    slots: int
    running: int
    model: str
    ollama_host: str
    ollama_version: str | None
    ollama_reachable: bool
    closed_by: list[str] = []
    lease_seconds: float | None = None
    cache_enabled: bool
    models: list[Model]


def read_all(client: redis.Redis) -> list[Presence]:
    """All workers that are there now, by name. Raises redis-py's errors."""
    names = sorted(client.scan_iter(match=keys.worker("*"), count=1000))
    found = cast(list[str | None], client.mget(names)) if names else []
    return [Presence.model_validate_json(text) for text in found if text is not None]
