"""The clients where backends run: uvicorn with uvloop, gunicorn, threads, gevent, many event loops.

Each is a process of its own with all warnings as errors, and a user of its own in Redis, so that
the connections that it leaves open are seen.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import redis

from local_llm_service.worker.embedded.processes.ports import free_port
from tests.conftest import wait_until
from tests.doubles.ollama import FakeOllama, Script
from tests.integration.conftest import ROOT, run_python

SHARED_WORKER = {"CONCURRENCY": "8"}
pytestmark = pytest.mark.usefixtures("echo")

STRICT = ("-W", "error")
#: Said by each program of the tests that follow: what its garbage and its tasks complain of.
COMPLAINTS = """
import gc, json, sys
complaints = []
sys.unraisablehook = lambda what: complaints.append(repr(what.exc_value))
def end(**found):
    gc.collect()
    print(json.dumps({**found, "complaints": complaints}))
"""


@pytest.fixture(scope="module")
def echo(shared_worker: object, shared_ollama: FakeOllama) -> None:
    """A worker whose model repeats its prompt, and writes without end when told to."""

    def respond(body: dict[str, Any]) -> Script:
        prompt = body["messages"][-1]["content"]
        end = "hang" if "endless" in prompt else "done"
        return Script(chunks=(f"<{prompt}>",), end=end)

    shared_ollama.respond = respond


def url_of(user: str) -> str:
    """This run's Redis, for connections of that user."""
    with redis.Redis.from_url(os.environ["REDIS_URL"]) as client:
        client.execute_command("ACL SETUSER", user, "on", "nopass", "~*", "&*", "+@all")
    return os.environ["REDIS_URL"].replace("://", f"://{user}:-@")


def connections(client: redis.Redis, user: str) -> int:
    """The open connections of that user."""
    found: Any = client.client_list()
    return sum(one["user"] == user for one in found)


def run_program(user: str, program: str) -> dict[str, Any]:
    """Run a program that ends with `end(...)`; returns what it found."""
    done = run_python(*STRICT, "-c", COMPLAINTS + program, REDIS_URL=url_of(user), timeout=90)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stderr == ""
    found: dict[str, Any] = json.loads(done.stdout)
    assert found.pop("complaints") == []
    return found


THREADS = """
import threading
from concurrent.futures import ThreadPoolExecutor
from local_llm_service import Client

with Client() as client, ThreadPoolExecutor(50) as pool:
    together = threading.Barrier(50)
    def ask(number):
        together.wait()
        return client.generate(f"thread {number}").result(60).text
    answers = list(pool.map(ask, range(50)))
end(answers=answers)
"""


def test_fifty_threads_share_one_client() -> None:
    """Each gets its own answer."""
    found = run_program("threads", THREADS)
    assert found["answers"] == [f"<thread {number}>" for number in range(50)]


GEVENT = """
import warnings
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # gevent's own
    from gevent import monkey
    monkey.patch_all()
import gevent
from local_llm_service import Client
from local_llm_service.worker.errors import Cancelled

client = Client()
waiting = client.generate("endless under gevent", cache=False)

def wait():
    try:
        waiting.result(60)
    except Cancelled:
        return "cancelled"

def ask(number):
    return client.generate(f"greenlet {number}").result(60).text

waiter = gevent.spawn(wait)
asking = [gevent.spawn(ask, number) for number in range(50)]
gevent.joinall(asking)
still_waits = not waiter.dead
waiting.cancel()
waiter.join()
client.close()
end(answers=[one.value for one in asking], still_waits=still_waits, waiter=waiter.value)
"""


def test_greenlets_share_one_client_and_a_wait_blocks_no_other() -> None:
    """Under gevent's monkey patch, one waits without end while fifty others get their answers."""
    found = run_program("gevent", GEVENT)
    assert found["answers"] == [f"<greenlet {number}>" for number in range(50)]
    assert (found["still_waits"], found["waiter"]) == (True, "cancelled")


LOOPS = """
import asyncio, threading
import redis, uvloop
from local_llm_service import AsyncClient
from local_llm_service.worker.lazy_settings import lazy_settings

client = AsyncClient()
url = lazy_settings().redis_url.replace("loops:-@", "")
look = redis.Redis.from_url(url, decode_responses=True)
left = []

def count():
    gc.collect()
    open_ = sum(one["user"] == "loops" for one in look.client_list())
    left.append([open_, threading.active_count()])

async def ask(name):
    jobs = [await client.generate(f"{name} {n}") for n in range(5)]
    return [answer.text for answer in await asyncio.gather(*(job.result(60) for job in jobs))]

async def give_up(name):
    job = await client.generate(f"endless {name}", cache=False)
    waiting.append(asyncio.create_task(job.result(60)))
    await asyncio.sleep(0.05)
    await job.cancel()

def run(coroutine):
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(coroutine)

waiting = []
answers = run(ask("one"))
count()
run(give_up("in uvloop"))  # which ends while a task still waits
waiting.clear()
answers += run(ask("two"))
count()
loop = uvloop.new_event_loop()
answers += loop.run_until_complete(ask("three"))
answers += loop.run_until_complete(ask("three again"))
# uvloop itself hangs, with warnings as errors, where a transport is open when it is closed.
loop.run_until_complete(loop.shutdown_asyncgens())
loop.close()
answers += run(ask("four"))
count()
look.close()
end(answers=answers, left=left)
"""


def test_a_client_outlives_its_event_loops_of_uvloop() -> None:
    """It works in the next loop, and a loop that ended leaves neither connection nor thread.

    test_async_waiting.py has the same for asyncio's own loop.
    """
    found = run_program("loops", LOOPS)
    names = ("one", "two", "three", "three again", "four")
    assert found["answers"] == [f"<{name} {n}>" for name in names for n in range(5)]
    assert found["left"] == [[0, 1]] * 3


UVICORN = """
import threading
from urllib.parse import unquote
from local_llm_service import AsyncClient

client = AsyncClient()

async def application(scope, receive, send):
    if scope["type"] == "lifespan":
        while (message := await receive())["type"] != "lifespan.shutdown":
            await send({"type": "lifespan.startup.complete"})
        await client.close()
        return await send({"type": "lifespan.shutdown.complete"})
    prompt = unquote(scope["query_string"].decode())
    if prompt == "loop":
        import asyncio
        text = f"{type(asyncio.get_running_loop()).__module__} {threading.active_count()}"
    else:
        job = await client.generate(prompt)
        text = (await job.result(60)).text
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": text.encode()})
"""


def test_requests_under_uvicorn_with_uvloop_get_their_answers(
    shared_redis: redis.Redis, tmp_path: Path
) -> None:
    """Sixty at once, in one thread over a bounded number of connections, which all end with it."""
    port = free_port()
    command = [
        *STRICT,
        "-m",
        "uvicorn",
        "--loop",
        "uvloop",
        "--port",
        str(port),
        "application:application",
    ]
    with serving("uvicorn", UVICORN, command, tmp_path) as (server, log):
        wait_until(lambda: "Uvicorn running" in log.read_text() or server.poll(), "uvicorn starts")
        prompts = [f"request {number}" for number in range(60)]
        with ThreadPoolExecutor(60) as threads:
            answers = list(threads.map(lambda one: fetch(port, one), prompts))
        assert answers == [f"<{prompt}>" for prompt in prompts], log.read_text()[-2000:]
        assert fetch(port, "loop") == "uvloop 1"
        assert 1 <= connections(shared_redis, "uvicorn") <= 9
    assert server.returncode in (0, -signal.SIGTERM)
    said = log.read_text()
    assert "Warning" not in said
    assert "Error" not in said
    assert "Task was destroyed" not in said
    assert connections(shared_redis, "uvicorn") == 0


GUNICORN = """
import asyncio, os
from urllib.parse import unquote
from local_llm_service import AsyncClient, Client, tasks

client, asynchronous = Client(), AsyncClient()

async def ask_asynchronously(prompt):
    job = await asynchronous.generate(prompt)
    return (await job.result(60)).text

def ask(prompt):
    if prompt.startswith("async"):
        return asyncio.run(ask_asynchronously(prompt))
    if prompt.startswith("celery"):
        return tasks.generate.delay(prompt, cache=False).get(timeout=60)["text"]
    return client.generate(prompt).result(60).text

# With --preload this runs once, in the parent of all workers.
assert ask("at import") == "<at import>"
assert ask("async at import") == "<async at import>"
assert ask("celery at import") == "<celery at import>"

def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [ask(unquote(environ["QUERY_STRING"])).encode()]
"""


FACES = ("sync", "async", "celery")


def test_clients_made_before_gunicorn_forks_work_in_its_workers(
    shared_redis: redis.Redis, tmp_path: Path
) -> None:
    """All doors have been used by the parent: its connections, threads and loops are not theirs."""
    port = free_port()
    command = [*STRICT, "-m", "gunicorn", "--preload", "--workers", "4", "--threads", "2"]
    command += ["--bind", f"127.0.0.1:{port}", "--timeout", "90", "application"]
    with serving("gunicorn", GUNICORN, command, tmp_path) as (server, log):
        wait_until(lambda: "Booting worker" in log.read_text() or server.poll(), "gunicorn starts")
        prompts = [f"{face} {number}" for number in range(20) for face in FACES]
        with ThreadPoolExecutor(8) as threads:
            answers = list(threads.map(lambda one: fetch(port, one), prompts))
        assert answers == [f"<{prompt}>" for prompt in prompts], log.read_text()[-3000:]
    assert server.returncode == 0
    assert "Warning" not in log.read_text()
    assert connections(shared_redis, "gunicorn") == 0


@contextmanager
def serving(
    user: str, application: str, command: list[str], folder: Path
) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """A server's process with its log; it is asked to end at the end of the `with`."""
    (folder / "application.py").write_text(application)
    log = folder / "log"
    path = os.pathsep.join([str(folder), str(ROOT / "src")])
    environment = {**os.environ, "PYTHONPATH": path, "REDIS_URL": url_of(user)}
    with (
        log.open("w") as file,
        subprocess.Popen(
            [sys.executable, *command], cwd=folder, env=environment, stdout=file, stderr=file
        ) as server,
    ):
        try:
            yield server, log
        finally:
            server.terminate()
            server.wait(30)


def fetch(port: int, prompt: str) -> str:
    """The application's answer."""
    url = f"http://127.0.0.1:{port}/?{quote(prompt)}"
    with urllib.request.urlopen(url, timeout=90) as reply:
        return str(reply.read().decode())
