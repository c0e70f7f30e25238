"""A worker of this service as a child process."""

import os
import sys

import redis

from local_llm_service.worker.embedded.processes.python_process import PythonProcess
from local_llm_service.worker.key_prefix import DEFAULT_PREFIX
from local_llm_service.worker.store.keys import Keys


class WorkerProcess(PythonProcess):
    """`python -m worker`; started once it has published itself in Redis.

    Its environment must name the REDIS_URL.
    """

    name = "worker"

    def command(self) -> list[str]:
        """See ChildProcess.command."""
        return [sys.executable, "-m", "local_llm_service.worker", *self.arguments()]

    def arguments(self) -> list[str]:
        """Celery's worker options; the name sets this worker's presence apart from others'."""
        return ["--hostname", self.worker_name]

    @property
    def worker_name(self) -> str:
        """The name under which the worker publishes itself."""
        return f"llm-{id(self):x}-{os.getpid()}@localhost"

    def answers(self) -> bool:
        """See ChildProcess.answers: the worker's presence is in Redis."""
        prefix = self.environment().get("KEY_PREFIX") or DEFAULT_PREFIX
        client = redis.Redis.from_url(self._environment["REDIS_URL"])
        try:
            return bool(client.exists(Keys(prefix).worker(self.worker_name)))
        except redis.RedisError:
            return False
        finally:
            client.close()
