"""What one HTTP process has: settings, the client, what it holds for its callers. Nothing to keep:
another process answers for the same jobs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from time import monotonic
from typing import Any, Generic, TypeVar

from local_llm_service import producers
from local_llm_service.producers import service
from local_llm_service.producers.async_client import AsyncClient
from local_llm_service.producers.http.attendance import Attendance
from local_llm_service.producers.http.callers.key_ring import KeyRing
from local_llm_service.producers.http.callers.open_streams import OpenStreams
from local_llm_service.producers.result_wait import reaching
from local_llm_service.worker.errors import ServiceError
from local_llm_service.worker.fingerprint import full_name
from local_llm_service.worker.settings import Settings
from local_llm_service.worker.store.calls import Calls
from local_llm_service.worker.store.presence import Presence
from local_llm_service.worker.store.store import Store, process_store

T = TypeVar("T")

Model = dict[str, Any]

#: What is said of a route: nothing, as nobody knows which model it will be.
_ROUTE: Model = {
    **{"digest": "", "size_bytes": 0, "context_tokens": None, "modified_at": None, "facts": None},
    **{"loaded": None, "num_ctx": None, "default": False, "aliases": [], "is_route": True},
    "leaves_the_house": False,
}
#: What workers publish is read again after so long.
LOOK_SECONDS = 1.0
#: An answer that is there waits no longer for its model's digest.
DIGEST_SECONDS = 0.25


class HttpService:
    """One process's half of HTTP, in one event loop."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.client = AsyncClient()
        self.key_ring = KeyRing(self)
        self.attendance = Attendance(self)
        self.open_streams = OpenStreams(self, self.attendance.changed)
        #: Set when the process is told to end.
        self.stopping = asyncio.Event()
        self._models = _Recent[dict[str, Model]](_models_by_name)
        self._workers = _Recent[list[Presence]](service.workers)
        self._health = _Recent[dict[str, Any]](producers.health)

    @property
    def store(self) -> Store:
        """Names and scripts. Its blocking client is not for an event loop: see `drive`."""
        return process_store()

    async def drive(self, calls: Calls[T]) -> T:
        """Run logic over Redis in this loop. Raises BrokerUnreachable, and what the logic does."""
        here = self.client.here()
        return await here.drive(reaching(here, calls))

    async def models(self) -> list[Model]:
        """`producers.models()`, at most LOOK_SECONDS old. Raises BrokerUnreachable."""
        rows = (await self.models_by_name()).values()
        return list({row["name"]: row for row in rows}.values())

    async def models_by_name(self) -> Mapping[str, Model]:
        """The same by full name, with the tag, and by each alias. Raises BrokerUnreachable."""
        return await self._models.read()

    async def nameable(self) -> list[Model]:
        """All that a call may name: the models, their aliases, then the routes, each as a row.

        The row of an alias is its model's, with `alias_of`; that of a route, with `is_route`, has
        nothing of a model's. Raises BrokerUnreachable.
        """
        models = await self.models()
        aliases = [_alias(row, alias) for row in models for alias in row["aliases"]]
        return [*models, *aliases, *(await self._routes()).values()]

    async def named(self, name: str) -> Model | None:
        """One of these, by its name with or without its tag; None where no worker has it now."""
        full = full_name(name)
        row = (await self.models_by_name()).get(full)
        if row is None:
            return (await self._routes()).get(full)
        return row if full == full_name(row["name"]) else _alias(row, name)

    async def _routes(self) -> Mapping[str, Model]:
        """A row for each route, by full name."""
        workers: dict[str, list[str]] = {}
        for worker in await self.workers():
            for name in worker.routes:
                workers.setdefault(name, []).append(worker.name)
        return {
            full_name(name): {**_ROUTE, "name": name, "workers": workers[name]}
            for name in sorted(workers)
        }

    async def digest_of(self, model: str) -> str | None:
        """The digest of a model, by any of its names, at most LOOK_SECONDS old.

        None where no worker has it now, or nobody can tell within DIGEST_SECONDS.
        """
        models = self._models.at_hand
        if models is None:
            with suppress(ServiceError, TimeoutError):
                async with asyncio.timeout(DIGEST_SECONDS):
                    models = await self._models.read()
        found = (models or {}).get(full_name(model))
        return None if found is None else str(found["digest"]) or None

    async def workers(self) -> list[Presence]:
        """What workers say of themselves, read LOOK_SECONDS ago at most.

        Raises BrokerUnreachable.
        """
        return await self._workers.read()

    async def health(self) -> dict[str, Any]:
        """`producers.health()`, at most LOOK_SECONDS old. Raises BrokerUnreachable."""
        return await self._health.read()

    async def close(self) -> None:
        """Close the connections."""
        await self.client.close()


def _alias(row: Model, alias: str) -> Model:
    return {**row, "name": alias, "alias_of": row["name"], "aliases": [], "default": False}


def _models_by_name() -> dict[str, Model]:
    models = producers.models()
    by_alias = {full_name(alias): one for one in models for alias in one["aliases"]}
    return by_alias | {full_name(one["name"]): one for one in models}


class _Recent(Generic[T]):
    """Something that is read in a thread, at most once in LOOK_SECONDS, for all who ask."""

    def __init__(self, read: Callable[[], T]) -> None:
        self._read, self._until = read, 0.0
        self._task: asyncio.Task[T] | None = None

    @property
    def at_hand(self) -> T | None:
        """What was read, as long as it is recent; None where it has to be read."""
        task = self._task
        if task is None or not task.done() or monotonic() > self._until:
            return None
        return None if task.cancelled() or task.exception() else task.result()

    async def read(self) -> T:
        if self._task is None or (self._task.done() and monotonic() > self._until):
            self._task = asyncio.create_task(asyncio.to_thread(self._read))
            self._until = monotonic() + LOOK_SECONDS
        try:
            return await asyncio.shield(self._task)
        except Exception:
            self._until = 0.0  # the next one tries again
            raise
