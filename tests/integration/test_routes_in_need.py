"""Routes in need: a worker that is killed between two models, no budget, and an engine away."""

from __future__ import annotations

from pathlib import Path

from local_llm_service import tasks
from local_llm_service.producers import status
from local_llm_service.worker.store.states import JobState
from tests.conftest import wait_until
from tests.doubles.ollama import FakeOllama
from tests.doubles.openai_server import OpenAiServer, Reply
from tests.doubles.two_servers import LOCAL, REMOTE, TwoServers, engines_file
from tests.integration.conftest import StartWorker


def test_a_killed_worker_leaves_its_local_try_to_the_next_one(
    ollama: FakeOllama, start_worker: StartWorker, tmp_path: Path
) -> None:
    """So the same choice is made: the remote model is asked again, the local one is not."""
    with OpenAiServer(models=(REMOTE,)) as remote:
        house = TwoServers(ollama, remote)
        hangs = house.question("I'm sorry, but I can't help with that.", Reply((), end="hang"))
        settings = {"ENGINES_FILE": engines_file(tmp_path / "engines.json", ollama, remote)}
        settings |= {"REMOTE_BUDGET_USD": "unlimited", "LEASE_SECONDS": "3"}
        first = start_worker(**settings)
        job = tasks.generate.delay(hangs, model="auto")
        wait_until(lambda: house.asked(hangs) == (1, 1), "the remote model works")
        first.kill()
        remote.respond = lambda _: Reply(("Far away.",))
        start_worker(**settings)
        assert job.get(timeout=30)["route"]["reason"] == "local refused"
        assert house.asked(hangs) == (1, 2)


def test_a_budget_that_is_used_up_leaves_the_local_model(
    ollama: FakeOllama, start_worker: StartWorker, tmp_path: Path
) -> None:
    """The answer is marked, and nothing is sent."""
    with OpenAiServer(models=(REMOTE,)) as remote:
        servers = TwoServers(ollama, remote)
        path = engines_file(tmp_path / "engines.json", ollama, remote)
        start_worker(ENGINES_FILE=path, REMOTE_BUDGET_USD="0.000001/day")
        question = servers.question(long=True)
        answer = tasks.generate.delay(question, model="auto").get(timeout=30)
        assert answer["text"] == "At home."
        assert answer["route"] == {
            "chosen": LOCAL,
            "reason": "remote is over budget, so local",
            "tried": [{"model": REMOTE, "reason": "is over budget"}],
        }
        assert servers.asked(question) == (1, 0)


def test_a_local_engine_that_is_away_leaves_the_remote_model_to_those_who_may(
    ollama: FakeOllama, start_worker: StartWorker, tmp_path: Path
) -> None:
    """A job that has to stay waits for it, without a try."""
    with OpenAiServer(models=(REMOTE,)) as remote:
        servers = TwoServers(ollama, remote)
        path = engines_file(tmp_path / "engines.json", ollama, remote)
        start_worker(ENGINES_FILE=path, REMOTE_BUDGET_USD="unlimited", MODEL_WAIT_SECONDS="3600")
        ollama.stop()
        free, kept = servers.question(), servers.question()
        stays = tasks.generate.delay(kept, model="auto", keep_local=True)
        answer = tasks.generate.delay(free, model="auto").get(timeout=30)
        assert (answer["text"], answer["route"]["reason"]) == ("Far away.", "local is away")
        # The worker serves the route, by its other engine: without a pause it would go round.
        wait_until(lambda: status(stays.id) is JobState.DEFERRED, "the job pauses")
        ollama.start()
        assert stays.get(timeout=30)["text"] == "At home."
        assert servers.asked(kept) == (1, 0)
