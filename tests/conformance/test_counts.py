"""The tokens of an answer are the server's own."""

from __future__ import annotations

import pytest

from local_llm_service.worker.engine import Engine
from local_llm_service.worker.errors import ContextOverflow
from tests.conformance.calls import ask, prompt
from tests.conformance.subject import Scene, Scripted, Subject


def test_counts_are_what_the_server_says(scripted: Scripted, engine: Engine) -> None:
    """Not the pieces, which may hold several tokens or none."""
    scripted.play(Scene(prompt_tokens=345, completion_tokens=17))
    completion = ask(engine, scripted)
    assert (completion.prompt_tokens, completion.completion_tokens) == (345, 17)
    assert completion.finish_reason == "stop"
    assert completion.model == scripted.model


def test_an_answer_that_was_cut_says_so(scripted: Scripted, engine: Engine) -> None:
    """At the tokens that were asked for it is an answer; earlier, the context was full."""
    scripted.play(Scene(finish="length", completion_tokens=24))
    assert ask(engine, scripted).finish_reason == "length"
    scripted.play(Scene(finish="length", completion_tokens=5))
    with pytest.raises(ContextOverflow):
        ask(engine, scripted)


def test_a_prompt_has_the_same_count_each_time(subject: Subject, engine: Engine) -> None:
    """Also where the server remembers it and reads nothing again."""
    first, second = (ask(engine, subject) for _ in range(2))
    longer = ask(engine, subject, prompt("Name three colours, please, and three animals too."))
    assert 0 < first.prompt_tokens == second.prompt_tokens < longer.prompt_tokens
    assert 0 < first.completion_tokens <= 24
    assert engine.capabilities.counts


def test_one_token_counts_a_prompt(subject: Subject, engine: Engine) -> None:
    """What a prompt costs can be asked for where the server says that this is cheap."""
    whole = ask(engine, subject)
    counted = ask(engine, subject, prompt(max_tokens=1))
    if engine.capabilities.counts_cheaply:
        assert counted.prompt_tokens == whole.prompt_tokens


def test_times_are_no_guesses(subject: Subject, engine: Engine) -> None:
    """Seconds where the server tells them, else none; never negative."""
    completion = ask(engine, subject)
    for seconds in (
        completion.load_seconds,
        completion.prompt_seconds,
        completion.generation_seconds,
    ):
        assert 0 <= seconds < 60
