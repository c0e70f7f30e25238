"""The subjects with a real model: the embedded Ollama, and llama.cpp's own `/v1`."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from local_llm_service.worker.embedded.processes.ollama_process import OllamaProcess
from local_llm_service.worker.embedded.smollm2 import EMBED_NAME, TOOLS_NAME
from local_llm_service.worker.engine import Engine
from local_llm_service.worker.engine.ollama.engine import OllamaEngine
from local_llm_service.worker.engine.openai_compatible.engine import OpenAiEngine
from local_llm_service.worker.fleet.fleet import FleetEngine
from local_llm_service.worker.settings import Settings
from tests.conformance.subject import Subject
from tests.doubles.llama_server import MODEL, LlamaServer

ROOM = 512
TICKS = os.sysconf("SC_CLK_TCK")
MOST_TOKENS = 256
#: A server that has used no CPU for so long writes nothing.
QUIET_SECONDS = 0.3


class Real(Subject):
    """A subject whose server is a process with a real model."""

    server: OllamaProcess | LlamaServer

    def cpu_seconds(self) -> float:
        """What the server's processes have used so far: a measure that no load of others moves."""
        return _ticks(self.server.pid) / TICKS


class EmbeddedOllama(Real):
    """The embedded server: Ollama's API before a real model, one answer at a time."""

    name = "embedded"
    model, embeds = TOOLS_NAME, EMBED_NAME

    def __init__(self, servers: ExitStack, room: int = ROOM) -> None:
        self.server = servers.enter_context(OllamaProcess(env={"OLLAMA_NUM_PARALLEL": "1"}))
        self._room = room
        self._burnt, self._since = 0, 0.0

    def engine(self, **settings: Any) -> Engine:
        """See Subject."""
        given = {"num_ctx": self._room, "max_output_tokens": MOST_TOKENS, **settings}
        return OllamaEngine(Settings(ollama_host=self.server.host, model_name=self.model, **given))

    def at_work(self) -> bool:
        """See Subject: whether its processes have used the CPU of late."""
        burnt, now = _ticks(self.server.pid), time.monotonic()
        if burnt != self._burnt:
            self._burnt, self._since = burnt, now
        return now - self._since < QUIET_SECONDS


class LlamaV1(Real):
    """llama.cpp's own server, which has one model whatever it is asked for."""

    name = "llama_server"
    model = MODEL
    checks_models = False
    key = "sk-llama-0123456789"

    def __init__(self, servers: ExitStack, room: int = ROOM) -> None:
        self.server = servers.enter_context(LlamaServer(context_tokens=room, api_key=self.key))
        self._room = room

    def engine(self, **settings: Any) -> Engine:
        """See Subject."""
        entry = FleetEngine(self.name, "openai_compatible", self.server.url, self.key)
        given = {
            "num_ctx": self._room,
            "max_output_tokens": MOST_TOKENS,
            "model_name": self.model,
            **settings,
        }
        return OpenAiEngine(entry, Settings(**given))

    def at_work(self) -> bool:
        """See Subject."""
        return self.server.busy_slots() > 0


def _ticks(pid: int) -> int:
    """The CPU time of a process and of all that it started, in hundredths of a second."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return 0  # it has just ended
    return int(fields[11]) + int(fields[12]) + sum(map(_ticks, map(int, children)))
