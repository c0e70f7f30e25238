"""Counts of tokens, held against the tokenizer of the embedded model; and servers that cut."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from typing import Any

import pytest

from local_llm_service import generate
from local_llm_service.tasks.steps.engine_steps import EngineSteps
from local_llm_service.testing import LocalLLM
from local_llm_service.worker.embedded.ollama_api.llama_client import LlamaClient
from local_llm_service.worker.embedded.ollama_api.options import RunnerProfile
from local_llm_service.worker.embedded.processes.ollama_process import OllamaProcess
from local_llm_service.worker.embedded.smollm2 import MODEL_NAME
from local_llm_service.worker.engine.ollama.engine import OllamaEngine
from local_llm_service.worker.errors import ContextOverflow
from local_llm_service.worker.prompt import Completion, Message, Prompt, ToEmbed
from local_llm_service.worker.settings import Settings
from local_llm_service.worker.tokens.book import TokenBook
from tests.doubles.ollama import FakeOllama

#: What texts are made of: eight scripts, code, numbers, emoji, white space, the template's words.
ALPHABETS = (
    *("The cat, it's", "Größe, naïve", "Привет, мир", "Καλημέρα", "漢字と かな", "한국어 글"),
    *("ภาษาไทย", "नमस्ते कि", "السلام عليكم", "  if x:\n\treturn", '{"a": [1.5e-3]}', "0123456789"),
    *("😀👩\u200d👧🇩🇪", " \t\n\u00a0\u3000", "e\u0301\u200b\ufeff", "<|im_end|>"),
)


SMALL: dict[str, Any] = {"max_output_tokens": 64}
TALE: tuple[Message, ...] = (
    {"role": "system", "content": "You are terse."},
    {"role": "user", "content": "Once upon a time there was a fox. " * 60},
)


class Asking(EngineSteps):
    """Steps that ask an engine, as those of a worker do."""

    def complete(self, prompt: Prompt, *, shared: bool) -> Completion:
        """See EngineSteps."""
        return self.engine.complete(prompt, model=self.model, remaining_seconds=60)

    def vectors(self, texts: ToEmbed) -> Completion:
        """See EngineSteps."""
        raise AssertionError("nobody wants vectors")


@pytest.fixture
def ask() -> Iterator[Asking]:
    """Steps over the embedded model."""
    with OllamaProcess() as server:
        settings = Settings(ollama_host=server.host, model_name=MODEL_NAME, num_ctx=2560)
        engine = OllamaEngine(settings)
        yield Asking(engine, MODEL_NAME, settings, TokenBook())
        engine.close()


def some_texts() -> list[str]:
    """Of each alphabet one text as it is, and mixtures, with white space at their ends, too."""
    chance = random.Random(12)
    mixed = (
        "".join("".join(chance.choices(chance.choice(ALPHABETS), k=3)) for _ in range(4))
        for _ in range(8)
    )
    return [*ALPHABETS, *mixed, " a", "\n\na", "a \n", "   "]


async def tokenized(texts: list[str]) -> list[int]:
    """The tokens that the model's own tokenizer makes of each text."""
    runner = await LlamaClient.start(RunnerProfile(256, False), 1)
    try:
        return [len(await runner.tokenize(text)) for text in texts]
    finally:
        await runner.close()


def test_a_count_is_what_the_tokenizer_makes_of_the_text(ask: Asking) -> None:
    """In every script; a bound is never less, before anything is learned and after."""
    texts = some_texts()
    assert [ask.count(text) for text in texts] == (wanted := asyncio.run(tokenized(texts)))
    assert all(ask.most_tokens(text) >= n for text, n in zip(texts, wanted, strict=True))


@pytest.mark.parametrize(("version", "read"), [("0.24.0", 256), ("0.33.0", 130)])
def test_a_prompt_that_a_server_cut_is_no_answer(
    version: str, read: int, ollama: FakeOllama
) -> None:
    """Both Ollamas cut in their own way where a proxy drops `truncate: false`."""
    ollama.version, ollama.cuts = version, True
    settings = Settings(ollama_host=ollama.host, model_name="fake:1b", num_ctx=256, **SMALL)
    engine = OllamaEngine(settings)
    try:
        ask = Asking(engine, "fake:1b", settings, TokenBook())
        with pytest.raises(ContextOverflow, match=f"tokens, room for {read}$"):
            ask(Prompt(TALE, 16))
        ollama.cuts = False
        ask = Asking(engine, "fake:1b", settings, TokenBook())
        with pytest.raises(ContextOverflow, match=r"\d+ tokens, room for 256$"):
            ask(Prompt(TALE, 16))
    finally:
        engine.close()


@pytest.mark.local_llm(settings={"num_ctx": 256, **SMALL})
def test_a_job_whose_prompt_was_cut_fails_with_both_numbers(local_llm: LocalLLM) -> None:
    """And one whose prompt the server refuses; the next one is answered."""
    local_llm._engine.cuts = True
    with pytest.raises(ContextOverflow, match=r"about \d+ tokens, room for 128$"):
        generate.delay(TALE[1]["content"]).get(timeout=10)
    assert generate.delay("Short.").get(timeout=10)["text"]
