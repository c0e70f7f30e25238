"""A direct call runs in its caller's process; its steps share one deadline."""

from __future__ import annotations

from typing import Any

import pytest

from local_llm_service import tasks
from local_llm_service.tasks.steps import engine_steps
from local_llm_service.tasks.steps.engine_steps import DirectSteps
from local_llm_service.worker.engine import Capabilities
from local_llm_service.worker.errors import DeadlineExceeded
from local_llm_service.worker.fleet.fleet import Fleet, FleetEngine, FleetRoute
from local_llm_service.worker.prompt import Completion, Message, Prompt
from local_llm_service.worker.settings import Settings

PROMPT = Prompt((Message(role="user", content="Hi"),), 5)


class SlowEngine:
    """Each answer takes 40 s on the clock; the engine itself says that it took none, as it does
    not count how long a prompt waited for it."""

    capabilities = Capabilities()

    def __init__(self) -> None:
        self.now, self.remaining = 1000.0, list[float]()

    def monotonic(self) -> float:
        """The clock."""
        return self.now

    def complete(self, _: Prompt, *, remaining_seconds: float, **__: Any) -> Completion:
        """See Engine.complete."""
        self.remaining.append(remaining_seconds)
        self.now += 40
        return Completion("Hello.", "m", "stop", 5, 2, 0.0, 0.0, 0.0)


def test_the_steps_of_a_direct_call_share_its_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each has what the clock leaves, also of time that no engine counts."""
    engine = SlowEngine()
    monkeypatch.setattr(engine_steps, "_direct_engine", lambda: engine)
    monkeypatch.setattr(engine_steps, "time", engine)
    ask = DirectSteps("m", Settings(deadline_seconds=100))
    for _ in range(3):
        ask(PROMPT)
    assert engine.remaining == [100, 60, 20]
    with pytest.raises(DeadlineExceeded):
        ask(PROMPT)


@pytest.mark.parametrize(
    ("remote", "reason"), [(None, "no remote in the route"), ("far", "a direct call stays local")]
)
def test_a_direct_call_of_a_route_stays_local(
    monkeypatch: pytest.MonkeyPatch, remote: str | None, reason: str
) -> None:
    """And says so, as any answer of a route does."""
    fleet = Fleet((FleetEngine("here", "ollama", "u"),), (FleetRoute("auto", "m", remote),))
    monkeypatch.setattr(engine_steps, "_direct_engine", SlowEngine)
    monkeypatch.setattr(Fleet, "of", lambda _: fleet)
    route = tasks.generate("Hi", model="auto")["route"]
    assert route == {"chosen": "m", "reason": reason, "tried": []}
