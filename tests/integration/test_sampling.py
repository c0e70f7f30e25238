"""Every request carries the whole sampling profile: nothing is left to the server's defaults."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pytest

from local_llm_service import tasks
from local_llm_service.tasks.job import KindTask
from local_llm_service.tasks.request import Limits, parse
from local_llm_service.tasks.sampling import SAMPLING
from local_llm_service.worker.engine.ollama.engine import OllamaEngine
from local_llm_service.worker.prompt import Prompt
from local_llm_service.worker.settings import Settings
from tests.doubles.ollama import DEFAULT_OPTIONS, FakeOllama
from tests.doubles.said import first_prompt

CALLS: dict[str, dict[str, Any]] = {
    "generate": {"prompt": "x", "temperature": 0},
    "summarize": {"context": "x " * 200},
    "compress": {"messages": [{"role": "user", "content": "x " * 400}]},
    "extract_parameters": {"user_message": "x", "function_schema": {"parameters": {}}},
    "structured_output": {"prompt": "x", "schema": {}},
    "chat": {"messages": [{"role": "user", "content": "x"}], "temperature": 0},
}
LIMITS = Limits(max_prompt_chars=1000, max_messages=10, max_schema_depth=10, max_output_tokens=100)
#: Those that write; a vector is not sampled.
KINDS: list[KindTask] = [getattr(tasks, name) for name in tasks.__all__ if name != "embed"]


def options_of(ollama: FakeOllama, task: KindTask, arguments: dict[str, Any]) -> dict[str, Any]:
    """The options with which the scripted server made the answer, its own defaults included."""
    request = parse(task.kind.request, [], arguments, LIMITS)
    engine = OllamaEngine(Settings(ollama_host=ollama.host, model_name="fake:1b"))
    try:
        prompt = first_prompt(task.kind, request, LIMITS.max_output_tokens)
        assert isinstance(prompt, Prompt)
        engine.complete(prompt, model="fake:1b", remaining_seconds=20)
    finally:
        engine.close()
    return ollama.seen[-1].options


def test_the_table_has_every_kind() -> None:
    """A new kind says how it samples."""
    assert sorted(SAMPLING) == sorted(task.kind.name for task in KINDS)


@pytest.mark.parametrize("task", KINDS, ids=lambda task: task.kind.name)
def test_what_is_sent_is_the_table(ollama: FakeOllama, task: KindTask) -> None:
    """The scripted server has 0.24's defaults, so an option that is missing shows."""
    options = options_of(ollama, task, CALLS[task.kind.name])
    assert {name: options[name] for name in DEFAULT_OPTIONS} == asdict(SAMPLING[task.kind.name])
    assert set(ollama.seen[-1].body["options"]) == {*DEFAULT_OPTIONS, "num_ctx", "num_predict"}


def test_no_kind_is_punished_for_copying_words_of_the_message() -> None:
    """With 0.24's penalty of 1.1 an id of 5 became 1234567890."""
    for name, sampling in SAMPLING.items():
        penalties = sampling.presence_penalty, sampling.frequency_penalty
        assert (name, sampling.repeat_penalty, *penalties) == (name, 1.0, 0.0, 0.0)


@pytest.mark.parametrize(("temperature", "seed"), [(0, 1), (0.7, -1)])
def test_free_text_is_repeatable_at_temperature_0_alone(
    ollama: FakeOllama, temperature: float, seed: int
) -> None:
    """Who asks for 0.7 wants another text each time, and -1 is Ollama's word for that."""
    arguments = {"prompt": "x", "temperature": temperature}
    options = options_of(ollama, tasks.generate, arguments)
    assert (options["temperature"], options["seed"]) == (temperature, seed)
