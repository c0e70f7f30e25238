"""The callers' side: the typed client, the state of the service, and the command line.

`from tasks import ...` is enough for Celery users; this package adds typed answers, `models()`,
`routes()`, `health()`, `status()`, `progress()`, `stats()`, `usage()` and `queues()`.
"""

if __name__ == "producers":  # in a checkout: the short name, see src/local_llm_service/_checkout.py
    import sys

    sys.path.insert(0, f"{__path__[0].rpartition('/')[0]}/src")
    from local_llm_service._checkout import alias

    alias(__name__)


from local_llm_service.producers.client import Client, Job, job
from local_llm_service.producers.explain import explain
from local_llm_service.producers.service import (
    cancel,
    health,
    models,
    progress,
    queues,
    routes,
    stats,
    status,
    usage,
)

__all__ = [
    "Client",
    "Job",
    "cancel",
    "explain",
    "health",
    "job",
    "models",
    "progress",
    "queues",
    "routes",
    "stats",
    "status",
    "usage",
]
