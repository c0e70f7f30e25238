"""A route's second model: after an answer that breaks its contract, and in place of one away."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from local_llm_service.tasks import generate
from local_llm_service.tasks.outcome import do_work
from local_llm_service.tasks.request import parse
from local_llm_service.tasks.routing.complexity import Verdict
from local_llm_service.worker.engine import Capabilities, EngineDied
from local_llm_service.worker.errors import (
    BrokerUnreachable,
    BudgetExceeded,
    Cancelled,
    ContextOverflow,
    DeadlineExceeded,
    EngineTimeout,
    InternalError,
    InvalidOutput,
    InvalidRequest,
    ModelFailed,
    ModelMissing,
    OllamaBusy,
    OllamaUnreachable,
    ServiceError,
    StreamBroken,
)
from local_llm_service.worker.lease.in_flight import Interrupted, Yielded
from tests.doubles.house import LIMITS, LOCAL, REMOTE, House, wrote

PLACE = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
CLOCK = {"type": "function", "function": {"name": "clock"}}
HI = [{"role": "user", "content": "hi"}]
TOO_LONG = ContextOverflow.of(ContextOverflow.REFUSED, 9000, 8192)

GOOD, BETTER = wrote("Because."), wrote("Because of physics.", model=REMOTE)


def complex_prompt(_: str) -> Verdict:
    """A router by which all is complex."""
    return Verdict(True, 0.9)


# --- cascade ------------------------------------------------------------------------------------

BAD_ANSWERS = [
    (wrote("  \n"), "wrote nothing"),
    (wrote("I'm sorry, but I can't help with that."), "refused"),
    (wrote("I do not know. " * 40), "repeated itself"),
    (wrote("Because it", finish_reason="length"), "was cut"),
    (InvalidOutput("the model repeated itself without end"), "broke the contract"),
]


@pytest.mark.parametrize(("said", "flaw"), BAD_ANSWERS)
def test_a_bad_answer_goes_to_the_remote_model(said: Any, flaw: str) -> None:
    """What it has cost is wasted, and no part of the answer."""
    house = House([said], [BETTER])
    assert house.generate() == "Because of physics."
    assert house.told() == (REMOTE, f"local {flaw}", [(LOCAL, flaw)])
    assert house.run.spent.completion_tokens == 20
    assert house.run.wasted.completion_tokens == (0 if isinstance(said, Exception) else 20)
    assert house.run.is_repeatable
    assert house.run.keeps_contract


@pytest.mark.parametrize(("said", "flaw"), BAD_ANSWERS)
def test_without_a_cascade_the_local_outcome_stays(said: Any, flaw: str) -> None:
    """Answer or error."""
    house = House([said], [], cascade=False)
    if isinstance(said, Exception):
        with pytest.raises(InvalidOutput):
            house.generate()
    else:
        assert house.generate() == said.text
        assert house.told() == (LOCAL, "simple prompt", [])


def test_text_that_ends_at_the_callers_own_budget_is_an_answer() -> None:
    """That is what was asked for."""
    house = House([wrote("Because it", finish_reason="length")], [])
    assert house.generate(max_tokens=20) == "Because it"


def test_json_that_stays_broken_goes_to_the_remote_model() -> None:
    """After two repairs; the remote model's answer keeps the schema."""
    house = House([wrote("no")] * 3, [wrote('{"city": "Rome"}')])
    answer = house.ask("structured_output", prompt="Where?", schema=PLACE)
    assert answer["data"] == {"city": "Rome"}
    assert house.sent == [LOCAL] * 3 + [REMOTE]
    assert house.told()[2] == [(LOCAL, "broke the contract")]
    assert house.run.wasted.completion_tokens == 60


def test_json_that_was_made_short_goes_to_the_remote_model() -> None:
    """It is not all that the model had to say; JSON that holds a refusal's words is an answer."""
    cut = wrote('{"city": "Ro', finish_reason="length", completion_tokens=999)
    house = House([cut, wrote('{"city": "R"}')], [wrote('{"city": "Rome"}')])
    house.ask("structured_output", prompt="Where?", schema=PLACE)
    assert house.told()[2] == [(LOCAL, "was cut")]
    whole = House([wrote("\"I'm sorry, I can't help with that.\"")], [])
    whole.ask("structured_output", prompt="Say no.", schema={"type": "string"})
    assert whole.sent == [LOCAL]


def test_json_that_a_caller_allows_to_be_cut_is_an_answer() -> None:
    """At the caller's own budget, as OpenAI's clients expect it."""
    options: dict[str, Any] = {"response_format": {"type": "json_object"}, "allow_cut_json": True}
    house = House([wrote('{"city": "Ro', finish_reason="length")], [])
    house.ask("chat", messages=HI, max_tokens=20, **options)
    assert house.sent == [LOCAL]


def test_a_call_of_a_tool_is_an_answer_without_words() -> None:
    """It is not empty."""
    call = ({"function": {"name": "clock", "arguments": {}}},)
    house = House([wrote("", tool_calls=call)], [])
    house.ask("chat", messages=HI, tools=[CLOCK])
    assert house.sent == [LOCAL]


@pytest.mark.parametrize(("logprobs", "model"), [((-0.1, -0.3), LOCAL), ((-0.1, -2.5), REMOTE)])
def test_a_model_that_is_unsure(logprobs: tuple[float, ...], model: str) -> None:
    """By the mean log-probability of its tokens, which are asked for, and not in the answer."""
    house = House([wrote("Hm.", *logprobs)], [BETTER], min_mean_logprob=-1.0)
    answer = house.ask("chat", messages=HI)
    assert answer["logprobs"] is None
    assert house.prompts_of(LOCAL)[0].top_logprobs == 0
    assert house.sent[-1] == model
    if model == REMOTE:
        assert house.told()[2] == [(LOCAL, "was unsure")]
        assert house.prompts_of(REMOTE)[0].top_logprobs is None


def test_a_caller_who_asks_for_probabilities_gets_as_many() -> None:
    """The route's own wish changes nothing of theirs."""
    house = House([wrote("Hm.", -0.1)], min_mean_logprob=-1.0)
    answer = house.ask("chat", messages=HI, logprobs=True, top_logprobs=3)
    assert answer["logprobs"] == [{"token": "t", "logprob": -0.1}]
    assert house.prompts_of(LOCAL)[0].top_logprobs == 3


def test_a_server_without_probabilities_is_asked_for_them_once() -> None:
    """Then its models count as sure, and later jobs do not ask."""
    none = InvalidRequest("logprobs: this model server gives none")
    house = House([none, GOOD, GOOD], min_mean_logprob=-1.0)
    house.generate()
    house.generate()
    assert [one.top_logprobs for one in house.prompts_of(LOCAL)] == [0, None, None]
    lacks = House([GOOD], min_mean_logprob=-1.0, capabilities=Capabilities(logprobs=False))
    lacks.generate()
    assert lacks.prompts_of(LOCAL)[0].top_logprobs is None


def test_readers_see_no_text_that_is_replaced() -> None:
    """A local text is held back until it is taken; a remote one is for readers at once."""
    taken = House([GOOD], [])
    taken.generate()
    assert not taken.prompts_of(LOCAL)[0].spoken
    assert taken.late == ["Because."]
    replaced = House([wrote("")], [BETTER])
    replaced.generate()
    assert replaced.late == []
    assert replaced.prompts_of(REMOTE)[0].spoken
    plain = House([GOOD], [], cascade=False)
    plain.generate()
    assert plain.prompts_of(LOCAL)[0].spoken
    assert plain.late == []


# --- fallback -----------------------------------------------------------------------------------

AWAY = [
    (OllamaUnreachable("away"), "is away"),
    (OllamaBusy("busy"), "is busy"),
    (ModelMissing("none"), "is missing"),
    (ModelFailed("no"), "failed"),
    (EngineTimeout("slow"), "was too slow"),
    (StreamBroken("broken"), "broke off"),
]
NO_REMOTE_NOW = [
    *AWAY,
    (BudgetExceeded("spent"), "is over budget"),
    (BrokerUnreachable("x"), "failed"),
]


@pytest.mark.parametrize(("error", "flaw"), NO_REMOTE_NOW)
def test_a_remote_model_that_gives_nothing_is_replaced(error: ServiceError, flaw: str) -> None:
    """Marked, and not kept for others: the next one may be answered by the better model."""
    house = House([GOOD], [error], router=complex_prompt)
    assert house.generate() == "Because."
    assert house.told() == (LOCAL, f"remote {flaw}, so local", [(REMOTE, flaw)])
    assert not house.run.is_repeatable
    assert house.prompts_of(LOCAL)[0].spoken


def test_a_remote_answer_that_breaks_its_contract_is_replaced() -> None:
    """It would be again, so that the local one may be kept."""
    house = House([wrote('{"city": "Rome"}')], [wrote("no")] * 3, router=complex_prompt)
    house.ask("structured_output", prompt="Where?", schema=PLACE)
    assert house.told()[:2] == (LOCAL, "remote broke the contract, so local")
    assert house.run.is_repeatable
    assert house.run.wasted.completion_tokens == 60


@pytest.mark.parametrize("cascade", [True, False])
@pytest.mark.parametrize(("error", "flaw"), AWAY)
def test_a_local_model_that_is_away_is_replaced(
    error: ServiceError, flaw: str, cascade: bool
) -> None:
    """At once; that is no cascade."""
    house = House([error], [BETTER], cascade=cascade)
    assert house.generate() == "Because of physics."
    assert house.told() == (REMOTE, f"local {flaw}", [(LOCAL, flaw)])


@pytest.mark.parametrize(("error", "flaw"), NO_REMOTE_NOW)
def test_a_bad_local_answer_stays_where_there_is_no_better_one(
    error: ServiceError, flaw: str
) -> None:
    """It is told to readers, says what was wrong, and is not kept for others."""
    house = House([wrote("I'm unable to answer that.")], [error])
    assert house.generate() == "I'm unable to answer that."
    tried = [(LOCAL, "refused"), (REMOTE, flaw)]
    assert house.told() == (LOCAL, f"remote {flaw}, so local", tried)
    assert house.late == ["I'm unable to answer that."]
    assert not house.run.is_repeatable
    assert not house.run.keeps_contract
    assert house.run.spent.completion_tokens == 20
    assert house.run.wasted.completion_tokens == 0


@pytest.mark.parametrize(
    "local_error", [OllamaUnreachable("here"), InvalidOutput("bad"), ModelFailed("no")]
)
def test_where_both_fail_the_local_error_is_the_jobs(local_error: ServiceError) -> None:
    """As if there were no remote model: it is retried, or fails, by the engine at home."""
    house = House([local_error], [StreamBroken("there")])
    with pytest.raises(type(local_error)) as raised:
        house.generate()
    assert raised.value is local_error
    assert house.run.model == LOCAL


def test_a_complex_prompt_that_does_not_fit_at_home_waits_for_the_remote_model() -> None:
    """The local model has shown that it cannot; the remote one may come back."""
    house = House([TOO_LONG], [OllamaBusy("full")], router=complex_prompt)
    with pytest.raises(OllamaBusy):
        house.generate()
    assert house.run.model == REMOTE


ENDS = [Cancelled("c"), DeadlineExceeded("d"), Interrupted("i"), Yielded("y"), EngineDied("e")]


@pytest.mark.parametrize("error", ENDS)
@pytest.mark.parametrize("router", [complex_prompt, lambda _: Verdict(False, 0)])
def test_the_end_of_a_run_is_the_end(error: ServiceError, router: Any) -> None:
    """Whichever model was asked, the other one is not."""
    house = House([error], [error], router=router)
    with pytest.raises(type(error)) as raised:
        house.generate()
    assert raised.value is error
    assert len(house.sent) == 1


@pytest.mark.parametrize("error", [*ENDS, InternalError("bug")])
def test_the_end_of_a_run_in_its_second_model(error: ServiceError) -> None:
    """A cancel, for example, while the remote model stands in; a fault of our own at home."""
    if not isinstance(error, InternalError):
        house = House([wrote("")], [error])
        with pytest.raises(type(error)):
            house.generate()
        assert house.sent == [LOCAL, REMOTE]
    house = House([error], [OllamaBusy("full")], router=complex_prompt)
    with pytest.raises(type(error)):
        house.generate()
    assert house.sent == [REMOTE, LOCAL]


def test_who_is_known_to_be_away_is_not_asked() -> None:
    """Neither costs the other's caller any time."""
    no_remote = House([GOOD], [], router=complex_prompt, up=(LOCAL,))
    no_remote.generate()
    assert no_remote.told() == (LOCAL, "remote is away, so local", [])
    assert not no_remote.run.is_repeatable
    no_local = House([], [BETTER], up=(REMOTE,))
    no_local.generate()
    assert no_local.told() == (REMOTE, "local is away", [])
    nobody = House([OllamaUnreachable("here")], [OllamaUnreachable("there")], up=())
    with pytest.raises(OllamaUnreachable, match="here"):
        nobody.generate()
    assert nobody.sent == [LOCAL, REMOTE]


def test_only_the_engine_at_home_is_acquitted() -> None:
    """A remote answer says nothing of a prompt that has killed it."""
    house = House([], [BETTER], router=complex_prompt)
    house.generate()
    house.run.acquit()
    assert not any(one.acquittals for one in house.asked)
    both = House([wrote("")], [BETTER])
    both.generate()
    both.run.acquit()
    assert [one.acquittals for one in both.asked if one.prompts] == [1, 0]


@pytest.mark.parametrize(
    ("remote", "tokens"), [(BETTER, (50, 20)), (BudgetExceeded("spent"), (0, 0))]
)
def test_a_bad_answer_saves_nothing(remote: Any, tokens: tuple[int, int]) -> None:
    """What a paid model would have cost counts for answers that are what was asked for."""
    house = House([wrote("I'm unable to answer that.")], [remote])
    request = parse(generate.kind.request, [], {"prompt": "Why?"}, LIMITS)
    job: Any = SimpleNamespace(kind=generate.kind, request=SimpleNamespace(id="x"))
    work = do_work(job, request, house.run, queued_seconds=None).work
    assert (work.answer_prompt_tokens, work.answer_completion_tokens) == tokens
    assert work.route == "auto"
