"""`/v1/chat/completions` by the official client, unmodified."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import openai
import pytest
from pydantic import BaseModel

from local_llm_service.producers import health
from local_llm_service.testing import LocalLLM
from tests.conftest import wait_until
from tests.http.chatting import HI, MODEL, ask
from tests.http.conftest import HttpSite

WEATHER: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}
CALL: Any = {"name": "get_weather", "arguments": {"city": "Köln"}}


class City(BaseModel):
    """What a caller wants to have of a text."""

    name: str
    people: int


def test_a_completion(http: HttpSite, local_llm: LocalLLM) -> None:
    """All members of OpenAI's object; ours stand beside them."""
    local_llm.reply("A language.")
    found = ask(http.openai(), max_tokens=9, seed=7, user="u", metadata={"a": "b"})
    (choice,) = found.choices
    assert (choice.message.role, choice.message.content) == ("assistant", "A language.")
    assert (choice.finish_reason, choice.index, choice.logprobs) == ("stop", 0, None)
    assert (found.object, found.model, found.service_tier) == ("chat.completion", MODEL, "default")
    assert found.usage.total_tokens == found.usage.prompt_tokens + found.usage.completion_tokens
    assert found.system_fingerprint.startswith("fp_")
    assert found.id == f"chatcmpl-{found.local['task_id']}"
    assert found.local["origin"] == "computed"
    assert found._request_id
    assert local_llm.submitted[0].priority == "normal"
    again = ask(http.openai(), max_tokens=9, seed=7)
    assert again.local["origin"] == "cached"


def test_the_asynchronous_client(http: HttpSite, local_llm: LocalLLM) -> None:
    """Whole, and in pieces."""
    local_llm.reply("A language.").stream("A ", "snake.")

    async def both() -> tuple[str, str]:
        async with openai.AsyncOpenAI(base_url=f"{http.url}/v1", api_key="none") as client:
            whole = await client.chat.completions.create(model=MODEL, messages=HI)
            texts = []
            async for chunk in await client.chat.completions.create(
                model=MODEL, messages=HI, stream=True, extra_body={"cache": False}
            ):
                texts += [one.delta.content or "" for one in chunk.choices]
            return str(whole.choices[0].message.content), "".join(texts)

    assert asyncio.run(both()) == ("A language.", "A snake.")


def test_a_conversation_in_all_its_forms(http: HttpSite, local_llm: LocalLLM) -> None:
    """Parts, the developer's role, calls with their arguments as text, and results by id."""
    local_llm.reply("Noon.")
    call = {"id": "c1", "type": "function", "function": {"name": "clock", "arguments": "{}"}}
    messages = [
        {"role": "developer", "content": [{"type": "text", "text": "Be brief."}]},
        {"role": "user", "content": "What time?"},
        {"role": "assistant", "content": None, "refusal": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "12:00"},
    ]
    assert ask(http.openai(), messages=messages).choices[0].message.content == "Noon."
    sent = local_llm.prompts[0].messages
    assert [one["role"] for one in sent] == ["system", "user", "assistant", "tool"]
    assert sent[3]["tool_name"] == "clock"


#: What is refused, and the name of what is wrong with it.
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"n": 2}, "n"),
    ({"messages": []}, "messages"),
    ({"messages": [{"role": "user", "content": "x", "name": "Bob"}]}, "messages.0.name"),
    (
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]},
        "messages.0.content",
    ),
    ({"max_completion_tokens": 0}, "max_completion_tokens"),
    ({"temperature": 3}, "temperature"),
    ({"stop": list("abcde")}, "stop"),
    ({"tool_choice": "required"}, "tool_choice"),
    ({"response_format": {"type": "xml"}}, "response_format"),
    ({"extra_body": {"stream": "yes"}}, "stream"),
    ({"extra_body": {"stream_options": []}}, "stream_options"),
    ({"extra_body": {"stream_options": {"a": True}}}, "stream_options"),
    ({"extra_body": {"priority": "urgent"}}, "priority"),
    ({"extra_body": {"messages": "hi"}}, "messages"),
]


def test_what_cannot_be_done_is_refused_with_its_name(http: HttpSite, local_llm: LocalLLM) -> None:
    """400 before anything is queued, with or without a stream, and no retry."""
    client = http.openai(max_retries=2)
    for options, param in REFUSED:
        for stream in ({}, {"stream": True}) if "extra_body" not in options else ({},):
            with pytest.raises(openai.BadRequestError) as failure:
                ask(client, **{**options, **stream})
            assert failure.value.param == param
            assert failure.value.type == "invalid_request_error"
            assert "Bob" not in str(failure.value)
    assert not local_llm.submitted


def test_a_model_that_nobody_has_is_told_at_once(http: HttpSite, local_llm: LocalLLM) -> None:
    """Not after MODEL_WAIT_SECONDS. One that a worker had a moment ago may be back: it waits."""
    for stream in (False, True):
        with pytest.raises(openai.NotFoundError) as failure:
            ask(http.openai(), model="gpt-4o", stream=stream)
        assert failure.value.code == "model_not_found"
    assert not local_llm.submitted
    local_llm.add_model("other:1b")
    wait_until(lambda: http.get("/v1/models/other:1b").status_code == 200, "the model is there")
    assert ask(http.openai(), model="other:1b").model == "other:1b"


def test_names_of_models_have_a_tag(http: HttpSite, local_llm: LocalLLM) -> None:
    """`a` is `a:latest`, and "/" belongs to the name."""
    local_llm.add_model("hf.co/someone/a:latest")
    client = http.openai()
    wait_until(lambda: len(client.models.list().data) == 3, "the model is there, and the route")
    model = client.models.retrieve("hf.co/someone/a")
    assert (model.id, model.owned_by, model.object) == (
        "hf.co/someone/a:latest", "hf.co/someone", "model",
    )  # fmt: skip
    default = client.models.retrieve(MODEL)
    assert (default.owned_by, default.local["default"]) == ("library", True)  # type: ignore[attr-defined]
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("gpt-4o")
    answer = ask(client, model="hf.co/someone/a")
    assert answer.model == "hf.co/someone/a"  # as it was asked for
    assert answer.system_fingerprint not in (None, ask(client).system_fingerprint)


def test_the_tier_is_the_queue(http: HttpSite, local_llm: LocalLLM) -> None:
    """The answer, and each chunk of a stream, say which one it was."""
    client = http.openai()
    for tier, queue, said in (("fast", "high", "priority"), ("flex", "low", "flex")):
        asked = {"service_tier": tier, "extra_body": {"cache": False}}
        assert ask(client, **asked).service_tier == said
        assert {chunk.service_tier for chunk in ask(client, **asked, stream=True)} == {said}
        assert [job.priority for job in local_llm.submitted][-2:] == [queue, queue]


# --- JSON -----------------------------------------------------------------------------------------


def test_an_answer_by_a_class(http: HttpSite, local_llm: LocalLLM) -> None:
    """`.parse()`, and the `.stream()` helper."""
    local_llm.reply_json({"name": "Köln", "people": 1_000_000}, times=2)
    completions = http.openai().chat.completions
    whole = completions.parse(model=MODEL, messages=HI, response_format=City)
    assert whole.choices[0].message.parsed == City(name="Köln", people=1_000_000)
    with completions.stream(
        model=MODEL, messages=HI, response_format=City, extra_body={"cache": False}
    ) as stream:
        kinds = {event.type for event in stream}
        last = stream.get_final_completion()
    assert last.choices[0].message.parsed == whole.choices[0].message.parsed
    assert {"chunk", "content.delta", "content.done"} <= kinds


def test_json_that_is_cut_says_so(http: HttpSite, local_llm: LocalLLM) -> None:
    """The client has an error for it; it never gets half a JSON text as a whole one."""
    local_llm.reply('{"name": "Köln", "people": 1}', times=2)
    completions = http.openai().chat.completions
    with pytest.raises(openai.LengthFinishReasonError):
        completions.parse(model=MODEL, messages=HI, response_format=City, max_tokens=2)
    with (
        pytest.raises(openai.LengthFinishReasonError),
        completions.stream(
            model=MODEL,
            messages=HI,
            response_format=City,
            max_tokens=2,
            extra_body={"cache": False},
        ) as stream,
    ):
        stream.until_done()


def test_json_that_breaks_the_schema_is_an_error(http: HttpSite, local_llm: LocalLLM) -> None:
    """502, which the client does not repeat: the queue has done what can be done."""
    local_llm.reply_json({"name": 1}, times=6)  # each is asked twice again
    completions = http.openai(max_retries=2).chat.completions
    with pytest.raises(openai.InternalServerError) as failure:
        completions.parse(model=MODEL, messages=HI, response_format=City)
    assert (failure.value.status_code, failure.value.code) == (502, "invalid_output")
    with (
        pytest.raises(openai.APIError) as broken,
        completions.stream(
            model=MODEL, messages=HI, response_format=City, extra_body={"cache": False}
        ) as stream,
    ):
        stream.until_done()
    assert broken.value.code == "invalid_output"
    assert len(local_llm.prompts) == 6


# --- tools and log probabilities ------------------------------------------------------------------


def test_calls_of_tools(http: HttpSite, local_llm: LocalLLM) -> None:
    """Their arguments are a text that holds JSON, whole and streamed; the result goes back."""
    local_llm.reply_calls(CALL, CALL, times=2).reply("Rain.")
    client = http.openai()
    message = ask(client, tools=[WEATHER]).choices[0].message
    assert message.content is None
    assert [json.loads(one.function.arguments) for one in message.tool_calls] == [
        {"city": "Köln"}
    ] * 2
    with client.chat.completions.stream(
        model=MODEL, messages=HI, tools=[WEATHER], extra_body={"cache": False}
    ) as stream:
        last = stream.get_final_completion().choices[0]
    assert last.finish_reason == "tool_calls"
    assert last.message.tool_calls is not None
    assert [one.function.name for one in last.message.tool_calls] == ["get_weather"] * 2
    assert json.loads(last.message.tool_calls[1].function.arguments) == {"city": "Köln"}
    results = [
        {"role": "tool", "tool_call_id": one.id, "content": "wet"} for one in message.tool_calls
    ]
    told = [*HI, message, *results]  # the client's own object, sent back as it came
    assert ask(client, messages=told, tools=[WEATHER]).choices[0].message.content == "Rain."


def test_a_call_that_has_to_be_made(http: HttpSite, local_llm: LocalLLM) -> None:
    """Any model can; its JSON is no text for readers of a stream."""
    local_llm.reply_json({"city": "Bonn"}, times=4).reply("No call.")
    for choice in ("required", {"type": "function", "function": {"name": "get_weather"}}):
        asked: dict[str, Any] = {"tools": [WEATHER], "tool_choice": choice}
        whole = ask(http.openai(), **asked).choices[0]
        assert (whole.finish_reason, whole.message.content) == ("tool_calls", None)
        chunks = list(ask(http.openai(), **asked, stream=True, extra_body={"cache": False}))
        deltas = [chunk.choices[0].delta for chunk in chunks]
        assert not any(delta.content for delta in deltas)
        (call,) = [one for delta in deltas for one in delta.tool_calls or ()]
        assert (call.index, json.loads(call.function.arguments)) == (0, {"city": "Bonn"})
    message = ask(http.openai(), tools=[WEATHER], tool_choice="none").choices[0].message
    assert (message.content, message.tool_calls) == ("No call.", None)


def test_log_probabilities(http: HttpSite, local_llm: LocalLLM) -> None:
    """In OpenAI's shape; those of a stream come with its last chunk."""
    local_llm.reply("A language.", times=2)
    found = ask(http.openai(), logprobs=True, top_logprobs=1).choices[0].logprobs
    assert [token.token for token in found.content] == ["A ", "language."]
    assert found.content[0].top_logprobs[0].bytes == [65, 32]
    with http.openai().chat.completions.stream(
        model=MODEL, messages=HI, logprobs=True, extra_body={"cache": False}
    ) as stream:
        logprobs = stream.get_final_completion().choices[0].logprobs
    assert logprobs is not None
    assert logprobs.content is not None
    assert [token.token for token in logprobs.content] == ["A ", "language."]


# --- callers that wait, or do not -----------------------------------------------------------------


def test_impatient_clients_pay_once(http: HttpSite, local_llm: LocalLLM) -> None:
    """Each times out and asks again, twice, without any key: one generation, for all who ask."""
    callers = 20

    async def all_of_them() -> list[Any]:
        limits = httpx.Limits(max_connections=None)
        async with openai.AsyncOpenAI(
            base_url=f"{http.url}/v1",
            api_key="none",
            timeout=0.5,
            http_client=openai.DefaultAsyncHttpxClient(limits=limits),
        ) as client:
            create = client.chat.completions.create
            calls = [create(model=MODEL, messages=HI) for _ in range(callers)]
            return await asyncio.gather(*calls, return_exceptions=True)

    with local_llm.held():
        errors = asyncio.run(all_of_them())
        assert {type(one) for one in errors} == {openai.APITimeoutError}
    assert len(local_llm.submitted) == 3 * callers
    assert ask(http.openai()).choices[0].message.content == "Echo: What is Python?."
    assert len(local_llm.prompts) == 1


def test_the_clients_patience_is_the_deadline(http: HttpSite, local_llm: LocalLLM) -> None:
    """A call's own deadline is told as 504, which the client does not repeat."""
    with local_llm.held(), pytest.raises(openai.InternalServerError) as failure:
        ask(http.openai(max_retries=2), extra_body={"deadline_seconds": 0.2})
    assert (failure.value.status_code, failure.value.code) == (504, "deadline_exceeded")
    assert len(local_llm.submitted) == 1


def test_redis_away_is_an_error_that_may_pass(http: HttpSite, local_llm: LocalLLM) -> None:
    """503, with or without a stream."""
    assert health()["status"] == "healthy"
    with local_llm.redis_away():
        for stream in (False, True):
            with pytest.raises(openai.InternalServerError) as failure:
                ask(http.openai(), stream=stream)
            assert (failure.value.status_code, failure.value.code) == (503, "broker_unreachable")


# --- hostile bytes --------------------------------------------------------------------------------


BYTES = [
    b"",
    b"[]",
    b"null",
    b'{"messages": [{"role": "user", "content": "\\ud83d"}]}',
    b'{"messages": 1, "messages": 2}',
    b'{"temperature": NaN, "messages": []}',
    b'{"messages": ' + b"[" * 50_000,
    b'{"\\u0000": 1, "messages": []}',
    b'{"model": "a\\u0000b", "messages": [{"role": "user", "content": "x"}]}',
    b'{"model": "' + b"m" * 500 + b'", "messages": [{"role": "user", "content": "x"}]}',
    b'{"model": ["m"], "messages": [{"role": "user", "content": "x"}]}',
    b'{"messages": [{"role": "user", "content": "x"}], "response_format": []}',
    b'{"messages": [{"role": "user", "content": "x"}], "tools": {"a": 1}}',
    b'{"messages": [null]}',
    b'{"messages": [{"role": "user", "content": "x"}], "max_tokens": 1e99}',
    b'{"messages": [{"role": "user", "content": "x"}], "seed": 99999999999999999999999}',
]


def test_bytes_of_all_kinds_are_a_clear_error(http: HttpSite) -> None:
    """4xx with OpenAI's `error`, never 500."""
    for path in ("chat/completions", "completions"):
        for body in BYTES:
            reply: httpx.Response = http.post(f"/v1/{path}", content=body)
            assert reply.status_code in (400, 404), reply.text
            assert reply.json()["error"]["message"]
