"""A worker that dies at a named point: `python -m benchmarks.chaos.faulty_worker`.

CHAOS_POINT names the point; the worker dies there once per run and leaves a file with the time of
death in CHAOS_DIRECTORY. With CHAOS_POISON=1 it dies at every prompt that contains the word POISON.
With CHAOS_STEPS=1 each line of a prompt is a step of its own. With CHAOS_PAUSES it writes into that
file for how long its threads do not run (pauses.py). With none of them it is `python -m worker`.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.chaos import pauses
from benchmarks.chaos.prompts import POISON

#: Point → module of `worker`, class, method, and whether death comes before the method or after it
#: has returned a true value.
POINTS = {
    "after-pop": ("celery_ext.transport", "Channel", "_take", "after"),
    "after-claim": (
        "engine.ollama.engine",
        "OllamaEngine",
        "complete",
        "before",
    ),
    "before-result": (
        "celery_ext.result_backend",
        "Backend",
        "_store_result",
        "before",
    ),
    "before-ack": ("celery_ext.transport", "QoS", "ack", "before"),
}

#: The same for what follows a result.
AFTERWORK_POINTS = {
    "settled": ("celery_ext.afterwork", "AfterworkThread", "nudge", "before"),
    "taken": ("store.afterwork", "Afterwork", "take_afterwork", "after"),
    "counted": ("store.afterwork", "Afterwork", "end_afterwork", "before"),
}
#: The same around the money of a paid call: booked and not sent, received and not kept, kept and
#: not settled.
MONEY_POINTS = {
    "booked": ("store.spending", "SpendingStore", "book", "after"),
    "received": ("store.spending", "SpendingStore", "buy", "before"),
    "bought": ("store.spending", "SpendingStore", "buy", "after"),
}


def main() -> int:
    """Put the fault in place and become the worker."""
    point = os.environ.get("CHAOS_POINT")
    if point:
        _wrap(point)
    if os.environ.get("CHAOS_POISON"):
        _poison()
    if os.environ.get("CHAOS_STEPS"):
        _step_by_step()
    if file := os.environ.get("CHAOS_PAUSES"):
        pauses.watch_here(Path(file))
    from local_llm_service.worker.__main__ import main as worker_main

    return worker_main(sys.argv[1:])


def flag(directory: Path, point: str) -> Path:
    """The file that holds the time at which a worker died at `point`."""
    return directory / f"died-{point}"


def poison_log(directory: Path) -> Path:
    """The file with one line per death by poison."""
    return directory / "died-of-poison"


def _wrap(point: str) -> None:
    module, owner, name, when = (POINTS | AFTERWORK_POINTS | MONEY_POINTS)[point]
    place = getattr(importlib.import_module(f"local_llm_service.worker.{module}"), owner)
    original: Callable[..., Any] = getattr(place, name)

    def fault(*args: Any, **kwargs: Any) -> Any:
        if when == "before":
            _die_once(point)
        result = original(*args, **kwargs)
        if when == "after" and result:
            _die_once(point)
        return result

    setattr(place, name, fault)


def _poison() -> None:
    from local_llm_service.worker.engine.ollama.engine import OllamaEngine

    original = OllamaEngine.complete

    def complete(self: Any, prompt: Any, *args: Any, **kwargs: Any) -> Any:
        if POISON in str(prompt.messages):
            with poison_log(_directory()).open("a") as file:
                file.write(f"{time.monotonic()} {os.getpid()}\n")
            _die()
        return original(self, prompt, *args, **kwargs)

    setattr(OllamaEngine, "complete", complete)  # noqa: B010  # mypy refuses the plain assignment


def _step_by_step() -> None:
    """Let `generate` answer each line by itself."""
    from local_llm_service import tasks
    from local_llm_service.worker.prompt import Prompt

    def work(request: Any, ask: Any) -> dict[str, str]:
        lines = request.prompt.splitlines()
        prompts = [Prompt(({"role": "user", "content": line},), 2048) for line in lines]
        return {"text": "\n".join(ask(prompt, shared=True).text for prompt in prompts)}

    task: Any = tasks.generate
    task.kind = replace(task.kind, work=work)


def _die_once(point: str) -> None:
    try:
        with flag(_directory(), point).open("x") as file:
            file.write(f"{time.monotonic()} {os.getpid()}\n")
    except FileExistsError:
        return
    _die()


def _directory() -> Path:
    return Path(os.environ["CHAOS_DIRECTORY"])


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)


if __name__ == "__main__":
    sys.exit(main())
