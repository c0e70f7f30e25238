"""Larger clients against the embedded stack, three calls each, and LangChain over Ollama's API."""

from __future__ import annotations

from typing import Any

import instructor
import litellm
import pytest
from instructor.core.client import Instructor
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_ollama import ChatOllama, OllamaEmbeddings
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

from tests.clients.calls import WEATHER, Paint, Site

QUESTION = "Say hello to Ada."


@pytest.fixture
def langchain(site: Site) -> ChatOpenAI:
    """LangChain over OpenAI's API."""
    return ChatOpenAI(
        model=site.model, base_url=f"{site.url}/v1", api_key=SecretStr("none"), max_tokens=24
    )


@pytest.fixture
def instructed(site: Site) -> Instructor:
    """instructor over OpenAI's API."""
    return instructor.from_openai(site.openai, mode=instructor.Mode.TOOLS)


@pytest.fixture
def lite(site: Site) -> dict[str, Any]:
    """What each of LiteLLM's calls is given."""
    return {"api_base": f"{site.url}/v1", "api_key": "none", "max_tokens": 24}


def test_langchain_invokes(langchain: ChatOpenAI) -> None:
    said = langchain.invoke(QUESTION)
    assert said.content
    assert said.usage_metadata


def test_langchain_streams(langchain: ChatOpenAI) -> None:
    assert "".join(str(one.content) for one in langchain.stream(QUESTION))


def test_langchain_reads_an_instance(langchain: ChatOpenAI) -> None:
    assert isinstance(langchain.with_structured_output(Paint).invoke("A colour."), Paint)


def test_instructor_reads_an_instance(site: Site, instructed: Instructor) -> None:
    found = instructed.chat.completions.create(
        model=site.model, messages=[{"role": "user", "content": "A colour."}], response_model=Paint
    )
    assert isinstance(found, Paint)


def test_instructor_reads_json_by_a_schema(site: Site) -> None:
    client = instructor.from_openai(site.openai, mode=instructor.Mode.JSON_SCHEMA)
    found = client.chat.completions.create(
        model=site.model, messages=[{"role": "user", "content": "Paint."}], response_model=Paint
    )
    assert isinstance(found, Paint)


def test_instructor_reads_an_instance_while_it_is_written(
    site: Site, instructed: Instructor
) -> None:
    *_, last = instructed.chat.completions.create_partial(
        model=site.model, messages=[{"role": "user", "content": "Colour!"}], response_model=Paint
    )
    assert last.colour in ("red", "blue")


def test_litellm_completes(site: Site, lite: dict[str, Any]) -> None:
    messages = [{"role": "user", "content": QUESTION}]
    said: Any = litellm.completion(f"openai/{site.model}", messages=messages, **lite)
    assert said.choices[0].message.content
    assert said.usage.completion_tokens


def test_litellm_streams_from_ollamas_api(site: Site) -> None:
    messages = [{"role": "user", "content": QUESTION}]
    parts: Any = litellm.completion(
        f"ollama_chat/{site.model}",
        messages=messages,
        api_base=site.url,
        stream=True,
        max_tokens=24,
    )
    assert "".join(part.choices[0].delta.content or "" for part in parts)


def test_litellm_embeds(site: Site, lite: dict[str, Any]) -> None:
    del lite["max_tokens"]
    found: Any = litellm.embedding(f"openai/{site.embedding_model}", input=["a", "b"], **lite)
    assert len(found.data) == 2


def test_langchain_speaks_ollamas_api_too(site: Site) -> None:
    """A result of a tool arrives without its call's id or name, which Ollama's client drops."""
    model = ChatOllama(
        model=site.tools_model, base_url=site.url, num_predict=24, validate_model_on_init=True
    )
    assert model.invoke(QUESTION).content
    assert isinstance(model.with_structured_output(Paint).invoke("A colour."), Paint)
    call = {"id": "1", "name": "weather", "args": {"city": "Bonn"}}
    told = [
        HumanMessage("The weather in Bonn?"),
        AIMessage("", tool_calls=[call]),
        ToolMessage("Rain.", tool_call_id="1"),
    ]
    assert model.bind_tools([WEATHER]).invoke(told).response_metadata["done"]
    vectors = OllamaEmbeddings(model=site.embedding_model, base_url=site.url)
    assert len(vectors.embed_documents(["a", "b"])) == 2
