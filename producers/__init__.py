"""How to ask: the typed client, what the workers serve, and the command line.

`from tasks import ...` is enough for Celery users; this package adds typed answers, `models()`,
`health()`, `status()`, `stats()` and `queues()`.
"""

from producers.client import Client, Handle
from producers.service import cancel, health, models, queues, stats, status

__all__ = ["Client", "Handle", "cancel", "health", "models", "queues", "stats", "status"]
