"""Where API keys are kept, for the command line: one face of Redis and of a file. It blocks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from local_llm_service.producers import service
from local_llm_service.producers.http.callers.key_file import KeyFile
from local_llm_service.worker.settings import Settings
from local_llm_service.worker.store.api_keys import ApiKeys
from local_llm_service.worker.store.connection import reachable
from local_llm_service.worker.store.store import process_store


class KeyStore(Protocol):
    """Records of keys as text, by id."""

    def records(self) -> Mapping[str, str]:
        """All of them."""

    def write(self, key_id: str, before: str, after: str) -> bool:
        """Write a record ("": none) where it still is as before; returns whether it was."""


class RedisKeys:
    """The keys in Redis. Raises BrokerUnreachable."""

    def records(self) -> Mapping[str, str]:
        """All of them."""
        with reachable(service.redis_url()):
            store = process_store()
            return store.drive(ApiKeys(store.keys).records())

    def write(self, key_id: str, before: str, after: str) -> bool:
        """Write a record ("": none) where it still is as before; returns whether it was."""
        with reachable(service.redis_url()):
            store = process_store()
            return store.drive(ApiKeys(store.keys).write_api_key(key_id, before, after))


def key_store(path: str | None) -> KeyStore:
    """The keys of a file, or of Redis without one."""
    return KeyFile(path) if path else RedisKeys()


def has_keys(settings: Settings) -> bool:
    """Whether somebody has made a key. Raises BrokerUnreachable, InvalidSetting."""
    return bool(key_store(settings.api_keys_file).records())
