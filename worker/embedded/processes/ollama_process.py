"""The embedded Ollama as a child process; what it serves is the room `ollama_api`."""

import importlib.util
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from local_llm_service.worker.embedded import smollm2
from local_llm_service.worker.embedded.errors import EmbeddedUnavailable
from local_llm_service.worker.embedded.processes.ports import answers_http
from local_llm_service.worker.embedded.processes.python_process import PythonProcess

#: By name, not by import: only the child loads the server.
SERVER = "local_llm_service.worker.embedded.ollama_api.ollama_server"


class OllamaProcess(PythonProcess):
    """A server that speaks Ollama's API on 127.0.0.1, with one small model.

    It keeps its port over `stop`, `kill` and `start`. `env` is added to the child's
    environment: OLLAMA_NUM_PARALLEL, OLLAMA_CONTEXT_LENGTH, OLLAMA_KEEP_ALIVE,
    OLLAMA_MAX_QUEUE, EMBEDDED_THREADS.
    """

    name = "ollama"

    def __init__(
        self,
        directory: str | os.PathLike[str] | None = None,
        *,
        env: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(env or {}, directory)
        self._port: int | None = None

    @property
    def port(self) -> int:
        """The TCP port on 127.0.0.1; RuntimeError before the first start."""
        if self._port is None:
            raise RuntimeError("ollama is not started")
        return self._port

    @property
    def host(self) -> str:
        """Its address as OLLAMA_HOST wants it."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def _port_file(self) -> Path:
        return self.directory / "ollama.port"

    def command(self) -> list[str]:
        """See ChildProcess.command."""
        for module in ("tornado", "httpx", "xllamacpp"):
            if importlib.util.find_spec(module) is None:
                raise EmbeddedUnavailable(f"the package {module} is not installed", smollm2.HINT)
        smollm2.model_path()
        self._port_file.unlink(missing_ok=True)
        options = ["--port", str(self._port or 0), "--port-file", str(self._port_file)]
        return [sys.executable, "-m", SERVER, *options]

    def answers(self) -> bool:
        """See ChildProcess.answers: only this child writes the port file."""
        try:
            self._port = int(self._port_file.read_text())
        except (OSError, ValueError):
            return False
        return answers_http(self._port, "/")
