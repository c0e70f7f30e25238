"""NUM_CTX above a model's own context: the smaller one holds, and the operator hears of it."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from local_llm_service.worker.engine.ollama.engine import OllamaEngine
from local_llm_service.worker.intake.model_catalog import ModelCatalog
from local_llm_service.worker.prompt import Prompt
from local_llm_service.worker.settings import Settings
from tests.doubles.ollama import FakeOllama

MODEL = "fake:1b"


@pytest.fixture
def settings(ollama: FakeOllama) -> Settings:
    """NUM_CTX is 8192, and the model was trained for 2048, as /api/show says and /api/tags not."""
    ollama.trained = 2048
    return Settings(ollama_host=ollama.host, model_name=MODEL)


@pytest.fixture
def engine(settings: Settings) -> Iterator[OllamaEngine]:
    """An engine that asks the scripted Ollama."""
    made = OllamaEngine(settings)
    yield made
    made.close()


def asked_for(ollama: FakeOllama, engine: OllamaEngine) -> int:
    """The num_ctx of a request."""
    prompt = Prompt(({"role": "user", "content": "x"},), 100)
    engine.complete(prompt, model=MODEL, remaining_seconds=20)
    return int(ollama.seen[-1].body["options"]["num_ctx"])


def test_a_small_model_is_asked_for_its_own_context(
    ollama: FakeOllama, engine: OllamaEngine, caplog: pytest.LogCaptureFixture
) -> None:
    """Ollama would clamp it all the same, without a word."""
    with caplog.at_level(logging.WARNING):
        assert [asked_for(ollama, engine) for _ in range(3)] == [2048] * 3
        assert engine.context_tokens(MODEL) == 2048
        engine.models()
    warning = "fake:1b runs with a context of 2048 tokens, for which it was trained, instead of"
    assert [record.message for record in caplog.records] == [f"{warning} NUM_CTX 8192"]
    assert engine.notes() == [f"{warning} NUM_CTX 8192"]


def test_a_large_model_is_asked_for_num_ctx(ollama: FakeOllama, engine: OllamaEngine) -> None:
    """What it was trained for is an upper bound only."""
    ollama.trained = 131_072
    assert asked_for(ollama, engine) == engine.context_tokens(MODEL) == 8192
    assert engine.notes() == []


def test_models_show_their_context_where_tags_does_not(
    ollama: FakeOllama, engine: OllamaEngine
) -> None:
    """/api/tags of 0.24 has none."""
    assert [model.context_tokens for model in engine.models()] == [2048]


def test_a_model_that_is_pulled_again_is_asked_again(
    ollama: FakeOllama, engine: OllamaEngine
) -> None:
    """The context belongs to the digest."""
    assert asked_for(ollama, engine) == 2048
    ollama.digest, ollama.trained = "cd" * 32, 4096
    engine.models()
    assert asked_for(ollama, engine) == 4096


def test_the_context_that_holds_is_part_of_the_revision(
    ollama: FakeOllama, engine: OllamaEngine, settings: Settings
) -> None:
    """Answers with different contexts are different answers."""
    catalog = ModelCatalog(settings, engine)
    catalog.note(engine.models())
    assert catalog.revision(MODEL) == f"{'ab' * 32}/2048/2048"
