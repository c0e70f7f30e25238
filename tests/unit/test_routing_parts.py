"""What a route's choice is made of: refusals, loops, fit, and the router."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from local_llm_service.tasks.routing.asked import Asked
from local_llm_service.tasks.routing.complexity import Verdict
from local_llm_service.tasks.routing.contract import flaw_of, mean_logprob
from local_llm_service.tasks.routing.fit import is_too_long, tokens_of
from local_llm_service.tasks.routing.refusals import PATTERNS, is_refusal
from local_llm_service.tasks.routing.repetition import ends_in_a_loop
from local_llm_service.tasks.routing.trial import Trial
from local_llm_service.tasks.steps.spent import Spent
from local_llm_service.worker.errors import InvalidSetting, OllamaUnreachable
from local_llm_service.worker.prompt import Message, Prompt
from local_llm_service.worker.router import router_of
from local_llm_service.worker.settings import Settings
from tests.doubles.house import wrote
from tests.doubles.said import Said

ROOT = Path(__file__).parents[2]
ASKED = Prompt((Message(role="user", content="Why?"),), 20)

REFUSALS = [
    "I'm sorry, but I can't assist with that request.",
    "I’m sorry, I can’t help with that.",
    "**I cannot fulfill this request.** It would",
    "As an AI language model, I cannot provide that.",
    "Sorry, but I cannot answer this question.",
    "I won't help you with that.",
    "Es tut mir leid, aber ich kann Ihnen dabei nicht helfen.",
    "Leider kann ich diese Frage nicht beantworten.",
    "Je suis désolé, mais je ne peux pas répondre à cette question.",
    "Lo siento, pero no puedo ayudarte con eso.",
    "Mi dispiace, ma non posso aiutarti.",
    "Desculpe, mas não posso ajudar com isso.",
    "Het spijt me, maar ik kan je daar niet mee helpen.",
    "Przykro mi, ale nie mogę pomóc.",
    "Извините, но я не могу помочь с этим.",
    "很抱歉，我无法提供这方面的帮助。",
    "申し訳ありませんが、そのご要望にはお応えできません。",
]
ANSWERS = [
    "I'm sorry for your loss.",
    "I can't make it to the party.",
    "I cannot help feeling that it is late.",
    "He said: I can't help you.",
    "Unfortunately, the train is late.",
    "Paris. I'm sorry, but I can't help with that.",
    "Leider kann ich nicht zur Feier kommen.",
    "Es tut mir leid, dass der Zug nicht pünktlich war.",
    "Je ne peux pas venir.",
    "No puedo venir mañana.",
    "我不能去。",
    "申し訳ありませんが、明日は休みです。",
    "",
]


@pytest.mark.parametrize("text", REFUSALS)
def test_a_refusal_is_known_by_its_beginning(text: str) -> None:
    """In the languages that the list has."""
    assert is_refusal(text)
    assert is_refusal(f'\n "{text} {"And so on. " * 100}')


@pytest.mark.parametrize("text", ANSWERS)
def test_regret_alone_is_no_refusal(text: str) -> None:
    """Nor is one that is quoted, or comes later."""
    assert not is_refusal(text)


def test_each_language_of_the_list_has_an_example() -> None:
    """A pattern that matches nothing would not be missed."""
    texts = [text.lower().replace("’", "'").lstrip("*") for text in REFUSALS]
    unused = [
        name for name, pattern in PATTERNS.items() if not any(map(re.compile(pattern).match, texts))
    ]
    assert unused == []


@pytest.mark.parametrize(
    ("text", "loops"),
    [
        ("I do not know. " * 40, True),
        ("A good start. " + "the cat sat on the mat and " * 30 + "the cat", True),
        ("ab" * 200, True),
        ("word " * 5, False),
        ("-" * 80, False),
        ("| a | b |\n|---|---|\n| 1 | 2 |\n" * 3, False),
        (" ".join(map(str, range(400))), False),
        ("I do not know. " * 40 + "But it is because of the light of the sky. " * 3, False),
        ("", False),
    ],
)
def test_a_loop_is_what_the_end_repeats(text: str, loops: bool) -> None:
    """A loop that the text has left is none, nor is a table or a rule of dashes."""
    assert ends_in_a_loop(text) is loops


def test_an_answer_without_probabilities_counts_as_sure() -> None:
    """A server may leave them out, or say them as something else."""
    assert mean_logprob(()) is None
    assert mean_logprob(({"token": "a"}, {"token": "b", "logprob": None})) is None
    assert mean_logprob(({"logprob": -1}, {"logprob": -2.0})) == -1.5
    assert flaw_of({}, ASKED, wrote("Yes."), -0.5) == ""


def test_a_server_that_does_not_count_has_cut_nothing() -> None:
    """0 tokens are less than any budget, and mean that nobody knows."""
    cut = wrote("Because it", finish_reason="length", completion_tokens=0)
    assert flaw_of({}, ASKED, cut) == ""


def test_only_a_prompt_that_is_far_too_long_is_called_so() -> None:
    """One that may fit is asked; so is one whose context nobody knows."""

    def away() -> int:
        raise OllamaUnreachable("away")

    def tokens() -> float:
        return 25_000.0

    asked = Asked("x", ("x" * 100_000,))
    assert is_too_long(asked, tokens, lambda: 8192)
    assert not is_too_long(asked, tokens, lambda: 16_384)
    assert not is_too_long(asked, tokens, away)
    assert not is_too_long(Asked("x", ("x" * 4000,)), tokens, away)


@pytest.mark.parametrize("messages", [1, 2, 10, 1000])
def test_a_long_prompt_is_measured_by_windows_over_all_of_it(messages: int) -> None:
    """Its middle and end count as its beginning does, and no more is read of many messages."""
    seen: list[int] = []

    def likely(text: str) -> int:
        seen.append(len(text))
        return text.count("y")

    half = max(1, messages // 2)
    texts = ("",) + ("x" * (200_000 // half),) * half + ("y" * (200_000 // half),) * half
    assert tokens_of(texts, likely) == pytest.approx(200_000, rel=0.15)
    assert seen[0] <= 960
    assert len(seen) == 1


def test_a_short_prompt_is_measured_whole() -> None:
    """And none has no tokens."""
    assert tokens_of(("ab", "", "c"), len) == 3
    assert tokens_of((), len) == 0


# --- the router ---------------------------------------------------------------------------------


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A module that ROUTER can name."""
    made = ModuleType("own_router")
    monkeypatch.setitem(sys.modules, "own_router", made)
    return made


def test_the_router_is_loaded_by_its_dotted_path(module: Any) -> None:
    """And tried once, on an empty text."""
    read: list[str] = []
    module.good = lambda text: read.append(text) or Verdict(True, 1)
    for _ in range(2):
        assert router_of(Settings(router="own_router:good"))("x").is_complex
    assert read == ["", "x", "x"]


@pytest.mark.parametrize(
    "path",
    ["no_such_module:f", *(f"own_router:{name}" for name in ("none", "broken", "ends", "text"))],
)
def test_a_router_that_cannot_be_used_is_a_wrong_setting(module: Any, path: str) -> None:
    """It names the setting and what it was; the worker does not start (exit code 2)."""
    module.broken, module.ends, module.text = (
        lambda _: 1 / 0,
        lambda _: sys.exit(3),
        lambda _: "simple",
    )
    with pytest.raises(InvalidSetting, match=f"setting ROUTER: {path} cannot be used"):
        router_of(Settings(router=path))


def test_a_trial_hides_what_only_the_route_has_asked_for() -> None:
    """Its program sees the completion as it would be without."""
    trial = Trial(Said(wrote("Hm.", -1.0)), is_held_back=True, logprobs=True)
    assert trial(ASKED).logprobs == ()
    assert trial.completion is not None
    assert mean_logprob(trial.completion.logprobs) == -1.0


# --- what a paid call would have had ------------------------------------------------------------


def test_the_tokens_of_one_call_are_those_of_the_last_step() -> None:
    """A repair has read what was wrong, which the first prompt had not; a count is no step."""
    ask = Said(wrote("no", prompt_tokens=50), wrote("{}", prompt_tokens=90, completion_tokens=7))
    ask(ASKED)
    again = Message(role="user", content="Why? An earlier answer was refused.")
    ask(Prompt((again,), 20))
    assert (ask.spent.prompt_tokens, ask.spent.answer_prompt_tokens) == (140, 50)
    assert ask.spent.answer_completion_tokens == 7
    other = Said(wrote("no", prompt_tokens=50), wrote("{}", prompt_tokens=90))
    other(ASKED)
    other(Prompt((Message(role="user", content="What?"),), 20))
    assert other.spent.answer_prompt_tokens == 90


def test_sums_of_two_are_added_up() -> None:
    """As the waste of several tries is."""
    total, one = Spent(), Spent()
    one.add_step(wrote("x"))
    total.add(one)
    total.add(one)
    assert (total.prompt_tokens, total.completion_tokens, total.seconds) == (100, 40, 6)
