"""A job that kills its Ollama: its neighbours are answered, and it alone is given up, soon."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from celery.result import AsyncResult

from local_llm_service import tasks
from local_llm_service.producers.service import status
from local_llm_service.worker import errors
from local_llm_service.worker.embedded.processes.worker_process import WorkerProcess
from local_llm_service.worker.store.keys import Keys
from local_llm_service.worker.store.states import JobState
from tests.conftest import wait_until
from tests.doubles.dying_ollama import Death, DyingOllama
from tests.doubles.ollama import Script

KEYS = Keys()
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
ANSWER = Script(chunks=('{"a":', ' "b"}'))

#: Deaths open the breaker of the model for seconds: its jobs are not to be given up meanwhile.
PATIENT = {"MODEL_WAIT_SECONDS": "60"}

Start = Callable[..., WorkerProcess]


@pytest.fixture
def ollama() -> Iterator[DyingOllama]:
    """A scripted Ollama that can die."""
    with DyingOllama() as server:
        yield server


def said(body: dict[str, Any]) -> str:
    """What the caller asked."""
    return str(body["messages"][-1]["content"])


def started(ollama: DyingOllama, prompt: str) -> list[dict[str, Any]]:
    """The requests for a prompt."""
    return [seen.body for seen in ollama.seen if prompt in said(seen.body)]


def ask(prompt: str, **options: Any) -> AsyncResult:
    """Submit a job with a schema."""
    return tasks.structured_output.delay(prompt, SCHEMA, **options)


def play(ollama: DyingOllama, kills: str, *, also_without: bool = False) -> None:
    """Let "culprit" kill: with its grammar, or `also_without`.

    At first neighbours are slow: those with an even number are in prompt evaluation when the engine
    dies, the others are being answered.
    """

    def respond(body: dict[str, Any]) -> Script:
        if "culprit" not in said(body):
            deaths = ollama.runner_deaths + ollama.serve_deaths
            if deaths or "neighbour" not in said(body):
                return Script(ANSWER.chunks, first_seconds=0.05)
            midway = said(body).endswith("1")
            return Script(ANSWER.chunks, first_seconds=0 if midway else 30, pause_seconds=10)
        if "format" in body or also_without:
            return Death(kills=kills, first_seconds=0.3)
        return ANSWER

    ollama.respond = respond


@pytest.mark.parametrize("kills", ["runner", "serve"])
def test_the_culprit_loses_its_grammar_and_nobody_else_is_charged(
    start_worker: Start, ollama: DyingOllama, redis_client: redis.Redis, kills: str
) -> None:
    """Two deaths: one beside its neighbours, one alone. Then it is asked without its grammar."""
    play(ollama, kills)
    beside: list[list[str]] = []
    ollama.on_death = lambda bodies: beside.append([said(body) for body in bodies])
    neighbours = [ask(f"neighbour {number}") for number in range(3)]
    start_worker(**PATIENT, CONCURRENCY="4", MAX_ATTEMPTS="1")
    wait_until(lambda: len(ollama.seen) == 3, "the neighbours run")
    culprit = ask("culprit")
    assert culprit.get(timeout=60)["data"] == {"a": "b"}
    assert [one.get(timeout=30)["data"] for one in neighbours] == [{"a": "b"}] * 3
    assert ["format" in body for body in started(ollama, "culprit")] == [True, True, False]
    assert (ollama.runner_deaths, ollama.serve_deaths) == ((2, 0) if kills == "runner" else (0, 2))
    assert len(beside[0]) == 4  # all died once
    assert len(beside[1]) == 1  # and the culprit died alone
    for one in neighbours:
        record = redis_client.hgetall(KEYS.job(one.id))
        assert record["engine_deaths"] == "1"  # never charged
        assert "attempts" not in record


@pytest.mark.parametrize("kills", ["runner", "serve"])
def test_a_culprit_without_a_grammar_is_given_up_and_small_jobs_are_not_held_up(
    start_worker: Start, ollama: DyingOllama, redis_client: redis.Redis, kills: str
) -> None:
    """It fails as crashed_too_often after three starts, with its twins, and is a dead letter."""
    play(ollama, kills, also_without=True)
    neighbour = ask("neighbour")
    start_worker(**PATIENT, CONCURRENCY="4")
    wait_until(lambda: len(ollama.seen) == 1, "the neighbour runs")
    culprits = [ask("culprit") for _ in range(3)]
    small = [ask(f"small {number}") for number in range(5)]
    for one in culprits:
        with pytest.raises(errors.CrashedTooOften, match="Ollama died 3 times") as caught:
            one.get(timeout=60)
        assert "ollama serve" in caught.value.hint
    assert [one.get(timeout=30)["data"] for one in (*small, neighbour)] == [{"a": "b"}] * 6
    assert len(started(ollama, "culprit")) == 3
    assert ollama.runner_deaths + ollama.serve_deaths == 3
    letters = redis_client.zrange(KEYS.dead_letters, 0, -1)
    assert len(letters) == 1
    assert letters[0] in {one.id for one in culprits}


def test_a_job_without_a_schema_that_kills_is_given_up_too(
    start_worker: Start, ollama: DyingOllama
) -> None:
    """A prompt can kill a runner as well: out of memory, for example."""
    ollama.respond = lambda _: Death()
    start_worker(**PATIENT, CONCURRENCY="1", MAX_CRASHES="1")
    with pytest.raises(errors.CrashedTooOften):
        tasks.generate.delay("culprit").get(timeout=60)
    assert len(ollama.seen) == 3  # whatever MAX_CRASHES says: the first death charges nobody


def test_a_restart_of_ollama_fails_no_job_and_counts_once(
    start_worker: Start, ollama: DyingOllama, redis_client: redis.Redis
) -> None:
    """By hand, in the middle of four answers, for two seconds: one outage, and no try is lost."""
    ollama.respond = lambda _: Script(("Hel", "lo"), first_seconds=0.1, pause_seconds=20)
    results = [tasks.generate.delay(f"job {number}") for number in range(4)]
    start_worker(**PATIENT, CONCURRENCY="4", MAX_ATTEMPTS="1")
    wait_until(lambda: len(ollama.seen) == 4, "all run")
    ollama.stop()
    ollama.respond = lambda _: Script(("Hel", "lo"), first_seconds=0.1)
    wait_until(
        lambda: [status(one.id) for one in results] == [JobState.QUEUED] * 4, "all are put back"
    )
    ollama.start()
    assert [one.get(timeout=60)["text"] for one in results] == ["Hello"] * 4
    counts = [redis_client.hget(KEYS.job(one.id), "engine_deaths") for one in results]
    assert counts == ["1"] * 4


def test_a_suspect_runs_with_nothing_beside_it_and_others_run_between_suspects(
    start_worker: Start, ollama: DyingOllama
) -> None:
    """The worker empties itself for each, and takes as many others as it has slots after it."""
    ollama.respond = lambda body: (
        Death(first_seconds=0.5) if "suspect 0" in said(body) else Script(first_seconds=30)
    )
    suspects = [tasks.generate.delay(f"suspect {number}") for number in (1, 2, 0)]
    together: list[list[str]] = []

    def respond(body: dict[str, Any]) -> Script:
        open_now = [one for one in ollama.seen if not one.finished and one.closed_at is None]
        together.append([said(one.body) for one in open_now])
        return Script(first_seconds=0.1)

    def died(_: object) -> None:
        ollama.seen.clear()
        ollama.respond = respond

    ollama.on_death = died
    start_worker(**PATIENT, CONCURRENCY="3")
    wait_until(lambda: ollama.runner_deaths == 1, "the runner died under three")
    others = [tasks.generate.delay(f"other {number}") for number in range(12)]
    for one in (*suspects, *others):
        assert one.get(timeout=60)["text"] == "Hello."
    alone = [now for now in together if any("suspect" in prompt for prompt in now)]
    assert [len(now) for now in alone] == [1, 1, 1]
    order = [now[-1].split()[0] for now in together]
    runs = "".join("S" if word == "suspect" else "o" for word in order)
    assert "SS" not in runs  # the others are not held up by a row of suspects
    assert "oooooo" not in runs.split("S", 1)[1].rsplit("S", 1)[0]  # nor suspects by the others


def test_a_death_reaches_the_log_without_a_word_of_the_job(
    start_worker: Start, ollama: DyingOllama
) -> None:
    """An operator sees which job it was, and that it runs again alone."""
    play(ollama, "runner")
    worker = start_worker(**PATIENT, CONCURRENCY="2")
    result = ask("culprit zanzibar")
    assert result.get(timeout=60)["data"] == {"a": "b"}
    log = worker.log_path.read_text()
    assert f"job {result.id}: Ollama's runner for 'fake:1b' died; it runs again alone" in log
    assert "zanzibar" not in log
