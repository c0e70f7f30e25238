"""Whether anybody still waits for a synchronous call's job.

The process that holds the caller's connection says so in Redis, for all its jobs once a second
(holding.py). Of a job whose caller goes away it says that, and workers cancel it ORPHAN_SECONDS
later; should the process die, it says nothing more, with the same end (worker/lease/orphans.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from time import monotonic
from typing import Any, TypeVar

from local_llm_service.producers.http.process import Process
from local_llm_service.worker.errors import BrokerUnreachable, Cancelled, NotFound, ShuttingDown
from local_llm_service.worker.store import attendance as moves
from local_llm_service.worker.store.calls import Calls

E = TypeVar("E", bound=BaseException)

#: Task ids in one call of a script, whose arguments Lua has to hold.
AT_ONCE = 500


class Attendance:
    """The jobs whose callers hold a connection to this process."""

    def __init__(self, service: Process) -> None:
        self._service = service
        #: Set when there is something to say at once.
        self.changed = asyncio.Event()
        #: Task id → when its first caller came, monotonic seconds; and who of them are there.
        self._held: dict[str, float] = {}
        self._by: dict[str, set[object]] = {}
        self._new: set[str] = set()
        self._left: set[str] = set()
        self._ended: set[str] = set()
        self._renewed_at = self._lapsed_until = monotonic()

    @asynccontextmanager
    async def hold(self, task_id: str, by: object = None) -> AsyncIterator[None]:
        """The job is attended inside; `by` tells several readers of one job apart.

        Whoever leaves by an exception leaves it ORPHAN_SECONDS; but one whose process ends has been
        told that the job goes on.
        """
        self.begin(task_id, by)
        try:
            yield
        except ShuttingDown:
            self.end(task_id)
            raise
        except BaseException as error:  # whatever ended the wait, a cancel too
            explained = self.explained(task_id, error)
            self.leave(task_id, by)
            if explained is not error:
                raise explained from None
            raise
        self.end(task_id)

    def begin(self, task_id: str, by: object = None) -> None:
        """A caller waits for this job."""
        self._by.setdefault(task_id, set()).add(by)
        if task_id not in self._held:
            self._held[task_id] = monotonic()
            self._new.add(task_id)
            self.changed.set()

    def end(self, task_id: str) -> None:
        """The caller has what it waited for, or the job is to go on without it."""
        self._by.pop(task_id, None)
        if self._held.pop(task_id, None) is None:
            return
        if task_id in self._new:
            self._new.discard(task_id)  # Redis has not heard of it
            return
        self._ended.add(task_id)
        self.changed.set()

    def leave(self, task_id: str, by: object = None, *, quietly: bool = False) -> None:
        """The caller has gone away, and the job, if no other one is there. `quietly`: said within a
        second, and from any thread."""
        there = self._by.get(task_id, set())
        there.discard(by)
        if there:
            return
        self._by.pop(task_id, None)
        if self._held.pop(task_id, None) is None:
            return
        self._new.discard(task_id)
        self._left.add(task_id)
        if not quietly:
            self.changed.set()

    def explained(self, task_id: str, error: E) -> E | BrokerUnreachable:
        """The error of a job that is attended; a cancel that nobody asked for is that of workers
        who took this process for dead, and a job that is not there was lost with its Redis."""
        began = self._held.get(task_id)
        if began is not None and isinstance(error, NotFound):
            return BrokerUnreachable("Redis has lost the job", "Send it again.")
        if began is None or not isinstance(error, Cancelled):
            return error
        if began >= self._lapsed_until and monotonic() - self._renewed_at <= self._trusted_seconds:
            return error
        return BrokerUnreachable(
            "the connection to Redis was lost for so long that the job was cancelled",
            "Send it again.",
        )

    async def send(self, *, renew: bool) -> None:
        """Say what is new; with `renew` also again that all others are attended.

        Raises BrokerUnreachable; then all of it is still to be said.
        """
        store = moves.Attendance(self._service.store.keys)
        seconds = self._service.settings.orphan_seconds
        known = self._held.keys() - self._new if renew else set()

        def attend(ids: list[str]) -> Calls[int]:
            return store.attend([one for one in ids if one in self._held], seconds)

        await self._say(self._new, attend)
        await self._say(known, attend)
        await self._say(self._left, lambda ids: store.leave_jobs(ids, seconds))
        await self._say(self._ended, store.end)
        if renew:
            now = monotonic()
            if now - self._renewed_at > self._trusted_seconds:
                self._lapsed_until = now
            self._renewed_at = now

    async def _say(self, pending: set[str], said: Callable[[list[str]], Calls[Any]]) -> None:
        while pending:
            # Taken out first: what is ended meanwhile has to be said after it.
            ids = [pending.pop() for _ in range(min(AT_ONCE, len(pending)))]
            try:
                await self._service.drive(said(ids))
            except BaseException:  # a cancel, too: it is still to be said
                pending.update(ids)
                raise

    @property
    def _trusted_seconds(self) -> float:
        return max(self._service.settings.orphan_seconds, moves.SHORTEST_SPEAK_SECONDS)
