"""Everything that this service keeps on one Redis, opened together."""

from __future__ import annotations

import os
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, TypeVar

import redis

from local_llm_service.worker.key_prefix import DEFAULT_PREFIX
from local_llm_service.worker.lazy_settings import lazy_settings
from local_llm_service.worker.store.bounds import DEAD_LETTERS_BYTES
from local_llm_service.worker.store.calls import Call, Calls, Rest, drive
from local_llm_service.worker.store.connection import HURRY_SECONDS, connect, database_of
from local_llm_service.worker.store.eviction import EvictionCheck
from local_llm_service.worker.store.jobs import Jobs
from local_llm_service.worker.store.keys import Keys
from local_llm_service.worker.store.scripts import Scripts
from local_llm_service.worker.store.states import NO_CACHE, CacheBounds, Lifetimes

if TYPE_CHECKING:
    from local_llm_service.worker.settings import Settings
    from local_llm_service.worker.store.afterwork import Afterwork
    from local_llm_service.worker.store.batches import Batches
    from local_llm_service.worker.store.dead_letters import DeadLetters
    from local_llm_service.worker.store.endings import Endings
    from local_llm_service.worker.store.single_flight import SingleFlight
    from local_llm_service.worker.store.spending import SpendingStore
    from local_llm_service.worker.store.steps import StepStore
    from local_llm_service.worker.store.texts import Texts
    from local_llm_service.worker.store.token_rates import TokenRatesStore
    from local_llm_service.worker.store.vectors import Vectors
    from local_llm_service.worker.store.webhooks import Webhooks

T = TypeVar("T")


class Store:
    """The rooms of one Redis under one prefix; threads share it."""

    def __init__(
        self,
        client: redis.Redis,
        lifetimes: Lifetimes,
        cache: CacheBounds = NO_CACHE,
        prefix: str = DEFAULT_PREFIX,
        dead_letters_bytes: int = DEAD_LETTERS_BYTES,
    ) -> None:
        self.client = client
        self.keys = Keys(prefix, database_of(client))
        self.scripts = Scripts(client, self.keys)
        self.jobs = Jobs(self.scripts, lifetimes, cache, dead_letters_bytes)
        self._lifetimes, self._cache = lifetimes, cache

    @cached_property
    def eviction(self) -> EvictionCheck:
        """Whether this Redis may drop jobs, for producers."""
        check = EvictionCheck()
        check.watch(self.client)
        return check

    @cached_property
    def single_flight(self) -> SingleFlight:
        """The moves of single-flight groups, for workers. Imported at first use, as below."""
        from local_llm_service.worker.store.single_flight import SingleFlight

        return SingleFlight(self.scripts, self._lifetimes.result_seconds)

    @cached_property
    def endings(self) -> Endings:
        """The moves of jobs that are cancelled or too late, for workers."""
        from local_llm_service.worker.store.endings import Endings

        return Endings(self.scripts)

    @cached_property
    def texts(self) -> Texts:
        """The texts of streamed jobs, for workers."""
        from local_llm_service.worker.store.texts import Texts

        return Texts(self.scripts)

    @cached_property
    def afterwork(self) -> Afterwork:
        """What follows results, for workers."""
        from local_llm_service.worker.store.afterwork import Afterwork

        return Afterwork(self.scripts)

    @cached_property
    def vectors(self) -> Vectors:
        """The vectors of texts, for workers."""
        from local_llm_service.worker.store.vectors import Vectors

        return Vectors(self.scripts, self._cache)

    @cached_property
    def steps(self) -> StepStore:
        """The steps of jobs that have several, for workers."""
        from local_llm_service.worker.store.steps import StepStore

        return StepStore(self.scripts, self._cache)

    @cached_property
    def spending(self) -> SpendingStore:
        """What paid models cost, for workers and for those who look."""
        from local_llm_service.worker.store.spending import SpendingStore

        return SpendingStore(self.scripts)

    @cached_property
    def token_rates(self) -> TokenRatesStore:
        """What answers have taught of models' tokens, for workers."""
        from local_llm_service.worker.store.token_rates import TokenRatesStore

        return TokenRatesStore(self.scripts)

    @cached_property
    def batches(self) -> Batches:
        """The batches of HTTP, as calls."""
        from local_llm_service.worker.store.batches import Batches

        return Batches(self.keys)

    @cached_property
    def webhooks(self) -> Webhooks:
        """Whom to tell of jobs' ends, for HTTP processes and the command line."""
        from local_llm_service.worker.store.webhooks import Webhooks

        return Webhooks(self.keys)

    @cached_property
    def dead_letters(self) -> DeadLetters:
        """The dead letters, for the command line."""
        from local_llm_service.worker.store.dead_letters import DeadLetters

        return DeadLetters(self.scripts, self.jobs)

    def drive(self, calls: Calls[T]) -> T:
        """Run logic (calls.py) to its end; it blocks this thread. Raises what the logic raises."""
        return drive(calls, self._answer)

    def _answer(self, call: Call) -> Any:
        if not isinstance(call, Rest) and call.in_a_hurry:
            return self.in_a_hurry(lazy_settings().redis_url).answer(call)
        return self.scripts.answer(call)

    def in_a_hurry(self, url: str) -> Scripts:
        """The scripts once more, over a client that gives up at once."""
        return Scripts(connect(url, timeout_seconds=HURRY_SECONDS, tries=1), self.keys)

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
            settings.dead_letters_bytes,
        )


@lru_cache(maxsize=1)
def process_store() -> Store:
    """The store on this process's REDIS_URL. Workers and producers use the same one."""
    return Store.of(lazy_settings())


os.register_at_fork(after_in_child=process_store.cache_clear)
