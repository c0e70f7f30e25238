"""A worker of this service as a child process."""

import itertools
import os
import sys
from functools import cached_property

import redis

from local_llm_service.worker.embedded.processes.python_process import PythonProcess
from local_llm_service.worker.key_prefix import DEFAULT_PREFIX
from local_llm_service.worker.store.keys import Keys

_NUMBERS = itertools.count(1)


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

    @cached_property
    def worker_name(self) -> str:
        """The name under which the worker publishes itself; no other of this process has it."""
        return f"llm-{os.getpid()}-{next(_NUMBERS)}@localhost"

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
