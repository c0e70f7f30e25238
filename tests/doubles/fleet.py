"""Engines without a server, for tests of what stands above several: they answer, or are away."""

from __future__ import annotations

import threading
from collections.abc import Callable

from local_llm_service.worker.engine import Capabilities, Stoppable, TextSink
from local_llm_service.worker.engine.engines import Engines
from local_llm_service.worker.errors import ModelMissing, OllamaUnreachable, ServiceError
from local_llm_service.worker.fleet.fleet import Fleet, FleetEngine, FleetModel, FleetRoute
from local_llm_service.worker.prompt import Completion, Model, Prompt, ToEmbed


class StillEngine:
    """Has these models; each call waits while `held` is set. Counts what it is asked."""

    def __init__(self, *models: str, digest: str = "d") -> None:
        self.there, self.digest = list(models), digest
        self.away: ServiceError | None = None
        self.occupied, self.free = 0, []
        self.capabilities = Capabilities()
        self.asked: list[str] = []
        self.looks = 0
        self.running = self.most = 0
        self.go = threading.Event()
        self.go.set()
        self._lock = threading.Lock()
        self._tell: list[Callable[[], None]] = []

    def complete(
        self,
        prompt: Prompt,
        *,
        model: str,
        remaining_seconds: float,
        stoppable: Stoppable | None = None,
        on_text: TextSink | None = None,
    ) -> Completion:
        with self._lock:
            self.asked.append(model)
            self.running += 1
            self.most = max(self.most, self.running)
        try:
            self.go.wait(timeout=20)
            if self.away is not None:
                raise self.away
            if model not in self.there:
                raise ModelMissing("no such model")
            return Completion("Hi.", model, "stop", 1, 1, 0.0, 0.0, 0.0)
        finally:
            with self._lock:
                self.running -= 1

    def embed(
        self,
        texts: ToEmbed,
        *,
        model: str,
        remaining_seconds: float,
        stoppable: Stoppable | None = None,
    ) -> Completion:
        return self.complete(Prompt((), 1), model=model, remaining_seconds=remaining_seconds)

    def context_tokens(self, model: str) -> int:
        return 8192

    def version(self) -> str:
        self.looks += 1
        if self.away is not None:
            raise self.away
        return "1.0"

    def models(self) -> list[Model]:
        self.version()
        return [Model(name, self.digest, 1, None) for name in self.there]

    def on_free(self, tell: Callable[[], None]) -> None:
        self._tell = [tell]

    def free_slots(self) -> None:
        """What was occupied is free."""
        self.occupied = 0
        for tell in self._tell:
            tell()

    def notes(self) -> list[str]:
        return []

    def close(self) -> None:
        """Let go whoever waits."""
        self.go.set()

    def leave(self) -> None:
        """Be away from now on."""
        self.away = OllamaUnreachable("nothing answers")


#: At home two models with a slot each, elsewhere a paid one; `auto` chooses.
FLEET = Fleet(
    (
        FleetEngine(
            "home", "ollama", "http://h:1", slots=2,
            models=(FleetModel("small:1b", slots=1), FleetModel("tiny:1b")),
        ),
        FleetEngine(
            "away", "openai_compatible", "https://api.example.com/v1", "k", 2, True,
            (FleetModel("large", ("big",), context_tokens=128_000, revision="r1"),),
        ),
    ),
    (FleetRoute("auto", "small:1b", "big"), FleetRoute("local", "tiny:1b")),
)  # fmt: skip


def still_fleet(fleet: Fleet = FLEET) -> tuple[Engines, StillEngine, StillEngine]:
    """The engines of a fleet of two as one, and each: the second tells no digests."""
    home = StillEngine("small:1b", "tiny:1b", "unlisted:1b")
    away = StillEngine("large", "other", digest="")
    opened = {"home": home, "away": away}
    return Engines(fleet, lambda entry: opened[entry.name]), home, away
