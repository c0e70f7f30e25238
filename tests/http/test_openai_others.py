"""`/v1/embeddings`, `/v1/completions` and `/v1/models` by the official client, unmodified."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from local_llm_service.producers.http.openai.models import model_object
from local_llm_service.testing import LocalLLM
from local_llm_service.testing.default_vector import DIMENSIONS, default_vector
from local_llm_service.worker.errors import StreamBroken
from tests.http.conftest import HttpSite

MODEL = "scripted:1b"
#: What 32 bits leave of a number.
CLOSE = 1e-6


def test_vectors_of_texts(http: HttpSite, local_llm: LocalLLM) -> None:
    """The client asks for base64 by itself; numbers are the same."""
    client = http.openai()
    one = client.embeddings.create(model=MODEL, input="a b")
    assert one.data[0].embedding == pytest.approx(default_vector("a b"), abs=CLOSE)
    assert (one.object, one.model, one.usage.prompt_tokens) == ("list", MODEL, 2)
    two = client.embeddings.create(
        model=MODEL, input=["a b", "c"], encoding_format="float", user="u", dimensions=DIMENSIONS
    )
    assert [len(each.embedding) for each in two.data] == [DIMENSIONS] * 2
    assert [each.index for each in two.data] == [0, 1]
    assert two.data[0].embedding == pytest.approx(one.data[0].embedding, abs=CLOSE)
    short = client.embeddings.create(model=MODEL, input="a b", dimensions=3)
    assert len(short.data[0].embedding) == 3
    assert {job.priority for job in local_llm.submitted} == {"normal"}


def test_more_texts_than_one_job_takes(http: HttpSite, local_llm: LocalLLM) -> None:
    """Several jobs; order kept, usage summed."""
    texts = [f"word{place}" for place in range(600)]
    found = http.openai().embeddings.create(model=MODEL, input=texts)
    assert [one.index for one in found.data] == list(range(600))
    for place in (0, 255, 256, 599):
        assert found.data[place].embedding == pytest.approx(default_vector(texts[place]), abs=CLOSE)
    assert found.usage.total_tokens == 600
    assert len(local_llm.submitted) == 3


def test_texts_that_cannot_be_embedded(http: HttpSite, local_llm: LocalLLM) -> None:
    """Tokens of another model above all, which LangChain sends by default."""
    client = http.openai(max_retries=2)
    refused: list[tuple[dict[str, Any], str]] = [
        ({"input": [[1, 2], [3]]}, "input"),
        ({"input": [1, 2]}, "input"),
        ({"input": []}, "input"),
        ({"input": ""}, "input.0"),
        ({"input": ["a", " "]}, "input.1"),
        ({"input": ["a"] * 2049}, "input"),
        ({"input": [*["a"] * 300, " "]}, "input.300"),
        ({"input": "a", "dimensions": 0}, "dimensions"),
        ({"input": "a", "dimensions": DIMENSIONS + 1}, "dimensions"),
        ({"input": "a", "encoding_format": "int8"}, "encoding_format"),
        ({"input": "a", "extra_body": {"truncate": True}}, "truncate"),
        ({"input": "a", "extra_body": {"input": None}}, "input"),
        ({"input": "a", "extra_body": {"input": ["a", None]}}, "input.1"),
    ]
    for options, param in refused:
        with pytest.raises(openai.BadRequestError) as failure:
            client.embeddings.create(model=MODEL, **options)
        assert failure.value.param == param, options
    with pytest.raises(openai.NotFoundError):
        client.embeddings.create(model="text-embedding-3-small", input="a")


def test_the_old_form(http: HttpSite, local_llm: LocalLLM) -> None:
    """A prompt, whole and streamed, and several at once."""
    local_llm.reply("A language.").stream("A ", "snake.")
    client = http.openai()
    whole = client.completions.create(model=MODEL, prompt="Python?", stop=["\n"], logprobs=1)
    (choice,) = whole.choices
    assert (choice.text, choice.finish_reason) == ("A language.", "stop")
    assert choice.logprobs is not None
    assert choice.logprobs.tokens == ["A ", "language."]
    assert (choice.logprobs.text_offset, choice.logprobs.top_logprobs) == (
        [0, 2],
        [{"A ": 0.0}, {"language.": 0.0}],
    )
    assert (whole.object, whole.id[:5]) == ("text_completion", "cmpl-")
    chunks = list(
        client.completions.create(
            model=MODEL,
            prompt="Python?",
            stream=True,
            stream_options={"include_usage": True},
            extra_body={"cache": False},
        )
    )
    assert "".join(chunk.choices[0].text for chunk in chunks[:-1]) == "A snake."
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].usage is not None
    many = client.completions.create(model=MODEL, prompt=["one", "two", "three"])
    assert [one.text for one in many.choices] == ["Echo: one.", "Echo: two.", "Echo: three."]
    assert [one.index for one in many.choices] == [0, 1, 2]
    refused: list[tuple[dict[str, Any], str]] = [
        ({"prompt": "a", "suffix": "b"}, "suffix"),
        ({"prompt": ["a", "b"], "stream": True}, "stream"),
        ({"prompt": "a", "max_tokens": 0}, "max_tokens"),
        ({"prompt": "a" * 400_001}, "prompt"),
    ]
    for options, param in refused:
        with pytest.raises(openai.BadRequestError) as failure:
            client.completions.create(model=MODEL, **options)
        assert failure.value.param == param


@pytest.mark.local_llm(settings={"max_attempts": 1})
def test_a_stream_of_the_old_form_that_breaks_is_an_error(
    http: HttpSite, local_llm: LocalLLM
) -> None:
    """As a chat's."""
    local_llm.fail(StreamBroken, "A ", "sn", pause_seconds=0.03)
    with pytest.raises(openai.APIError) as failure:
        list(http.openai().completions.create(model=MODEL, prompt="a", stream=True))
    assert failure.value.code == "stream_broken"


def test_a_model_as_openais_object() -> None:
    """Ollama's time is in nanoseconds; a worker of an earlier version tells none."""
    model: dict[str, Any] = {
        "name": "smollm2:135m",
        "digest": "d",
        "size_bytes": 1,
        "context_tokens": 8192,
        "default": True,
        "workers": ["a", "b"],
        "leaves_the_house": False,
    }
    assert model_object(model)["created"] == 0
    told = model_object({**model, "modified_at": "2026-11-22T12:13:11.190350556Z"})
    assert (told["created"], told["owned_by"], told["local"]["workers"]) == (
        1795349591,
        "library",
        2,
    )
    assert model_object({**model, "modified_at": "soon"})["created"] == 0
