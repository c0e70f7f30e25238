"""A Redis that is away hangs no caller, and a wait outlives a Redis that restarts.

Each test needs a Redis of its own to stop, so its producer is a process of its own, too.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from local_llm_service.worker.embedded.processes.ports import free_port
from tests.integration.conftest import run_python
from tests.integration.every_call import calls

#: Commands of the command line end with this code.
UNREACHABLE = "exit 3"
#: What these words end in instead: by name, an app makes no call of ours.
KOMBUS_OWN = {"app.send_task": "OperationalError"}


@pytest.mark.parametrize("how", ["refused", "silent", "killed"])
def test_every_call_ends_in_broker_unreachable(how: str) -> None:
    """Refused, silent, or killed while the calls wait for it: none hangs, and none is raw.

    `python -m benchmarks.chaos waiting` prints how long they take.
    """
    done = run_python("-m", "tests.integration.every_call", how, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    found = {name: word for name, (word, _) in json.loads(done.stdout)["calls"].items()}
    expected = {
        name: UNREACHABLE if name.startswith("local-llm") else "BrokerUnreachable"
        for name in calls()
    }
    assert found == expected | KOMBUS_OWN
    assert json.loads(done.stdout)["printed"].count('"broker_unreachable"') == sum(
        word == UNREACHABLE for word in expected.values()
    )
    assert "Traceback" not in done.stderr


def in_a_producer(code: str) -> Any:
    """Run `code`, which starts `server` itself, and return the JSON that it prints."""
    port = free_port()
    url = f"redis://127.0.0.1:{port}/0"
    done = run_python("-c", BEGIN + code, REDIS_URL=url, PORT=str(port), timeout=120)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


BEGIN = """
import json, os, signal, threading, time
from concurrent.futures import ThreadPoolExecutor
import redis
from local_llm_service import Client, tasks
from local_llm_service.worker import errors
from local_llm_service.worker.app import app
from local_llm_service.worker.embedded.processes.redis_process import RedisProcess
from local_llm_service.worker.store.store import process_store
from local_llm_service.worker.listening import patience

server = RedisProcess(port=int(os.environ["PORT"]), appendonly=True).start()
client, keys = process_store().client, process_store().keys

def until(condition):
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, "never happened"
        time.sleep(0.01)

def all_listen(ids):
    try:
        found = client.pubsub_numsub(*(keys.announced(one) for one in ids))
    except redis.RedisError:
        return False
    return all(count for _, count in found)

def ending(call):
    try:
        return call()
    except BaseException as error:
        return type(error).__name__

def answer(task_id):
    timings = dict.fromkeys(
        ("queued_seconds", "load_seconds", "prompt_seconds", "generation_seconds"), 0.0)
    app.backend._store_result(task_id, {
        "task_id": task_id, "kind": "generate", "model": "m", "origin": "computed",
        "finish_reason": "stop", "usage": {"prompt_tokens": 1, "completion_tokens": 1},
        "timings": timings, "text": "for " + task_id}, "SUCCESS")
"""

RESTART = """
ids = [f"job-{number}" for number in range(12)]
client.hset(keys.job(ids[8]), "state", "queued")
with ThreadPoolExecutor(20) as threads:
    waits = [threads.submit(ending, lambda one=one: app.AsyncResult(one).get(timeout=90)["text"])
             for one in ids[:8]]
    waits += [threads.submit(ending, lambda: Client().job(ids[8]).result(90).text)]
    waits += [threads.submit(ending, lambda: app.AsyncResult(ids[9]).get()["text"])]
    group = app.GroupResult("g", [app.AsyncResult(one) for one in ids[10:]])
    together = threads.submit(ending, lambda: [one["text"] for one in group.get(timeout=90)])
    until(lambda: all_listen(ids))
    for end_it in (server.kill, server.stop):
        end_it()
        time.sleep(float(AWAY))
        server.start()
        until(lambda: all_listen(ids))
    server.kill()
    time.sleep(float(AWAY))
    server.start()
    for one in ids:
        answer(one)
    print(json.dumps([*(wait.result() for wait in waits), *together.result()]))
server.stop()
"""


@pytest.mark.parametrize("away_seconds", [0.3, 2])
def test_all_waits_outlive_a_redis_that_restarts(away_seconds: float) -> None:
    """Threads, a wait without a timeout, and a group: each gets its own answer afterwards."""
    found = in_a_producer(RESTART.replace("AWAY", str(away_seconds)))
    assert found == [f"for job-{number}" for number in range(12)]


GONE = """
patience.AWAY_SECONDS = 1.0
ids = ["short", "endless"]
client.hset(keys.job("short"), "state", "queued")
with ThreadPoolExecutor(2) as threads:
    waits = [
        threads.submit(ending, lambda: Client().job("short").result(4)),
        threads.submit(ending, lambda: app.AsyncResult("endless").get()),
    ]
    until(lambda: all_listen(ids))
    HAPPENS
    print(json.dumps([wait.result() for wait in waits]))
os.kill(server.pid, signal.SIGKILL) if server.running else None
"""


@pytest.mark.parametrize("happens", ["server.kill()", "os.kill(server.pid, signal.SIGSTOP)"])
def test_a_wait_ends_when_redis_does_not_come_back(happens: str) -> None:
    """At its timeout, and without one after a while, with the reason: not Celery's TimeoutError."""
    assert in_a_producer(GONE.replace("HAPPENS", happens)) == ["BrokerUnreachable"] * 2


HALFWAY = """
jobs = process_store().jobs
put = jobs.put
def put_into_a_silent_redis(*arguments):
    os.kill(server.pid, signal.SIGSTOP)
    return put(*arguments)
jobs.put = put_into_a_silent_redis
words = [ending(lambda: tasks.generate.delay("hi"))]
os.kill(server.pid, signal.SIGCONT)
print(json.dumps(words))
server.kill()
"""


def test_a_redis_that_falls_silent_between_admission_and_queue() -> None:
    """The call that was admitted and could not be queued is told so, too."""
    assert in_a_producer(HALFWAY) == ["BrokerUnreachable"]
