"""The embedded server writes the same prompt as Ollama, and cuts it at the same place."""

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest

from local_llm_service.worker.embedded import smollm2
from local_llm_service.worker.embedded.ollama_api import chatml, go_print
from local_llm_service.worker.embedded.ollama_api.chat_request import Message

WIRE = Path(__file__).parents[1] / "wire"


def rendered(name: str) -> tuple[list[Message], str]:
    """The messages of a recording with _debug_render_only, and the prompt in its answer."""
    exchange = json.loads((WIRE / f"{name}.json").read_text())
    messages = [Message(m["role"], m["content"]) for m in exchange["request"]["body"]["messages"]]
    return messages, exchange["response"]["body"]["_debug_info"]["rendered_template"]


async def count_words(text: str) -> list[int]:
    """Stand in for the tokenizer, with one token per word, mark and special token."""
    return [0] * len(re.findall(r"<\|\w+\|>|\w+|[^\w\s]|\n", text))


def fit(messages: list[Message], limit: int) -> tuple[Message, ...]:
    """Call `chatml.fitting` with the stand-in."""
    return asyncio.run(chatml.fitting(messages, limit, count_words))


@pytest.mark.parametrize(
    "name", ["chat_debug_render_only", "ctx_chat_long_history_truncate_false_rendered"]
)
def test_the_prompt_is_the_recorded_one(name: str) -> None:
    """It is plain ChatML, without the system message that the GGUF's own template would add."""
    messages, prompt = rendered(name)
    assert chatml.render(messages) == prompt


def test_tools_are_offered_as_recorded() -> None:
    """By the template of the model that has them, as Go prints its structures."""
    exchange = json.loads((WIRE / "chat_tools_debug_render.json").read_text())
    messages, prompt = rendered("chat_tools_debug_render")
    opening = chatml.offer(exchange["request"]["body"]["tools"])
    assert chatml.render(messages, opening, chatml.turn_with_calls) == prompt


def test_the_template_with_tools_is_the_recorded_one() -> None:
    """What /api/show tells is what chatml.py does."""
    exchange = json.loads((WIRE / "show_tools_model.json").read_text())
    assert json.loads(exchange["response"]["body_text"])["template"] == smollm2.TOOLS_TEMPLATE


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "<nil>"),
        (True, "true"),
        ([], "[]"),
        (["a", 1, None], "[a 1 <nil>]"),
        ({"b": 1, "a": {"c": []}}, "map[a:map[c:[]] b:1]"),
    ],
)
def test_values_are_printed_as_by_go(value: object, text: str) -> None:
    """fmt's %v."""
    assert go_print.printed(value) == text


def test_a_history_that_fits_stays_whole() -> None:
    """No turn is dropped while all of them fit."""
    messages = [Message("user", "a"), Message("assistant", "b"), Message("user", "c")]
    assert fit(messages, 1000) == tuple(messages)


def test_a_long_history_loses_its_oldest_turns_and_keeps_the_system_message() -> None:
    """The system message and the newest turns of the recorded history remain."""
    messages, prompt = rendered("ctx_chat_long_history_rendered")
    limit = len(asyncio.run(count_words(prompt)))
    assert chatml.render(fit(messages, limit)) == prompt


def test_one_token_less_drops_one_more_turn() -> None:
    """The limit is the largest count that still fits."""
    messages, prompt = rendered("ctx_chat_long_history_rendered")
    limit = len(asyncio.run(count_words(prompt)))
    assert len(fit(messages, limit - 1)) == len(fit(messages, limit)) - 1


def test_the_last_message_stays_at_any_length() -> None:
    """An overlong last message is kept with only the system messages before it."""
    messages = [Message("system", "s"), Message("user", "a"), Message("user", "long " * 500)]
    assert [m.role for m in fit(messages, 64)] == ["system", "user"]


@pytest.mark.parametrize(("limit", "keep", "left"), [(256, 4, 130), (4, 4, 3), (256, 0, 128)])
def test_one_overlong_message_is_cut_to_about_half(limit: int, keep: int, left: int) -> None:
    """The recorded counts are 130 of 256, and 3 at a num_ctx of 1, which means 4."""
    assert len(chatml.cut(range(1219), limit, keep)) == left


def test_a_cut_keeps_the_first_tokens_and_the_end() -> None:
    """The end contains the opening of the answer, so it always stays."""
    cut: list[Any] = chatml.cut(range(1000), 256, 4)
    assert cut[:4] == [0, 1, 2, 3]
    assert cut[4:] == list(range(874, 1000))
