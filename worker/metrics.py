"""All metrics of a worker, served for Prometheus on 127.0.0.1:METRICS_PORT.

One registry for the process: all slots are threads of it. Prefix `local_llm_`, base units in the
names, no label that a caller can make up. Rooms hand in what their gauges read.
"""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import Counter, Gauge, start_http_server

JOBS = Counter("local_llm_jobs_ended", "Jobs that ended in this worker", ["kind", "outcome"])
RELEASES = Counter(
    "local_llm_jobs_released", "Jobs that went back without a result", ["cause"]
)  # cause: outage, interrupted, retry
REAPED = Counter("local_llm_jobs_reaped", "Jobs taken from workers that were gone")
IN_FLIGHT = Gauge("local_llm_jobs_in_flight", "Jobs that this worker holds now")
GATE_OPEN = Gauge("local_llm_gate_open", "1 while this worker takes jobs")
BREAKER_CLOSED = Gauge("local_llm_breaker_closed", "1 while Ollama is taken to be reachable")


def watch(
    in_flight: Callable[[], int], gate_open: Callable[[], bool], breaker_closed: Callable[[], bool]
) -> None:
    """Let the gauges read these from now on."""
    IN_FLIGHT.set_function(lambda: float(in_flight()))
    GATE_OPEN.set_function(lambda: float(gate_open()))
    BREAKER_CLOSED.set_function(lambda: float(breaker_closed()))


def serve(port: int) -> None:
    """Answer Prometheus on the loopback interface. Raises OSError when the port is taken."""
    start_http_server(port, addr="127.0.0.1")
