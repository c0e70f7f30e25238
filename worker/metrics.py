"""All metrics of a worker, served for Prometheus on 127.0.0.1:METRICS_PORT.

One registry for the process: all slots are threads of it. Prefix `llm_`, base units in the names,
no label that a caller can make up.
"""

from __future__ import annotations

from prometheus_client import Counter, Gauge, start_http_server

from local_llm_service.worker.intake.gate import GATE, Reason
from local_llm_service.worker.lease.in_flight import HOLDINGS

JOBS = Counter("llm_jobs_ended", "Jobs that ended in this worker", ["kind", "outcome"])
RELEASES = Counter(
    "llm_jobs_released", "Jobs that went back without a result", ["cause"]
)  # cause: outage, interrupted, retry
SWEPT = Counter("llm_jobs_swept", "Jobs taken from workers that were gone")
RUNNING = Gauge("llm_jobs_held", "Jobs that this worker holds now")
OPEN = Gauge("llm_gate_open", "1 while this worker takes jobs")
OLLAMA = Gauge("llm_breaker_closed", "1 while Ollama is taken to be reachable")

RUNNING.set_function(lambda: len(HOLDINGS))
OPEN.set_function(lambda: float(GATE.is_open))
OLLAMA.set_function(lambda: float(Reason.OLLAMA not in GATE.reasons))


def serve(port: int) -> None:
    """Answer Prometheus on the loopback interface. Raises OSError when the port is taken."""
    start_http_server(port, addr="127.0.0.1")
