"""The questions of a schedule, and the facts about each job that need no look at the service."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from local_llm_service import tasks
from local_llm_service.producers import Client, cancel
from local_llm_service.tasks.steps.protocol import Steps
from local_llm_service.worker.store import keys
from local_llm_service.worker.store.store import process_store
from tests.doubles.pieces import prompt_of, summary_of
from tests.schedules.actors import here

#: The questions: kind, prompt, scope. Most of them are the same.
QUESTIONS = (
    ("generate", "prompt a", None),
    ("generate", "prompt a", None),
    ("generate", "prompt a", None),
    ("generate", "prompt b", None),
    ("generate", "prompt a", "tenant"),
    ("summarize", "prompt a", None),
    ("summarize", "prompt c", None),
)
#: Those whose text is to be read while it is written.
STREAMED = (1, 3, 6)
#: A summary of this one is made in two steps; all other jobs have one.
STEPWISE = "prompt c"
#: The ways to ask: a priority ("low" by a client); "alone" is cache=False; "chain" is a job that a
#: job "next" follows.
WAYS = ("high", "high", "low", "normal", "alone", "chain")


@dataclass
class Job:
    """One job. Its answer may come from the model's version `oldest_digest` or a later one."""

    id: str
    kind: str
    prompt: str
    scope: str | None
    way: str
    oldest_digest: int
    streamed: bool = False
    asked: bool = False  # a caller has its handle
    cancelled: bool = False  # a caller has begun to cancel it
    cancel_returned: str = ""
    noted: bool = False  # a webhook is told of its end
    late: bool = False  # its deadline has passed
    new: bool = False  # the service made up its id in the call

    @property
    def steps(self) -> int:
        """How often it asks its model."""
        return 2 if self.kind == "summarize" and self.prompt == STEPWISE else 1

    @property
    def shares(self) -> bool:
        """Whether the job may get another job's answer."""
        return self.way != "alone"

    def is_like(self, other: Job) -> bool:
        """Whether both jobs ask the same question."""
        mine, its = ((one.kind, one.prompt, one.scope) for one in (self, other))
        return mine == its

    def ask(self, *, first: bool = False) -> None:
        """Submit the job, in the caller's thread. The first time the service makes up the id."""
        actor = here()
        assert actor is not None
        actor.new_id = self.id
        self.new = self.new or (first and self.way != "chain")
        kwargs: dict[str, Any] = {"prompt" if self.kind == "generate" else "context": self.prompt}
        kwargs |= {"cache": self.shares, "cache_scope": self.scope, "stream": self.streamed}
        kwargs["priority"] = self.way if self.way in keys.PRIORITIES else "normal"
        task = getattr(tasks, self.kind)
        if self.way == "chain":
            head = task.s(**kwargs).set(task_id=self.id)
            (head | tasks.summarize.s().set(task_id=f"{self.id}-next")).apply_async()
        elif self.way == "low":
            Client().submit(self.kind, kwargs, task_id=None if first else self.id)
        else:
            task.apply_async((), kwargs, task_id=None if first else self.id)
        self.asked = True

    def cancel(self) -> None:
        """Cancel the job, in the caller's thread."""
        self.cancel_returned = str(cancel(self.id))

    def note(self) -> None:
        """Have a webhook told of the job's end, in the caller's thread."""
        store = process_store()
        noting = store.webhooks.note_webhook(self.id, "job", "host", "http://host/")
        self.noted = store.drive(noting) or self.noted


def summarized(request: Any, ask: Steps) -> Mapping[str, object]:
    """A summary in one step, whatever the text's length; of STEPWISE in two."""
    if STEPWISE in request.context:
        ask(prompt_of(f"Read {STEPWISE}."))
    return summary_of(ask(prompt_of(request.context)).text)


def new_jobs(number: int, what: int, how: int, digest: int) -> list[Job]:
    """Make one job, and in a chain the job that follows it."""
    question = what % len(QUESTIONS)
    kind, prompt, scope = QUESTIONS[question]
    way, streamed = WAYS[how % len(WAYS)], question in STREAMED
    job = Job(f"j{number}", kind, prompt, scope, way, digest, streamed)
    if job.way != "chain":
        return [job]
    return [job, Job(f"{job.id}-next", "summarize", prompt, None, "next", digest)]
