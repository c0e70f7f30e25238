"""The fixture `local_llm` with jobs of several steps, and with a model's context."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from local_llm_service import Client
from local_llm_service.tasks import generate
from local_llm_service.tasks.steps.protocol import Steps
from local_llm_service.testing.local_llm import LocalLLM
from local_llm_service.worker.errors import ContextOverflow
from local_llm_service.worker.prompt import Prompt


def test_a_job_of_several_steps_uses_one_answer_for_each(
    local_llm: LocalLLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That it counts a text uses none, waits for nothing, and is not among the prompts."""

    def work(request: Any, ask: Steps) -> Mapping[str, object]:
        counted = ask.count(request.prompt)
        said = [ask(Prompt(({"role": "user", "content": one},), 9)).text for one in "ab"]
        return {"text": f"{counted} {' '.join(said)}"}

    monkeypatch.setattr(generate, "kind", replace(generate.kind, work=work))
    local_llm.reply("One.").reply("Two.")
    with local_llm.held():
        job = generate.delay("It rained all day")
        local_llm.wait_until_asked()
    assert job.get(timeout=5)["text"] == "4 One. Two."
    assert [asked.text for asked in local_llm.prompts] == ["a", "b"]
    assert local_llm.unused == 0


def test_what_does_not_fit_into_the_context_is_refused(local_llm: LocalLLM) -> None:
    """A prompt before it is read, and uses up no answer; an answer where the context ends."""
    local_llm.context_tokens = 12
    local_llm.reply("one two three four five")
    with pytest.raises(ContextOverflow, match=r"20 tokens, room for 12$"):
        generate.delay("word " * 20).get(timeout=5)
    assert (local_llm.prompts, local_llm.unused) == ([], 1)
    with pytest.raises(ContextOverflow, match=r"end of the window: 12 tokens, room for 12$"):
        generate.delay("word " * 10).get(timeout=5)
    local_llm.reply("one two")
    assert generate.delay("word " * 10).get(timeout=5)["text"] == "one two"


@pytest.mark.parametrize("written", ['{"age": 7}', 'Here: {"age": 7} and so on'])
def test_a_reader_of_json_has_in_the_end_what_the_answer_holds(
    local_llm: LocalLLM, written: str
) -> None:
    """What stood around it is taken back; what is as it was written is told once."""
    local_llm.reply(written)
    messages = [{"role": "user", "content": "How old?"}]
    with Client() as client:
        job = client.chat(messages, response_format={"type": "json_object"}, stream=True)
        events = list(job.stream())
    text = ""
    for event in events:
        text = "" if event.type == "restart" else text + event.text
    assert text == job.result(5).message.content == '{"age": 7}'
    assert ("restart" in {event.type for event in events}) == (text != written)


@pytest.mark.parametrize("tokens", [0, -1, 1.5, True, None, "many"])
def test_a_context_is_a_number_of_tokens(local_llm: LocalLLM, tokens: Any) -> None:
    """Anything else is the test's own mistake."""
    with pytest.raises(ValueError, match="whole number"):
        local_llm.context_tokens = tokens
