"""A caller that waits in short steps, as the command line does, is told the truth each time."""

from __future__ import annotations

import pytest

from local_llm_service.producers import Client
from local_llm_service.worker.embedded.processes.worker_process import WorkerProcess
from tests.doubles.ollama import FakeOllama, Script


def test_short_waits_for_one_job_end_in_a_timeout_or_the_answer(
    worker: WorkerProcess, ollama: FakeOllama
) -> None:
    """The second wait found its job subscribed to already, and called Redis unreachable."""
    ollama.respond = lambda _: Script(chunks=("a",) * 20, pause_seconds=0.1)
    job = Client().generate("slow")
    for _ in range(4):
        with pytest.raises(TimeoutError):
            job.result(0.1)
    assert job.result(20).text == "a" * 20
