"""Runs every kind once on a real model: embedded server, llama.cpp, SmolLM2-135M-Instruct."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

import pytest
import redis
from jsonschema_rs import Draft202012Validator
from pydantic import BaseModel, Field

from local_llm_service.producers import Client
from local_llm_service.worker.embedded.processes.ollama_process import OllamaProcess
from local_llm_service.worker.embedded.processes.worker_process import WorkerProcess
from local_llm_service.worker.embedded.smollm2 import EMBED_NAME, MODEL_NAME, TOOLS_NAME
from local_llm_service.worker.errors import ContextOverflow, InvalidRequest
from tests.integration.conftest import ROOT

EXAMPLES = ROOT / "examples"
TIMEOUT_SECONDS = 240


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int


class Dog(BaseModel):
    kind: Literal["dog"]
    is_good: bool


class Owner(BaseModel):
    pet: Annotated[Cat | Dog, Field(discriminator="kind")]


def order(item: str, day: dt.date, count: int = 1) -> None:
    """Orders furniture."""


@pytest.fixture(scope="module")
def real(redis_process: object) -> Iterator[OllamaProcess]:
    """The embedded model server."""
    with OllamaProcess() as server:
        yield server


@pytest.fixture
def client(real: OllamaProcess, redis_client: redis.Redis) -> Iterator[Client]:
    """A client, with a worker beside the real model."""
    import os

    environment = {
        "REDIS_URL": os.environ["REDIS_URL"],
        "OLLAMA_HOST": real.host,
        "MODEL_NAME": MODEL_NAME,
        "NUM_CTX": "4096",
    }
    with WorkerProcess(environment):
        yield Client()


def test_the_model_answers_five_kinds(client: Client) -> None:
    """Each of them answers real text with the model's words, right counts and its own fields."""
    # A third of the demo's document: prompts of this length cost a core half a minute.
    document = Path(EXAMPLES / "document.md").read_text()[:3000]
    conversation = json.loads((EXAMPLES / "conversation.json").read_text())[:6]
    function = json.loads((EXAMPLES / "create_course.json").read_text())
    schema = json.loads((EXAMPLES / "book.schema.json").read_text())
    jobs = (
        client.summarize(document, max_summary_tokens=60),
        client.compress(conversation, target_tokens=150),
        client.extract_parameters(
            "Create a Python Fundamentals course for organization 5", function
        ),
        client.structured_output(
            "Describe the novel Moby-Dick by Herman Melville.", schema, stream=True
        ),
        client.generate("Name three colours.", max_tokens=24, temperature=0, stream=True),
    )
    owner = client.structured_output("Ann has a dog, which is good.", Owner)
    ordered = client.extract_parameters("Order 2 blue chairs for Ann on 2026-11-28", order)
    pieces = [event.text for event in jobs[-1].stream() if event.type == "text"]
    summary, compressed, extracted, structured, generated = (
        job.result(TIMEOUT_SECONDS) for job in jobs
    )
    assert summary.original_tokens >= 500
    assert 0 < summary.summary_tokens <= 60
    assert summary.summary.rstrip()[-1] in ".!?\"')"
    assert compressed.messages[0] == conversation[0]
    assert compressed.summary
    assert compressed.summary in compressed.messages[1]["content"]
    assert compressed.compressed_tokens <= 150
    assert extracted.parameters == {"title": "Python Fundamentals", "organization_id": 5}
    Draft202012Validator(schema).validate(structured.data)
    assert generated.text.strip()
    assert "".join(pieces) == generated.text
    assert len(pieces) > 1, "it was read while it was written"
    assert json.loads("".join(event.text for event in jobs[3].stream())) == structured.data
    assert isinstance(owner.result(TIMEOUT_SECONDS).data.pet, Cat | Dog)
    arguments = ordered.result(TIMEOUT_SECONDS).arguments
    assert isinstance(arguments["item"], str)
    assert isinstance(arguments["day"], dt.date)
    for answer in (summary, compressed, extracted, structured, generated):
        assert answer.model == MODEL_NAME
        assert answer.usage.prompt_tokens > 0
        assert answer.timings.generation_seconds > 0


def alike(one: list[float], other: list[float]) -> float:
    """The cosine of two vectors of length 1."""
    return sum(a * b for a, b in zip(one, other, strict=True))


def test_the_model_chats_calls_and_embeds(client: Client) -> None:
    """Text, JSON, a call that it has to make, and vectors in which like is nearer to like.

    By itself a model of 135M parameters seldom calls anything, so nothing is said of "auto" but
    that it answers.
    """
    city = {
        "type": "object",
        "properties": {"city": {"type": "string", "maxLength": 30}},
        "required": ["city"],
    }
    function = {"name": "get_weather", "description": "A city's weather.", "parameters": city}
    weather = {"type": "function", "function": function}
    messages = [{"role": "user", "content": "What is the weather in Paris?"}]
    by_schema = {
        "type": "json_schema",
        "json_schema": {"schema": weather["function"]["parameters"]},
    }  # type: ignore[index]
    answers = [
        client.chat(messages, max_tokens=40, seed=7, stop=["?"], logprobs=True, top_logprobs=2),
        client.chat(messages, tools=[weather], tool_choice="required", temperature=0),
        client.chat(messages, response_format=by_schema, temperature=0),
        client.chat(messages, tools=[weather], model=TOOLS_NAME, max_tokens=40, temperature=0),
    ]
    said, called, written, offered = (job.result(TIMEOUT_SECONDS) for job in answers)
    assert said.message.content.strip()
    assert "?" not in said.message.content
    assert said.logprobs is not None
    assert all(len(token["top_logprobs"]) == 2 for token in said.logprobs)
    assert called.finish_reason == "tool_calls"
    assert called.message.tool_calls is not None
    assert list(called.message.tool_calls[0]["function"]["arguments"]) == ["city"]
    assert list(json.loads(written.message.content)) == ["city"]
    assert offered.message.content or offered.message.tool_calls
    with pytest.raises(InvalidRequest, match="tools"):
        client.chat(messages, tools=[weather]).result(TIMEOUT_SECONDS)

    texts = ["The cat sleeps on the sofa.", "A cat is asleep on a couch.", "Tax law of 1998"]
    first, second, third = client.embed(texts, model=EMBED_NAME).result(TIMEOUT_SECONDS).embeddings
    assert len(first) == 576
    assert alike(first, second) > alike(first, third)
    with pytest.raises(InvalidRequest, match="gives no embeddings"):
        client.embed(texts).result(TIMEOUT_SECONDS)
    with pytest.raises(ContextOverflow):
        client.embed("long " * 5000, model=EMBED_NAME).result(TIMEOUT_SECONDS)


def test_what_is_past_the_window_is_read_in_pieces_or_an_error_and_never_cut(
    client: Client,
) -> None:
    """Ollama would cut it silently; where the kind cannot cut it, the caller learns both sizes."""
    document = Path(EXAMPLES / "document.md").read_text()
    with pytest.raises(ContextOverflow, match=r"\d+ tokens, room for 4096"):
        client.generate(document * 3).result(TIMEOUT_SECONDS)
    summary = client.summarize(document * 2, max_summary_tokens=40).result(TIMEOUT_SECONDS)
    assert (summary.coverage, summary.steps > 1) == (1.0, True)
    assert summary.original_tokens > 4096
    assert summary.summary_tokens <= 40
