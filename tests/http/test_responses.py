"""OpenAI's Responses by the official client, unmodified."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import openai
import pytest
from pydantic import BaseModel

from local_llm_service.testing import LocalLLM
from local_llm_service.worker.errors import ContextOverflow
from local_llm_service.worker.settings import get_settings
from local_llm_service.worker.store.store import process_store
from tests.conftest import wait_until
from tests.http.conftest import HttpSite, tell_tenants_by_header

MODEL = "scripted:1b"
WEATHER: Any = {
    "type": "function",
    "name": "weather",
    "description": "The weather in a city.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    "strict": True,
}


class Person(BaseModel):
    name: str
    age: int


def kept() -> list[str]:
    """The keys of what is kept of responses."""
    keys = process_store().keys
    names: Any = process_store().client.keys(f"{keys.prefix}*")
    return [name for name in names if name.startswith((keys.response, keys.response_texts))]


def test_a_response_is_created_retrieved_and_deleted(http: HttpSite, local_llm: LocalLLM) -> None:
    local_llm.reply("The capital is Paris.")
    client = http.openai()
    asked: Any = {
        "model": MODEL,
        "input": "Capital of France?",
        "instructions": "Be brief.",
        "max_output_tokens": 100,
        "temperature": 0,
        "top_p": 0.5,
        "metadata": {"unit": "3"},
        "service_tier": "flex",
        "truncation": "disabled",
        "user": "ada",
    }
    created = client.responses.create(**asked)
    assert (created.status, created.output_text) == ("completed", "The capital is Paris.")
    assert (created.service_tier, created.metadata) == ("flex", {"unit": "3"})
    assert (created.instructions, created.max_output_tokens) == ("Be brief.", 100)
    assert created.usage is not None
    assert created.usage.total_tokens == created.usage.input_tokens + 4
    assert [job.priority for job in local_llm.submitted] == ["low"]
    assert [one["content"] for one in local_llm.prompts[0].messages] == [
        "Be brief.",
        "Capital of France?",
    ]
    assert client.responses.retrieve(created.id) == created
    items = client.responses.input_items.list(created.id).data
    assert [item.content[0].text for item in items] == ["Capital of France?"]  # type: ignore[union-attr]
    client.responses.delete(created.id)
    assert kept() == []
    for call in (client.responses.retrieve, client.responses.delete, client.responses.cancel):
        with pytest.raises(openai.NotFoundError):
            call(created.id)
    again = client.responses.create(**asked)
    assert again.local["origin"] == "cached"  # type: ignore[attr-defined]
    left = process_store().client.ttl(process_store().keys.result(again.local["task_id"]))  # type: ignore[attr-defined]
    assert left > get_settings().hit_result_ttl, "as long as what was computed"


def test_a_response_that_is_not_stored_leaves_nothing(http: HttpSite, local_llm: LocalLLM) -> None:
    client = http.openai()
    created = client.responses.create(model=MODEL, input="Hello?", store=False)
    assert created.output_text == "Echo: Hello?."
    with client.responses.stream(model=MODEL, input="You?", store=False) as stream:
        assert stream.get_final_response().output_text == "Echo: You?."
    assert kept() == []
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(created.id)
    with pytest.raises(openai.BadRequestError):
        client.responses.create(model=MODEL, input="Hello?", previous_response_id=created.id)


def test_a_background_response_goes_on_without_a_connection(
    http: HttpSite, local_llm: LocalLLM
) -> None:
    client = http.openai()
    with local_llm.reply("Done.").held():
        created = client.responses.create(model=MODEL, input="Think.", background=True)
        assert (created.status, created.output, created.usage) == ("queued", [], None)
        local_llm.wait_until_asked()
        assert client.responses.retrieve(created.id).status == "in_progress"
        with pytest.raises(openai.BadRequestError) as early:
            client.responses.create(model=MODEL, input="a", previous_response_id=created.id)
        assert early.value.param == "previous_response_id"
        assert "has no answer yet" in early.value.message

    def status() -> str | None:
        return client.responses.retrieve(created.id).status

    wait_until(lambda: status() == "completed", "the response is there")
    assert client.responses.retrieve(created.id).output_text == "Done."
    assert client.responses.cancel(created.id).status == "completed"
    local_llm.fail(ContextOverflow)
    failing = client.responses.create(model=MODEL, input="Fail.", background=True)
    wait_until(lambda: client.responses.retrieve(failing.id).status == "failed", "it has failed")
    error = client.responses.retrieve(failing.id).error
    assert error is not None
    assert (error.code, error.type) == ("invalid_prompt", "context_overflow")
    with pytest.raises(openai.BadRequestError):
        client.responses.create(model=MODEL, input="a", previous_response_id=failing.id)
    with local_llm.held():
        running = client.responses.create(model=MODEL, input="Think more.", background=True)
        local_llm.wait_until_asked(3)
        assert client.responses.cancel(running.id).status == "cancelled"
        deleted = client.responses.create(model=MODEL, input="Delete.", background=True)
        client.responses.delete(deleted.id)


def test_a_conversation_goes_on_from_a_stored_response(http: HttpSite, local_llm: LocalLLM) -> None:
    """With calls of functions and their results; the instructions are each request's own."""
    client = http.openai()
    local_llm.reply_json({"city": "Bonn"})
    tool: Any = {"type": "function", "name": "weather"}
    first = client.responses.create(
        model=MODEL, input="Weather in Bonn?", tools=[WEATHER], tool_choice=tool, instructions="A"
    )
    (call,) = first.output
    assert call.type == "function_call"
    assert (call.name, call.arguments) == ("weather", '{"city": "Bonn"}')
    result: Any = [{"type": "function_call_output", "call_id": call.call_id, "output": "Rain."}]
    second = client.responses.create(
        model=MODEL, input=result, previous_response_id=first.id, instructions="B"
    )
    third = client.responses.create(model=MODEL, input="Sure?", previous_response_id=second.id)
    roles = [one["role"] for one in local_llm.prompts[-1].messages]
    assert roles == ["user", "assistant", "tool", "assistant", "user"]
    assert [one["role"] for one in local_llm.prompts[1].messages][:2] == ["system", "user"]
    types = [item.type for item in client.responses.input_items.list(third.id, order="asc")]
    assert types == ["message", "function_call", "function_call_output", "message", "message"]
    newest = client.responses.input_items.list(third.id, limit=2)
    assert (len(newest.data), newest.has_more) == (2, True)
    assert len(list(newest)) == 5, "the client reads page after page"
    calls = [{"type": "function_call", "name": "weather", "arguments": "{}"} for _ in "ab"]
    results = [{"type": "function_call_output", "output": "Sun."} for _ in "ab"]
    by_id = [{**one, "call_id": str(place % 2)} for place, one in enumerate([*calls, *results])]
    said: Any = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, *by_id]
    client.responses.create(model=MODEL, input=said)
    roles = [one["role"] for one in local_llm.prompts[-1].messages]
    assert roles == ["user", "assistant", "tool", "tool"], "what is said and called in one turn"
    client.responses.delete(first.id)
    again = client.responses.create(model=MODEL, input="Why?", previous_response_id=third.id)
    assert again.output_text == "Echo: Why?."


def test_json_by_a_class_and_a_cut_answer(http: HttpSite, local_llm: LocalLLM) -> None:
    client = http.openai()
    local_llm.reply_json({"name": "Ada", "age": 36})
    parsed = client.responses.parse(model=MODEL, input="Who?", text_format=Person)
    assert parsed.output_parsed == Person(name="Ada", age=36)
    local_llm.reply_json({"name": "Bob", "age": 7})
    with client.responses.stream(model=MODEL, input="And?", text_format=Person) as stream:
        assert stream.get_final_response().output_parsed == Person(name="Bob", age=7)
    local_llm.reply("one two three four")
    cut = client.responses.create(model=MODEL, input="Count.", max_output_tokens=2)
    assert (cut.status, cut.output_text) == ("incomplete", "one two ")
    assert cut.incomplete_details is not None
    assert cut.incomplete_details.reason == "max_output_tokens"
    local_llm.reply('{"name": "Ada", "age": 36}')
    form: Any = {"format": {"type": "json_schema", "name": "p", "schema": {"type": "object"}}}
    cut = client.responses.create(model=MODEL, input="Cut.", text=form, max_output_tokens=2)
    assert (cut.status, cut.output_text) == ("incomplete", '{"name": "Ada", ')
    with pytest.raises(openai.NotFoundError) as missing:
        client.responses.create(model="nobody:1b", input="Hello?")
    assert missing.value.code == "model_not_found"


def test_a_conversation_is_compacted(http: HttpSite, local_llm: LocalLLM) -> None:
    client = http.openai()
    local_llm.reply("The user is Ada.")
    said = "We talked of this and that. " * 60
    turns: Any = [{"role": "user", "content": "I am Ada."}, {"role": "assistant", "content": said}]
    compacted = client.responses.compact(model=MODEL, input=turns, instructions="Be kind.")
    items: Any = [item.to_dict() for item in compacted.output]
    items.append({"role": "user", "content": "Who am I?"})
    client.responses.create(model=MODEL, input=items, instructions="Be kind.")
    system, user = local_llm.prompts[-1].messages
    assert system["content"].count("Be kind.") == 1
    assert "The user is Ada." in system["content"]
    assert user["content"] == "Who am I?"


def test_the_asynchronous_client(http: HttpSite, local_llm: LocalLLM) -> None:
    local_llm.reply("Hello.")

    async def use() -> tuple[str, str]:
        base_url = f"{http.url}/v1"
        async with openai.AsyncOpenAI(base_url=base_url, api_key="none", max_retries=0) as client:
            created = await client.responses.create(model=MODEL, input="Hello?")
            async with client.responses.stream(model=MODEL, input="You?") as stream:
                final = await stream.get_final_response()
            return created.output_text, final.output_text

    assert asyncio.run(use()) == ("Hello.", "Echo: You?.")


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"input": None}, "input"),
    ({"input": []}, "input"),
    ({"input": ""}, "input"),
    ({"input": [{"role": "robot", "content": "a"}]}, "input.0.role"),
    ({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}, "input.0.content.0.type"),
    ({"input": [{"type": "reasoning", "summary": []}]}, "input.0.type"),
    ({"input": [{"type": ["message"]}]}, "input.0.type"),
    ({"input": ["a"]}, "input.0"),
    ({"input": [{"type": "function_call_output", "call_id": "x", "output": "a"}]}, "input"),
    ({"max_output_tokens": 0}, "max_output_tokens"),
    ({"temperature": 3}, "temperature"),
    ({"temperature": True}, "temperature"),
    ({"text": {"format": {"type": "xml"}}}, "text.format"),
    ({"text": {"format": {"type": "json_schema", "name": "a"}}}, "text.format"),
    ({"text": {"verbosity": "low"}}, "text.verbosity"),
    ({"tools": [{"type": "web_search"}]}, "tools.0.type"),
    ({"tools": [{"type": "function", "name": "a b"}]}, "tools.0.name"),
    ({"tool_choice": "required"}, "tool_choice"),
    ({"tool_choice": {"type": "mcp"}}, "tool_choice"),
    ({"truncation": "auto"}, "truncation"),
    ({"reasoning": {"effort": "high"}}, "reasoning.effort"),
    ({"conversation": "conv_1"}, "conversation"),
    ({"prompt": {"id": "p"}}, "prompt"),
    ({"include": ["secrets"]}, "include.0"),
    ({"background": True, "store": False}, "store"),
    ({"background_options": {"completion_window": "2h"}}, "background_options.completion_window"),
    ({"previous_response_id": "resp_nobody"}, "previous_response_id"),
    ({"service_tier": "ultrafast"}, "service_tier"),
    ({"service_tier": "flex", "priority": "high"}, "priority"),
    ({"metadata": {"a": "b" * 513}}, "metadata"),
    ({"seed": 3}, "seed"),
    ({"webhook": "http://127.0.0.1/"}, "webhook"),
]


def test_what_cannot_be_done_is_refused_by_field(http: HttpSite, local_llm: LocalLLM) -> None:
    """And nothing is kept of it."""
    for more, param in REFUSED:
        reply = http.post("/v1/responses", json={"model": MODEL, "input": "Hello?", **more})
        assert (reply.status_code, reply.json()["error"]["param"]) == (400, param), reply.text
    for query, param in (("stream=maybe", "stream"), ("starting_after=5", "starting_after")):
        reply = http.get(f"/v1/responses/resp_nobody?{query}")
        assert (reply.status_code, reply.json()["error"]["param"]) == (400, param)
    for body in (b"", b"[]", b"{", b'{"input":"a","input":"b"}', b'{"input":NaN}', b"\xff"):
        assert http.post("/v1/responses", content=body).status_code == 400
    assert kept() == []
    assert local_llm.submitted == []


def test_other_tenants_responses_are_not_there(
    http: HttpSite, local_llm: LocalLLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    tell_tenants_by_header(monkeypatch)
    body = {"input": "Hello?"}
    created = http.post("/v1/responses", json=body, headers={"x-tenant": "ada"}).json()
    path = f"/v1/responses/{created['id']}"
    for headers in ({"x-tenant": "bob"}, {}):
        replies: list[httpx.Response] = [
            http.get(path, headers=headers),
            http.get(f"{path}?stream=true", headers=headers),
            http.get(f"{path}/input_items", headers=headers),
            http.post(f"{path}/cancel", headers=headers),
            http.delete(path, headers=headers),
        ]
        assert {reply.status_code for reply in replies} == {404}
        continued = {"input": "a", "previous_response_id": created["id"]}
        assert http.post("/v1/responses", json=continued, headers=headers).status_code == 400
    assert http.get(path, headers={"x-tenant": "ada"}).status_code == 200
    assert http.get(f"/v1/responses/{created['id'][5:]}").status_code == 404


@pytest.mark.local_llm(settings={"max_queue_length": 1})
def test_a_full_queue_keeps_nothing_of_what_it_refuses(http: HttpSite, local_llm: LocalLLM) -> None:
    """And a job's idempotency key is good for the next try."""
    client, job = http.openai(), {"kind": "generate", "args": {"prompt": "a"}}
    headers = {"Idempotency-Key": '"a"'}
    with local_llm.held():
        client.responses.create(
            model=MODEL, input="Hello?", background=True, service_tier="priority"
        )
        with pytest.raises(openai.RateLimitError) as full:
            client.responses.create(
                model=MODEL, input="You?", background=True, service_tier="priority"
            )
        assert full.value.code == "queue_full"
        assert len(kept()) == 1
        assert http.post("/v1/jobs", json=job, headers=headers).status_code == 429
    wait_until(
        lambda: http.post("/v1/jobs", json=job, headers=headers).status_code == 200, "it is queued"
    )
