"""Which model a route asks, in which order, and what its answer says of that."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from local_llm_service.tasks import generate
from local_llm_service.tasks.routing.complexity import Verdict
from local_llm_service.testing.local_llm import LocalLLM
from local_llm_service.worker import metrics
from local_llm_service.worker.engine import Capabilities
from local_llm_service.worker.errors import (
    BudgetExceeded,
    ContextOverflow,
    EngineTimeout,
    InvalidOutput,
    InvalidRequest,
    ModelFailed,
    OllamaUnreachable,
    ServiceError,
    StreamBroken,
)
from tests.doubles.house import LOCAL, REMOTE, House, wrote

PLACE = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
CLOCK = {"type": "function", "function": {"name": "clock"}}
HI = [{"role": "user", "content": "hi"}]
TOO_LONG = ContextOverflow.of(ContextOverflow.REFUSED, 9000, 8192)

GOOD, BETTER = wrote("Because."), wrote("Because of physics.", model=REMOTE)


def complex_prompt(_: str) -> Verdict:
    """A router by which all is complex."""
    return Verdict(True, 0.9)


# --- policy -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"keep_local": True}, "keep_local"),
        ({"cache_scope": "hr"}, "keep_local of its cache_scope"),
        ({"cache_scope": "hr/anna"}, "keep_local of its cache_scope"),
    ],
)
@pytest.mark.parametrize("said", [GOOD, OllamaUnreachable("away"), InvalidOutput("bad"), TOO_LONG])
def test_what_stays_never_leaves(options: dict[str, Any], reason: str, said: Any) -> None:
    """Whatever the local model does, and though all else speaks for the remote one."""
    house = House([said], [BETTER], router=complex_prompt, local_scopes=frozenset({"hr"}), up=())
    if isinstance(said, Exception):
        with pytest.raises(type(said)):
            house.generate("x" * 200_000, **options)
    else:
        assert house.generate("x" * 200_000, **options) == "Because."
    assert house.sent == [LOCAL]
    assert house.told() == (LOCAL, reason, [])


@pytest.mark.parametrize("scope", ["hr", "hr/", "hr/anna"])
def test_a_scope_may_end_with_a_slash_in_the_file(scope: str) -> None:
    """As people write folders."""
    house = House([GOOD], [BETTER], router=complex_prompt, local_scopes=frozenset({"hr/"}))
    house.generate(cache_scope=scope)
    assert house.sent == [LOCAL]


def test_a_scope_that_only_looks_alike_may_leave() -> None:
    """The tenant is the part before the slash."""
    house = House([], [BETTER], router=complex_prompt, local_scopes=frozenset({"hr"}))
    house.generate(cache_scope="hr2")
    assert house.sent == [REMOTE]


def test_kinds_that_hold_documents_stay() -> None:
    """Their route is its local model."""
    house = House([wrote("Short.")], [], router=complex_prompt)
    house.ask("summarize", context="A long story. " * 50)
    assert house.told() == (LOCAL, "summarize stays local", [])


def test_a_route_without_a_remote_is_its_local_model() -> None:
    """Its text is for readers while it is written."""
    house = House([GOOD], remote=None, router=complex_prompt)
    assert house.generate() == "Because."
    assert house.told() == (LOCAL, "no remote in the route", [])
    assert house.prompts_of(LOCAL)[0].spoken


# --- fit ----------------------------------------------------------------------------------------


def test_what_is_far_too_long_goes_to_the_remote_model_at_once() -> None:
    """No local context holds it, by any estimate."""
    house = House([], [BETTER])
    house.generate("word " * 60_000)
    assert house.told() == (REMOTE, "too long for local", [])


def test_what_is_too_long_for_both_is_asked_at_home() -> None:
    """It is refused there, and the remote model is not asked in vain."""
    over = ContextOverflow.of(ContextOverflow.REFUSED, 60_000, 8192)
    house = House([over], [], contexts={REMOTE: 16_000})
    with pytest.raises(ContextOverflow):
        house.generate("word " * 60_000)
    assert house.sent == [LOCAL]


@pytest.mark.parametrize("cascade", [True, False])
def test_what_the_local_model_refuses_as_too_long_goes_on(cascade: bool) -> None:
    """Its refusal is the proof; that is no cascade."""
    house = House([TOO_LONG], [BETTER], cascade=cascade)
    assert house.generate() == "Because of physics."
    assert house.told() == (REMOTE, "local had no room", [(LOCAL, "had no room")])


def test_what_only_the_remote_model_can_do_waits_for_it() -> None:
    """Its error is the job's, which may come back; not that of the one that never can."""
    house = House([TOO_LONG], [OllamaUnreachable("away")])
    with pytest.raises(OllamaUnreachable):
        house.generate()
    assert house.run.model == REMOTE


@pytest.mark.parametrize(
    ("capabilities", "options", "reason"),
    [
        (Capabilities(tools=False), {"tools": [CLOCK]}, "local takes no tools"),
        (Capabilities(logprobs=False), {"logprobs": True}, "local gives no log-probabilities"),
    ],
)
def test_what_the_local_engine_lacks(
    capabilities: Capabilities, options: dict[str, Any], reason: str
) -> None:
    """It goes to the remote model; anything else does not."""
    house = House([], [wrote("Noon.", -0.1)], capabilities=capabilities)
    house.ask("chat", messages=HI, **options)
    assert house.told() == (REMOTE, reason, [])
    plain = House([GOOD], [], capabilities=capabilities)
    plain.ask("chat", messages=HI)
    assert plain.sent == [LOCAL]
    neither = House([GOOD], [], capabilities=capabilities, remote_capabilities=capabilities)
    neither.ask("chat", messages=HI, **options)
    assert neither.sent == [LOCAL]


def test_a_local_model_that_refuses_tools() -> None:
    """It says so, and the remote one is asked; of another fault in the request it is not."""
    refused = InvalidRequest("tools: model 'small' cannot choose by itself to call one")
    house = House([refused], [BETTER])
    house.ask("chat", messages=HI, tools=[CLOCK])
    assert house.told()[2] == [(LOCAL, "cannot do what is asked for")]
    with pytest.raises(InvalidRequest):
        House([InvalidRequest("x: wrong")], []).ask("chat", messages=HI)


# --- complexity ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("score", "complex_from", "model"),
    [(0.4, None, LOCAL), (0.4, 0.3, REMOTE), (0.4, 0.4, REMOTE), (0.9, 0.95, LOCAL)],
)
def test_the_routes_own_threshold_counts(
    score: float, complex_from: float | None, model: str
) -> None:
    """Without one it is as the router says itself."""
    verdict = Verdict(score > 0.5, score)
    house = House([GOOD], [BETTER], router=lambda _: verdict, complex_from=complex_from)
    house.generate()
    assert house.sent == [model]
    assert house.told()[1] == {LOCAL: "simple prompt", REMOTE: "complex prompt"}[model]


def test_the_router_reads_the_users_last_word() -> None:
    """Not what the conversation has said before."""
    read: list[str] = []
    house = House([GOOD], router=lambda text: read.append(text) or Verdict(False, 0))
    talk = [*HI, {"role": "assistant", "content": "Yes?"}, {"role": "user", "content": "Why?"}]
    house.ask("chat", messages=[{"role": "system", "content": "Be brief."}, *talk])
    assert read == ["Why?"]


@pytest.mark.parametrize("said", [None, 1, "x", Verdict(True, float("nan")), Verdict(True, 3)])
def test_a_router_that_says_nonsense_means_local(said: Any, caplog: Any) -> None:
    """A paid call needs a reason."""
    house = House([GOOD], [], router=lambda _: said)
    house.generate()
    assert house.told() == (LOCAL, "the router failed, so local", [])
    assert "ROUTER failed" in caplog.text


def test_a_router_that_raises_means_local_and_says_no_word_of_the_prompt(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Its error may quote the prompt."""

    def router(text: str) -> Verdict:
        raise ValueError(text)

    house = House([GOOD], [], router=router)
    with caplog.at_level(logging.DEBUG):
        house.generate("my secret")
    assert house.told()[1] == "the router failed, so local"
    assert "ValueError" in caplog.text
    assert "secret" not in caplog.text


# --- in a worker --------------------------------------------------------------------------------


def test_a_route_without_a_choice_is_answered_told_and_counted(local_llm: LocalLLM) -> None:
    """As a call that names the model is, with the reason beside it; an answer of the latter has
    none."""
    counter = metrics.ROUTED.labels("local", "no remote in the route")._value
    before = counter.get()
    answer = generate.delay("Why?", model="auto").get(timeout=10)
    assert answer["route"]["reason"] == "no remote in the route"
    assert answer["route"]["chosen"] == answer["model"]
    assert counter.get() == before + 1
    assert "route" not in generate.delay("Why?", model=answer["model"]).get(timeout=10)
    assert counter.get() == before + 1


@pytest.mark.parametrize(
    ("error", "is_looked_at"),
    [
        (OllamaUnreachable, True),
        (EngineTimeout, True),
        (StreamBroken, True),
        (ModelFailed, False),
        (BudgetExceeded, False),
    ],
)
def test_the_breaker_of_a_model_that_another_stands_in_for_looks_at_its_engine(
    error: type[ServiceError], is_looked_at: bool
) -> None:
    """Nobody else would: each complex prompt would wait for an engine that hangs."""
    house = House([wrote("Local.")], [error("x")], router=lambda _: Verdict(True, 0.9))
    assert house.generate() == "Local."
    assert house.looks == ([REMOTE] if is_looked_at else [])
    house = House([StreamBroken("x")], [wrote("Remote.", model=REMOTE)])
    assert house.generate() == "Remote."
    assert house.looks == [LOCAL]
