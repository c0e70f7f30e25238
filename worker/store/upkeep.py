"""What every worker does for all jobs, as its chores: moves that belong to no single delivery."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from local_llm_service.worker.store.bounds import NUMBERS
from local_llm_service.worker.store.scripts import Scripts

#: How long a ring for a model stays, as in lua/shared/parking.lua.
RING_SECONDS = 60


class Upkeep:
    """Part of `Jobs`. Every call is one round trip and raises redis-py's errors."""

    def __init__(self, scripts: Scripts) -> None:
        self._scripts, self._client, self._keys = scripts, scripts.client, scripts.keys

    def wake_deferred(self, default_queue: str, most: int = 100) -> int:
        """Move deferred messages that are due into their queues; returns how many."""
        return int(self._scripts.run("wake_deferred", [most, default_queue]))

    def reap(self, *, lease_seconds: float, max_crashes: int, most: int = 100) -> list[str]:
        """Take up to `most` messages from workers whose lease ran out; returns their task ids.

        A job that `max_crashes` workers died with becomes a dead letter and is among `unanswered`.
        """
        return list(self._scripts.run("reap", [lease_seconds, max_crashes, most]))

    def redis_up_seconds(self, *, longest_gap_seconds: float) -> float:
        """Note that this worker reaches Redis; returns for how long some worker always did.

        Seconds; a pause of up to `longest_gap_seconds` does not count as a break, a start of Redis
        does. It also moves the time of all scripts on: the workers call it once a second.
        """
        gap_ms = int(longest_gap_seconds * 1000)
        return int(self._scripts.run("redis_up_seconds", [gap_ms])) / 1000

    def forget_deadline(self, task_id: str) -> None:
        """Leave this job out of `Endings.expired` from now on."""
        self._client.zrem(self._keys.deadlines, task_id)

    def mend_backlog(self, most: int = 50) -> int:
        """Look at some jobs of the backlog and take out those that have ended; returns how many."""
        return int(self._scripts.run("mend_backlog", [most]))

    def open_fan_outs(self, idle_seconds: float) -> list[str]:
        """Return the fan-outs that nobody has gone on with for so long."""
        return list(self._scripts.run("open_fan_outs", [int(idle_seconds * 1000)]))

    def unanswered(self) -> list[str]:
        """Return the jobs that were given up and whose failure is not stored yet."""
        return sorted(cast(set[str], self._client.smembers(self._keys.unanswered)))

    def answered(self, task_id: str) -> None:
        """Leave this job out of `unanswered`: its failure is stored."""
        self._client.srem(self._keys.unanswered, task_id)

    def unserved(self, queues: Sequence[str], *, wait_seconds: float, most: int) -> list[str]:
        """Return parked jobs that no live worker could run for `wait_seconds`."""
        args = [int(wait_seconds * 1000), most, *queues]
        return list(self._scripts.run("unserved", args))

    def give_up(self, task_id: str) -> bool:
        """Put a parked job back into its queue for any worker to fail it; False if it is not."""
        return bool(self._scripts.run("give_up", [task_id]))

    def ring_for_model(self, model: str) -> None:
        """Wake a worker that waits and serves a model, by its full name."""
        bell = self._keys.bell_of(model)
        with self._client.pipeline(transaction=False) as pipe:
            pipe.lpush(bell, "1")
            pipe.ltrim(bell, 0, NUMBERS["DOORBELL_MOST"] - 1)
            pipe.expire(bell, RING_SECONDS)
            pipe.execute()
