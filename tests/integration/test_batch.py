"""`local-llm batch` on a real Redis and a real worker: files, databases, kill -9, Ctrl-C."""

from __future__ import annotations

import gzip
import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from local_llm_service.producers.cli import main
from local_llm_service.worker.embedded.processes.worker_process import WorkerProcess
from local_llm_service.worker.store.keys import Keys
from tests.conftest import wait_until
from tests.doubles.ollama import FakeOllama, Script, vector_of
from tests.integration.conftest import ROOT

SHARED_WORKER = {"CONCURRENCY": "4"}
KEYS = Keys()

Cli = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def cli(
    shared_worker: WorkerProcess,
    shared_ollama: FakeOllama,
    capfd: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Cli]:
    """Run commands in this process, in a folder of their own."""
    monkeypatch.chdir(tmp_path)

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        with pytest.raises(SystemExit) as end:
            main(["batch", *words])
        said = capfd.readouterr()
        return subprocess.CompletedProcess(words, int(str(end.value)), said.out, said.err)

    yield run
    shared_ollama.respond = lambda _: Script()
    shared_ollama.seen.clear()


def write(name: str, *lines: Any) -> None:
    """Write a file of lines."""
    Path(name).write_text(
        "".join(f"{one if isinstance(one, str) else json.dumps(one)}\n" for one in lines)
    )


def read(name: str) -> list[dict[str, Any]]:
    """Read a file of lines; none for a file that is not there."""
    path = Path(name)
    return [json.loads(one) for one in path.read_text().splitlines()] if path.exists() else []


#: So much that `compress` has to ask for a summary.
MORE = "And so on, as people do. " * 60


def generates(body: dict[str, Any]) -> bool:
    """Whether a request is for more than a count of its tokens."""
    return bool(body["options"]["num_predict"] > 1)


def talks(count: int, of: str) -> list[dict[str, Any]]:
    """Conversations that nobody else asks about."""
    return [
        {"custom_id": f"{of}-{n}", "messages": [{"role": "user", "content": f"{of} {n}. {MORE}"}]}
        for n in range(count)
    ]


def asked(ollama: FakeOllama, of: str) -> Counter[str]:
    """How often each conversation was generated."""
    bodies = (one.body for one in list(ollama.seen) if generates(one.body))
    texts = (str(body["messages"][-1]["content"]) for body in bodies)
    return Counter(text for text in texts if f"{of} " in text)


def start(*words: str) -> subprocess.Popen[str]:
    """The command as a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "local_llm_service.producers", "batch", *words],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_file_of_conversations_becomes_a_file_of_summaries(
    cli: Cli, shared_redis: redis.Redis, shared_ollama: FakeOllama
) -> None:
    """Bad lines are in the file of errors, the summary is on stderr, and Redis keeps nothing."""
    write("in.jsonl", *talks(30, "a"), "no json", {"custom_id": "a-bad", "messages": []})
    done = cli("compress", "in.jsonl", "-o", "out.jsonl", "--report", "report.json")
    assert done.returncode == 1
    assert "30 lines answered, 2 failed" in done.stderr
    assert "tokens saved" in done.stderr
    answers = {one["custom_id"]: one for one in read("out.jsonl")}
    assert set(answers) == {f"a-{n}" for n in range(30)}
    assert answers["a-7"]["answer"]["summary"].endswith("Hello.")
    assert [one["error"]["code"] for one in read("out.errors.jsonl")] == ["invalid_request"] * 2
    report = json.loads(Path("report.json").read_text())
    assert (report["end"], report["run"]["answered"], report["failed_now"]) == ("input", 30, 2)
    left = [
        *shared_redis.scan_iter(f"{KEYS.job_record}*"),
        *shared_redis.scan_iter(f"{KEYS.result_meta}*"),
    ]
    assert left == [], "what is in the output is not in Redis, too"
    again = cli("compress", "in.jsonl", "-o", "out.jsonl", "--json")
    assert json.loads(again.stdout)["collected"] == 32
    assert set(asked(shared_ollama, "a").values()) == {1}


def test_a_batch_reads_a_pipe_and_writes_one(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """gzip on stdin, answers on stdout, and everything else on stderr."""
    packed = tmp_path / "in.gz"
    packed.write_bytes(gzip.compress(b'{"custom_id": "p", "prompt": "piped"}\nno json\n'))
    kept = os.dup(0)
    with packed.open("rb") as file:
        os.dup2(file.fileno(), 0)
        try:
            done = cli("generate", "-", "-o", "-")
        finally:
            os.dup2(kept, 0)
            os.close(kept)
    assert done.returncode == 1
    assert '"code": "invalid_request"' in done.stderr
    (answer,) = map(json.loads, done.stdout.splitlines())
    assert (answer["custom_id"], answer["answer"]["text"]) == ("p", "Hello.")
    assert list(tmp_path.iterdir()) == [packed]


def test_kill_9_costs_nothing(cli: Cli, shared_ollama: FakeOllama) -> None:
    """The next start collects what is in flight: nothing is missing, twice, or generated again."""
    shared_ollama.respond = lambda body: Script(pause_seconds=0.05 * generates(body))
    write("in.jsonl", *talks(60, "b"))
    for lines in (5, 25):
        process = start("compress", "in.jsonl", "-o", "out.jsonl", "--ordered")
        wait_until(
            lambda lines=lines: len(read_whole("out.jsonl")) >= lines, "some lines are there"
        )
        process.kill()
        process.wait(10)
        assert process.stderr is not None
        process.stderr.close()
    assert cli("compress", "in.jsonl", "-o", "out.jsonl", "--ordered").returncode == 0
    assert [one["custom_id"] for one in read("out.jsonl")] == [f"b-{n}" for n in range(60)]
    assert set(asked(shared_ollama, "b").values()) == {1}


def read_whole(name: str) -> list[str]:
    """The lines of a file that is being written."""
    path = Path(name)
    return path.read_text().splitlines() if path.exists() else []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_cleanly(
    cli: Cli, shared_ollama: FakeOllama, number: signal.Signals
) -> None:
    """It says how to go on; a second run meanwhile is refused."""
    of = f"c{int(number)}"
    shared_ollama.respond = lambda body: Script(pause_seconds=0.1 * generates(body))
    write("in.jsonl", *talks(40, of))
    process = start("compress", "in.jsonl", "-o", "out.jsonl")
    wait_until(lambda: len(read_whole("out.jsonl")) >= 4, "some lines are there")
    refused = cli("compress", "in.jsonl", "-o", "out.jsonl")
    assert refused.returncode == 2
    assert "another run" in refused.stderr
    process.send_signal(number)
    _, said = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "Go on with: local-llm batch compress in.jsonl -o out.jsonl" in said
    assert 4 <= len(read("out.jsonl")) < 40, "every line is whole"
    shared_ollama.respond = lambda _: Script()
    assert cli("compress", "in.jsonl", "-o", "out.jsonl").returncode == 0
    assert {one["custom_id"] for one in read("out.jsonl")} == {f"{of}-{n}" for n in range(40)}
    assert set(asked(shared_ollama, of).values()) == {1}


def test_failed_lines_run_again_alone(cli: Cli, shared_ollama: FakeOllama) -> None:
    """A run that goes wrong stops; once the fault is mended, only its failed lines run."""
    shared_ollama.respond = lambda _: Script(chunks=("no JSON",))
    write("schema.json", {"type": "object"})
    write("in.jsonl", *({"custom_id": f"d-{n}", "prompt": f"d {n}"} for n in range(40)))
    command = ("structured", "in.jsonl", "-o", "out.jsonl", "--schema", "schema.json")
    done = cli(*command, "--max-failures", "3")
    assert done.returncode == 1
    assert "too many lines have failed. Go on with" in done.stderr
    failed = read("out.errors.jsonl")
    assert 3 < len(failed) < 20
    assert failed[0]["error"]["code"] == "invalid_output"
    assert failed[0]["error"]["hint"]
    shared_ollama.respond = lambda _: Script(chunks=("{}",))
    assert cli(*command).returncode == 1
    assert len(read("out.errors.jsonl")) == len(failed)
    assert cli(*command, "--retry-errors").returncode == 0
    assert read("out.errors.jsonl") == []
    assert {one["custom_id"] for one in read("out.jsonl")} == {f"d-{n}" for n in range(40)}


def test_a_table_is_answered_in_place(cli: Cli, shared_ollama: FakeOllama) -> None:
    """Also when the query leaves out what is answered already."""
    database = sqlite3.connect("talks.db")
    database.execute("CREATE TABLE talks (id INTEGER PRIMARY KEY, messages TEXT, summary TEXT)")
    rows = [(n, json.dumps(talks(1, f"e{n}")[0]["messages"])) for n in range(20)]
    database.executemany("INSERT INTO talks (id, messages) VALUES (?, ?)", rows)
    database.commit()
    command = (
        *("compress", "--from-sql", "sqlite:///talks.db", "--ledger", "night.ledger"),
        *("--query", "SELECT id AS custom_id, messages FROM talks WHERE summary IS NULL"),
        *("--write-sql", "UPDATE talks SET summary = :summary WHERE id = :custom_id"),
    )
    assert cli(*command).returncode == 0
    database.execute("INSERT INTO talks (id, messages) VALUES (99, ?)", (rows[0][1],))
    database.commit()
    assert cli(*command).returncode == 0
    found = database.execute("SELECT count(*) FROM talks WHERE summary LIKE '%Hello.'").fetchone()
    database.close()
    assert found == (21,)
    assert sum(asked(shared_ollama, "e0").values()) == 1, "the second was from the cache"


def test_a_table_may_be_compressed_onto_itself(cli: Cli, shared_ollama: FakeOllama) -> None:
    """A row that the statement has changed is done; one that failed may be corrected."""
    database = sqlite3.connect("talks.db")
    database.execute("CREATE TABLE talks (id TEXT PRIMARY KEY, messages TEXT)")
    rows = [(f"h{n}", json.dumps(talks(1, f"h{n}")[0]["messages"])) for n in range(9)]
    database.executemany("INSERT INTO talks VALUES (?, ?)", [*rows, ("bad", "[]")])
    database.commit()
    command = (
        *("compress", "--from-sql", "sqlite:///talks.db", "-o", "out.jsonl"),
        *("--query", "SELECT id AS custom_id, messages FROM talks ORDER BY id DESC"),
        *("--write-sql", "UPDATE talks SET messages = :messages WHERE id = :custom_id"),
    )
    assert cli(*command).returncode == 1
    sent = len(shared_ollama.seen)
    assert cli(*command).returncode == 1
    assert len(shared_ollama.seen) == sent
    database.execute("UPDATE talks SET messages = ? WHERE id = 'bad'", (rows[0][1],))
    database.commit()
    assert cli(*command, "--retry-errors").returncode == 0
    found = database.execute("SELECT count(*) FROM talks WHERE messages LIKE '%Hello.%'").fetchone()
    database.close()
    assert found == (10,)
    assert len(read("out.jsonl")) == 10


def test_a_dry_run_counts_and_writes_nothing(cli: Cli, shared_ollama: FakeOllama) -> None:
    """The time is estimated by what jobs here have taken."""
    write("in.jsonl", {"prompt": "f"})
    assert cli("generate", "in.jsonl", "-o", "-").returncode == 0
    write("in.jsonl", *talks(10, "f"), *talks(1, "f"), "no json")
    done = cli("compress", "in.jsonl", "-o", "out.jsonl", "--dry-run")
    assert done.returncode == 2
    assert "10 calls, 2 bad lines" in done.stdout
    assert "prompt tokens" in done.stdout
    assert "with 4 slots" in done.stdout
    assert [path.name for path in Path().iterdir()] == ["in.jsonl"]
    assert not asked(shared_ollama, "f")


def test_openais_lines_are_chats_and_vectors(cli: Cli) -> None:
    """A file for OpenAI's Batch runs as it is, counted before and answered then."""
    line = {"method": "POST", "url": "/v1/chat/completions"}
    bodies = [{"messages": talk["messages"], "n": 1} for talk in talks(3, "chat")]
    write("in.jsonl", *({**line, "custom_id": str(n), "body": b} for n, b in enumerate(bodies)))
    done = cli("chat", "in.jsonl", "-o", "out.jsonl", "--stop", "END", "--no-parallel-tool-calls")
    assert done.returncode == 0
    contents = [one["answer"]["message"]["content"] for one in read("out.jsonl")]
    assert contents == ["Hello."] * 3
    write("texts.jsonl", *({"custom_id": str(n), "input": f"batch {n}"} for n in range(3)))
    assert "3 calls" in cli("embed", "texts.jsonl", "-o", "v.jsonl", "--dry-run").stdout
    assert cli("embed", "texts.jsonl", "-o", "v.jsonl").returncode == 0
    found = {one["custom_id"]: one["answer"]["embeddings"] for one in read("v.jsonl")}
    assert found == {str(n): [vector_of(f"batch {n}")] for n in range(3)}


def test_without_redis_nothing_is_begun(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The exit code is that of every command."""
    write("in.jsonl", *talks(1, "g"))
    process = subprocess.run(
        [
            *(sys.executable, "-m", "local_llm_service.producers", "batch"),
            *("compress", "in.jsonl", "-o", "out.jsonl"),
        ],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src"), "REDIS_URL": "redis://127.0.0.1:1/0"},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert process.returncode == 3
    assert process.stderr.startswith("broker_unreachable: ")
    assert not Path("out.jsonl").exists()


@pytest.mark.parametrize("kind", ["generate", "summarize", "extract", "structured"])
def test_every_kind_has_its_batch(cli: Cli, shared_ollama: FakeOllama, kind: str) -> None:
    """What is the same for all lines is given once, by the command."""
    write("schema.json", {"name": "f", "parameters": {"properties": {"n": {"type": "integer"}}}})
    write("own.json", {"type": "object"})
    lines: dict[str, Any] = {
        "generate": ({"prompt": "h"}, ("--max-tokens", "7")),
        "summarize": ({"context": "h " * 60}, ("--max-summary-tokens", "7")),
        "extract": ({"user_message": "n is 1"}, ("--schema", "schema.json")),
        "structured": ({"prompt": "h"}, ("--schema", "own.json")),
    }
    line, options = lines[kind]
    shared_ollama.respond = lambda _: Script(chunks=('{"n": 1}',))
    write("in.jsonl", line)
    assert cli(kind, "in.jsonl", "-o", "out.jsonl", *options).returncode == 0
    (answer,) = read("out.jsonl")
    content = answer["answer"]
    assert [content.get(name) for name in ("parameters", "data")].count({"n": 1}) == (
        1 if kind in ("extract", "structured") else 0
    )
    if kind in ("generate", "summarize"):
        assert shared_ollama.seen[-1].options["num_predict"] == 7
