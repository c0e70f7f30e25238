"""The command line as people and scripts use it: output, exit codes, one line on stderr."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis

from local_llm_service.producers.cli import main
from local_llm_service.worker.embedded.processes.redis_process import RedisProcess
from local_llm_service.worker.embedded.processes.worker_process import WorkerProcess
from local_llm_service.worker.store.keys import Keys
from tests.conftest import wait_until
from tests.doubles.ollama import FakeOllama, Script, vector_of
from tests.integration.conftest import ROOT, StartWorker, run_python

KEYS = Keys()


def cli(*words: str, stdin: str | None = None, **env: str) -> subprocess.CompletedProcess[str]:
    """Run `python -m producers` until it exits."""
    return run_python("-m", "producers", *words, stdin=stdin, **env)


Here = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def here(redis_client: redis.Redis, capsys: pytest.CaptureFixture[str]) -> Here:
    """Run commands in this process, for tests of many: starting a process takes half a second."""

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        with pytest.raises(SystemExit) as end:
            main(list(words))
        said = capsys.readouterr()
        return subprocess.CompletedProcess(words, int(str(end.value)), said.out, said.err)

    return run


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A text, a conversation and two schemas."""
    (tmp_path / "text.txt").write_text("Some text. " * 60)
    (tmp_path / "talk.json").write_text(json.dumps([{"role": "user", "content": "Hi"}]))
    (tmp_path / "function.json").write_text(
        json.dumps({"name": "f", "parameters": {"properties": {"n": {"type": "integer"}}}})
    )
    (tmp_path / "schema.json").write_text(json.dumps({"type": "object"}))
    return tmp_path


def test_every_kind_has_a_command(
    worker: WorkerProcess, ollama: FakeOllama, files: Path, here: Here
) -> None:
    """The answer is on stdout, its numbers are on stderr, and the exit code is 0."""
    ollama.respond = lambda body: Script(chunks=('{"n": 1}',) if "format" in body else ("Yes.",))
    done = cli("generate", "hi")
    assert (done.returncode, done.stdout) == (0, "Yes.\n")
    assert "11 + 1 tokens" in done.stderr
    assert here("summarize", str(files / "text.txt")).stdout == "Yes.\n"
    assert cli("summarize", "-", stdin="Some text. " * 60).stdout == "Yes.\n"
    assert here("compress", str(files / "talk.json")).stdout == "user: Hi\n"
    done = here("extract", "--schema", str(files / "function.json"), "one")
    assert json.loads(done.stdout) == {"n": 1}
    done = here("structured", "--schema", str(files / "schema.json"), "one", "--json")
    assert json.loads(done.stdout)["data"] == {"n": 1}
    talk, schema = str(files / "talk.json"), files / "format.json"
    schema.write_text(json.dumps({"type": "json_object"}))
    assert here("chat", talk, "--stop", "a", "--stop", "b", "--seed", "3").stdout == "Yes.\n"
    assert ollama.seen[-1].options["stop"] == ["a", "b"]
    assert here("chat", talk, "--response-format", str(schema)).stdout == '{"n": 1}\n'
    tools = files / "tools.json"
    tools.write_text(json.dumps([{"type": "function", "function": {"name": "f"}}]))
    done = here("chat", talk, "--tools", str(tools), "--tool-choice", "required")
    assert json.loads(done.stdout) == [{"name": "f", "arguments": {"n": 1}}]
    assert json.loads(here("embed", "one", "two").stdout) == [vector_of("one"), vector_of("two")]


def test_no_wait_prints_the_id_and_the_answer_is_read_later(
    start_worker: StartWorker, redis_client: redis.Redis
) -> None:
    """`result` exits with 4 before there is an answer, 0 with it, and 5 for an unknown id."""
    done = cli("generate", "hi", "--no-wait", "--priority", "low")
    task_id = done.stdout.strip()
    assert redis_client.llen(KEYS.queue("llm.low")) == 1
    assert cli("status", task_id).stdout == "queued\n"
    done = cli("result", task_id)
    assert (done.returncode, done.stdout) == (4, "")
    assert done.stderr.startswith("not_ready: not ready: queued. ")
    start_worker()
    wait_until(lambda: cli("result", task_id).returncode == 0, "the answer is there")
    assert cli("result", task_id).stdout == "Hello.\n"
    told = json.loads(cli("status", task_id, "--json").stdout)
    assert told["status"] == "succeeded"
    assert told["progress"] == {"done": 1, "total": 1, "phase": "succeeded"}


@pytest.mark.parametrize(
    "words",
    [
        ("result", "nobody"),
        ("status", "nobody"),
        ("cancel", "nobody"),
        *(("dead", verb, "nobody") for verb in ("show", "replay", "drop")),
    ],
)
def test_an_unknown_id_exits_with_5(here: Here, words: tuple[str, ...]) -> None:
    """The code is `not_found`; the message says what was not found and where to look."""
    done = here(*words, "--json")
    error = json.loads(done.stdout)["error"]
    assert (done.returncode, error["code"]) == (5, "not_found")
    assert error["message"] == f"no such {'dead letter' if words[0] == 'dead' else 'job'}"
    assert error["hint"]


def test_without_a_worker_the_job_is_queued_and_the_command_waits(
    redis_client: redis.Redis,
) -> None:
    """The command says so at once, waits until --timeout, and says how to read the answer later."""
    done = cli("generate", "hi", "--timeout", "0.5")
    assert done.returncode == 4
    first, last = done.stderr.splitlines()[0], done.stderr.splitlines()[-1]
    assert "no worker is running" in first
    assert "waiting up to 0.5 s" in first
    assert last.startswith("not_ready: no answer within 0.5 s. ")
    assert "local-llm result" in last
    assert redis_client.llen(KEYS.queue("llm.high")) == 1


def test_a_job_that_celery_revoked_exits_with_1(redis_client: redis.Redis) -> None:
    """Another app's worker may have written that state; for the caller the job was cancelled."""
    revoked = {
        "status": "REVOKED",
        "result": {
            "exc_type": "TaskRevokedError",
            "exc_message": ["revoked"],
            "exc_module": "celery.exceptions",
        },
        "task_id": "1",
    }
    redis_client.set(KEYS.result("1"), json.dumps(revoked), ex=60)
    done = cli("result", "1")
    assert done.returncode == 1
    assert done.stderr.startswith("cancelled: the job was revoked. ")


def test_help_shows_the_defaults_of_the_kinds(here: Here) -> None:
    """The help reads the defaults from the kinds' requests."""
    shown = here("generate", "--help").stdout
    for default in (500, 0.7, "cache"):
        assert f"[default: {default}]" in shown
    assert "[default: 100]" in here("summarize", "--help").stdout
    assert "[default: 200]" in here("compress", "--help").stdout


def test_a_failed_job_exits_with_1(worker: WorkerProcess) -> None:
    """stderr has one line with code, message and hint, or the same as JSON with --json."""
    done = cli("generate", "hi", "--model", "nope")
    assert done.returncode == 1
    assert done.stderr.startswith("model_missing: ")
    assert "ollama pull nope" in done.stderr
    error = json.loads(cli("generate", "hi", "--model", "nope", "--json").stdout)["error"]
    assert error["code"] == "model_missing"
    assert set(error) == {"code", "message", "hint"}


@pytest.mark.parametrize(
    "words",
    [
        ("generate", ""),
        ("generate", "hi", "--max-tokens", "0"),
        ("generate", "hi", "--max-tokens", "many"),
        ("summarize", "no-such-file"),
        ("compress", "Makefile"),
        ("generate",),
        ("nonsense",),
        ("extract", "hi", "--schema", "no-such-file"),
    ],
)
def test_bad_input_exits_with_2_and_one_line(
    here: Here, redis_client: redis.Redis, words: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is queued, and no traceback is shown."""
    monkeypatch.chdir(ROOT)
    done = here(*words)
    assert done.returncode == 2
    assert done.stderr.startswith("invalid_request: ")
    assert len(done.stderr.splitlines()) == 1
    assert json.loads(here(*words, "--json").stdout)["error"]["code"] == "invalid_request"
    assert redis_client.keys("llm*") == []


@pytest.mark.parametrize("words", [("generate", "hi"), ("health",), ("queues",), ("status", "x")])
def test_an_unreachable_redis_exits_with_3(words: Any) -> None:
    """Every command reports it in one line."""
    done = cli(*words, REDIS_URL="redis://127.0.0.1:1/0")
    assert done.returncode == 3
    assert done.stderr.startswith("broker_unreachable: ")
    assert len(done.stderr.splitlines()) == 1


def test_a_redis_that_goes_away_while_the_command_waits_exits_with_3() -> None:
    """A wait outlasts a restart, to its own timeout; the job has not failed, so it is not 1."""
    with RedisProcess() as server:
        process = subprocess.Popen(
            [sys.executable, "-m", "producers", "generate", "hi", "--timeout", "5"],
            cwd=ROOT,
            env={**os.environ, "REDIS_URL": server.url},
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            assert process.stderr is not None
            assert "waiting up to 5 s" in process.stderr.readline()
            with redis.Redis.from_url(server.url) as client:
                wait_until(lambda: client.pubsub_channels(), "it listens for its result")
            server.stop()
            _, rest = process.communicate(timeout=60)
        finally:
            process.kill()
            process.wait()
    assert process.returncode == 3
    assert rest.splitlines()[-1].startswith("broker_unreachable: ")


def test_models_health_and_queues_describe_the_service(
    worker: WorkerProcess, redis_client: redis.Redis
) -> None:
    """These commands read the data that workers publish."""
    models = json.loads(cli("models", "--json").stdout)
    assert [(model["name"], model["default"]) for model in models] == [("fake:1b", True)]
    health = json.loads(cli("health", "--json").stdout)
    assert health["status"] == "healthy"
    assert health["service"] == "local-llm"
    assert health["workers"][0]["slots"] == 2
    assert cli("queues").stdout.split() == [
        *("llm.high", "0"),
        *("llm.normal", "0"),
        *("llm.low", "0"),
    ]
    worker.stop()
    done = cli("health")
    assert done.returncode == 3
    assert done.stdout.startswith("down")


def test_ctrl_c_leaves_the_job_and_says_how_to_read_it(redis_client: redis.Redis) -> None:
    """The exit code is 130, and the queued job stays queued."""
    # A shell's background job (`nohup make test &`) ignores SIGINT, and so do its children.
    inherited = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(
        [sys.executable, "-m", "producers", "generate", "hi"],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    )
    signal.signal(signal.SIGINT, inherited)
    assert process.stderr is not None
    first = process.stderr.readline()
    assert "waiting up to" in first
    process.send_signal(signal.SIGINT)
    _, rest = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "local-llm result" in rest
    assert redis_client.llen(KEYS.queue("llm.high")) == 1
