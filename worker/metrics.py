"""All metrics of a worker, served for Prometheus on 127.0.0.1:METRICS_PORT.

The process has one registry, as all slots are its threads. Names begin with `local_llm_` and show
base units; no label takes a value that a caller can make up. Rooms hand in the functions that their
gauges read.
"""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import Counter, Gauge, start_http_server

JOBS = Counter("local_llm_jobs_ended", "Jobs that ended in this worker", ["kind", "outcome"])
RELEASES = Counter(
    "local_llm_jobs_released", "Jobs that went back without a result", ["cause"]
)  # cause: outage, interrupted, yielded, retry, elsewhere, engine_died
ROUTED = Counter(
    "local_llm_routed",
    "Jobs of a route, by the model whose outcome it is and why",
    ["to", "reason"],
)  # to: local, remote; reason: docs/routing.md
REAPED = Counter("local_llm_jobs_reaped", "Jobs taken from dead workers")
UNKNOWN_ERRORS = Counter(
    "local_llm_ollama_unknown_errors", "Errors of Ollama in words that are not known", ["kind"]
)  # kind: refused (4xx), failed (any other status), midway (in a stream)
SLOTS_REPLACED = Counter("local_llm_slots_replaced", "Slots that did not end with their job")
REMOTE_USD = Counter(
    "local_llm_remote_usd", "US dollars that this worker's calls of paid models cost", ["outcome"]
)  # outcome: paid, wasted
REMOTE_BUDGET_LEFT = Gauge(
    "local_llm_remote_budget_left_usd", "US dollars that paid models may still cost", ["period"]
)  # period: day, month
IN_FLIGHT = Gauge("local_llm_jobs_in_flight", "Jobs that this worker holds now")
GATE_OPEN = Gauge("local_llm_gate_open", "1 while this worker takes jobs")
BREAKER_CLOSED = Gauge("local_llm_breaker_closed", "1 while Ollama counts as reachable")
ENGINE_REACHABLE = Gauge(
    "local_llm_engine_reachable", "1 while this engine counts as reachable", ["engine"]
)
ENGINE_JOBS = Gauge("local_llm_engine_jobs", "Jobs that hold a slot of this engine now", ["engine"])


def watch(
    in_flight: Callable[[], int], gate_open: Callable[[], bool], breaker_closed: Callable[[], bool]
) -> None:
    """Let the gauges read these functions from now on."""
    IN_FLIGHT.set_function(lambda: float(in_flight()))
    GATE_OPEN.set_function(lambda: float(gate_open()))
    BREAKER_CLOSED.set_function(lambda: float(breaker_closed()))


def watch_engine(name: str, is_reachable: Callable[[], bool], jobs: Callable[[], int]) -> None:
    """Let the gauges of one engine, by its name in the fleet, read these functions."""
    ENGINE_REACHABLE.labels(name).set_function(lambda: float(is_reachable()))
    ENGINE_JOBS.labels(name).set_function(lambda: float(jobs()))


def serve(port: int) -> None:
    """Answer Prometheus on the loopback interface. Raises OSError when the port is in use."""
    start_http_server(port, addr="127.0.0.1")
