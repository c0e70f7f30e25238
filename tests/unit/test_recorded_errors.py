"""Every recorded end of a chat that is not an answer has its meaning, in the words of 0.24 too."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import ollama
import pytest

from local_llm_service.worker import errors, metrics
from local_llm_service.worker.engine import EngineDied, unknown_words
from local_llm_service.worker.engine.ollama.errors import MIDWAY, FormatRefused, translate
from local_llm_service.worker.errors import ServiceError

WIRE = Path(__file__).parents[1] / "wire"
HOST, MODEL = "http://gpu:11434", "smollm2:135m"

#: What each recording with 0.24 that ends in an error means. Add new recordings here.
MEANINGS: dict[str, type[ServiceError]] = {
    "chat_format_bad_pattern": FormatRefused,
    "chat_format_bad_schema": FormatRefused,
    "chat_format_bad_schema_stream": FormatRefused,
    "chat_format_description_alone": FormatRefused,
    "chat_format_invalid_string": FormatRefused,
    "chat_format_not": FormatRefused,
    "chat_format_ref_in_if": FormatRefused,
    "chat_format_ref_missing": FormatRefused,
    "chat_missing_model": errors.ModelMissing,
    "chat_model_load_fails": errors.ModelFailed,
    "chat_model_load_fails_in_runner": errors.ModelFailed,
    "chat_option_wrong_type": errors.ModelFailed,
    "chat_to_embedding_model": errors.InvalidRequest,
    "chat_tools_unsupported": errors.InvalidRequest,
    "ctx_chat_long_history_truncate_false": errors.ContextOverflow,
    "ctx_chat_one_long_message_shift_false_truncate_false": errors.ContextOverflow,
    "ctx_chat_one_long_message_truncate_false": errors.ContextOverflow,
    "ctx_chat_one_long_message_truncate_false_stream": errors.ContextOverflow,
    "ctx_prompt_between_trained_and_num_ctx": errors.ContextOverflow,
    "queue_full_cold_503": errors.OllamaBusy,
    "queue_full_cold_503_stream": errors.OllamaBusy,
    "runner_killed_in_prompt_stream": EngineDied,
    "runner_killed_midway_nostream": EngineDied,
    "runner_killed_midway_stream": EngineDied,
    "schema_class_escape_crashes_runner": EngineDied,
    "schema_crashes_runner_neighbour_in_prompt": EngineDied,
    "schema_crashes_runner_neighbour_stream": EngineDied,
    "schema_crashes_runner_nostream": EngineDied,
    "schema_crashes_runner_stream": EngineDied,
    "schema_large_crashes_runner": EngineDied,
    "schema_pattern_crashes_runner": EngineDied,
    "schema_ref_to_itself_crashes_runner": EngineDied,
}


def recorded(name: str, folder: str = "0.24") -> dict[str, Any]:
    """What Ollama answered."""
    exchange = json.loads((WIRE / folder / f"{name}.json").read_text())
    response: dict[str, Any] = exchange["response"]
    return response | {"path": exchange["request"]["path"]}


def words(response: dict[str, Any]) -> ollama.ResponseError | None:
    """The exception that the client makes of an error; None where the recording holds none."""
    if (response.get("status") or 0) >= 400:
        return ollama.ResponseError(response["body_text"], response["status"])
    last = (response.get("lines") or ["{}"])[-1]
    said = json.loads(last).get("error")
    return None if said is None else ollama.ResponseError(said)


def recorded_errors(folder: str) -> list[str]:
    """The recordings of chats that end in an error of Ollama."""
    return [
        file.stem
        for file in sorted((WIRE / folder).glob("*.json"))
        if (response := recorded(file.stem, folder))["path"] == "/api/chat"
        and words(response) is not None
    ]


def test_every_recorded_error_of_024_is_in_the_table() -> None:
    """A new recording says what it means."""
    assert recorded_errors("0.24") == sorted(MEANINGS)


@pytest.mark.parametrize(("name", "meaning"), MEANINGS.items())
def test_a_recorded_error_of_024_has_its_meaning(name: str, meaning: type[ServiceError]) -> None:
    """Neither its words nor anything of the request is in ours."""
    said = words(recorded(name))
    assert said is not None
    ours = translate(said, host=HOST, model=MODEL)
    assert type(ours) is meaning
    assert str(said.error) not in ours.message


@pytest.mark.parametrize("folder", ["", "0.24"])
def test_no_recorded_words_are_unknown(folder: str) -> None:
    """The metric counts only what is new, so every recording has a row of its own."""
    before = total()
    for name in recorded_errors(folder):
        said = words(recorded(name, folder))
        assert said is not None
        translate(said, host=HOST, model=MODEL)
        assert total() == before, name


def total() -> float:
    """All unknown errors so far."""
    return sum(
        sample.value
        for family in metrics.UNKNOWN_ERRORS.collect()
        for sample in family.samples
        if sample.name.endswith("_total")
    )


@pytest.mark.parametrize(
    ("status", "kind", "meaning"),
    [
        (400, "refused", errors.ModelFailed),
        (418, "refused", errors.ModelFailed),
        (500, "failed", errors.ModelFailed),
        (507, "failed", errors.ModelFailed),
        (MIDWAY, "midway", errors.StreamBroken),
    ],
)
def test_unknown_words_fall_to_a_class_by_status_and_moment(
    status: int, kind: str, meaning: type[ServiceError], caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Counted each time, logged once, and quoted nowhere: they may repeat a prompt."""
    monkeypatch.setattr(unknown_words, "_said", set())
    caplog.set_level(logging.DEBUG)
    counter = metrics.UNKNOWN_ERRORS.labels(kind)._value
    before = counter.get()
    for number in range(3):
        said = ollama.ResponseError(f"zanzibar {number}", status)
        ours = translate(said, host=HOST, model=MODEL)
        assert type(ours) is meaning
        assert "zanzibar" not in f"{ours.args}{ours.message}"
    assert counter.get() == before + 3
    assert len(caplog.records) == 1
    assert "zanzibar" not in caplog.text


@pytest.mark.parametrize(
    ("said", "meaning"),
    [
        ("llama runner process has terminated: signal: killed", errors.StreamBroken),
        ("llama runner process has terminated: error loading model: no", errors.ModelFailed),
        ('do load request: Post "http://127.0.0.1:1/load": EOF', errors.StreamBroken),
        ('Post "http://127.0.0.1:1/completion": connection refused', EngineDied),
        ("llama runner process no longer running: -1 ", EngineDied),
        ("timed out waiting for llama runner to start: context canceled", errors.EngineTimeout),
        ("no slots available after 10 retries", errors.OllamaBusy),
        ("model requires more system memory (9.0 GiB) than is available", errors.ModelFailed),
    ],
)
def test_a_runner_that_dies_while_it_loads_dies_of_no_prompt(
    said: str, meaning: type[ServiceError]
) -> None:
    """Only a death under prompts is counted against them (texts of llm/server.go, 0.24)."""
    assert type(translate(ollama.ResponseError(said, 500), host=HOST, model=MODEL)) is meaning
