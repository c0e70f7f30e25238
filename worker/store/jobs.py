"""Every move of a job in Redis. Each that changes more than one key is a Lua script of its name.

Scripts are in lua/. They use Redis's own clock, so hosts need not agree on the time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast

from local_llm_service.worker.store import bounds
from local_llm_service.worker.store import keys as names
from local_llm_service.worker.store.calls import Calls, drive
from local_llm_service.worker.store.moves import Moves
from local_llm_service.worker.store.scripts import Scripts
from local_llm_service.worker.store.states import (
    NO_CACHE_QUERY,
    Admitted,
    Backlog,
    CacheBounds,
    CacheQuery,
    Cancelling,
    JobRecord,
    JobState,
    Lifetimes,
    NewJob,
)
from local_llm_service.worker.store.upkeep import Upkeep

if TYPE_CHECKING:
    from local_llm_service.worker.store.outcomes import Delivery, Ending, PassedOn, Settled, Work

#: How a job ran when its engine died: beside others, with nothing beside it, or "": none died.
EngineDeath = Literal["", "beside", "alone"]

T = TypeVar("T")


class Jobs(Upkeep):
    """All moves of single jobs. Every call is one round trip and raises redis-py's errors."""

    def __init__(
        self,
        scripts: Scripts,
        lifetimes: Lifetimes,
        cache: CacheBounds,
        dead_letters_bytes: int = bounds.DEAD_LETTERS_BYTES,
    ) -> None:
        super().__init__(scripts)
        self._lifetimes = lifetimes
        #: What a caller does, too, as calls that any driver can make.
        self.moves = Moves(scripts.keys, lifetimes, cache, dead_letters_bytes)

    def _make(self, calls: Calls[T]) -> T:
        return drive(calls, self._scripts.answer)

    # --- a caller ---------------------------------------------------------------------------

    def submit(self, new: NewJob, query: CacheQuery = NO_CACHE_QUERY) -> Admitted:
        """Answer a job from the cache, or admit it to its queue; see `Moves.submit`."""
        return self._make(self.moves.submit(new, query))

    def put(
        self,
        queue: str,
        message: str,
        task_id: str,
        delay_seconds: float,
        max_bytes: int = 0,
        nonce: str = "",
    ) -> Backlog | None:
        """Queue the message of an admitted job; see `Moves.put`."""
        put = self.moves.put(queue, message, task_id, delay_seconds, max_bytes, nonce)
        return self._make(put)

    def collect(
        self,
        queue: str,
        message: str,
        task_id: str,
        kind: str,
        *,
        delay_seconds: float,
        canvas: bool,
        deadline_seconds: float | None = None,
    ) -> bool:
        """Queue a message that was sent by name, once per id; False when the job exists already.

        `canvas`: others wait for the job in a chain or chord. `deadline_seconds`: from now; None
        for the default.
        """
        if deadline_seconds is None:
            deadline_seconds = self._lifetimes.deadline_seconds
        deadline_ms = max(0, int(deadline_seconds * 1000))
        args: list[Any] = [task_id, queue, message, kind, int(delay_seconds * 1000), deadline_ms]
        return bool(self._scripts.run("collect", [*args, self._kept, int(canvas)]))

    def put_unreadable(self, message: str) -> None:
        """Set a message aside that no worker can read; the newest UNREADABLE_MOST stay, and of
        each its beginning."""
        with self._client.pipeline() as pipe:
            pipe.lpush(self._keys.unreadable, message[: bounds.NUMBERS["UNREADABLE_BYTES"]])
            pipe.ltrim(self._keys.unreadable, 0, bounds.NUMBERS["UNREADABLE_MOST"] - 1)
            pipe.execute()

    def forget(self, task_id: str, nonce: str) -> None:
        """Remove a job whose caller was told that it was not queued; see `Moves.forget`."""
        self._make(self.moves.forget(task_id, nonce, in_a_hurry=False))

    def cancel(self, task_id: str) -> Cancelling:
        """Mark a job as cancelled and tell the worker that runs it."""
        return self._make(self.moves.cancel(task_id))

    def replay(self, task_id: str, *, deadline_seconds: float, default_queue: str) -> bool:
        """Put a dead letter back into its queue as if it had never run; False if there is none."""
        args = [task_id, int(deadline_seconds * 1000), self._kept, default_queue]
        return bool(self._scripts.run("replay", args))

    def drop_letter(self, task_id: str) -> bool:
        """Throw a dead letter away; the job's failure stays. False when there is none."""
        return bool(self._scripts.run("drop_letter", [task_id]))

    # --- a worker, for what it holds --------------------------------------------------------

    def take(
        self,
        queues: Sequence[str],
        *,
        worker: str,
        may_take_quarantined: bool,
        nonce: str,
        models: Sequence[str] = (names.DEFAULT_MODEL,),
        only_to_end: bool = False,
        others_first: bool = False,
        on_clear: Callable[[], None] | None = None,
    ) -> Delivery | None:
        """Pop the most urgent message of `queues` and hold it under a new fencing token.

        What this worker cannot run, as its model is none of `models` (keys.DEFAULT_MODEL among them
        stands for the worker's default), is parked on the way.

        None when there is none. A call with the nonce of this worker's last one, whose reply was
        lost, returns the same delivery. No other take, of any worker at any time, may have that
        nonce: it makes the token. `only_to_end`: none but those of jobs that are to end without an
        engine.

        `may_take_quarantined`: also a suspect, before the others of its queue, or with
        `others_first` after them. A worker that may not, because it runs something, takes others,
        with `others_first` in any case; without, only while no suspect waits: else it may be this
        worker's turn to empty itself, which `on_clear` is told, and it gets nothing.
        """
        default_ms = int(self._lifetimes.deadline_seconds * 1000)
        order = ("first", "last") if may_take_quarantined else ("clear", "no")
        which = "end" if only_to_end else order[others_first]
        args: list[Any] = [worker, which, default_ms, self._kept, nonce]
        found = self._scripts.run("take", [*args, len(models), *models, *queues])
        if found == "clear" and on_clear is not None:
            on_clear()
        if not isinstance(found, list):
            return None
        from local_llm_service.worker.store.outcomes import Delivery  # a producer needs none

        return Delivery.of(found)

    def release(
        self,
        task_id: str,
        token: str,
        *,
        delay_seconds: float = 0.0,
        attempts: int = 0,
        engine_died: EngineDeath = "",
        yields: bool = False,
        work: Work | None = None,
    ) -> bool:
        """Put a held message and its followers back to the head of their queues.

        They go at once or after a delay. `attempts`: tries so far, if this was one. `engine_died`:
        the engine died while the job ran, beside others or alone; they become suspects. `yields`:
        it makes room for a more urgent job. `work`: what the run did. False when no worker holds
        the message under `token`.
        """
        args = [task_id, token, int(delay_seconds * 1000), attempts, engine_died, int(yields)]
        return bool(self._scripts.run("release", [*args, _savings_text(work)]))

    def pass_on(
        self,
        task_id: str,
        token: str,
        *,
        worker: str,
        model: str,
        engine_died: bool = False,
        work: Work | None = None,
    ) -> PassedOn:
        """Leave a held job, which this worker's engine failed, to a worker that has not failed it.

        `model` is what this worker ran it with, for a job of which nobody knew the model before.
        `engine_died`: while it ran alone, which is charged to it. `work`: what the run did.
        """
        from local_llm_service.worker.store.outcomes import PassedOn

        args = [task_id, token, worker, model, int(engine_died), _savings_text(work)]
        done, *failed_by = self._scripts.run("pass_on", args)
        return PassedOn(done >= 0, tuple(failed_by[0].split()) if failed_by else ())

    def note_wishes(
        self, task_id: str, token: str, *, deadline_seconds: float, canvas: bool
    ) -> float | None:
        """Note what only the message of a job sent by name says: its deadline, from now on, and
        whether others wait for it in a chain or chord.

        Returns the seconds to its deadline, which may have been known before; None when this worker
        does not hold it.
        """
        args: list[Any] = [task_id, token, int(deadline_seconds * 1000), int(canvas), self._kept]
        remaining_ms = self._scripts.run("note_wishes", args)
        return None if remaining_ms is None else int(remaining_ms) / 1000

    def drop(self, task_id: str, tag: str, token: str) -> None:
        """End the delivery of a message that has no job; nothing when it has another token."""
        self._scripts.run("drop", [task_id, tag, token])

    def renew(self, held: Iterable[tuple[str, str, str]]) -> tuple[list[str], list[str]]:
        """Renew the leases of (task id, tag, token).

        Returns the tokens that this worker has lost, and those of jobs that somebody cancelled.
        """
        args = [word for triple in held for word in triple]
        lost, cancelled = self._scripts.run("renew", args)
        return list(lost), list(cancelled)

    def settle(self, task_id: str, token: str, ending: Ending) -> tuple[Settled, list[str]]:
        """Store and announce a result and end the delivery, once; see `Moves.settle`."""
        return self._make(self.moves.settle(task_id, token, ending))

    def answer_waiters(self, fan_out: str) -> tuple[int, str, list[str]]:
        """Answer the next waiters of an open fan-out; see `Moves.answer_waiters`."""
        return self._make(self.moves.answer_waiters(fan_out))

    # --- anybody ----------------------------------------------------------------------------

    def record(self, task_id: str) -> JobRecord | None:
        """Return all that Redis knows of a job; None when it has no record."""
        return JobRecord.of(cast(dict[str, str], self._client.hgetall(self._keys.job(task_id))))

    def state(self, task_id: str) -> JobState | None:
        """Return where a job is; None when it has no record."""
        return self._make(self.moves.state(task_id))

    def is_cancel_requested(self, task_id: str) -> bool:
        """Tell whether a canvas job that leads a group has to fail once its waiters have their
        answer."""
        return bool(self._client.hexists(self._keys.job(task_id), "cancel_requested"))

    def waiting(self, queues: Iterable[str]) -> dict[str, int]:
        """Return how many messages wait in each queue, those among them that are parked."""
        with self._client.pipeline(transaction=False) as pipe:
            named = list(queues)
            for queue in named:
                pipe.llen(self._keys.queue(queue))
                pipe.zcard(self._keys.parked_in(queue))
            found = pipe.execute()
        return {queue: found[2 * n] + found[2 * n + 1] for n, queue in enumerate(named)}

    def untaken(self, queues: Iterable[str]) -> int:
        """Return how many messages of these queues no worker has looked at yet."""
        with self._client.pipeline(transaction=False) as pipe:
            for queue in queues:
                pipe.llen(self._keys.queue(queue))
            return sum(pipe.execute())

    def backlogs(self, queues: Iterable[str]) -> dict[str, Backlog]:
        """Return the jobs of each queue that have no result yet, wherever they wait or run."""
        found = cast(dict[str, str], self._client.hgetall(self._keys.backlog))
        return {
            queue: Backlog(*(int(found.get(f"{queue}:{word}", 0)) for word in ("jobs", "bytes")))
            for queue in queues
        }

    @property
    def default_deadline_seconds(self) -> float:
        """The deadline of a job that asks for none."""
        return self._lifetimes.deadline_seconds

    @property
    def _kept(self) -> int:
        return self._lifetimes.result_seconds


def _savings_text(work: Work | None) -> str:
    return "{}" if work is None else work.savings_text
