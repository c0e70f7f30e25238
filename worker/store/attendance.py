"""Jobs for whose answer a connection is open, and those whose caller has gone. Calls (calls.py)."""

from __future__ import annotations

from collections.abc import Sequence

from local_llm_service.worker.store.calls import Calls, Command, Script
from local_llm_service.worker.store.keys import Keys

#: Workers look for orphans once a second. After a longer pause Redis was away, or every worker,
#: and each process gets its time to speak anew. Seconds.
LONGEST_GAP_SECONDS = 2.5
#: Until a job that was to be cancelled, and has no result yet, is found again. Seconds.
FIND_AGAIN_SECONDS = 5.0
#: The shortest time in which a process that lives has spoken, also when Redis starts anew. Seconds.
SHORTEST_SPEAK_SECONDS = 5.0


class Attendance:
    """The moves of such jobs. Pure: each method is calls."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys

    def attend(self, task_ids: Sequence[str], orphan_seconds: float) -> Calls[int]:
        """Note that this process holds the connections for these jobs. It counts as alive for
        `orphan_seconds`, but SHORTEST_SPEAK_SECONDS at least."""
        if not task_ids:
            return 0
        kept_ms = int(max(orphan_seconds, SHORTEST_SPEAK_SECONDS) * 1000)
        return int((yield Script("attend", [kept_ms, *task_ids])))

    def leave_jobs(self, task_ids: Sequence[str], orphan_seconds: float) -> Calls[int]:
        """Note that the callers of these jobs are gone: each goes on for `orphan_seconds`."""
        return int((yield Script("leave_jobs", [int(orphan_seconds * 1000), *task_ids])))

    def end(self, task_ids: Sequence[str]) -> Calls[None]:
        """These jobs have their answers."""
        yield Command(("ZREM", self._keys.attended, *task_ids))

    def orphans(self, orphan_seconds: float, most: int) -> Calls[tuple[int, list[str]]]:
        """Find jobs that nobody attends any more.

        Returns how many were looked at, at most `most` of either sort, and the ids of those to
        cancel. Every worker calls it about once a second.
        """
        speak_ms = int(max(orphan_seconds, SHORTEST_SPEAK_SECONDS) * 1000)
        args = [most, speak_ms, int(LONGEST_GAP_SECONDS * 1000), int(FIND_AGAIN_SECONDS * 1000)]
        looked, to_cancel = yield Script("orphans", args)
        return int(looked), list(to_cancel)
