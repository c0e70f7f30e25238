"""`python -m benchmarks.bench_streams`: how soon a reader has the first piece, and what it costs.

`first`: from the moment at which the engine sends its first token to the moment at which a reader,
in a process of its own, has it; jobs one after the other, and four at once. `cost`: jobs of 200
tokens, streamed and not in turn, on one worker: time from submit to result, and CPU time of the
worker. The raw numbers go to benchmarks/results/streams.json.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import statistics
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

from benchmarks.command import parse, run
from benchmarks.dedupe.numbers import machine, median_interval, percentile
from local_llm_service.worker.embedded.processes.redis_process import RedisProcess
from local_llm_service.worker.embedded.processes.worker_process import WorkerProcess
from tests.doubles.ollama import FakeOllama, Script

RESULTS = Path(__file__).parent / "results" / "streams.json"
TOKENS, SLOTS = 200, 4
#: Pauses between tokens, seconds: as fast as the double can, and 200 tokens a second in each slot.
PACES = (0.0, 0.005)


@dataclass
class Engine(FakeOllama):
    """A scripted Ollama that notes when it sent the first token of each prompt."""

    pace: float = 0.005
    sent_at: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.respond = self._script

    def _script(self, body: dict[str, Any]) -> Script:
        return Script(chunks=tuple(f"token{n} " for n in range(TOKENS)), pause_seconds=self.pace)

    async def _stream(self, script: Script, body: dict[str, Any], writer: Any) -> bool:
        name = body["messages"][-1]["content"]
        write = writer.write

        class First:
            """The writer, which notes the first record."""

            def __getattr__(self, word: str) -> Any:
                return getattr(writer, word)

            def write(self, data: bytes) -> None:
                if data[:4] != b"HTTP":
                    sent_at.setdefault(name, time.monotonic())
                write(data)

        sent_at = self.sent_at
        return await super()._stream(script, body, First())


def main() -> int:
    """See the module."""
    given = parse("benchmarks.bench_streams", __doc__, ("first", "cost"), "A tenth of the jobs.")
    found: dict[str, Any] = {"machine": machine()}
    with site() as (engine, worker):
        if "first" in given.parts:
            found["first"] = first_tokens(engine, 10 if given.short else 100)
        if "cost" in given.parts:
            found["cost"] = costs(engine, worker, 4 if given.short else 30)
    RESULTS.write_text(json.dumps(found) + "\n")
    return 0


@contextmanager
def site() -> Iterator[tuple[Engine, WorkerProcess]]:
    """A Redis, an engine and a worker."""
    with RedisProcess() as redis, Engine() as engine:
        os.environ["REDIS_URL"] = redis.url
        environment = {"REDIS_URL": redis.url, "OLLAMA_HOST": engine.host}
        environment |= {"MODEL_NAME": "fake:1b", "CONCURRENCY": str(SLOTS)}
        with WorkerProcess(environment) as worker:
            yield engine, worker


# --- the first token --------------------------------------------------------------------------


def first_tokens(engine: Engine, jobs: int) -> dict[str, list[float]]:
    """Milliseconds from the engine to the reader, by how many jobs run at once."""
    engine.pace, found = 0.005, {}
    for at_once in (1, SLOTS):
        engine.sent_at.clear()
        ours, theirs = multiprocessing.get_context("spawn").Pipe()
        reader = multiprocessing.get_context("spawn").Process(
            target=read_first_pieces, args=(theirs, jobs, at_once)
        )
        reader.start()
        got_at: dict[str, float] = ours.recv()
        reader.join()
        times = sorted((got_at[one] - engine.sent_at[one]) * 1000 for one in got_at)
        say(f"first piece, {at_once} at once", times)
        found[f"{at_once} at once"] = [round(one, 3) for one in times]
    return found


def read_first_pieces(pipe: Any, jobs: int, at_once: int) -> None:
    """In a process of its own: when each job's first piece was there."""
    got_at: dict[str, float] = {}

    def read(number: int) -> None:
        prompt = f"prompt {number} {uuid4()}"
        for event in stream_of(submit(prompt, stream=True)):
            if event.type == "text":
                got_at.setdefault(prompt, time.monotonic())

    read(-1)  # imports, connections
    got_at.clear()
    with ThreadPoolExecutor(at_once) as threads:
        list(threads.map(read, range(jobs)))
    pipe.send(got_at)


# --- the cost ---------------------------------------------------------------------------------


def costs(engine: Engine, worker: WorkerProcess, rounds: int) -> dict[str, Any]:
    """Seconds of jobs, and of CPU of the worker, streamed and not in turn."""
    found: dict[str, Any] = {}
    for pace in PACES:
        engine.pace = pace
        for at_once in (1, SLOTS):
            turns = {False: Turns(), True: Turns()}
            for number in range(rounds + 1):
                for streamed in (False, True) if number % 2 else (True, False):
                    turn = one_turn(worker, at_once, streamed=streamed)
                    if number:  # the first one warms up
                        turns[streamed].add(*turn)
            name = f"{pace * 1000:g} ms a token, {at_once} at once"
            found[name] = report(name, turns)
    return found


@dataclass
class Turns:
    """What jobs took, one turn after the other."""

    seconds: list[float] = field(default_factory=list)
    cpu_seconds: list[float] = field(default_factory=list)

    def add(self, seconds: float, cpu_seconds: float) -> None:
        """Add one turn."""
        self.seconds.append(seconds)
        self.cpu_seconds.append(cpu_seconds)


def one_turn(worker: WorkerProcess, at_once: int, *, streamed: bool) -> tuple[float, float]:
    """Run some jobs at once; seconds of all, and CPU seconds of the worker for each job."""
    before, began = cpu_seconds(worker), time.monotonic()
    results = [submit(f"prompt {uuid4()}", stream=streamed) for _ in range(at_once)]
    for result in results:
        result.get(timeout=60)
    seconds = time.monotonic() - began
    return seconds, (cpu_seconds(worker) - before) / at_once


def cpu_seconds(worker: WorkerProcess) -> float:
    """What the worker's process has used, all threads, also those that have ended."""
    # The clock of another process, see clock_getcpuclockid(3) and the kernel's CPUCLOCK_SCHED.
    return time.clock_gettime((~worker.pid << 3) | 2)


def report(name: str, turns: dict[bool, Turns]) -> dict[str, Any]:
    """Print and return what streaming adds."""
    plain, streamed = turns[False], turns[True]
    ratios = [one / other for one, other in zip(streamed.seconds, plain.seconds, strict=True)]
    added = [a - b for a, b in zip(streamed.cpu_seconds, plain.cpu_seconds, strict=True)]
    job, time_added = statistics.median(plain.seconds), median_interval(ratios)
    cpu_added = median_interval(added)
    print(
        f"{name}: a job {job * 1000:.1f} ms; streamed {(time_added.median - 1) * 100:+.1f} % "
        f"({(time_added.low - 1) * 100:+.1f} to {(time_added.high - 1) * 100:+.1f}); worker's CPU "
        f"{statistics.median(plain.cpu_seconds) * 1000:.1f} ms a job, "
        f"{cpu_added.median * 1000:+.2f} ms ({cpu_added.low * 1000:+.2f} to "
        f"{cpu_added.high * 1000:+.2f}), {cpu_added.median / job * 100:+.2f} % of its time",
        flush=True,
    )
    return {"plain": vars(plain), "streamed": vars(streamed)}


# --- a caller ---------------------------------------------------------------------------------


def submit(prompt: str, *, stream: bool) -> Any:
    """Ask, with a question that nobody has asked."""
    from local_llm_service import tasks

    return tasks.generate.delay(prompt, stream=stream)


def stream_of(result: Any) -> Iterator[Any]:
    """The events of a job."""
    from local_llm_service.producers import job

    return job(result.id).stream()


def say(name: str, times: list[float]) -> None:
    """One line of percentiles."""
    cells = "  ".join(f"p{percent} {percentile(times, percent):.1f}" for percent in (50, 95, 99))
    print(f"{name}: {cells}  most {times[-1]:.1f} ms   n={len(times)}", flush=True)


if __name__ == "__main__":
    run(main)
