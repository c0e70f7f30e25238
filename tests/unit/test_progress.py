"""How far a job is: what its record says, and all that show it."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from celery import states
from click.testing import CliRunner

from local_llm_service import AsyncClient, Client, tasks
from local_llm_service.producers import progress, status
from local_llm_service.producers.cli import cli
from local_llm_service.testing import LocalLLM
from local_llm_service.worker.app import app
from local_llm_service.worker.store.progress import Progress, noted_steps
from local_llm_service.worker.store.states import JobRecord, JobState
from local_llm_service.worker.store.store import process_store
from tests.conftest import wait_until

READING = Progress(3, 12, "reading")


NOTED = {"done": "3", "total": "12", "phase": "reading"}


def note(task_id: str) -> None:
    """Write into the record of a job as its work does."""
    store = process_store()
    store.scripts.client.hset(store.keys.job(task_id), mapping={**NOTED})


def shown(*words: str) -> str:
    """What a command prints."""
    return CliRunner().invoke(cli, words).output.strip()


@pytest.mark.parametrize(
    "other",
    [
        *({"done": None}, {"total": None}, {"phase": None}, {"done": ""}, {"phase": ""}),
        *({"done": "-1"}, {"done": "3.5"}, {"done": "٣"}, {"done": "9" * 5000}, {"total": "x"}),
        *({"phase": "Reading"}, {"phase": "reading\n"}, {"phase": "a" * 5000}, {"phase": "a b"}),
    ],
)
def test_what_another_version_notes_is_one_step(other: dict[str, str | None]) -> None:
    """Nothing raises for it, in any state."""
    assert noted_steps({**NOTED, **other}) is None
    for state in JobState:
        done = int(state is JobState.SUCCEEDED)
        assert Progress.of(state, {**NOTED, **other}) == Progress(done, 1, state)
    noted = {name: text for name, text in {**NOTED, **other}.items() if text is not None}
    assert JobRecord.of({"state": "running", **noted})


def test_steps_that_are_done_stay_done() -> None:
    """In whatever state the job is; an answer has all of them."""
    assert Progress.of(JobState.RUNNING, NOTED) == READING
    for state in set(JobState) - {JobState.RUNNING, JobState.SUCCEEDED}:
        assert Progress.of(state, NOTED) == Progress(3, 12, state)
    assert Progress.of(JobState.SUCCEEDED, NOTED) == Progress(12, 12, "succeeded")
    assert Progress.of(JobState.RUNNING, {**NOTED, "total": "0"}) == Progress(3, 3, "reading")


def test_a_job_of_several_steps_says_how_far_it_is(local_llm: LocalLLM) -> None:
    """To Celery, to both clients and on the command line."""
    with local_llm.held():
        result = tasks.generate.delay("A text.")
        local_llm.wait_until_asked()
        assert (result.state, result.info) == ("STARTED", None)
        assert shown("status", result.id) == "running"
        note(result.id)
        steps = {"done": 3, "total": 12, "phase": "reading"}
        for seen in (result, app.AsyncResult(result.id)):
            assert (seen.state, seen.info, seen.result) == ("PROGRESS", steps, steps)
            assert (seen.ready(), seen.successful(), seen.failed()) == (False, False, False)
        assert Client().job(result.id).progress() == progress(result.id) == READING
        assert asyncio.run(_asked(result.id)) == READING
        assert shown("status", result.id) == "running: reading, 3 of 12 steps"
        as_json = {"task_id": result.id, "status": "running", "progress": steps}
        assert json.loads(shown("status", result.id, "--json")) == as_json
    answer = result.get(timeout=5)
    assert (result.state, result.info) == ("SUCCESS", answer)
    assert progress(result.id) == Progress(12, 12, "succeeded")
    assert shown("status", result.id) == "succeeded, 12 of 12 steps"


async def _asked(task_id: str) -> Progress:
    async with AsyncClient() as client:
        return await client.job(task_id).progress()


def test_a_job_that_waits_again_keeps_its_steps(local_llm: LocalLLM) -> None:
    """For Celery it is still in progress, not pending: what is done is not done again."""
    with local_llm.held():
        tasks.generate.delay("It has the slot.", cache=False)
        local_llm.wait_until_asked()
        waiting = tasks.generate.delay("It waits.")
        assert (waiting.state, waiting.info) == (states.PENDING, None)
        note(waiting.id)
        steps = {"done": 3, "total": 12, "phase": "queued"}
        assert (waiting.state, waiting.info) == ("PROGRESS", steps)
        assert shown("status", waiting.id) == "queued, 3 of 12 steps"
        waiting.revoke()
        assert progress(waiting.id) == Progress(3, 12, "cancelled")


@pytest.mark.local_llm(slots=2)
def test_a_follower_is_as_far_as_the_job_whose_answer_it_gets(local_llm: LocalLLM) -> None:
    with local_llm.held():
        leader = tasks.generate.delay("A text.")
        local_llm.wait_until_asked()
        follower = tasks.generate.delay("A text.", priority="low")
        wait_until(lambda: status(follower.id) is JobState.JOINED, "it joins")
        note(leader.id)
        assert progress(follower.id) == Progress(3, 12, "joined")
        assert follower.state == "PROGRESS"
    assert follower.get(timeout=5)["origin"] == "joined"


def test_a_result_between_two_looks_is_found(
    local_llm: LocalLLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job that has ended meanwhile is not pending again."""
    result = tasks.generate.delay("Hello?")
    result.get(timeout=5)
    late = app.AsyncResult(result.id)
    real, looks = late.backend.get_task_meta, iter((True, False))

    def misses_it_once(task_id: str, **_: Any) -> dict[str, Any]:
        return {"status": "PENDING", "result": None} if next(looks) else real(task_id)

    monkeypatch.setattr(late.backend, "get_task_meta", misses_it_once)
    assert late.state == states.SUCCESS
