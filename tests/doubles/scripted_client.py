"""A service that outlives the batch that asks it: jobs by id, run once, with trouble on the way."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from local_llm_service import tasks
from local_llm_service.tasks.answer import Answer
from local_llm_service.worker.errors import (
    BrokerUnreachable,
    NotFound,
    QueueFull,
    ServiceError,
    StreamBroken,
)


def answer_of(kind: str, task_id: str, text: str, **fields: Any) -> Answer:
    """An answer of a kind whose result is a text."""
    its_class = getattr(tasks, kind).kind.answer
    counts: dict[str, Any] = {
        "generate": {},
        "summarize": {"original_tokens": 9, "summary_tokens": 2, "tokens_saved": 7},
    }[kind]
    answer: Answer = its_class.model_validate(
        {
            "task_id": task_id,
            "kind": kind,
            "model": "fake:1b",
            "origin": "computed",
            "finish_reason": "stop",
            "usage": {"prompt_tokens": 9, "completion_tokens": 2},
            "timings": {
                **dict.fromkeys(("queued_seconds", "load_seconds", "prompt_seconds"), 0.0),
                "generation_seconds": 0.0,
            },
            its_class.CONTENT: text,
            **counts,
            **fields,
        }
    )
    return answer


class ScriptedClient:
    """`submit` and `result` as AsyncClient has them.

    A prompt that begins with `fail` fails. `trouble` is the chance of each call to meet a full
    queue, a Redis that is away or has lost the job. `generated` counts the runs of each prompt.
    """

    def __init__(self, kind: str = "generate", seed: int = 0, trouble: float = 0.0) -> None:
        self.kind, self.trouble = kind, trouble
        self.chance = random.Random(seed)
        self.jobs: dict[str, Answer | ServiceError] = {}
        self.generated: Counter[str] = Counter()
        self.submitted: list[tuple[str, Mapping[str, Any]]] = []
        self.running = self.most_running = 0
        #: Set it to let answers wait.
        self.gate: asyncio.Event | None = None

    async def submit(self, kind: str, arguments: Mapping[str, Any], **options: Any) -> Any:
        """Run a job, or find the one of this id."""
        assert kind == self.kind
        await asyncio.sleep(0)
        if self.chance.random() < self.trouble:
            raise self.chance.choice([QueueFull("full"), BrokerUnreachable("away")])
        task_id = options.pop("task_id")
        self.submitted.append((task_id, {**arguments, **options}))
        prompt = str(arguments[tasks_text(kind)])
        if task_id not in self.jobs:
            self.generated[prompt] += 1
            self.jobs[task_id] = (
                StreamBroken("broken")
                if prompt.startswith("fail")
                else answer_of(kind, task_id, f"answer to {prompt}")
            )
        return _Job(self, task_id)

    async def clear(self, task_ids: Sequence[str]) -> None:
        """Forget jobs, as Redis does: the same id would run again."""
        for task_id in task_ids:
            del self.jobs[task_id]


def tasks_text(kind: str) -> str:
    """The argument that holds the text of a kind."""
    return {"generate": "prompt", "summarize": "context"}[kind]


class _Job:
    def __init__(self, client: ScriptedClient, task_id: str) -> None:
        self._client, self._task_id = client, task_id

    async def result(self, timeout_seconds: float | None = None) -> Answer:
        client = self._client
        client.running += 1
        client.most_running = max(client.most_running, client.running)
        try:
            for _ in range(client.chance.randrange(4)):
                await asyncio.sleep(0)
            if client.gate is not None:
                await client.gate.wait()
        finally:
            client.running -= 1
        if client.chance.random() < client.trouble:
            raise client.chance.choice([BrokerUnreachable("away"), NotFound("lost")])
        found = client.jobs[self._task_id]
        if isinstance(found, ServiceError):
            raise found
        return found
