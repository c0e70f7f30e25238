"""Every fault reaches the caller in time, as a typed error of its own with a hint."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from local_llm_service import tasks
from local_llm_service.testing import LocalLLM
from local_llm_service.worker import errors
from local_llm_service.worker.embedded.processes.worker_process import WorkerProcess
from tests.conftest import wait_until
from tests.doubles.ollama import FakeOllama, Script
from tests.integration.conftest import StartWorker


def test_ollama_killed_in_the_middle_and_not_started_again_ends_at_the_deadline(
    start_worker: StartWorker, ollama: FakeOllama
) -> None:
    """An outage uses up no try; the job's deadline ends it, and the error gives the reason."""
    ollama.respond = lambda _: Script(chunks=("a",) * 1000, pause_seconds=0.05)
    start_worker(MAX_ATTEMPTS="1")
    result = tasks.generate.delay("hi", deadline_seconds=4)
    wait_until(lambda: ollama.seen, "the generation runs")
    ollama.stop()
    try:
        with pytest.raises(errors.DeadlineExceeded, match="Ollama was unreachable") as caught:
            result.get(timeout=30)
    finally:
        ollama.start()
    assert "ollama serve" in caught.value.hint


def test_the_caller_does_not_see_a_passing_error(
    start_worker: StartWorker, ollama: FakeOllama
) -> None:
    """A broken stream, a busy server, then an answer: the third try counts."""
    scripts = iter([Script(end="cut"), Script(status=503, error="server busy"), Script()])
    ollama.respond = lambda _: next(scripts)
    start_worker(MAX_ATTEMPTS="3")
    assert tasks.generate.delay("hi").get(timeout=20)["text"] == "Hello."
    assert len(ollama.seen) == 3


def test_the_error_for_a_missing_model_names_the_installed_ones(worker: WorkerProcess) -> None:
    """The hint names the command to run."""
    with pytest.raises(errors.ModelMissing) as caught:
        tasks.generate.delay("hi", model="phi3:mini").get(timeout=20)
    assert "ollama pull phi3:mini" in caught.value.hint
    assert "fake:1b" in caught.value.hint


def test_a_prompt_past_the_context_is_an_error_with_its_size(
    worker: WorkerProcess, ollama: FakeOllama
) -> None:
    """Ollama's nested error becomes ContextOverflow with both numbers."""
    inner = {
        "error": {
            "code": 400,
            "message": "request (1219 tokens) exceeds the available context size (256 tokens)",
            "type": "exceed_context_size_error",
            "n_prompt_tokens": 1219,
            "n_ctx": 256,
        }
    }
    ollama.respond = lambda _: Script(status=400, error=json.dumps(inner))
    with pytest.raises(errors.ContextOverflow, match="1219 tokens, room for 256"):
        tasks.generate.delay("long").get(timeout=20)


@pytest.mark.local_llm(redis="embedded")
def test_json_that_breaks_the_schema_is_refused(local_llm: LocalLLM) -> None:
    """InvalidOutput names the keyword and quotes none of the text."""
    local_llm.reply_json({"n": "secret"}, times=3)  # it is asked twice again
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}}
    with pytest.raises(errors.InvalidOutput, match="breaks the schema's 'type'") as caught:
        tasks.structured_output.delay("x", schema).get(timeout=20)
    assert "secret" not in repr(caught.value.args)


def test_a_summary_cut_at_its_budget_is_whole_sentences_and_says_so(
    worker: WorkerProcess, ollama: FakeOllama
) -> None:
    """`finish_reason` is "length"; without one whole sentence the job fails."""
    ollama.respond = lambda _: Script(
        chunks=("It rained. It was", " wet and"), done_reason="length", completion_tokens=8
    )
    answer = tasks.summarize.delay("x " * 60, max_summary_tokens=8).get(timeout=20)
    assert (answer["summary"], answer["finish_reason"]) == ("It rained.", "length")
    ollama.respond = lambda _: Script(
        chunks=("It was wet",), done_reason="length", completion_tokens=8
    )
    with pytest.raises(errors.InvalidOutput, match="no whole sentence within 8 tokens"):
        tasks.summarize.delay("x " * 60, max_summary_tokens=8).get(timeout=20)


# --- Redis, at the caller -----------------------------------------------------------------------

PRODUCER = """
import json, time, sys
from local_llm_service.tasks import generate
from local_llm_service.worker.errors import ServiceError
begin = time.monotonic()
try:
    generate.delay("hi")
except ServiceError as error:
    print(json.dumps([error.code, str(error), error.hint, time.monotonic() - begin]))
"""


@pytest.fixture
def black_hole() -> Iterator[int]:
    """A port where the kernel accepts connections and no process ever answers."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(64)
        yield listening.getsockname()[1]


@pytest.fixture
def full_backlog() -> Iterator[int]:
    """A port with a full backlog: it drops further SYNs, as a firewall does."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(listening.getsockname())
        yield listening.getsockname()[1]
        for filler in fillers:
            filler.close()


@pytest.mark.parametrize("kind", ["refused", "black_hole", "full_backlog"])
def test_a_redis_that_cannot_be_reached_is_an_error_and_not_a_hang(
    run_python: Any, request: pytest.FixtureRequest, kind: str
) -> None:
    """BrokerUnreachable gives the address and the fix; the caller is told within 5 s.

    The bound in this test is the process's timeout, with room for a busy machine; `make bench`
    prints the time that `.delay()` takes.
    """
    port = 1 if kind == "refused" else request.getfixturevalue(kind)
    url = f"redis://:secret@127.0.0.1:{port}/0"
    done = run_python("-c", PRODUCER, REDIS_URL=url, timeout=20)
    code, message, hint, _ = json.loads(done.stdout)
    assert code == "broker_unreachable"
    assert f"127.0.0.1:{port}" in message
    assert "REDIS_URL" in hint
    assert "secret" not in done.stdout + done.stderr


def test_a_redis_that_vanishes_between_two_calls_is_an_error_too(run_python: Any) -> None:
    """The client notices a dead pooled connection; when Redis is back, the next call works."""
    code = """
import json
from local_llm_service.worker.embedded.processes.redis_process import RedisProcess
import os
server = RedisProcess(port=int(os.environ["PORT"])).start()
from local_llm_service.tasks import generate
from local_llm_service.worker.errors import BrokerUnreachable
generate.delay("one")
server.kill()
try:
    generate.delay("two")
except BrokerUnreachable as error:
    print(error.code)
server.start()
generate.delay("three")
print("sent")
server.stop()
"""
    from local_llm_service.worker.embedded.processes.ports import free_port

    port = free_port()
    done = run_python("-c", code, REDIS_URL=f"redis://127.0.0.1:{port}/0", PORT=str(port))
    assert done.stdout.split() == ["broker_unreachable", "sent"], done.stderr


# --- the worker at start ------------------------------------------------------------------------


def test_a_wrong_setting_stops_the_worker_with_its_name(run_python: Any) -> None:
    """The exit code is 2, with one line and no traceback."""
    done = run_python("-m", "worker", NUM_CTX="lots")
    assert done.returncode == 2
    assert done.stderr.startswith("setting NUM_CTX: ")
    assert "Traceback" not in done.stderr


def test_a_worker_without_redis_says_so(run_python: Any) -> None:
    """The exit code is 3, and the line gives the fix."""
    done = run_python("-m", "worker", REDIS_URL="redis://127.0.0.1:1/0")
    assert done.returncode == 3
    assert "REDIS_URL" in done.stderr.splitlines()[-1]


def test_a_worker_without_ollama_starts_and_says_how_to_start_it(
    start_worker: StartWorker,
) -> None:
    """Ollama may start later; until then health is down."""
    from local_llm_service.producers import health

    worker = start_worker(OLLAMA_HOST="http://127.0.0.1:1")
    assert "ollama serve" in worker.log_path.read_text()
    assert health()["status"] == "down"
    assert health()["workers"][0]["ollama_reachable"] is False


def test_sigterm_lets_a_running_job_finish(start_worker: StartWorker, ollama: FakeOllama) -> None:
    """A deploy loses no work."""
    ollama.respond = lambda _: Script(first_seconds=1.5)
    worker = start_worker()
    result = tasks.generate.delay("hi")
    wait_until(lambda: ollama.seen, "the job runs")
    threading.Thread(target=worker.stop).start()
    assert result.get(timeout=20)["text"] == "Hello."
    wait_until(lambda: not worker.running, "the worker ends")
