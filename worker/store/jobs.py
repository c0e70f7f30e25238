"""Every move of a job in Redis. Each that changes more than one key is a Lua script of its name.

Scripts are in lua/. They use Redis's own clock, so hosts need not agree on the time.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, cast
from uuid import uuid4

from local_llm_service.worker.store import keys as names
from local_llm_service.worker.store.scripts import Scripts
from local_llm_service.worker.store.states import (
    NO_CACHE_QUERY,
    Admission,
    Admitted,
    CacheBounds,
    CacheQuery,
    Cancelling,
    JobRecord,
    JobState,
    Lifetimes,
    NewJob,
)

if TYPE_CHECKING:
    from local_llm_service.worker.store.outcomes import Delivery, Ending, Settled

_ADMISSIONS = {str(word): word for word in Admission}


class Jobs:
    """All moves of single jobs. Every call is one round trip and raises redis-py's errors."""

    def __init__(self, scripts: Scripts, lifetimes: Lifetimes, cache: CacheBounds) -> None:
        self._scripts, self._client, self._keys = scripts, scripts.client, scripts.keys
        self._lifetimes, self._cache = lifetimes, cache

    # --- a caller ---------------------------------------------------------------------------

    def submit(self, new: NewJob, query: CacheQuery = NO_CACHE_QUERY) -> Admitted:
        """Answer a job from the cache, or admit it to its queue: the next thing is to put it there.

        redis-py repeats a call whose reply was lost; Redis knows it by its nonce.
        """
        nonce = new.task_id if new.has_new_id else uuid4().hex
        args: list[Any] = [new.task_id, nonce, new.kind, new.queue, new.max_length]
        args += [int(new.deadline_seconds * 1000), self._kept, int(new.canvas)]
        args += [query.model, query.consensus, query.fingerprint]
        hit_seconds = self._kept if new.continued else self._lifetimes.hit_result_seconds
        args += [hit_seconds, query.before, query.after]
        decision, detail = self._scripts.run("submit", args)
        if isinstance(detail, str):
            return Admitted(_ADMISSIONS[decision], text=detail, date_done=query.date_done)
        return Admitted(_ADMISSIONS[decision], length=detail)

    def put(self, queue: str, message: str, task_id: str, delay_seconds: float) -> None:
        """Queue the message of an admitted job; with a delay it waits among the deferred first."""
        delay_ms = max(0, int(delay_seconds * 1000))
        self._scripts.run("put", [queue, message, task_id, delay_ms, self._kept])

    def collect(
        self,
        queue: str,
        message: str,
        task_id: str,
        kind: str,
        *,
        delay_seconds: float,
        canvas: bool,
    ) -> bool:
        """Queue a message that was sent by name, once per id; False when the job exists already.

        `canvas`: others wait for the job in a chain or chord.
        """
        default_ms = int(self._lifetimes.deadline_seconds * 1000)
        args: list[Any] = [task_id, queue, message, kind, int(delay_seconds * 1000), default_ms]
        return bool(self._scripts.run("collect", [*args, self._kept, int(canvas)]))

    def put_unreadable(self, message: str) -> None:
        """Set a message aside that no worker can read; the newest UNREADABLE_MOST stay."""
        with self._client.pipeline() as pipe:
            pipe.lpush(self._keys.unreadable, message)
            pipe.ltrim(self._keys.unreadable, 0, names.NUMBERS["UNREADABLE_MOST"] - 1)
            pipe.execute()

    def forget(self, task_id: str) -> None:
        """Remove a job whose caller was told that it was not queued."""
        self._scripts.run("forget", [task_id])

    def cancel(self, task_id: str) -> Cancelling:
        """Mark a job as cancelled and tell the worker that runs it."""
        return Cancelling(self._scripts.run("cancel", [task_id]))

    def replay(self, task_id: str, *, deadline_seconds: float, default_queue: str) -> bool:
        """Put a dead letter back into its queue as if it had never run; False if there is none."""
        args = [task_id, int(deadline_seconds * 1000), self._kept, default_queue]
        return bool(self._scripts.run("replay", args))

    # --- a worker, for what it holds --------------------------------------------------------

    def take(
        self, queues: Sequence[str], *, worker: str, may_take_quarantined: bool, nonce: str
    ) -> Delivery | None:
        """Pop the most urgent message of `queues` and hold it under a new fencing token.

        None when there is none. A call with the nonce of this worker's last one, whose reply was
        lost, returns the same delivery. `may_take_quarantined`: also one that a worker died with.
        """
        default_ms = int(self._lifetimes.deadline_seconds * 1000)
        args: list[Any] = [worker, int(may_take_quarantined), default_ms, self._kept, nonce]
        found = self._scripts.run("take", [*args, *queues])
        if found is None:
            return None
        from local_llm_service.worker.store.outcomes import Delivery  # a producer needs none

        queue, message, task_id, tag, token, queued, remaining, attempts, crashes, cancelled = found
        return Delivery(
            queue=queue,
            message=message,
            task_id=task_id,
            tag=tag,
            token=str(token),
            queued_seconds=None if queued < 0 else queued / 1000,
            remaining_seconds=remaining / 1000,
            attempts=attempts,
            crashes=crashes,
            cancelled=bool(cancelled),
        )

    def release(
        self, task_id: str, token: str, *, delay_seconds: float = 0.0, counts: bool = False
    ) -> bool:
        """Put a held message and its followers back to the head of their queues.

        They go at once or after a delay. `counts`: this was a try. False when no worker holds the
        message under `token`.
        """
        args = [task_id, token, int(delay_seconds * 1000), int(counts)]
        return bool(self._scripts.run("release", args))

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
        """Store and announce a result and end the delivery, once; answer all who wait for the same.

        `token` is the holder's fencing token, or UNHELD. Without a token, a job that runs can only
        leave its group: its own end is stored, and the work goes on for the waiters.

        Returns what was done, and the ids of the followers that have their result now.
        """
        from local_llm_service.worker.store.outcomes import settled

        result, work, cache = ending.result, ending.work, self._cache
        args: list[Any] = [task_id, token, ending.settle_for.value, ending.state.value]
        follows = {True: "n", False: "", None: "c"}[ending.followed]
        args += [ending.error, "d" * ending.keep_letter + follows, self._kept]
        args += [result.shared, result.before, result.after]
        args += [work.counter, work.prompt_tokens, work.completion_tokens]
        args += [cache.seconds if work.cacheable else 0, cache.entry_bytes, cache.total_bytes]
        args += [int(work.generation_seconds * 1000)]
        args += [result.for_waiters.holes, *result.for_waiters.pieces]
        done, *followers = self._scripts.run("settle", args)
        return settled(int(done)), followers

    # --- a worker, for all jobs -------------------------------------------------------------

    def wake_deferred(self, default_queue: str, most: int = 100) -> int:
        """Move deferred messages that are due into their queues; returns how many."""
        return int(self._scripts.run("wake_deferred", [most, default_queue]))

    def reap(self, *, lease_seconds: float, max_crashes: int) -> list[str]:
        """Take up to 100 messages from workers whose lease ran out; returns their task ids.

        A job that `max_crashes` workers died with becomes a dead letter and is among `unanswered`.
        """
        return list(self._scripts.run("reap", [lease_seconds, max_crashes, 100]))

    def redis_up_seconds(self, *, longest_gap_seconds: float) -> float:
        """Note that this worker reaches Redis; returns for how long some worker always did.

        Seconds; a pause of up to `longest_gap_seconds` does not count as a break.
        """
        gap_ms = int(longest_gap_seconds * 1000)
        return int(self._scripts.run("redis_up_seconds", [gap_ms])) / 1000

    def expired(self, most: int) -> list[str]:
        """Return up to `most` jobs without a result whose deadline has passed, the oldest first."""
        seconds, micros = self._client.time()
        now_ms = seconds * 1000 + micros // 1000
        found = self._client.zrangebyscore(self._keys.deadlines, "-inf", now_ms, start=0, num=most)
        return [str(task_id) for task_id in cast(list[str], found)]

    def forget_deadline(self, task_id: str) -> None:
        """Leave this job out of `expired` from now on."""
        self._client.zrem(self._keys.deadlines, task_id)

    def unanswered(self) -> list[str]:
        """Return the jobs that were given up and whose failure is not stored yet."""
        return sorted(cast(set[str], self._client.smembers(self._keys.unanswered)))

    def answered(self, task_id: str) -> None:
        """Leave this job out of `unanswered`: its failure is stored."""
        self._client.srem(self._keys.unanswered, task_id)

    # --- anybody ----------------------------------------------------------------------------

    def record(self, task_id: str) -> JobRecord | None:
        """Return all that Redis knows of a job; None when it has no record."""
        return JobRecord.of(cast(dict[str, str], self._client.hgetall(self._keys.job(task_id))))

    def state(self, task_id: str) -> JobState | None:
        """Return where a job is; None when it has no record."""
        state = self._client.hget(self._keys.job(task_id), "state")
        return None if state is None else JobState(cast(str, state))

    def is_cancel_requested(self, task_id: str) -> bool:
        """Tell whether a canvas job that leads a group has to fail once its waiters have their
        answer."""
        return bool(self._client.hexists(self._keys.job(task_id), "cancel_requested"))

    def waiting(self, queues: Iterable[str]) -> dict[str, int]:
        """Return how many messages each queue's list holds."""
        with self._client.pipeline(transaction=False) as pipe:
            named = list(queues)
            for queue in named:
                pipe.llen(self._keys.queue(queue))
            return dict(zip(named, pipe.execute(), strict=True))

    @property
    def _kept(self) -> int:
        return self._lifetimes.result_seconds
