"""The subject with a scripted Ollama."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

from local_llm_service.worker.engine import Engine
from local_llm_service.worker.engine.ollama.engine import OllamaEngine
from local_llm_service.worker.settings import Settings
from tests.conformance.subject import Fault, Scene, Scripted
from tests.doubles.ollama import FakeOllama, Script
from tests.doubles.serving import Seen

HTML = b"<html><body>It works!</body></html>"
#: The least that a server of ours has room for.
ROOM = 2048


def ollama_logprob(text: str, logprob: float) -> dict[str, Any]:
    """One token as Ollama tells of it."""
    return {"token": text, "logprob": logprob, "bytes": list(text.encode()), "top_logprobs": []}


class ScriptedOllama(Scripted):
    """Ollama 0.33."""

    name = "ollama"
    model = embeds = "fake:1b"

    def __init__(self) -> None:
        self._server = FakeOllama()

    @property
    def port(self) -> int:  # type: ignore[override]
        """See Scripted."""
        return self._server.port

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop()

    def engine(self, **settings: Any) -> Engine:
        """See Subject."""
        given = {"num_ctx": ROOM, "max_output_tokens": 256, **settings}
        return OllamaEngine(Settings(ollama_host=self._server.host, model_name=self.model, **given))

    def play(self, scene: Scene) -> None:
        """See Scripted."""
        script = _ollama_script(scene)
        self._server.respond = lambda _: script
        self._server.respond_to_texts = lambda body: (
            Script() if body["input"] == ["Hi"] else script  # it asks whether a slot is free
        )

    def heard(self) -> Sequence[Seen]:
        """See Scripted."""
        return [*self._server.seen, *self._server.embedded]

    def stop(self) -> None:
        """See Scripted."""
        self._server.stop()

    def start(self) -> None:
        """See Scripted."""
        self._server.start()


def _ollama_script(scene: Scene) -> Script:
    faults: dict[Fault, Script] = {
        "busy": Script(status=503, error="server busy, please try again."),
        "failed": Script(status=500, error="model failed to load"),
        "garbage": Script(status=200, raw=HTML),
        "missing": Script(status=404, error="model 'fake:1b' not found"),
        "not_a_model_server": Script(status=404, error="page not found"),
        "too_long": Script(status=400, error="the input length exceeds the context length"),
    }
    if scene.fault is not None:
        return faults[scene.fault]
    return Script(
        chunks=scene.pieces,
        first_seconds=scene.first_seconds,
        pause_seconds=scene.pause_seconds,
        end=scene.end,
        done_reason=scene.finish,
        prompt_tokens=scene.prompt_tokens,
        completion_tokens=scene.completion_tokens,
        tool_calls=scene.calls,
        logprobs=tuple(map(ollama_logprob, scene.pieces, scene.logprobs)),
    )
