"""What is kept of OpenAI's responses beside their jobs, as calls (calls.py).

The facts of a request; and which of a job's texts have been told, so that any process goes on after
any piece of one.
"""

from __future__ import annotations

from local_llm_service.worker.store.calls import Calls, Command, Script
from local_llm_service.worker.store.keys import Keys


def keep_response(keys: Keys, task_id: str, facts: str, seconds: int) -> Calls[None]:
    """Keep the facts (JSON) of a response for so long."""
    yield Command(("SET", f"{keys.response}{task_id}", facts, "EX", seconds))


def response(keys: Keys, task_id: str) -> Calls[str | None]:
    """The facts of a response; None where nothing is kept."""
    facts: str | None = yield Command(("GET", f"{keys.response}{task_id}"))
    return facts


def drop_response(keys: Keys, task_id: str) -> Calls[None]:
    """Keep nothing of a response any more."""
    names = f"{keys.response}{task_id}", f"{keys.response_texts}{task_id}"
    yield Command(("UNLINK", *names))


def keep_result(keys: Keys, task_id: str, seconds: int) -> Calls[None]:
    """Let the result of a job live for so long: one from the cache lives HIT_RESULT_TTL."""
    yield Command(("EXPIRE", keys.result(task_id), seconds))


def number_text(task_id: str, run: str) -> Calls[int]:
    """Which of the texts of a response that were told comes from this run: 0 for the first one."""
    return int((yield Script("number_text", [task_id, run])))


def told_run(keys: Keys, task_id: str, number: int) -> Calls[str | None]:
    """The run of a text by its number; None where no such text was told."""
    told: dict[str, str] = yield Command(("HGETALL", f"{keys.response_texts}{task_id}"))
    return next((run for run, one in told.items() if int(one) == number), None)
