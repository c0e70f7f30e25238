"""`chat` and `embed` through a real Redis, a real worker and the wire of Ollama."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
import redis

from local_llm_service import Client, tasks
from local_llm_service.worker.embedded.processes.worker_process import WorkerProcess
from local_llm_service.worker.errors import ContextOverflow, InvalidOutput, InvalidRequest
from local_llm_service.worker.store.keys import Keys
from tests.doubles.ollama import FakeOllama, Script, vector_of

SHARED_WORKER = {"CONCURRENCY": "2", "MAX_ATTEMPTS": "1", "LOG_LEVEL": "DEBUG"}
CANARY = "zebracanary"
KEYS = Keys()
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"properties": {"city": {"type": "string"}, "day": True}},
    },
}


def new() -> list[dict[str, Any]]:
    """A question that no other test asks."""
    return [{"role": "user", "content": f"What about {uuid4().hex}?"}]


@pytest.fixture
def ollama(shared_worker: WorkerProcess, shared_ollama: FakeOllama) -> FakeOllama:
    """The worker's Ollama, as if it had seen nothing."""
    shared_ollama.respond = shared_ollama.respond_to_texts = lambda _: Script()
    shared_ollama.seen.clear()
    shared_ollama.embedded.clear()
    return shared_ollama


def test_a_conversation_goes_to_ollama_and_its_next_message_comes_back(
    ollama: FakeOllama,
) -> None:
    """With the caller's options, and no others than every kind's runner options."""
    messages = [{"role": "system", "content": "Be brief."}, *new()]
    answer = tasks.chat.delay(
        messages, stop=["END"], seed=5, temperature=1.0, max_tokens=9, frequency_penalty=0.5
    ).get(timeout=20)
    assert answer["message"] == {"role": "assistant", "content": "Hello."}
    assert (answer["kind"], answer["finish_reason"], answer["logprobs"]) == ("chat", "stop", None)
    (seen,) = ollama.seen
    assert seen.body["messages"] == messages
    options = seen.options
    assert (options["stop"], options["seed"], options["num_predict"]) == (["END"], 5, 9)
    assert (options["temperature"], options["frequency_penalty"]) == (1.0, 0.5)
    assert (seen.body["truncate"], seen.body["shift"], options["num_ctx"]) == (False, False, 8192)
    assert not {"tools", "format", "logprobs"} & seen.body.keys()


def test_calls_of_tools_come_back_and_their_results_go_on(ollama: FakeOllama) -> None:
    """The round trip of an agent; what Ollama could not read of a schema is not sent."""
    ollama.respond = lambda body: (
        Script(chunks=("Warm.",))
        if body["messages"][-1]["role"] == "tool"
        else Script(chunks=(), tool_calls=(("get_weather", {"city": "Bern"}),))
    )
    with Client() as client:
        messages: list[Any] = new()
        first = client.chat(messages, tools=[WEATHER]).result(timeout_seconds=20)
        assert first.finish_reason == "tool_calls"
        assert first.message.tool_calls is not None
        (call,) = first.message.tool_calls
        assert call["function"] == {"name": "get_weather", "arguments": {"city": "Bern"}}
        messages.append(first.message.model_dump())
        messages.append({"role": "tool", "tool_call_id": call["id"], "content": "25 C"})
        last = client.chat(messages, tools=[WEATHER]).result(timeout_seconds=20)
    assert last.message.content == "Warm."
    sent = ollama.seen[-1].body
    assert sent["messages"][-1] == {"role": "tool", "content": "25 C", "tool_name": "get_weather"}
    (tool,) = sent["tools"]
    assert tool["function"]["parameters"]["properties"] == {"city": {"type": "string"}, "day": {}}


def test_a_call_that_breaks_its_schema_fails_the_job(ollama: FakeOllama) -> None:
    """Nobody's code is called with it."""
    ollama.respond = lambda _: Script(chunks=(), tool_calls=(("get_weather", {"city": 7}),))
    with pytest.raises(InvalidOutput):
        tasks.chat.delay(new(), tools=[WEATHER]).get(timeout=20)


def test_a_function_that_must_be_called_is_written_under_a_grammar(ollama: FakeOllama) -> None:
    """Ollama has no word for it, so it is sent a format and no tools."""
    ollama.respond = lambda _: Script(chunks=('{"city": ', '"Bern"}'))
    choice = {"type": "function", "function": {"name": "get_weather"}}
    answer = tasks.chat.delay(new(), tools=[WEATHER], tool_choice=choice).get(timeout=20)
    (call,) = answer["message"]["tool_calls"]
    assert call["function"]["arguments"] == {"city": "Bern"}
    (seen,) = ollama.seen
    assert "tools" not in seen.body
    assert seen.body["format"]["properties"]["city"] == {"type": "string"}


def test_a_model_without_tools_fails_only_the_job_that_asks_for_them(
    ollama: FakeOllama,
) -> None:
    """It is the caller's choice, not the engine's fault: no breaker opens for the model."""

    def respond(body: dict[str, Any]) -> Script:
        error = "registry.ollama.ai/library/fake:1b does not support tools"
        return Script(status=400, error=error) if "tools" in body else Script()

    ollama.respond = respond
    for _ in range(4):
        with pytest.raises(InvalidRequest, match=r"tools: model 'fake:1b'") as failure:
            tasks.chat.delay(new(), tools=[WEATHER]).get(timeout=20)
        assert "required" in failure.value.hint
    assert tasks.chat.delay(new()).get(timeout=20)["message"]["content"] == "Hello."


def test_log_probabilities_are_given_or_the_job_fails(ollama: FakeOllama) -> None:
    """An Ollama that knows no such word ignores it; the caller is told."""
    tokens = [{"token": word, "logprob": -1.5, "bytes": [1]} for word in ("Hello", ".")]
    ollama.respond = lambda _: Script(logprobs=tuple(tokens))
    answer = tasks.chat.delay(new(), logprobs=True, top_logprobs=2).get(timeout=20)
    assert answer["logprobs"] == tokens
    assert (ollama.seen[0].body["logprobs"], ollama.seen[0].body["top_logprobs"]) == (True, 2)
    ollama.respond = lambda _: Script()
    with pytest.raises(InvalidRequest, match="logprobs"):
        tasks.chat.delay(new(), logprobs=True).get(timeout=20)


def test_a_chat_is_cached_with_everything_that_it_asked(ollama: FakeOllama) -> None:
    """Calls' ids included: who asks again gets the same message."""
    ollama.respond = lambda _: Script(chunks=(), tool_calls=(("get_weather", {}),))
    messages = new()
    answers = [tasks.chat.delay(messages, tools=[WEATHER]).get(timeout=20) for _ in range(2)]
    assert [answer["origin"] for answer in answers] == ["computed", "cached"]
    assert answers[0]["message"] == answers[1]["message"]
    other = tasks.chat.delay(messages, tools=[WEATHER], stop="END").get(timeout=20)
    assert other["origin"] == "computed"


def pieces(job: Any) -> tuple[list[str], Any]:
    """The texts of a job's stream, and its answer."""
    events = list(job.stream())
    assert events[-1].type == "end"
    return [event.text for event in events if event.type == "text"], events[-1].answer


def test_a_stream_has_what_the_model_says_and_no_calls(ollama: FakeOllama) -> None:
    """Also of a call that it has to make, which it writes as JSON; they are in the answer."""
    choice = {"type": "function", "function": {"name": "get_weather"}}
    call = (("get_weather", {"city": "Bern"}),)
    with Client() as client:
        assert "".join(pieces(client.chat(new(), stream=True))[0]) == "Hello."
        ollama.respond = lambda _: Script(chunks=("Let", " me"), tool_calls=call)
        said, answer = pieces(client.chat(new(), tools=[WEATHER], stream=True))
        assert ("".join(said), answer.message.content) == ("Let me", "Let me")
        assert answer.message.tool_calls[0]["function"]["arguments"] == {"city": "Bern"}
        ollama.respond = lambda _: Script(chunks=('{"city": ', '"Bern"}'))
        messages = new()
        for _ in ("computed", "cached"):
            job = client.chat(messages, tools=[WEATHER], tool_choice=choice, stream=True)
            said, answer = pieces(job)
            assert said == []
            assert answer.message.tool_calls[0]["function"]["arguments"] == {"city": "Bern"}


def test_a_worker_checks_a_chat_that_was_sent_by_name(ollama: FakeOllama) -> None:
    """And takes the messages of OpenAI's clients there, too."""
    from local_llm_service.worker.app import app

    parts = [{"role": "user", "content": [{"type": "text", "text": uuid4().hex}], "name": None}]
    sent = app.send_task("llm.chat", kwargs={"messages": parts})
    assert app.AsyncResult(sent.id).get(timeout=20)["message"]["content"] == "Hello."
    sent = app.send_task("llm.chat", kwargs={"messages": [{"role": "user", "content": 7}]})
    with pytest.raises(InvalidRequest, match=r"messages.0.content"):
        app.AsyncResult(sent.id).get(timeout=20)


def test_no_word_of_a_chat_or_a_text_is_logged_or_in_an_error(
    ollama: FakeOllama, shared_worker: WorkerProcess
) -> None:
    """Of messages, tools, calls, texts, and of what Ollama says about them."""
    said = [{"role": "user", "content": f"{CANARY} {uuid4().hex}"}]
    ollama.respond = lambda _: Script(chunks=(CANARY,), tool_calls=((CANARY, {CANARY: CANARY}),))
    ollama.respond_to_texts = lambda _: Script(status=400, error=f"cannot embed {CANARY}")
    secret = {"type": "function", "function": {"name": "f", "description": CANARY}}
    wrong = [*said, {"role": "tool", "tool_call_id": CANARY, "content": CANARY}]
    by_name = tasks.chat.app.send_task("llm.chat", kwargs={"messages": wrong})
    jobs = [tasks.chat.delay(said, tools=[secret]), tasks.embed.delay(CANARY)]
    failures = [job.get(timeout=20, propagate=False) for job in (*jobs, by_name)]
    assert [type(one).__name__ for one in failures] == [
        "InvalidOutput",
        "ModelFailed",
        "InvalidRequest",
    ]
    assert CANARY not in repr([one.args for one in failures])
    assert CANARY not in shared_worker.log_path.read_text()


# --- embed ----------------------------------------------------------------------------------------


def texts(count: int) -> list[str]:
    """Texts that no other test has."""
    return [f"text {number} {uuid4().hex}" for number in range(count)]


def asked(ollama: FakeOllama) -> list[str]:
    """All texts that Ollama was asked for."""
    return [text for seen in ollama.embedded for text in seen.body["input"]]


def test_texts_become_vectors_some_at_a_time_and_are_never_cut(ollama: FakeOllama) -> None:
    """In their order, with the server's own counts."""
    given = texts(20)
    answer = tasks.embed.delay(given).get(timeout=20)
    assert answer["embeddings"] == [vector_of(text) for text in given]
    assert answer["usage"] == {"prompt_tokens": 60, "completion_tokens": 0}
    assert (answer["finish_reason"], answer["model"]) == ("stop", "fake:1b")
    assert asked(ollama) == given
    assert [len(seen.body["input"]) for seen in ollama.embedded] == [16, 4]
    assert all(seen.body["truncate"] is False for seen in ollama.embedded)
    assert all(seen.body["options"] == {"num_ctx": 8192} for seen in ollama.embedded)


def test_a_text_that_is_known_is_not_embedded_again(
    ollama: FakeOllama, shared_redis: redis.Redis
) -> None:
    """Whatever stood beside it; its vector is the same to the last digit."""
    one, two, three = texts(3)
    with Client() as client:
        first = client.embed([one, two]).result(timeout_seconds=20)
        again = client.embed([three, two, one, two]).result(timeout_seconds=20)
        apart = client.embed([one], cache_scope="tenant").result(timeout_seconds=20)
        alone = client.embed([one], cache=False).result(timeout_seconds=20)
        short = client.embed(one, dimensions=2).result(timeout_seconds=20)
    assert again.embeddings[1:3] == first.embeddings[::-1]
    assert again.usage.prompt_tokens == 3
    assert apart.embeddings == alone.embeddings == [first.embeddings[0]]
    assert len(short.embeddings[0]) == 2
    assert asked(ollama) == [one, two, three, one, one]
    kept = [key for key in shared_redis.scan_iter() if key.startswith(KEYS.vector)]
    assert all(0 < shared_redis.ttl(key) <= 3600 for key in kept)
    held = shared_redis.zcard(KEYS.vector_index)
    assert len(kept) == held
    assert not any(one in key or one in shared_redis.get(key) for key in kept)


def test_the_same_question_is_answered_without_a_worker(ollama: FakeOllama) -> None:
    """By the result cache, as any other kind."""
    given = texts(2)
    tasks.embed.delay(given).get(timeout=20)
    assert tasks.embed.delay(given).get(timeout=20)["origin"] == "cached"
    assert len(ollama.embedded) == 1


@pytest.mark.parametrize(
    ("script", "failure", "said"),
    [
        (
            Script(status=400, error="the input length exceeds the context length"),
            ContextOverflow,
            "does not fit",
        ),
        (
            Script(
                status=501,
                error="This server does not support embeddings. Start it with `--embeddings`",
            ),
            InvalidRequest,
            "model: 'fake:1b' gives no embeddings",
        ),
    ],
)
def test_what_ollama_refuses_has_its_own_error(
    ollama: FakeOllama, script: Script, failure: type[Exception], said: str
) -> None:
    """As recorded: embed_model_long_truncate_false, embed."""
    ollama.respond_to_texts = lambda _: script
    with pytest.raises(failure, match=said):
        tasks.embed.delay(texts(1)).get(timeout=20)


def test_a_wrong_number_of_vectors_is_no_answer(ollama: FakeOllama) -> None:
    """Each text has its own, or the job fails."""
    from local_llm_service.worker.errors import ModelFailed

    ollama.vector = lambda text: [] if "odd" in text else vector_of(text)
    try:
        with pytest.raises(ModelFailed):
            tasks.embed.delay([*texts(1), f"odd {uuid4().hex}"]).get(timeout=20)
    finally:
        ollama.vector = vector_of


def test_a_job_is_cancelled_while_ollama_makes_its_vectors(ollama: FakeOllama) -> None:
    """The connection is closed, and the slot asks until Ollama answers again."""
    from local_llm_service.worker.errors import Cancelled
    from tests.conftest import wait_until

    ollama.respond_to_texts = lambda body: (
        Script() if body["input"] == ["Hi"] else Script(end="hang")
    )
    with Client() as client:
        job = client.embed(texts(1))
        wait_until(lambda: len(ollama.embedded) == 1, "Ollama is asked")
        job.cancel()
        with pytest.raises(Cancelled):
            job.result(timeout_seconds=20)
        wait_until(lambda: ollama.embedded[0].closed_at is not None, "the connection is closed")
        ollama.respond_to_texts = lambda _: Script()
        assert client.embed(texts(1)).result(timeout_seconds=20).embeddings
