"""The subjects with a scripted server of `/v1/chat/completions`: one like vLLM, one like OpenAI."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import Any, Self

from local_llm_service.worker.engine import Engine
from local_llm_service.worker.engine.engines import Engines
from local_llm_service.worker.engine.openai_compatible.engine import OpenAiEngine
from local_llm_service.worker.fleet.fleet import AUTO, Fleet, FleetEngine, FleetModel, FleetRoute
from local_llm_service.worker.settings import Settings
from tests.conformance.ollama_subject import HTML, ROOM
from tests.conformance.subject import Fault, Scene, Scripted
from tests.doubles import openai_errors
from tests.doubles.openai_server import OpenAiServer, Reply
from tests.doubles.serving import Seen

#: Arguments that OpenAI's newer models do not take, or never had.
REFUSED = ("max_tokens", "top_k", "min_p", "repetition_penalty", "return_progress")


class ScriptedV1(Scripted):
    """A server of `/v1` as vLLM is: it tells version and context, and takes all arguments."""

    name = "vllm"
    model = embeds = "large"
    key = "sk-conformance-0123456789"

    def __init__(self) -> None:
        self._server = self._made()

    def _made(self) -> OpenAiServer:
        return OpenAiServer(api_key=self.key, context_tokens=ROOM, facts={"max_model_len": ROOM})

    @property
    def port(self) -> int:  # type: ignore[override]
        """See Scripted."""
        return self._server.port

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop()

    def entry(self) -> FleetEngine:
        """The engine as ENGINES_FILE has it."""
        model = FleetModel(self.model, context_tokens=ROOM)
        return FleetEngine(
            self.name, "openai_compatible", self._server.url, self.key, 4, models=(model,)
        )

    def settings(self, **settings: Any) -> Settings:
        """Those of an engine for it."""
        given = {"num_ctx": ROOM, "max_output_tokens": 256, "model_name": self.model, **settings}
        return Settings(**given)

    def engine(self, **settings: Any) -> Engine:
        """See Subject."""
        return OpenAiEngine(self.entry(), self.settings(**settings))

    def play(self, scene: Scene) -> None:
        """See Scripted."""
        reply = self._reply(scene)
        self._server.respond = lambda _: reply
        self._server.respond_to_texts = lambda _: reply

    def heard(self) -> Sequence[Seen]:
        """See Scripted."""
        return [*self._server.requests, *self._server.embedded]

    def stop(self) -> None:
        """See Scripted."""
        self._server.stop()

    def start(self) -> None:
        """See Scripted."""
        self._server.start()

    def _reply(self, scene: Scene) -> Reply:
        if scene.fault == "garbage":
            return Reply(raw=HTML)
        if scene.fault is not None:
            return Reply.fault(self._fault(scene.fault))
        return Reply(
            chunks=scene.pieces,
            first_seconds=scene.first_seconds,
            pause_seconds=scene.pause_seconds,
            end=scene.end,
            error=openai_errors.vllm_died()[1],
            finish_reason=scene.finish,
            prompt_tokens=scene.prompt_tokens,
            completion_tokens=scene.completion_tokens,
            tool_calls=scene.calls,
            logprobs=scene.logprobs,
        )

    def _fault(self, fault: Fault) -> openai_errors.Error:
        faults: dict[Fault, openai_errors.Error] = {
            "busy": openai_errors.failed(503),
            "failed": openai_errors.failed(500),
            "missing": openai_errors.vllm_model_missing(self.model),
            "not_a_model_server": (404, {"detail": "Not Found"}),
            "refused_key": openai_errors.wrong_key(),
            "too_long": openai_errors.vllm_overflow(3000, 10, ROOM),
        }
        return faults[fault]


class ScriptedOpenAi(ScriptedV1):
    """One as OpenAI is: no version, no context, and it refuses what it does not know."""

    name = "openai"

    def _made(self) -> OpenAiServer:
        return OpenAiServer(
            api_key=self.key,
            context_tokens=ROOM,
            facts={},
            version=None,
            refuses=REFUSED,
        )

    def heard(self) -> Sequence[Seen]:
        """See Scripted."""
        return [one for one in super().heard() if not one.body.keys() & set(REFUSED)]

    def _fault(self, fault: Fault) -> openai_errors.Error:
        faults: dict[Fault, openai_errors.Error] = {
            "busy": openai_errors.rate_limited(),
            "missing": openai_errors.model_missing(self.model),
            "too_long": openai_errors.openai_overflow(3000, ROOM),
        }
        return faults.get(fault) or super()._fault(fault)


class WithinAFleet(ScriptedV1):
    """The same as one engine of two, and the other is away: several engines are an engine, too."""

    name = "fleet"

    def engine(self, **settings: Any) -> Engine:
        """See Subject."""
        with socket.socket() as nobody:
            nobody.bind(("127.0.0.1", 0))
            url = f"http://127.0.0.1:{nobody.getsockname()[1]}/v1"
        away = FleetEngine("away", "openai_compatible", url, models=(FleetModel("gone:1b"),))
        given = self.settings(**settings)
        fleet = Fleet((self.entry(), away), (FleetRoute(AUTO, self.model),))
        return Engines(fleet, lambda entry: OpenAiEngine(entry, given))
