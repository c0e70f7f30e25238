"""What is asked in a schedule, and what is known of each job without asking the service."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from local_llm_service import tasks
from local_llm_service.producers import cancel
from local_llm_service.worker.store import keys
from tests.schedules.actors import here

#: What is asked: kind, prompt, scope. Most of it is the same.
QUESTIONS = (
    ("generate", "prompt a", None),
    ("generate", "prompt a", None),
    ("generate", "prompt a", None),
    ("generate", "prompt b", None),
    ("generate", "prompt a", "tenant"),
    ("summarize", "prompt a", None),
)
#: How: priority; "alone" is cache=False, "chain" a job that another one, "next", follows.
WAYS = ("high", "high", "low", "normal", "alone", "chain")


@dataclass
class Job:
    """One job. `oldest_digest`: its answer may come from this version of the model, or a later."""

    id: str
    kind: str
    prompt: str
    scope: str | None
    way: str
    oldest_digest: int
    asked: bool = False  # some caller has its handle
    cancelled: bool = False  # some caller has begun to cancel it
    cancel_returned: str = ""
    late: bool = False  # its deadline has passed
    new: bool = False  # its id was made up in a call

    @property
    def shares(self) -> bool:
        """Whether it may have the answer of another."""
        return self.way != "alone"

    def is_like(self, other: Job) -> bool:
        """Whether the same is asked."""
        mine, its = ((one.kind, one.prompt, one.scope) for one in (self, other))
        return mine == its

    def ask(self, *, first: bool = False) -> None:
        """What a caller does, in its own thread. The first time the service makes up the id."""
        actor = here()
        assert actor is not None
        actor.new_id = self.id
        self.new = self.new or (first and self.way != "chain")
        kwargs: dict[str, Any] = {"prompt" if self.kind == "generate" else "context": self.prompt}
        kwargs |= {"cache": self.shares, "cache_scope": self.scope}
        kwargs["priority"] = self.way if self.way in keys.PRIORITIES else "normal"
        task = getattr(tasks, self.kind)
        if self.way == "chain":
            head = task.s(**kwargs).set(task_id=self.id)
            (head | tasks.summarize.s().set(task_id=f"{self.id}-next")).apply_async()
        else:
            task.apply_async((), kwargs, task_id=None if first else self.id)
        self.asked = True

    def cancel(self) -> None:
        """What a caller does, in its own thread."""
        self.cancel_returned = str(cancel(self.id))


def new_jobs(number: int, what: int, how: int, digest: int) -> list[Job]:
    """One job, and the one that follows it in a chain."""
    kind, prompt, scope = QUESTIONS[what % len(QUESTIONS)]
    job = Job(f"j{number}", kind, prompt, scope, WAYS[how % len(WAYS)], digest)
    if job.way != "chain":
        return [job]
    return [job, Job(f"{job.id}-next", "summarize", prompt, None, "next", digest)]
