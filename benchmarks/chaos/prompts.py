"""The demand of a chaos job: its prompt names the job and the time that the engine should take.

A prompt begins with one line, `job=<task id> seconds=2.50 first=0.00 again=0.20`. Each generation
of a job answers with a different text, so the stored answers of two generations differ.
"""

from __future__ import annotations

import math
import re
import threading
from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

from tests.doubles.ollama import Script

POISON = "POISON"

_HEAD = re.compile(
    r"job=(?P<job>\S+) seconds=(?P<seconds>[\d.]+) first=(?P<first>[\d.]+) again=(?P<again>[\d.]+)"
)


@dataclass(frozen=True)
class Ask:
    """One job's demand: seconds of the whole run, until its first chunk, and of any later run.

    `text` is for real models. With `steps` the prompt has so many lines, each of which demands as
    much for a step `<job>/<number>`.
    """

    job: str
    seconds: float
    first_seconds: float = 0.0
    again_seconds: float | None = None
    poison: bool = False
    text: str = ""
    steps: int = 0

    @property
    def prompt(self) -> str:
        """The text to send."""
        if self.steps:
            numbered = [f"{self.job}/{number}" for number in range(1, self.steps + 1)]
            return "\n".join(replace(self, job=one, steps=0).prompt for one in numbered)
        again = self.seconds if self.again_seconds is None else self.again_seconds
        head = (
            f"job={self.job} seconds={self.seconds:.3f} "
            f"first={self.first_seconds:.3f} again={again:.3f}"
        )
        return f"{head} {POISON if self.poison else self.text}"


def job_of(body: dict[str, Any]) -> str:
    """The job's id in a request to the engine; empty when the request is not one of ours."""
    found = _HEAD.search(str(body.get("messages", "")))
    return found["job"] if found else ""


class Answers:
    """Plays the model for all engines of one site and counts the runs of each job."""

    def __init__(self, chunk_seconds: float = 0.1) -> None:
        self._chunk_seconds = chunk_seconds
        self._runs: Counter[str] = Counter()
        self._lock = threading.Lock()

    def script(self, body: dict[str, Any], engine: str) -> Script:
        """The answer to this request."""
        found = _HEAD.search(str(body.get("messages", "")))
        if found is None:
            return Script()
        with self._lock:
            self._runs[found["job"]] += 1
            run = self._runs[found["job"]]
        seconds = float(found["seconds"] if run == 1 else found["again"])
        count = max(1, math.ceil(seconds / self._chunk_seconds))
        return Script(
            chunks=(f"{found['job']} run {run} at {engine}.", *(f" {n}" for n in range(1, count))),
            pause_seconds=seconds / count,
            first_seconds=float(found["first"]) if run == 1 else 0.0,
        )
