"""Plain Celery as a backend team writes it: Celery's own classes, the ollama package, one Redis.

`generate` asks the model; `lookup` looks in Redis first, inside the worker. The worker process
contains no part of this service.
"""

from __future__ import annotations

import hashlib
import os
import sys
from typing import Any

import ollama
import redis
from celery import Celery

MODEL = "fake:1b"

url = os.environ["REDIS_URL"]
app = Celery("plain", broker=url, backend=url)
app.conf.update(
    task_acks_late=True,
    worker_prefetch_multiplier=1,
    worker_concurrency=4,
    worker_pool="threads",
    broker_connection_retry_on_startup=True,
    broker_transport_options={"visibility_timeout": 3600},
)
model = ollama.Client(os.environ["OLLAMA_HOST"])
cache = redis.Redis.from_url(url)


@app.task(name="plain.generate")
def generate(prompt: str) -> str:
    """Ask the model."""
    answer = model.chat(MODEL, messages=[{"role": "user", "content": prompt}])
    return str(answer.message.content)


@app.task(name="plain.lookup")
def lookup(prompt: str) -> str:
    """Return the answer from Redis, or ask the model and store its answer in Redis."""
    key = f"cache:{hashlib.sha256(prompt.encode()).hexdigest()}"
    kept: Any = cache.get(key)
    if kept is not None:
        return str(kept.decode())
    text = generate(prompt)
    cache.set(key, text, ex=3600)
    return text


if __name__ == "__main__":
    app.worker_main(["worker", "--loglevel", "INFO", *sys.argv[1:]])
