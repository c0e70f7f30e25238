"""Summaries through the service: what is read, what is counted, and what a reader of one sees."""

from __future__ import annotations

from typing import Any

import pytest

from local_llm_service import Client, summarize
from local_llm_service.testing.local_llm import LocalLLM
from local_llm_service.testing.scripted_run import tokens
from local_llm_service.worker.errors import ContextOverflow, InvalidOutput

CONTEXT_TOKENS = 512
NEEDLES = {0.0: "The key is 4711.", 0.5: "The door is blue.", 1.0: "The guard is Ida."}


def answer_to(context: str, **options: Any) -> dict[str, Any]:
    """Ask for a summary and wait for it."""
    found: dict[str, Any] = summarize.delay(context, **options).get(timeout=30)
    return found


def haystack(words: int) -> str:
    """A text of so many words, in paragraphs, with needles at its head, middle and tail."""
    paragraphs = [f"In line {number} nothing is said of it.\n\n" for number in range(words // 8)]
    for place, needle in sorted(NEEDLES.items(), reverse=True):
        paragraphs.insert(int(place * len(paragraphs)), f"{needle}\n\n")
    return "".join(paragraphs)


def about(messages: list[Any]) -> str:
    """What a model says that reads well: the needles that it was given."""
    text = messages[-1]["content"]
    return " ".join(needle for needle in NEEDLES.values() if needle in text) or "Nothing is said."


@pytest.mark.parametrize("share", [0.5, 1, 2, 4, 8])
def test_no_part_of_a_text_is_lost(local_llm: LocalLLM, share: float) -> None:
    """Whatever its length: the model was given each needle, and all of it was read."""
    local_llm.context_tokens = CONTEXT_TOKENS
    local_llm.reply(about, times=None)
    text = haystack(int(share * CONTEXT_TOKENS))
    answer = answer_to(text, max_summary_tokens=60)
    assert all(needle in answer["summary"] for needle in NEEDLES.values())
    assert answer["coverage"] == 1.0
    assert answer["steps"] == len(local_llm.prompts)
    assert answer["steps"] > 2 or share < 1
    assert answer["original_tokens"] == pytest.approx(len(tokens(text)), rel=0.25)
    assert answer["usage"]["prompt_tokens"] >= answer["original_tokens"]
    read = "\n\n".join(prompt.text for prompt in local_llm.prompts)
    assert all(paragraph.strip() in read for paragraph in text.split("\n\n"))


def test_a_summary_that_needs_no_step_asks_nobody(local_llm: LocalLLM) -> None:
    """The text comes back as it is, and is cached like any answer."""
    for origin in ("computed", "cached"):
        answer = answer_to("  It rains.\n")
        assert (answer["summary"], answer["finish_reason"]) == ("  It rains.\n", "unchanged")
        assert (answer["steps"], answer["tokens_saved"]) == (0, 0)
        assert (answer["usage"]["completion_tokens"], answer["origin"]) == (0, origin)
    assert local_llm.prompts == []


def test_a_text_that_may_fit_is_counted_once(local_llm: LocalLLM) -> None:
    """Where its bytes do not show that it fits: without a generation, or with its exact number."""
    fitting, longer = (("Words of many letters. " * times).strip() for times in (10, 30))
    answer = answer_to(fitting, max_summary_tokens=40)
    assert (answer["finish_reason"], answer["original_tokens"]) == ("unchanged", 40)
    assert answer_to(longer, max_summary_tokens=100)["original_tokens"] == 120
    assert len(local_llm.prompts) == 1


def test_a_question_without_room_is_told_with_numbers(local_llm: LocalLLM) -> None:
    """Not one step for each word."""
    local_llm.context_tokens = 300
    with pytest.raises(ContextOverflow, match="300 tokens"):
        answer_to("A long text. " * 200, question="Who is it that asks? " * 60)
    assert local_llm.prompts == []


def test_a_reader_sees_no_sentence_that_the_answer_leaves_out(local_llm: LocalLLM) -> None:
    """The one in progress is held back; a new try begins anew; the end is the answer's."""
    said = ("One is ", "here. Two is ", "there. ", "Three is cut some", "where off")
    local_llm.stream(*said, times=3)
    job = Client().summarize("A long text. " * 60, max_summary_tokens=10, stream=True)
    events = list(job.stream())
    texts = [""]
    for event in events:
        if event.type == "restart":
            texts.append("")
        texts[-1] += event.text or ""
    answer = job.result(10)
    assert answer.summary == "One is here. Two is there."
    assert texts[-1] == answer.summary
    assert all(answer.summary.startswith(text) for text in texts)


def test_notes_of_parts_are_not_told_to_readers(local_llm: LocalLLM) -> None:
    """Only what the last step writes."""
    local_llm.context_tokens = CONTEXT_TOKENS
    local_llm.reply(
        lambda messages: (
            "The end."
            if "of which these are notes" in messages[-1]["content"]
            else "A note of one part that is none of your business."
        ),
        times=None,
    )
    job = Client().summarize(haystack(4 * CONTEXT_TOKENS), max_summary_tokens=8, stream=True)
    told = "".join(event.text or "" for event in job.stream())
    assert told == job.result(10).summary == "The end."


def test_a_model_that_writes_no_sentence_is_an_error(local_llm: LocalLLM) -> None:
    """After three tries, none of which is an answer."""
    local_llm.reply("and so on " * 20, times=None)
    with pytest.raises(InvalidOutput, match="no whole sentence within 10 tokens"):
        answer_to("A long text. " * 60, max_summary_tokens=10, question="What?")
    assert 2 <= len(local_llm.prompts) <= 3
