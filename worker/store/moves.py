"""The moves that a caller makes, as calls (calls.py); `Jobs` makes the same ones at once.

Pure: nothing here asks Redis.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import redis

from local_llm_service.worker.store.bounds import DEAD_LETTERS_BYTES
from local_llm_service.worker.store.calls import Calls, Command, Script
from local_llm_service.worker.store.keys import Keys
from local_llm_service.worker.store.states import (
    NO_CACHE_QUERY,
    Admission,
    Admitted,
    Backlog,
    CacheBounds,
    CacheQuery,
    Cancelling,
    JobState,
    Lifetimes,
    NewJob,
    Seen,
)

if TYPE_CHECKING:
    from local_llm_service.worker.store.outcomes import Ending, Settled
    from local_llm_service.worker.store.texts import TextLook

_ADMISSIONS = {str(word): word for word in Admission}


class Moves:
    """The moves of single jobs that are not a worker's alone."""

    def __init__(
        self,
        keys: Keys,
        lifetimes: Lifetimes,
        cache: CacheBounds,
        dead_letters_bytes: int = DEAD_LETTERS_BYTES,
    ) -> None:
        self.keys, self.lifetimes = keys, lifetimes
        self._cache, self._dead_letters_bytes = cache, dead_letters_bytes

    def submit(self, new: NewJob, query: CacheQuery = NO_CACHE_QUERY) -> Calls[Admitted]:
        """Answer a job from the cache, or admit it to its queue: the next thing is to put it there.

        redis-py repeats a call whose reply was lost; Redis knows it by its nonce. A caller that is
        interrupted (KeyboardInterrupt, a cancelled task) leaves no job behind.
        """
        nonce = new.task_id if new.has_new_id else uuid4().hex
        args: list[Any] = [new.task_id, nonce, new.kind, new.queue, new.max_length]
        args += [int(new.deadline_seconds * 1000), self._kept, int(new.canvas)]
        args += [query.model, query.consensus, query.fingerprint]
        hit_seconds = self._kept if new.continued else self.lifetimes.hit_result_seconds
        args += [hit_seconds, query.before, query.after, new.max_bytes, new.model]
        args += [int(new.stream), new.tenant]
        try:
            decision, *details = yield Script("submit", args)
        except (redis.RedisError, GeneratorExit):
            raise
        except BaseException:
            with suppress(redis.RedisError):  # an interrupt stays one
                yield from self.forget(new.task_id, nonce)
            raise
        if isinstance(details[0], str):
            text = details[0]
            return Admitted(_ADMISSIONS[decision], text=text, date_done=query.date_done)
        backlog = Backlog(*details) if len(details) > 1 else None
        return Admitted(_ADMISSIONS[decision], backlog, nonce=nonce)

    def put(
        self,
        queue: str,
        message: str,
        task_id: str,
        delay_seconds: float,
        max_bytes: int = 0,
        nonce: str = "",
    ) -> Calls[Backlog | None]:
        """Queue the message of an admitted job; with a delay it waits among the deferred first.

        Returns the queue's backlog when that would take more than `max_bytes` (0: no limit) with
        this message, which then is not queued.
        """
        delay_ms = max(0, int(delay_seconds * 1000))
        args = [queue, message, task_id, delay_ms, self._kept, max_bytes, nonce]
        reply = yield Script("put", args)
        return Backlog(*reply) if isinstance(reply, list) else None

    def forget(self, task_id: str, nonce: str, *, in_a_hurry: bool = True) -> Calls[None]:
        """Remove a job whose caller was told that it was not queued.

        `nonce` is that of the call, as `submit` returned it; another call's job stays.
        """
        yield Script("forget", [task_id, nonce], in_a_hurry)

    def clear(self, task_ids: Sequence[str]) -> Calls[None]:
        """Remove all that is kept of jobs that have ended: their caller has the answers elsewhere.

        Nobody finds them any more; a caller who submits such an id again gets a new job.
        """
        keys = [key for one in task_ids for key in (self.keys.job(one), self.keys.result(one))]
        if keys:
            yield Command(("UNLINK", *keys))

    def cancel(self, task_id: str) -> Calls[Cancelling]:
        """Mark a job as cancelled and tell the worker that runs it."""
        return Cancelling((yield Script("cancel", [task_id])))

    def settle(self, task_id: str, token: str, ending: Ending) -> Calls[tuple[Settled, list[str]]]:
        """Store and announce a result and end the delivery, once; answer all who wait for the same.

        `token` is the holder's fencing token, or UNHELD. Without a token, a job that runs can only
        leave its group: its own end is stored, and the work goes on for the waiters.

        Many waiters are answered by calls of `answer_waiters`; a chore makes up for those that
        fail. Returns what was done, and the ids of the followers that have their result now.
        """
        from local_llm_service.worker.store.outcomes import settled  # a producer seldom needs it

        done, *rest = yield Script("settle", self._settle_args(task_id, token, ending))
        fan_out, *followers = rest or [""]
        try:
            while fan_out:
                left, _, answered = yield from self.answer_waiters(fan_out)
                followers += answered
                fan_out = fan_out if left else ""
        except redis.RedisError:
            pass  # the result is stored; a chore answers those who still wait
        return settled(int(done)), followers

    def _settle_args(self, task_id: str, token: str, ending: Ending) -> list[Any]:
        result, work, cache = ending.result, ending.work, self._cache
        args: list[Any] = [task_id, token, ending.settle_for.value, ending.state.value]
        follows = {True: "n", False: "", None: "c"}[ending.followed]
        most_bytes = self._dead_letters_bytes if ending.keep_letter else 0
        letter = f"{most_bytes}{follows} {work.last_text}"
        args += [ending.error, letter, self._kept]
        args += [result.shared, result.before, result.after]
        args += [work.counter, *work.believed_tokens]
        args += [cache.seconds if work.cacheable else 0, cache.entry_bytes, cache.total_bytes]
        args += [int(work.generation_seconds * 1000), work.savings_text]
        return [*args, result.for_waiters.holes, *result.for_waiters.pieces]

    def answer_waiters(self, fan_out: str) -> Calls[tuple[int, str, list[str]]]:
        """Answer the next waiters of an open fan-out.

        Returns how many still wait, the code of the error that they got (empty for an answer), and
        the ids of the followers among those that have their result now.
        """
        left, error, *followers = yield Script("answer_waiters", [fan_out])
        return int(left), str(error), followers

    def state(self, task_id: str) -> Calls[JobState | None]:
        """Return where a job is; None when it has no record."""
        state = yield Command(("HGET", self.keys.job(task_id), "state"))
        return None if state is None else JobState(state)

    def result(self, task_id: str) -> Calls[str | None]:
        """Return a job's result as it is stored, Celery's JSON; None when there is none."""
        text: str | None = yield Command(("GET", self.keys.result(task_id)))
        return text

    def read_text(self, task_id: str, run: str = "", from_bytes: int = 0) -> Calls[TextLook]:
        """Look at a job for a reader that has read `from_bytes` of the text of `run`."""
        from local_llm_service.worker.store.texts import TextLook  # only readers need it

        return TextLook.of((yield Script("read_text", [task_id, run, from_bytes])))

    @property
    def _kept(self) -> int:
        return self.lifetimes.result_seconds


def look(task_ids: Sequence[str]) -> Calls[list[Seen]]:
    """Return what there is of several jobs, in one look."""
    found = yield Script("look", task_ids)
    pairs = zip(found[::2], found[1::2], strict=True)
    return [Seen(text or None, JobState(state) if state else None) for text, state in pairs]
