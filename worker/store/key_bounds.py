"""How much an API key has at once: jobs and open streams, over all replicas. Calls (calls.py)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from local_llm_service.worker.store.calls import Calls, Command, Script
from local_llm_service.worker.store.keys import Keys

#: A job that has no record so long after its admission has never come. Seconds.
UNDERWAY_SECONDS = 30.0
#: A stream whose process has not renewed it for so long is closed. Seconds.
STREAM_SECONDS = 30.0


@dataclass(frozen=True)
class Place:
    """Whether a job may come. `is_new`: it did not count before. `instead_of`: the task id of a job
    of the same key whose caller has gone away, and which is to be cancelled for it, or ""."""

    is_free: bool
    is_new: bool = False
    instead_of: str = ""


class KeyBounds:
    """The bounds in Redis. Pure: each method is calls."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys

    def admit_job(self, key_id: str, task_id: str, most: int) -> Calls[Place]:
        """Count a job, unless `most` jobs of the key have no result yet."""
        args = [key_id, task_id, most, int(UNDERWAY_SECONDS * 1000)]
        counted, instead_of = yield Script("admit_job", args)
        return Place(counted > 0, counted == 1, instead_of)

    def forget_job(self, key_id: str, task_id: str) -> Calls[None]:
        """Count a job no more that did not come."""
        yield Command(("ZREM", f"{self._keys.api_jobs}{key_id}", task_id))

    def open_stream(self, key_id: str, name: str, most: int) -> Calls[bool]:
        """Count a stream for STREAM_SECONDS; False where `most` are open already."""
        args = [key_id, name, most, int(STREAM_SECONDS * 1000)]
        return bool((yield Script("open_stream", args)))

    def keep_streams(self, key_id: str, names: Sequence[str]) -> Calls[int]:
        """Let streams of this process count for STREAM_SECONDS more."""
        return int((yield Script("keep_streams", [key_id, int(STREAM_SECONDS * 1000), *names])))

    def close_streams(self, key_id: str, names: Sequence[str]) -> Calls[None]:
        """Count streams no more."""
        yield Command(("ZREM", f"{self._keys.open_streams}{key_id}", *names))
