"""A backend with a Celery app of its own, as stock as can be, and its worker's process.

It knows nothing of this service: no setting, no class, no import of ours in its worker. Its tasks
note each run in a Redis list, so that a test sees which ran and how often.
"""

from __future__ import annotations

import gc
import json
import os
import sys
from pathlib import Path
from typing import Any

import redis
from celery import Celery
from kombu import pools

from local_llm_service.worker.embedded.processes.worker_process import WorkerProcess

#: Tasks that run note themselves here, in database 15.
RUNS = "runs"
RUNS_DATABASE = 15


def database(url: str, number: int) -> str:
    """The address of another database of the same Redis."""
    return f"{url.rpartition('/')[0]}/{number}"


def make_app(broker: str, backend: str, current: bool = False) -> Celery:
    """The app: default queue `celery`, one route, one task with a queue of its own."""
    app = Celery("mine", broker=broker, backend=backend, set_as_current=current, fixups=[])
    app.conf.task_routes = {"my.routed": {"queue": "routes"}}
    app.conf.broker_connection_retry_on_startup = True
    app.task(store, name="my.store")
    app.task(store, name="my.routed")
    app.task(store, name="my.own")
    app.task(note, name="my.note")
    app.task(collect, name="my.collect")
    app.task(ask, name="my.ask")
    app.finalize()
    app.tasks["my.own"].queue = "own"
    return app


def close(app: Celery) -> None:
    """Close all connections of an app of this process, after its last handles unsubscribed."""
    gc.collect()
    pools.reset()  # of all stock apps: they share theirs
    app.close()
    app.backend.result_consumer.stop()
    app.backend.result_consumer.subscribed_to.clear()  # else a late handle would connect again
    app.backend.client.connection_pool.disconnect()


def _note(*what: Any) -> None:
    url = database(os.environ["REDIS_URL"], RUNS_DATABASE)
    client = redis.Redis.from_url(url)
    client.rpush(RUNS, json.dumps(what))
    client.expire(RUNS, 600)
    client.close()


def runs(url: str) -> list[list[Any]]:
    """What ran, in order: name and first argument."""
    client = redis.Redis.from_url(database(url, RUNS_DATABASE))
    try:
        return [json.loads(one) for one in client.lrange(RUNS, 0, -1)]
    finally:
        client.close()


def store(answer: Any) -> str:
    """Take an answer of ours; return its text."""
    text = answer["text"] if isinstance(answer, dict) else str(answer)
    _note("store", text)
    return f"stored {text}"


def note(task_id: str) -> None:
    """An errback."""
    _note("note", task_id)


def collect(answers: list[Any]) -> list[str]:
    """The body of a chord."""
    texts = [one["text"] if isinstance(one, dict) else str(one) for one in answers]
    _note("collect", texts)
    return texts


def ask(word: str) -> str:
    """Make a prompt, for a step of ours that comes after it."""
    _note("ask", word)
    return f"prompt {word}"


class PlainWorker(WorkerProcess):
    """The backend's worker; it serves all its queues."""

    name = "plain"
    roots = (*WorkerProcess.roots, Path(__file__).parents[2])

    def __init__(self, url: str, broker: str, backend: str) -> None:
        super().__init__({"REDIS_URL": url, "MINE_BROKER": broker, "MINE_BACKEND": backend})

    def command(self) -> list[str]:
        """See ChildProcess.command."""
        return [sys.executable, "-m", "tests.doubles.plain_backend", *self.arguments()]

    def answers(self) -> bool:
        """Whether the worker has connected and consumes (see ChildProcess.answers)."""
        return " ready." in self.log_path.read_text(errors="replace")


def main(arguments: list[str]) -> None:
    """Run the worker."""
    app = make_app(os.environ["MINE_BROKER"], os.environ["MINE_BACKEND"])
    queues = ["-Q", "celery,routes,own,special"]
    options = ["--loglevel", "INFO", "--without-mingle", "--pool", "solo"]
    app.worker_main(["worker", *options, *queues, *arguments])


if __name__ == "__main__":
    main(sys.argv[1:])
