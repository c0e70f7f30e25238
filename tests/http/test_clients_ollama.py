"""The official Ollama client, unmodified, with nothing but another host."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import httpx
import ollama
import pytest
from pydantic import BaseModel

from local_llm_service.producers.http.callers.caller import Caller
from local_llm_service.producers.http.ollama import completing
from local_llm_service.testing import LocalLLM
from local_llm_service.worker.engine.ollama.engine import OllamaEngine
from local_llm_service.worker.errors import (
    ContextOverflow,
    ModelFailed,
    OllamaUnreachable,
    StreamBroken,
)
from local_llm_service.worker.prompt import FunctionCall
from local_llm_service.worker.settings import get_settings
from local_llm_service.worker.store.states import JobState
from tests.conftest import wait_until
from tests.http.conftest import HttpSite

MODEL = "scripted:1b"
HELLO = [{"role": "user", "content": "Hello"}]


@pytest.fixture
def client(http: HttpSite) -> Iterator[ollama.Client]:
    """As `OLLAMA_HOST` would make it."""
    with ollama.Client(http.url, trust_env=False, timeout=10) as made:
        yield made


class City(BaseModel):
    """What a caller wants to know."""

    name: str
    people: int


def weather(city: str) -> str:
    """Tell the weather of a city.

    Args:
        city: Its name.
    """
    return f"Rain in {city}."


def test_a_chat_is_answered_whole_or_in_pieces(client: ollama.Client, local_llm: LocalLLM) -> None:
    local_llm.reply("Hi there.")
    whole = client.chat(MODEL, HELLO, options={"num_predict": 20, "temperature": 0})
    assert whole.message.content == "Hi there."
    assert (whole.model, whole.done, whole.done_reason) == (MODEL, True, "stop")
    assert whole.prompt_eval_count == 1
    assert whole.eval_count == 2
    assert whole.total_duration
    local_llm.stream("One ", "two ", "three.")
    parts = list(client.chat(MODEL, [{"role": "user", "content": "Count"}], stream=True))
    assert "".join(part.message.content or "" for part in parts) == "One two three."
    assert [part.done for part in parts] == [False] * (len(parts) - 1) + [True]
    assert parts[-1].message.content == ""
    assert parts[-1].done_reason == "stop"


def test_every_character_arrives(client: ollama.Client, local_llm: LocalLLM) -> None:
    """Also those at which Python, and so the client, would cut a line in two."""
    odd = "a\u2028b\u2029c\x85d\x0be\x1ff\U0001f600\u0000g"
    local_llm.stream(odd[:4], odd[4:])
    parts = client.chat(MODEL, HELLO, stream=True)
    assert "".join(part.message.content or "" for part in parts) == odd


def test_the_answer_is_written_while_it_is_read(client: ollama.Client, local_llm: LocalLLM) -> None:
    """The first piece is there before the last one is written."""
    local_llm.stream("One ", "two", pause_seconds=0.3)
    times = [part.created_at or "" for part in client.chat(MODEL, HELLO, stream=True)]
    assert len(times) == 3
    assert times == sorted(times)


def test_a_prompt_is_answered_as_a_chat_of_one_message(
    client: ollama.Client, local_llm: LocalLLM
) -> None:
    local_llm.reply("It scatters light.")
    found = client.generate(MODEL, "Why is the sky blue?", system="Be brief.")
    assert found.response == "It scatters light."
    assert [one["role"] for one in local_llm.prompts[0].messages] == ["system", "user"]
    parts = client.generate(MODEL, "Why is the sky blue?", system="Be brief.", stream=True)
    assert "".join(part.response or "" for part in parts) == "It scatters light."
    assert len(local_llm.prompts) == 1, "the cache had it"


def test_the_asynchronous_client_does_the_same(http: HttpSite, local_llm: LocalLLM) -> None:
    async def ask() -> tuple[str, str, int]:
        async with ollama.AsyncClient(http.url, trust_env=False) as client:
            whole = await client.chat(MODEL, HELLO)
            parts = await client.generate(MODEL, "Count", stream=True)
            text = "".join([part.response or "" async for part in parts])
            vectors = await client.embed(MODEL, ["a", "b"])
            return whole.message.content or "", text, len(vectors.embeddings)

    local_llm.reply("Hi.").stream("One ", "two.")
    assert asyncio.run(ask()) == ("Hi.", "One two.", 2)


def test_a_schema_is_kept(client: ollama.Client, local_llm: LocalLLM) -> None:
    local_llm.reply_json({"name": "Bonn", "people": 330_000})
    found = client.chat(MODEL, HELLO, format=City.model_json_schema())
    assert City.model_validate_json(found.message.content or "") == City(name="Bonn", people=330000)
    local_llm.reply_json({"any": "object"})
    assert json.loads(client.generate(MODEL, "JSON!", format="json").response) == {"any": "object"}
    local_llm.reply_json({"any": "object"})
    cut = client.generate(MODEL, "More!", format="json", options={"num_predict": 1})
    assert (cut.response, cut.done_reason) == ('{"any": ', "length")


@pytest.mark.parametrize("stream", [False, True])
def test_a_tool_is_called_and_its_result_told(
    client: ollama.Client, local_llm: LocalLLM, stream: bool
) -> None:
    """A result without a name, as LangChain's arrive here, belongs to the call in its place."""
    local_llm.reply_calls(FunctionCall(name="weather", arguments={"city": "Bonn"}))
    messages: list[Any] = [{"role": "user", "content": "The weather in Bonn?"}]
    if stream:
        *_, said, last = client.chat(MODEL, messages, tools=[weather], stream=True)
        assert (said.done, last.done_reason, last.message.tool_calls) == (False, "stop", None)
    else:
        said = client.chat(MODEL, messages, tools=[weather])
    assert said.message.tool_calls
    call = said.message.tool_calls[0].function
    assert (call.name, call.arguments) == ("weather", {"city": "Bonn"})
    messages += [said.message, {"role": "tool", "content": weather(**call.arguments)}]
    local_llm.reply("It rains.")
    assert client.chat(MODEL, messages, tools=[weather]).message.content == "It rains."
    assert local_llm.prompts[-1].messages[-1]["tool_name"] == "weather"


def test_texts_become_vectors_in_their_order(client: ollama.Client, local_llm: LocalLLM) -> None:
    """Also more of them than one job takes; the older form has the same vector."""
    texts = [f"text {number}" for number in range(600)]
    found = client.embed(MODEL, texts, truncate=True, options={"num_ctx": 512})
    assert len(found.embeddings) == 600
    assert found.prompt_eval_count == 1200
    assert len(local_llm.prompts) == 3
    single = client.embed(MODEL, texts[257]).embeddings[0]
    assert found.embeddings[257] == single
    assert client.embeddings(MODEL, texts[257]).embedding == single
    assert len(client.embed(MODEL, "text", dimensions=8).embeddings[0]) == 8
    with pytest.raises(ollama.ResponseError, match=r"^input\.599: must be text, and not empty"):
        client.embed(MODEL, [*texts[:599], " "])
    assert client.embed(MODEL, "").embeddings == client.embed(MODEL, []).embeddings == []


@pytest.mark.local_llm(settings={"max_prompt_chars": 1000})
def test_texts_are_parted_by_their_length_too(client: ollama.Client, local_llm: LocalLLM) -> None:
    """What one job may hold in characters bounds one text, not all texts of a request."""
    texts = [f"{number}{'x' * 399}" for number in range(5)]
    assert len(client.embed(MODEL, texts).embeddings) == 5
    assert sorted(len(asked.messages) for asked in local_llm.prompts) == [1, 2, 2]
    with pytest.raises(ollama.ResponseError, match=r"^input\.1: at most 1000 characters"):
        client.embed(MODEL, ["a", "x" * 1001])


def test_models_are_those_of_the_workers(client: ollama.Client, http: HttpSite) -> None:
    assert [model.model for model in client.list().models] == [MODEL, "auto"]
    shown = client.show(MODEL)
    assert shown.modelinfo == {"general.architecture": "unknown", "unknown.context_length": 8192}
    assert client.ps().models == []
    assert http.get("/api/version").json() == {"version": "scripted"}
    assert http.get("/", headers={"Accept": "*/*"}).text == "Ollama is running"
    assert http.client.head("/").status_code == 200


def test_nothing_asked_is_nothing_done(client: ollama.Client, local_llm: LocalLLM) -> None:
    """Clients load and unload models so. Here workers do it, when a job needs it."""
    assert client.generate(MODEL).done_reason == "load"
    assert client.chat(MODEL, []).done_reason == "load"
    assert client.generate(MODEL, keep_alive=0).done_reason == "unload"
    assert client.generate(MODEL, keep_alive="5m", prompt="").done_reason == "load"
    with pytest.raises(ollama.ResponseError, match="not found") as missing:
        client.generate("nope:1b")
    assert missing.value.status_code == 404
    assert local_llm.submitted == []


def test_an_early_failure_has_its_status_also_when_streamed(
    client: ollama.Client, local_llm: LocalLLM
) -> None:
    for stream in (False, True):
        with pytest.raises(ollama.ResponseError) as missing:
            list(client.chat("nope:1b", HELLO, stream=stream))
        assert missing.value.status_code == 404
        local_llm.fail(ContextOverflow)
        with pytest.raises(ollama.ResponseError) as long:
            list(client.chat(MODEL, HELLO, stream=stream))
        assert long.value.status_code == 400


def test_a_late_failure_is_raised_after_its_text(
    client: ollama.Client, local_llm: LocalLLM
) -> None:
    """Half an answer is never taken for a whole one."""
    local_llm.fail(ModelFailed, "One ", "two ")
    texts: list[str] = []
    parts = client.chat(MODEL, HELLO, stream=True)
    with pytest.raises(ollama.ResponseError) as broken:
        texts.extend(part.message.content or "" for part in parts)
    assert "".join(texts) == "One two "
    assert broken.value.status_code == -1, "the status of a line in a stream that had begun"


@pytest.mark.local_llm(settings={"max_attempts": 1})
def test_an_engine_that_dies_at_any_token_is_never_half_an_answer(
    client: ollama.Client, local_llm: LocalLLM
) -> None:
    """The client raises, whatever it has got by then."""
    pieces = ("One ", "two ", "three ", "four.")
    for place in (0, 2, 4):
        local_llm.fail(StreamBroken, *pieces[:place])
        texts: list[str] = []
        parts = client.chat(MODEL, [{"role": "user", "content": str(place)}], stream=True)
        with pytest.raises(ollama.ResponseError):
            texts.extend(part.message.content or "" for part in parts)
        assert "".join(pieces).startswith("".join(texts))


def test_a_silent_stream_is_kept_alive(
    client: ollama.Client, local_llm: LocalLLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By pieces without text, which add nothing: a line of another kind would break the client."""
    monkeypatch.setattr(completing, "KEEP_ALIVE_SECONDS", 0.05)
    with local_llm.held():
        parts = client.chat(MODEL, HELLO, stream=True)
        first = next(iter(parts))
    assert (first.message.content, first.done) == ("", False)
    assert "".join(part.message.content or "" for part in parts) == "Echo: Hello."


def test_the_queue_is_chosen_by_a_header(http: HttpSite, local_llm: LocalLLM) -> None:
    """Without it the normal one."""
    for number, header in enumerate([{}, {"X-Priority": "low"}, {"x-priority": "high"}]):
        body = {"model": MODEL, "prompt": str(number), "stream": False}
        assert http.post("/api/generate", json=body, headers=header).status_code == 200
    assert [job.priority for job in local_llm.submitted] == ["normal", "low", "high"]
    reply = http.post("/api/generate", json={**body}, headers={"X-Priority": "now"})
    assert reply.status_code == 400
    assert reply.json()["error"].startswith("X-Priority: must be high, normal, low")


def test_a_key_goes_to_no_more_urgent_queue_than_it_may(
    http: HttpSite, local_llm: LocalLLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By default to the most urgent that it may, from the normal one on; above it is refused."""

    async def authorized(*_: object, **__: object) -> Caller:
        return Caller(tenant="ada", ceiling="low")

    monkeypatch.setattr("local_llm_service.producers.http.gateway.authorize", authorized)
    body = {"model": MODEL, "messages": HELLO, "stream": False}
    assert http.post("/api/chat", json=body).status_code == 200
    assert [job.priority for job in local_llm.submitted] == ["low"]
    refused = http.post("/api/chat", json=body, headers={"X-Priority": "normal"})
    assert (refused.status_code, list(refused.json())) == (403, ["error"])


def test_a_new_answer_can_be_asked_for(http: HttpSite, local_llm: LocalLLM) -> None:
    body = {"model": MODEL, "messages": HELLO, "stream": False}
    origins = [
        http.post("/api/chat", json=body, headers=headers).headers["X-Local-LLM-Origin"]
        for headers in ({}, {}, {"Cache-Control": "no-cache"})
    ]
    assert origins == ["computed", "cached", "computed"]


def test_a_client_that_leaves_a_stream_ends_its_reading_only(
    http: HttpSite, local_llm: LocalLLM
) -> None:
    """The job is left for the client's own retry; ORPHAN_SECONDS end it."""
    held = http.app.service.attendance._held
    with local_llm.held():
        with pytest.raises(httpx.ReadTimeout):
            http.post("/api/chat", json={"model": MODEL, "messages": HELLO}, timeout=0.3)
        wait_until(lambda: not held, "the process has noticed it")
        (job,) = local_llm.submitted
        assert job.state is JobState.RUNNING


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"options": {"num_predict": 100_000}}, "options.num_predict: at most 2048 tokens"),
    ({"options": {"num_ctx": 16_384}}, "options.num_ctx: workers run this model with a context of"),
    ({"options": {"temperature": 3}}, "options.temperature: "),
    ({"options": {"temperature": "hot"}}, "options.temperature: "),
    ({"options": {"top_p": 2}}, "options.top_p: "),
    ({"options": {"mirostat": 1}}, "options.mirostat: is not done here"),
    ({"options": {"typical_p": 0.5}}, "options.typical_p: is not done here"),
    ({"options": {"repeat_last_n": 0}}, "options.repeat_last_n: is not done here"),
    ({"options": {"num_thread": True}}, "options.num_thread: "),
    ({"options": {"stop": ["a"] * 5}}, "options.stop: at most 4 texts"),
    ({"format": {"type": "nonsense"}}, "format: "),
    ({"format": "xml"}, 'format: must be "json" or a JSON Schema'),
    ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools.0.function.name: "),
    ({"think": "high"}, "think: is not done here"),
    ({"top_logprobs": 2.5}, "top_logprobs: "),
    ({"stream": "yes"}, "stream: "),
    ({"messages": [{"role": "user", "content": "a", "images": ["aGk="]}]}, "messages.0.images: "),
    ({"messages": [{"role": "user", "content": " "}]}, "messages: must hold at least one"),
    ({"messages": [{"role": "tool", "content": "4"}]}, "messages: message 0 is a tool's"),
    ({"messages": [None]}, "messages.0: "),
    ({"model": "a b"}, "model: is no model's name"),
]


def test_what_cannot_be_done_is_refused_by_its_name(http: HttpSite, local_llm: LocalLLM) -> None:
    """In the caller's own words, without a job, and without a word of the conversation."""
    told = {}
    for wrong, beginning in REFUSED:
        body = {"model": MODEL, "messages": HELLO, **wrong}
        reply = http.post("/api/chat", json=body)
        error = reply.json()["error"]
        if reply.status_code != 400 or not error.startswith(beginning) or "Hello" in error:
            told[beginning] = (reply.status_code, error)
    assert told == {}
    for name, value in (("raw", True), ("template", "x"), ("suffix", "x"), ("context", [1])):
        reply = http.post("/api/generate", json={"model": MODEL, "prompt": "a", name: value})
        assert reply.status_code == 400
        assert reply.json()["error"].startswith(f"{name}: is not done here")
    long = http.post("/api/generate", json={"model": MODEL, "prompt": "a" * 400_001})
    assert long.json()["error"].startswith("prompt: at most 400000 characters")
    many = http.post("/api/embed", json={"model": MODEL, "input": ["a"] * 2049})
    assert many.json()["error"].startswith("input: must be a text or 1 to 2048 texts")
    assert local_llm.submitted == []


def test_what_no_ollama_knows_is_left_out_but_not_in_silence(http: HttpSite) -> None:
    """User interfaces send such members, and Ollama does not mind them; a header names them."""
    options = {"temprature": 0, "nosuch option\r\n": 1}
    messages = [{"role": "user", "content": "a", "name": "ada", "id": 7}]
    body = {"model": MODEL, "messages": messages, "chat_id": "x", "options": options}
    for stream in (False, True):
        reply = http.post("/api/chat", json={**body, "stream": stream})
        assert reply.status_code == 200
        assert reply.headers["X-Local-LLM-Ignored"] == "chat_id, options.temprature"
    reply = http.post("/api/embed", json={"model": MODEL, "input": "a", "inputs": "b"})
    assert reply.headers["X-Local-LLM-Ignored"] == "inputs"
    reply = http.post("/api/chat", json={"model": MODEL, "messages": HELLO})
    assert "X-Local-LLM-Ignored" not in reply.headers


def test_what_means_nothing_here_is_taken(http: HttpSite, local_llm: LocalLLM) -> None:
    """How a server runs its model is the workers' business; null is as good as left out."""
    options = {"num_thread": 8, "num_gpu": 99.0, "mirostat": 0, "num_ctx": 2048, "top_k": None}
    options |= {"use_mmap": True, "num_keep": 4, "repeat_last_n": 64, "seed": -1, "top_p": 0.5}
    body = {"model": MODEL, "messages": HELLO, "options": options, "keep_alive": "1h30m"}
    body |= {"think": False, "format": "", "tools": None, "truncate": True, "shift": None}
    assert http.post("/api/chat", json=body).status_code == 200
    assert local_llm.prompts[0].max_tokens == 2048, "MAX_OUTPUT_TOKENS"


def test_a_worker_does_not_take_this_for_its_ollama(http: HttpSite) -> None:
    """It would ask itself, and each job would wait for a slot that it holds."""
    engine = OllamaEngine(get_settings().model_copy(update={"ollama_host": http.url}))
    try:
        with pytest.raises(OllamaUnreachable, match="leads to HTTP of local-llm"):
            engine.version()
    finally:
        engine.close()
