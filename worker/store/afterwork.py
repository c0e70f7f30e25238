"""What has to happen after jobs' results are stored, kept until a worker has done it."""

from __future__ import annotations

from dataclasses import dataclass

from local_llm_service.worker.store.scripts import Scripts

#: After a take, another worker takes the same again only when this is over. Seconds.
AGAIN_SECONDS = 7.0


@dataclass(frozen=True, slots=True)
class AfterworkEntry:
    """The afterwork of one job.

    `message` is the job's, empty where Celery calls nothing after it; `result` as Celery stores it,
    JSON. `by_name`: another application sent the job and looks for its result elsewhere.
    """

    task_id: str
    message: str
    result: str
    by_name: bool


class Afterwork:
    """The afterwork of one store. Every call raises redis-py's errors."""

    def __init__(self, scripts: Scripts) -> None:
        self._scripts = scripts

    def take_afterwork(self, most: int) -> list[AfterworkEntry]:
        """Return up to `most` entries that are due; each is due again after AGAIN_SECONDS.

        An entry whose result has expired is dropped.
        """
        found = self._scripts.run("take_afterwork", [most, int(AGAIN_SECONDS * 1000)])
        return [
            AfterworkEntry(task_id, message, result, bool(by_name))
            for task_id, message, result, by_name in found
        ]

    def end_afterwork(self, task_id: str) -> None:
        """Drop an entry: all of it is done."""
        self._scripts.run("end_afterwork", [task_id])
