"""The embedded Ollama as a server: clients, slots, cancels, the context, breaks and restarts."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import jsonschema_rs
import ollama
import pytest

from local_llm_service.worker.embedded import smollm2
from local_llm_service.worker.embedded.errors import EmbeddedUnavailable
from local_llm_service.worker.embedded.processes.ollama_process import OllamaProcess
from local_llm_service.worker.embedded.processes.redis_process import RedisProcess
from local_llm_service.worker.embedded.smollm2 import MODEL_NAME

ROOT = Path(__file__).parents[2]
# This answer ends neither by itself nor by a token that repeats.
LONG = {"type": "array", "items": {"enum": ["red", "blue"]}, "minItems": 5000}
NEARLY_FULL = "Count. " + "word " * 180  # for a context of 256 tokens
SOON_SECONDS = 5.0  # enough on a busy machine; the cancelled work would take far longer
needs_proc = pytest.mark.skipif(not Path("/proc").is_dir(), reason="reads /proc")


def chat(text: str, schema: dict[str, Any] | None = None, **options: Any) -> dict[str, Any]:
    """The body of a chat with one message."""
    body: dict[str, Any] = {"model": MODEL_NAME, "messages": [{"role": "user", "content": text}]}
    body["options"] = {"temperature": 0, "seed": 1, **options}
    return body | ({"format": schema} if schema is not None else {})


def wait_until(condition: Callable[[], bool], what: str, seconds: float = 10.0) -> None:
    """Return as soon as `condition` holds; fail with `what` after `seconds`."""
    deadline = time.monotonic() + seconds
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds} s for: {what}"
        pause.wait(0.02)


def ended(pid: int) -> bool:
    """True when the process is gone or only waits to be reaped."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True
    return stat.rpartition(")")[2].split()[0] == "Z"


def runner_of(server_pid: int) -> int:
    """The pid of the llama runner that the server started."""
    children = Path(f"/proc/{server_pid}/task/{server_pid}/children").read_text().split()
    return int(children[0])


@pytest.fixture(scope="module")
def server() -> Iterator[OllamaProcess]:
    """A server with one slot, the default."""
    with OllamaProcess(env={"OLLAMA_NUM_PARALLEL": "1"}) as server:
        yield server


@pytest.fixture
def client(server: OllamaProcess) -> Iterator[httpx.Client]:
    """A client of the server with one slot."""
    with httpx.Client(base_url=server.host, timeout=30, trust_env=False) as client:
        yield client


def answer(client: httpx.Client, body: dict[str, Any]) -> dict[str, Any]:
    """The whole answer to `body`, which must not be refused."""
    reply = client.post("/api/chat", json={**body, "stream": False})
    assert reply.status_code == 200, reply.text
    return dict(reply.json())


def test_ollamas_own_client_can_talk_to_the_server(server: OllamaProcess) -> None:
    """The package `ollama` can chat (streamed), list, show and ps."""

    async def talk() -> None:
        client = ollama.AsyncClient(host=server.host, trust_env=False)
        messages = [{"role": "user", "content": "Name three colours."}]
        options = {"temperature": 0, "num_predict": 8}
        stream: AsyncIterator[ollama.ChatResponse] = await client.chat(
            MODEL_NAME, messages, stream=True, options=options
        )
        parts = [part async for part in stream]
        assert "".join(part.message.content or "" for part in parts)
        assert parts[-1].done_reason == "length"
        assert parts[-1].eval_count == 8
        assert [model.model for model in (await client.list()).models] == [
            model.name for model in smollm2.MODELS
        ]
        details = (await client.show(MODEL_NAME)).modelinfo or {}
        assert details["llama.context_length"] == 8192
        assert [model.model for model in (await client.ps()).models] == [MODEL_NAME]
        with pytest.raises(ollama.ResponseError, match="not found"):
            await client.chat("nosuch:1b", messages)
        await client._client.aclose()

    asyncio.run(talk())


def test_the_same_seed_gives_the_same_text_and_another_seed_another(client: httpx.Client) -> None:
    """The seed decides even at temperature 1."""
    texts = [
        answer(client, chat("Tell me a short tale.", temperature=1, num_predict=12, seed=seed))[
            "message"
        ]["content"]
        for seed in (42, 42, 43)
    ]
    assert texts[0] == texts[1] != texts[2]


def test_a_schema_is_kept(client: httpx.Client) -> None:
    """The answer to a request with a schema validates against it."""
    properties = {
        "name": {"type": "string", "maxLength": 20},
        "age": {"type": "integer"},
        "tags": {"type": "array", "items": {"enum": ["a", "b"]}, "maxItems": 2},
    }
    schema = {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
    record = answer(client, chat("Describe Ada, aged 36, as JSON.", schema, num_predict=150))
    assert record["done_reason"] == "stop"
    data = json.loads(record["message"]["content"])
    jsonschema_rs.validate(schema, data)
    assert list(data) == list(properties)  # the order of the schema is kept


def test_format_json_gives_an_object(client: httpx.Client) -> None:
    """`format: "json"` constrains without a schema."""
    body = chat("Describe Ada, aged 36, as JSON.", num_predict=8) | {"format": "json"}
    assert answer(client, body)["message"]["content"].startswith("{")


@pytest.mark.parametrize("limits", [{"minimum": 5, "maximum": 2}, {"multipleOf": 0.0}])
def test_a_schema_that_cannot_be_kept_is_refused(
    client: httpx.Client, limits: dict[str, Any]
) -> None:
    """Never an unconstrained answer: a schema that llguidance cannot use is a 400."""
    body = chat("Describe Ada.", {"type": "integer", **limits}, num_predict=5)
    reply = client.post("/api/chat", json=body)
    assert reply.status_code == 400
    assert "JSON schema conversion failed" in reply.json()["error"]


def test_a_generation_ends_with_its_context_when_it_may_not_shift(client: httpx.Client) -> None:
    """With `shift: false`, prompt and answer together fill the context and no more."""
    body = chat(NEARLY_FULL, LONG, num_ctx=256, num_predict=400) | {"shift": False}
    record = answer(client, body)
    assert record["done_reason"] == "length"
    assert record["prompt_eval_count"] + record["eval_count"] == 256


def test_a_generation_goes_on_past_its_context_when_it_may_shift(client: httpx.Client) -> None:
    """By default the context shifts, and only num_predict ends the answer."""
    record = answer(client, chat(NEARLY_FULL, LONG, num_ctx=256, num_predict=90))
    assert (record["done_reason"], record["eval_count"]) == ("length", 90)
    assert record["prompt_eval_count"] + record["eval_count"] > 256


def test_a_client_that_goes_away_frees_the_slot(client: httpx.Client) -> None:
    """Closing a stream stops its generation, and the next request is served at once."""
    with client.stream("POST", "/api/chat", json=chat("Count.", LONG)) as stream:
        assert next(stream.iter_lines())
    assert waited_seconds(client) < SOON_SECONDS


def test_a_client_that_goes_away_while_its_prompt_is_read_frees_the_slot(
    client: httpx.Client,
) -> None:
    """A prompt of 3000 tokens takes half a minute, but the server stops when its client leaves."""
    with pytest.raises(httpx.ReadTimeout):
        client.post("/api/chat", json=chat("word " * 3000), timeout=0.5)
    assert waited_seconds(client) < SOON_SECONDS


def test_a_client_that_goes_away_while_it_waits_costs_nothing(client: httpx.Client) -> None:
    """A request in the queue leaves without a byte and without taking the slot later."""
    with client.stream("POST", "/api/chat", json=chat("Count.", LONG)) as stream:
        assert next(stream.iter_lines())
        with pytest.raises(httpx.ReadTimeout):
            client.post("/api/chat", json=chat("word " * 3000), timeout=0.3)
    assert waited_seconds(client) < SOON_SECONDS


def waited_seconds(client: httpx.Client) -> float:
    """How long a small request takes when its model is loaded."""
    record = answer(client, chat("hi", num_predict=1))
    return float((record["total_duration"] - record["load_duration"]) / 1e9)


def test_another_context_reloads_the_model_after_the_running_answer(client: httpx.Client) -> None:
    """A reload waits for the running answer and does not disturb it."""
    with client.stream(
        "POST", "/api/chat", json=chat("Count.", LONG, num_ctx=256, num_predict=40)
    ) as stream:
        lines = stream.iter_lines()
        assert next(lines)
        with ThreadPoolExecutor(1) as pool:
            other = pool.submit(answer, client, chat("hi", num_ctx=512, num_predict=1))
            last = json.loads(list(lines)[-1])
            assert other.result()["load_duration"] > 100_000_000
    assert last["eval_count"] == 40
    assert client.get("/api/ps").json()["models"][0]["context_length"] == 512


def test_keep_alive_ends_the_model_when_its_time_is_over(client: httpx.Client) -> None:
    """The model is unloaded once keep_alive has passed since the last answer."""
    answer(client, chat("hi", num_predict=1) | {"keep_alive": "50ms"})
    wait_until(lambda: client.get("/api/ps").json() == {"models": []}, "the unloading")


@needs_proc
def test_a_runner_that_dies_breaks_the_stream_with_an_error_line(
    server: OllamaProcess, client: httpx.Client
) -> None:
    """As recorded, the last line of the 200 is an error; the next request loads a new runner."""
    with client.stream("POST", "/api/chat", json=chat("Count.", LONG)) as stream:
        lines = stream.iter_lines()
        assert next(lines)
        runner = runner_of(server.pid)
        os.kill(runner, signal.SIGKILL)
        last = json.loads(list(lines)[-1])
    recording = ROOT / "tests" / "wire" / "runner_killed_midway_stream.json"
    recorded = json.loads(recording.read_text())["response"]["lines"][-1]
    assert last == json.loads(recorded)
    assert answer(client, chat("hi", num_predict=1))["done"]


def test_no_text_of_a_request_or_an_answer_is_logged(
    server: OllamaProcess, client: httpx.Client
) -> None:
    """The log has only routes and times."""
    record = answer(client, chat("Say xylophone, please.", num_predict=6))
    log = server.log_path.read_text()
    assert "POST /api/chat" in log
    assert "xylophone" not in log
    assert record["message"]["content"] not in log


def test_two_slots_answer_two_clients_at_a_time() -> None:
    """A short answer ends while a long one is still running."""
    with (
        OllamaProcess(env={"OLLAMA_NUM_PARALLEL": "2"}) as server,
        httpx.Client(base_url=server.host, timeout=30, trust_env=False) as client,
        client.stream("POST", "/api/chat", json=chat("Count.", LONG)) as stream,
    ):
        lines = stream.iter_lines()
        assert next(lines)
        assert answer(client, chat("hi", num_predict=2))["eval_count"] == 2
        assert not json.loads(next(lines))["done"]
        model = client.get("/api/ps").json()["models"][0]
        assert model["context_length"] == 4096  # each slot has the whole context


def test_while_a_model_loads_only_so_many_may_wait() -> None:
    """OLLAMA_MAX_QUEUE limits the requests that wait for a load; others get Ollama's 503."""
    recording = ROOT / "tests" / "wire" / "queue_full_cold_503.json"
    expected = json.loads(recording.read_text())["response"]
    with (
        OllamaProcess(env={"OLLAMA_MAX_QUEUE": "1"}) as server,
        httpx.Client(base_url=server.host, timeout=30, trust_env=False) as client,
        ThreadPoolExecutor(6) as pool,
    ):
        bodies = [chat("hi", num_predict=1)] * 6
        replies = list(pool.map(lambda body: client.post("/api/chat", json=body), bodies))
    assert sorted(reply.status_code for reply in replies) == [200, 200, 503, 503, 503, 503]
    refusal = next(reply for reply in replies if reply.status_code == 503)
    assert refusal.json() == expected["body"]


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_the_server_comes_back_on_its_port(end: str) -> None:
    """After a stop or a crash with an open answer, the same address serves again."""
    with (
        OllamaProcess() as server,
        httpx.Client(base_url=server.host, timeout=30, trust_env=False) as client,
    ):
        host, body = server.host, chat("Count.", LONG)
        with client.stream("POST", "/api/chat", json=body) as stream:
            lines = stream.iter_lines()
            assert next(lines)
            begun = time.monotonic()
            getattr(server, end)()
            assert time.monotonic() - begun < 2
            with pytest.raises(httpx.RemoteProtocolError):  # cut, without line or last chunk
                list(lines)
        server.start()
        assert server.host == host
        assert client.get("/").text == "Ollama is running"


def test_a_start_on_a_taken_port_fails_with_the_log(server: OllamaProcess) -> None:
    """The error shows the server's log."""
    rival = OllamaProcess()
    rival._port = server.port
    with pytest.raises(EmbeddedUnavailable, match="in use"):
        rival.start()


@needs_proc
def test_nothing_outlives_a_parent_that_is_killed() -> None:
    """After kill -9 of their parent, redis, the server and its runner are gone."""
    script = (
        "import sys, urllib.request\n"
        f"from {RedisProcess.__module__} import RedisProcess\n"
        f"from {OllamaProcess.__module__} import OllamaProcess\n"
        "redis, ollama = RedisProcess().start(), OllamaProcess().start()\n"
        'body = b\'{"model": "smollm2:135m", "messages": []}\'\n'
        "urllib.request.urlopen(ollama.host + '/api/chat', body).read()\n"
        "print(redis.pid, ollama.pid, redis.directory, ollama.directory, flush=True)\n"
        "sys.stdin.read()\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", script], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with parent:
        assert parent.stdout is not None
        redis_pid, ollama_pid, *directories = parent.stdout.readline().decode().split()
        pids = [int(redis_pid), int(ollama_pid), runner_of(int(ollama_pid))]
        assert not any(ended(pid) for pid in pids)
        parent.kill()
    wait_until(lambda: all(ended(pid) for pid in pids), "the end of the three")
    for directory in directories:
        subprocess.run(["rm", "-r", directory], check=True)
