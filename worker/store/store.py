"""Everything that this service keeps on one Redis, opened together."""

from __future__ import annotations

from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

import redis

from local_llm_service.worker.key_prefix import DEFAULT_PREFIX
from local_llm_service.worker.lazy_settings import lazy_settings
from local_llm_service.worker.store.connection import connect
from local_llm_service.worker.store.jobs import Jobs
from local_llm_service.worker.store.keys import Keys
from local_llm_service.worker.store.scripts import Scripts
from local_llm_service.worker.store.states import NO_CACHE, CacheBounds, Lifetimes

if TYPE_CHECKING:
    from local_llm_service.worker.settings import Settings
    from local_llm_service.worker.store.afterwork import Afterwork
    from local_llm_service.worker.store.dead_letters import DeadLetters
    from local_llm_service.worker.store.single_flight import SingleFlight


class Store:
    """The rooms of one Redis under one prefix; threads share it."""

    def __init__(
        self,
        client: redis.Redis,
        lifetimes: Lifetimes,
        cache: CacheBounds = NO_CACHE,
        prefix: str = DEFAULT_PREFIX,
    ) -> None:
        self.client = client
        self.keys = Keys(prefix)
        self.scripts = Scripts(client, self.keys)
        self.jobs = Jobs(self.scripts, lifetimes, cache)
        self._result_seconds = lifetimes.result_seconds

    @cached_property
    def single_flight(self) -> SingleFlight:
        """The moves of single-flight groups, for workers. Imported at first use, as below."""
        from local_llm_service.worker.store.single_flight import SingleFlight

        return SingleFlight(self.scripts, self._result_seconds)

    @cached_property
    def afterwork(self) -> Afterwork:
        """What follows results, for workers."""
        from local_llm_service.worker.store.afterwork import Afterwork

        return Afterwork(self.scripts)

    @cached_property
    def dead_letters(self) -> DeadLetters:
        """The dead letters, for the command line."""
        from local_llm_service.worker.store.dead_letters import DeadLetters

        return DeadLetters(self.scripts, self.jobs)

    @classmethod
    def of(cls, settings: Settings) -> Store:
        """The store that the settings name; connects at the first call."""
        return cls(
            connect(settings.redis_url),
            Lifetimes(settings.deadline_seconds, settings.result_ttl, settings.hit_result_ttl),
            CacheBounds(
                settings.cache_ttl, settings.cache_max_entry_bytes, settings.cache_max_bytes
            ),
            settings.key_prefix,
        )


@lru_cache(maxsize=1)
def process_store() -> Store:
    """The store on this process's REDIS_URL. Workers and producers use the same one."""
    return Store.of(lazy_settings())
