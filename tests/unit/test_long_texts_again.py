"""A summary of a long text that runs again finds its notes, though the estimates have changed."""

from __future__ import annotations

from local_llm_service.tasks import summarize
from local_llm_service.testing.local_llm import LocalLLM
from local_llm_service.worker.errors import StreamBroken
from local_llm_service.worker.prompt import Message

WORDS = [
    "alpha",
    "bravo",
    "charlie",
    "delta",
    "echo",
    "foxtrot",
    "golf",
    "hotel",
    "india",
    "juliet",
    "kilo",
    "lima",
]


def document(chapters: int) -> str:
    """A text of so many chapters, each of some 200 tokens."""
    sentences = [f"The {word} of part {{0}} was seen near the mill by {{0}} men." for word in WORDS]
    text = "Chapter {0}. " + " ".join(sentences)
    return "\n\n".join(text.format(chapter) for chapter in range(chapters))


def test_each_piece_is_read_once_whatever_is_learned_meanwhile(local_llm: LocalLLM) -> None:
    """The model's first answers teach how many tokens a text has. A text cut anew by that would
    have other pieces."""
    local_llm._engine.context = 2000
    notes = iter(range(1000))

    def say(_: list[Message]) -> str:
        return f"Note number {next(notes)} tells what was seen near the mill."

    local_llm.reply(say, times=6)
    local_llm.fail(StreamBroken)
    local_llm.reply(say, times=None)
    answer = summarize.delay(document(70), 60).get(timeout=30)
    asked = [one.text for one in local_llm.prompts]
    assert asked[6] == asked[7], "the step that failed"
    assert len(asked) - 1 == len(set(asked)) == answer["steps"]
    assert answer["coverage"] == 1.0
