"""Flower, the web page on which operators watch queues, as a child process."""

import os
import sys
from collections.abc import Mapping

from local_llm_service.worker.embedded.processes.flower_page import LOGIN, made_login
from local_llm_service.worker.embedded.processes.ports import answers_http, free_port
from local_llm_service.worker.embedded.processes.python_process import PythonProcess


class FlowerProcess(PythonProcess):
    """Flower on a free port of 127.0.0.1; started once its page can be fetched.

    `login` is `user:password`: the one in FLOWER_BASIC_AUTH, or a new one.
    """

    name = "flower"

    def __init__(self, environment: Mapping[str, str]) -> None:
        given = {**os.environ, **environment}
        self.login = made_login([], given) or given.get(LOGIN, "")
        super().__init__({**environment, LOGIN: self.login})
        self.port = free_port()

    @property
    def url(self) -> str:
        """The address for a browser."""
        return f"http://127.0.0.1:{self.port}"

    def command(self) -> list[str]:
        """See ChildProcess.command."""
        return [
            sys.executable,
            *("-m", "local_llm_service.worker.embedded.processes.flower_page"),
            *("--address=127.0.0.1", f"--port={self.port}"),
        ]

    def answers(self) -> bool:
        """See ChildProcess.answers."""
        return answers_http(self.port, "/healthcheck")
