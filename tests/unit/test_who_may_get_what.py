"""What must not leave the house reaches no engine elsewhere: the policy, and its one door."""

from __future__ import annotations

import ast
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from local_llm_service import tasks
from local_llm_service.tasks.request import parse
from local_llm_service.tasks.routing.policy import check_may_get, home_of
from local_llm_service.tasks.steps.engine_steps import DirectSteps
from local_llm_service.tasks.worker_steps import WorkerSteps
from local_llm_service.worker.engine import Capabilities
from local_llm_service.worker.errors import InvalidRequest
from local_llm_service.worker.fleet.fleet import Fleet, FleetEngine, FleetModel
from local_llm_service.worker.fleet.price import Price
from local_llm_service.worker.lease.in_flight import InFlightDelivery
from local_llm_service.worker.prompt import Completion, Message, Prompt
from local_llm_service.worker.settings import Settings
from local_llm_service.worker.store.outcomes import Delivery
from local_llm_service.worker.tokens.book import TokenBook
from tests.doubles.house import LIMITS, LOCAL, REMOTE, House, wrote

ROOT = Path(__file__).parents[2]
ASKED = Prompt((Message(role="user", content="Why?"),), 20)


FAR = FleetEngine(
    "far", "openai_compatible", "u", leaves_the_house=True, models=(FleetModel(REMOTE, ("big",)),)
)


def call(kind: str = "generate", **options: Any) -> Any:
    """A validated call."""
    options = {"prompt": "Why?", **options} if kind == "generate" else options
    return parse(getattr(tasks, kind).kind.request, [], options, LIMITS)


@pytest.mark.parametrize("name", [REMOTE, "big", f"{REMOTE}:latest"])
def test_a_model_that_leaves_is_refused_by_any_of_its_names(name: str) -> None:
    """Where the call, its kind or its tenant stays."""
    fleet = Fleet((FAR,), (), frozenset({"hr"}))
    check_may_get(name, "generate", call(), fleet)
    for kind, request in (
        ("generate", call(keep_local=True)),
        ("generate", call(cache_scope="hr")),
        ("summarize", call("summarize", context="Long.")),
        ("embed", call("embed", input=["x"])),
    ):
        with pytest.raises(InvalidRequest, match="must not"):
            check_may_get(name, kind, request, fleet)


def test_a_context_is_made_short_at_home_or_not_at_all() -> None:
    """Before a named model that leaves the house gets what comes of it."""
    house = House().fleet
    assert home_of(REMOTE, call(context="Long."), house) == LOCAL
    assert home_of(REMOTE, call(), house) is None
    assert home_of(LOCAL, call(context="Long."), house) is None
    with pytest.raises(InvalidRequest, match="no local model"):
        home_of(REMOTE, call(context="Long."), Fleet((FAR,), ()))


@pytest.mark.parametrize(
    "engine",
    [
        FAR,
        FleetEngine(
            "here",
            "ollama",
            "u",
            models=(FleetModel(REMOTE, price=Price(1, 1)),),  # type: ignore[arg-type]
        ),
    ],
)
def test_a_direct_call_asks_nobody_who_is_paid_or_far(
    engine: FleetEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody books what it costs, nor looks at what its tenant may."""
    monkeypatch.setattr(Fleet, "of", lambda _: Fleet((engine,), ()))
    with pytest.raises(InvalidRequest, match="direct call"):
        DirectSteps(REMOTE, Settings())


class _Engine:
    """It notes what it gets."""

    capabilities = Capabilities()

    def __init__(self) -> None:
        self.got: list[str] = []

    def complete(self, _: Prompt, *, model: str, **__: Any) -> Completion:
        """See Engine."""
        self.got.append(model)
        return wrote("Hello.")


def test_steps_that_a_fault_has_turned_to_a_remote_model_send_nothing() -> None:
    """The policy is asked when they are made, and again before each prompt that they send."""
    engine, settings, fleet = _Engine(), Settings(), House().fleet
    notes = SimpleNamespace(ended=lambda *_: None, revision=lambda _: None)
    runtime: Any = SimpleNamespace(
        engine=engine,
        settings=settings,
        tokens=TokenBook(),
        fleet=fleet,
        catalog=notes,
        served=notes,
    )
    message = ("llm.high", "", "id", "tag", "token", 0, 60_000, 0, 0, 0, 0, "auto", 0, 0)
    in_flight = InFlightDelivery(Delivery.of(message))
    kind, request = tasks.generate.kind, call(keep_local=True)

    def steps_of(model: str) -> WorkerSteps:
        return WorkerSteps(kind, request, runtime, in_flight, model=model, leads="", revision=None)

    with pytest.raises(InvalidRequest, match="leave the house"):
        steps_of(REMOTE)
    steps_of(LOCAL)(ASKED)
    turned = steps_of(LOCAL)
    turned.model = REMOTE
    with pytest.raises(InvalidRequest, match="leave the house"):
        turned(ASKED)
    assert engine.got == [LOCAL]


def _asks_an_engine(node: ast.AST) -> bool:
    """`….engine.complete(…)`, `….engine.embed(…)`."""
    match node:
        case ast.Call(
            func=ast.Attribute(attr="complete" | "embed", value=ast.Attribute(attr="engine"))
        ):
            return True
    return False


def test_one_door_leads_to_the_engines() -> None:
    """WorkerSteps._noted, which asks the policy, and direct calls, which know no remote model: only
    there, and inside the engine's own room, is an engine asked."""
    found = {
        str(file.relative_to(ROOT))
        for room in ("producers", "tasks", "worker")
        for file in (ROOT / room).rglob("*.py")
        if "engine" not in file.parent.relative_to(ROOT).parts
        and any(_asks_an_engine(node) for node in ast.walk(ast.parse(file.read_text())))
    }
    assert found == {"tasks/worker_steps.py", "tasks/steps/engine_steps.py"}
