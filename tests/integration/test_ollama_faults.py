"""Each way in which Ollama can fail has an error of its own."""

from __future__ import annotations

import pytest

from local_llm_service import tasks
from local_llm_service.worker import errors
from local_llm_service.worker.embedded.processes.worker_process import WorkerProcess
from tests.doubles.ollama import FakeOllama, Script

SHARED_WORKER = {
    "MAX_ATTEMPTS": "2",
    "MODEL_WAIT_SECONDS": "60",
    "FIRST_TOKEN_SECONDS": "0.5",
    "NEXT_TOKEN_SECONDS": "0.5",
}


@pytest.mark.parametrize(
    ("script", "error"),
    [
        (Script(end="cut"), errors.CrashedTooOften),
        (Script(end="error"), errors.CrashedTooOften),
        (Script(end="error", error="something else"), errors.StreamBroken),
        (Script(end="silent"), errors.StreamBroken),
        (Script(status=503, error="server busy, please try again."), errors.OllamaBusy),
        (Script(status=500, error='tensor "blk.3" exceeds file size'), errors.ModelFailed),
        (Script(end="hang"), errors.EngineTimeout),
        (Script(first_seconds=30), errors.EngineTimeout),
        (Script(chunks=("x",) * 31, end="silent"), errors.InvalidOutput),
        (Script(done_reason="length", completion_tokens=3), errors.ContextOverflow),
    ],
)
def test_each_fault_of_ollama_has_its_own_error(
    shared_worker: WorkerProcess,
    shared_ollama: FakeOllama,
    script: Script,
    error: type[errors.ServiceError],
) -> None:
    """The error comes after as many tries as make sense: one when a retry cannot help.

    What dies each time is given up after three deaths (test_engine_death.py).
    """
    shared_ollama.respond = lambda _: Script()
    tasks.generate.delay("works", cache=False).get(timeout=30)  # closes the breaker of the model
    shared_ollama.respond = lambda _: script
    shared_ollama.seen.clear()
    with pytest.raises(error) as caught:
        tasks.generate.delay("hi", cache=False).get(timeout=20)
    assert caught.value.hint
    runs = {errors.CrashedTooOften: 3}.get(error, 2 if error.retryable else 1)
    assert len(shared_ollama.seen) == runs
