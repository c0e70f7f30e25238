"""A worker made of Celery's and kombu's own classes, to show the faults that this service mends.

It serves `llm.generate` from the same queues, in database 1 of the same Redis, and asks the same
Ollama as this service's worker, so that a fault can strike both at the same moment.
"""

from __future__ import annotations

import json
import os
import sys
import urllib.request
from pathlib import Path
from typing import Any

from celery import Celery
from kombu import Exchange, Queue

from local_llm_service.worker.embedded.processes.worker_process import WorkerProcess
from local_llm_service.worker.store import keys

DATABASE = 1
SETTINGS = "STOCK_SETTINGS"
#: The best settings for the broker, except the timeouts, which each test chooses.
TRANSPORT_OPTIONS = {
    "queue_order_strategy": "priority",
    "priority_steps": [0],
    "visibility_timeout": 60,
    "unacked_restore_interval": 2,
    "unacked_restore_throttle": 1,
}


def stock_url(url: str) -> str:
    """The address of the stock worker's database in the same Redis."""
    return f"{url.rpartition('/')[0]}/{DATABASE}"


def stock_app(url: str, **settings: Any) -> Celery:
    """An app with the best settings for stock Celery (docs/delivery.md), and no class of ours."""
    app = Celery("stock", set_as_current=False, fixups=[])
    app.conf.update(
        broker_url=url,
        broker_transport_options=TRANSPORT_OPTIONS,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_pool_limit=None,
        task_queues=[Queue(name, Exchange(name), routing_key=name) for name in keys.QUEUES],
        task_default_queue="llm.normal",
        task_create_missing_queues=False,
        task_acks_late=True,
        worker_prefetch_multiplier=1,
        worker_concurrency=4,
        worker_pool="threads",
    )
    app.conf.update(settings)
    return app


def send(url: str, prompt: str, queue: str = "llm.high", prefix: str = "", **options: Any) -> str:
    """Send a job by name, as any backend with Celery can, to a worker of either make."""
    # Without a result backend, a send subscribes to nothing.
    app = stock_app(url)
    app.conf.broker_transport_options = {**TRANSPORT_OPTIONS, "global_keyprefix": prefix}
    return str(app.send_task("llm.generate", args=[prompt], queue=queue, **options).id)


class StockWorker(WorkerProcess):
    """The stock worker's process; `settings` are Celery's and override the recommended ones."""

    name = "stock"
    roots = (*WorkerProcess.roots, Path(__file__).parents[2])

    def __init__(self, url: str, ollama_host: str, **settings: Any) -> None:
        environment = {"REDIS_URL": stock_url(url), "OLLAMA_HOST": ollama_host}
        super().__init__({**environment, SETTINGS: json.dumps(settings)})

    def command(self) -> list[str]:
        """See ChildProcess.command."""
        return [sys.executable, "-m", "tests.doubles.stock_worker", *self.arguments()]

    def answers(self) -> bool:
        """Whether the worker has connected and consumes (see ChildProcess.answers)."""
        return " ready." in self.log_path.read_text(errors="replace")


def generate(prompt: str) -> str:
    """Ask Ollama."""
    body = {"model": "fake:1b", "messages": [{"role": "user", "content": prompt}]}
    request = urllib.request.Request(
        f"{os.environ['OLLAMA_HOST']}/api/chat", data=json.dumps(body).encode()
    )
    with urllib.request.urlopen(request, timeout=300) as answer:
        return str(answer.read().decode())


def main(arguments: list[str]) -> None:
    """Run the worker."""
    url = os.environ["REDIS_URL"]
    app = stock_app(url, result_backend=url, **json.loads(os.environ[SETTINGS]))
    app.task(generate, name="llm.generate")
    app.worker_main(["worker", "--loglevel", "INFO", "--without-mingle", *arguments])


if __name__ == "__main__":
    main(sys.argv[1:])
