"""A tour of the service in ten short tests. Read it from top to bottom.

Only public names are used, those that a backend would import. `model` is a scripted Ollama:
`model.respond` decides what it answers and `model.seen` holds what it was asked.
"""

from __future__ import annotations

from typing import Any

import pytest
from celery import chain, chord

from local_llm_service import (
    Client,
    compress,
    extract_parameters,
    generate,
    structured_output,
    summarize,
)
from local_llm_service.producers import health, models, queues, stats, status
from local_llm_service.worker.errors import (
    Cancelled,
    DeadlineExceeded,
    InvalidRequest,
    ModelMissing,
)
from tests.conftest import wait_until
from tests.doubles.ollama import FakeOllama, Script
from tests.tour.conftest import Workers


def test_a_call_returns_at_once_and_its_answer_is_read_later(model: FakeOllama) -> None:
    """Each kind of job is a Celery task: `.delay()` queues it, `.get()` waits for its answer.

    Every answer says who gave it and what it cost, and holds its content in its kind's own field.
    """
    model.respond = lambda body: Script(chunks=('{"n":', " 4}") if "format" in body else ("Hi.",))
    job = generate.delay("Say hi.")
    answer = job.get(timeout=20)
    assert answer["text"] == "Hi."
    assert (answer["task_id"], answer["model"]) == (job.id, "fake:1b")
    assert answer["usage"] == {"prompt_tokens": 11, "completion_tokens": 1}

    talk = [{"role": "user", "content": "A table, please. " * 120}]
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}}
    assert summarize.delay("They want a table. " * 40).get(timeout=20)["summary"] == "Hi."
    assert compress.delay(talk).get(timeout=20)["messages"][-1]["content"].endswith("Hi.")
    function = {"name": "book", "parameters": schema}
    assert extract_parameters.delay("For 4", function).get(timeout=20)["parameters"] == {"n": 4}
    assert structured_output.delay("For 4", schema).get(timeout=20)["data"] == {"n": 4}


def test_a_wrong_argument_is_refused_where_the_call_is_made(model: FakeOllama) -> None:
    """The error names the argument and its limit, and nothing is queued."""
    with pytest.raises(InvalidRequest, match="max_tokens"):
        generate.delay("Say hello.", max_tokens=0)
    with pytest.raises(InvalidRequest, match="max_token: "):
        generate.delay("Say hello.", max_token=10)
    assert model.seen == []


def test_an_urgent_job_goes_first(model: FakeOllama) -> None:
    """There are three queues; a free slot takes the most urgent job of all that wait."""
    model.respond = lambda body: Script(first_seconds=1.0 if "busy" in str(body) else 0.0)
    running = generate.delay("keeps the slot busy")
    wait_until(lambda: len(model.seen) == 1, "the first job runs")
    jobs = [generate.delay(word, priority=word) for word in ("low", "normal", "high")]
    for job in [running, *jobs]:
        job.get(timeout=20)
    assert prompts(model)[1:] == ["high", "normal", "low"]


def test_what_is_asked_twice_runs_once(model: FakeOllama) -> None:
    """A call that asks what is being answered joins it; one that comes later hits the cache."""
    model.respond = lambda _: Script(first_seconds=0.5)
    first, second = generate.delay("Why is the sky blue?"), generate.delay("Why is the sky blue?")
    assert first.get(timeout=20)["origin"] == "computed"
    assert second.get(timeout=20)["origin"] == "joined"
    assert generate.delay("Why is the sky blue?").get(timeout=20)["origin"] == "cached"
    assert len(model.seen) == 1
    again = generate.delay("Why is the sky blue?", cache=False)
    assert again.get(timeout=20)["origin"] == "computed", "unless the caller wants it to run"


def test_a_job_can_be_cancelled_even_while_it_runs(model: FakeOllama) -> None:
    """Its caller is told, the model stops at once, and the slot is free for the next job.

    `Client` makes the same jobs for those who like types. Who holds only the id of a job uses
    `producers.cancel(task_id)`.
    """
    model.respond = lambda _: Script(chunks=("word ",) * 600, pause_seconds=0.1)
    job = Client().generate("Tell me a very long story.", max_tokens=1000)
    wait_until(lambda: model.seen, "the job runs")
    assert job.status() == "running"
    job.cancel()
    with pytest.raises(Cancelled):
        job.result(timeout_seconds=20)
    wait_until(lambda: model.seen[0].closed_at, "the stream to the model is closed")


def test_a_job_that_is_too_late_ends_at_its_deadline(model: FakeOllama) -> None:
    """The deadline counts from the call, whether the job waits or runs."""
    model.respond = lambda _: Script(first_seconds=60)
    job = generate.delay("Is it urgent?", deadline_seconds=0.5)
    with pytest.raises(DeadlineExceeded):
        job.get(timeout=20)


def test_a_failure_has_a_code_for_programs_and_a_hint_for_people(model: FakeOllama) -> None:
    """`retryable` tells whether the same call may succeed later; the service has tried then."""
    job = generate.delay("Say hello.", model="unknown:7b")
    with pytest.raises(ModelMissing) as failure:
        job.get(timeout=20)
    assert failure.value.code == "model_missing"
    assert failure.value.hint.startswith("Run `ollama pull unknown:7b`")
    assert not failure.value.retryable


def test_answers_flow_through_celerys_canvas(model: FakeOllama) -> None:
    """The next step of a chain gets the text of the answer before it, a chord's body gets all."""
    model.respond = lambda body: Script(chunks=(f"Seen: {body['messages'][-1]['content']}",))
    chain(generate.s("a poem"), generate.s()).apply_async().get(timeout=20)
    assert prompts(model)[-1] == "Seen: a poem"

    chord([generate.s("one"), generate.s("two")], generate.s()).apply_async().get(timeout=20)
    assert prompts(model)[-1] == "Seen: one\n\nSeen: two"


def test_the_service_can_be_looked_at(model: FakeOllama) -> None:
    """All of it is read from Redis: no worker has to answer."""
    before = stats()
    job = generate.delay("Count this.")
    job.get(timeout=20)
    assert status(job.id) == "succeeded"
    assert status("an id that nobody knows") == "unknown"
    assert health()["status"] == "healthy"
    assert [found["name"] for found in models()] == ["fake:1b"]
    assert queues() == [
        {"name": f"llm.{word}", "waiting": 0, "unfinished": 0, "bytes": 0}
        for word in ("high", "normal", "low")
    ]
    assert stats()["misses"] == before["misses"] + 1, "and nothing but this job ran"


def test_a_worker_that_dies_loses_no_job(model: FakeOllama, workers: Workers) -> None:
    """When it has not renewed its lease for LEASE_SECONDS, another worker takes the job over."""
    model.respond = lambda _: Script(first_seconds=60)
    job = generate.delay("Are you still there?")
    wait_until(lambda: model.seen, "the job runs")
    workers.kill()
    model.respond = lambda _: Script(chunks=("Yes.",))
    workers.start()
    assert job.get(timeout=30)["text"] == "Yes."
    assert len(model.seen) == 2, "it ran again, and one answer was stored"


def prompts(model: FakeOllama) -> list[Any]:
    """What the model was asked, in order: the last message of each request."""
    return [seen.body["messages"][-1]["content"] for seen in model.seen]
