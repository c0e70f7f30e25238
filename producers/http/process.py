"""What the parts of one HTTP process need of it; `HttpService` is it (service.py)."""

from __future__ import annotations

from typing import Protocol, TypeVar

from local_llm_service.producers.async_client import AsyncClient
from local_llm_service.worker.settings import Settings
from local_llm_service.worker.store.calls import Calls
from local_llm_service.worker.store.store import Store

T = TypeVar("T")


class Process(Protocol):
    """Settings, client and Redis of one process."""

    settings: Settings
    client: AsyncClient

    @property
    def store(self) -> Store:
        """Names and scripts."""

    async def drive(self, calls: Calls[T]) -> T:
        """Run logic over Redis. Raises BrokerUnreachable, and what the logic does."""
