"""A route whose worker is killed between its two models: the next one makes the same choice."""

from __future__ import annotations

from pathlib import Path

from local_llm_service import tasks
from tests.conftest import wait_until
from tests.doubles.ollama import FakeOllama
from tests.doubles.openai_server import OpenAiServer, Reply
from tests.doubles.two_servers import REMOTE, TwoServers, engines_file
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
