"""Submits jobs, one by one or as a steady stream, and remembers which were accepted."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from benchmarks.chaos.prompts import Ask
from benchmarks.chaos.recorder import Recorder

#: Makes the next job's demand from its id.
Make = Callable[[str], Ask]


@dataclass(frozen=True)
class Submitted:
    """A job; `began` and `returned` (monotonic seconds) bracket the call; `error` is its error."""

    ask: Ask
    began: float
    returned: float
    error: str = ""


class Submitter:
    """The producer of one site."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self.all: list[Submitted] = []
        #: Further arguments of every call.
        self.more: dict[str, Any] = {}

    @property
    def accepted(self) -> list[Submitted]:
        """The jobs whose call returned; none of them may be lost."""
        return [one for one in list(self.all) if not one.error]

    def submit(self, make: Make, priority: str = "normal") -> Submitted:
        """Send one job; an unreachable broker is recorded and not raised."""
        from local_llm_service import tasks
        from local_llm_service.worker.errors import ServiceError

        ask = make(str(uuid4()))
        self._recorder.expect(ask.job)
        began, error = time.monotonic(), ""
        try:
            tasks.generate.apply_async(
                kwargs={"prompt": ask.prompt, "priority": priority, **self.more},
                task_id=ask.job,
            )
        except ServiceError as raised:
            error = raised.code
        done = Submitted(ask, began, time.monotonic(), error)
        self.all.append(done)
        return done


class Stream:
    """A thread that submits jobs with a pause between them: `with Stream(...)`."""

    def __init__(
        self,
        submitter: Submitter,
        make: Make,
        *,
        pause_seconds: float,
        count: int | None = None,
    ) -> None:
        self._submitter, self._make = submitter, make
        self._pause, self._count = pause_seconds, count
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Stream:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(30)

    @property
    def over(self) -> bool:
        """Whether all jobs of a counted stream have been submitted."""
        return not self._thread.is_alive()

    def _run(self) -> None:
        for _ in self._numbers():
            if self._stop.wait(self._pause):
                return
            self._submitter.submit(self._make)

    def _numbers(self) -> Iterator[int]:
        number = 0
        while self._count is None or number < self._count:
            yield number
            number += 1
