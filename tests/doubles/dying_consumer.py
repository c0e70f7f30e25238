"""A consumer that dies at a chosen point between the pop of a message and its delivery.

Run `python -m tests.doubles.dying_consumer stock|ours POINT` with REDIS_URL. The process ends with
SIGKILL at that point, or with status 0 if it never gets there.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from kombu import Connection, Consumer, Queue
from kombu.transport import redis as stock_redis

from tests.doubles.stock_worker import TRANSPORT_OPTIONS

STOCK, OURS = "stock", "ours"
#: The points, in the order in which a message passes them.
POINTS = ("popped", "deliver", "append", "callback")
WAIT_SECONDS = 10


def die(*_: Any, **__: Any) -> None:
    """Kill this process at once, as a loss of power does."""
    os.kill(os.getpid(), signal.SIGKILL)


def runtime() -> Any:
    """A worker's runtime, with an engine that nobody asks; its Ollama is said to have the model."""
    from local_llm_service.worker.engine import open_engine
    from local_llm_service.worker.prompt import Model
    from local_llm_service.worker.runtime import WorkerRuntime
    from local_llm_service.worker.settings import get_settings
    from local_llm_service.worker.store.store import process_store

    settings = get_settings()
    made = WorkerRuntime.make("dying", 1, settings, process_store(), open_engine(settings))
    made.catalog.note([Model(settings.model_name, "digest", 1, None)])
    return made


def main(make: str, point: str) -> None:
    """Consume from llm.high and die at `point`."""
    module: Any = stock_redis
    options: dict[str, Any] = TRANSPORT_OPTIONS
    accept = ["json"]
    if make == OURS:
        from local_llm_service.celeryconfig import accept_content as accept
        from local_llm_service.celeryconfig import broker_transport_options
        from local_llm_service.worker.celery_ext import transport as module

        options = {**broker_transport_options, module.OPTION: runtime()}
    if point == "popped":  # the first step after the pop
        if make == OURS:
            module.Channel._hand_over = die
        else:
            module.bytes_to_str = die
    if point == "deliver":
        module.Transport._deliver = die
    if point == "append":
        module.QoS.append = die
    url = os.environ["REDIS_URL"]
    with Connection(url, transport=module.Transport, transport_options=options) as connection:
        queue = Queue("llm.high", channel=connection)
        with Consumer(connection, [queue], callbacks=[die], accept=accept):
            try:
                connection.drain_events(timeout=WAIT_SECONDS)
            except TimeoutError:
                print("no message arrived", file=sys.stderr)  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:])
