"""Streamed chat completions: whole, or an error that the official client raises."""

from __future__ import annotations

import asyncio
import json

import openai
import pytest

from local_llm_service.producers.http.event_stream import EventStream
from local_llm_service.testing import LocalLLM
from local_llm_service.worker.errors import OllamaBusy, StreamBroken
from local_llm_service.worker.store.states import JobState
from tests.conftest import wait_until
from tests.http.chatting import HI, MODEL, ask
from tests.http.conftest import HttpSite


def test_the_events_of_a_stream(http: HttpSite, local_llm: LocalLLM) -> None:
    """The role, pieces, the end, the usage where it is wanted, `[DONE]`; nothing else."""
    local_llm.stream("A lan", "guage\u2028.")
    body = {
        "model": MODEL,
        "messages": HI,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    with http.client.stream("POST", "/v1/chat/completions", json=body) as reply:
        assert reply.headers["content-type"].startswith("text/event-stream")
        assert reply.headers["cache-control"] == "no-cache"
        lines = [line for line in reply.iter_lines() if line]
    assert lines.pop() == "data: [DONE]"
    role, *texts, end, usage = [json.loads(line.removeprefix("data: ")) for line in lines]
    assert role["choices"][0]["delta"] == {"role": "assistant", "content": "", "refusal": None}
    assert "".join(one["choices"][0]["delta"]["content"] for one in texts) == "A language\u2028."
    assert end["choices"][0]["delta"] == {}
    assert end["choices"][0]["finish_reason"] == "stop"
    assert end["local"]["origin"] == "computed"
    assert (usage["choices"], usage["usage"]["completion_tokens"]) == ([], 3)
    assert all(one["usage"] is None for one in (role, *texts, end))
    assert {one["id"] for one in (role, *texts, end, usage)} == {
        f"chatcmpl-{reply.headers['x-local-llm-task-id']}"
    }


PIECES = ["a ", "b ", "c "]
#: With them the reader has the text before the run ends.
SLOWLY = {"pause_seconds": 0.03}


@pytest.mark.local_llm(settings={"max_attempts": 1})
def test_an_engine_that_dies_at_any_token_is_an_error(http: HttpSite, local_llm: LocalLLM) -> None:
    """The client raises; nobody believes half an answer."""
    client = http.openai(max_retries=2)
    for count in range(len(PIECES) + 1):
        local_llm.fail(StreamBroken, *PIECES[:count], **SLOWLY)
        with pytest.raises(openai.APIError) as failure:
            list(ask(client, messages=[{"role": "user", "content": f"{count}"}], stream=True))
        assert failure.value.code == "stream_broken"
        local_llm.reply("The engine is back.")
        ask(client, messages=[{"role": "user", "content": f"+{count}"}])
    assert local_llm.unused == 0


def test_a_text_that_is_the_same_again_goes_on(http: HttpSite, local_llm: LocalLLM) -> None:
    """An engine died, at any token, and the next try wrote the same: the reader sees no seam."""
    client = http.openai()
    for count in range(len(PIECES) + 1):
        local_llm.fail(StreamBroken, *PIECES[:count], **SLOWLY).stream(*PIECES, **SLOWLY)
        question = [{"role": "user", "content": f"{count}"}]
        chunks = list(ask(client, messages=question, stream=True))
        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
        assert (text, chunks[-1].choices[0].finish_reason) == ("a b c ", "stop")
    assert local_llm.unused == 0


def test_a_text_that_begins_anew_and_differs_is_an_error(
    http: HttpSite, local_llm: LocalLLM
) -> None:
    """This API cannot take text back."""
    local_llm.fail(StreamBroken, "Once ", "upon ", **SLOWLY).stream("There ", "was ", "a cat.")
    with pytest.raises(openai.APIError) as failure:
        list(ask(http.openai(max_retries=2), stream=True))
    assert failure.value.code == "stream_broken"
    # The job has gone on meanwhile: whoever asks again has its answer.
    again = ask(http.openai())
    assert again.choices[0].message.content == "There was a cat."
    assert len(local_llm.prompts) == 2


@pytest.mark.local_llm(settings={"max_attempts": 1})
def test_a_job_that_fails_at_once_has_a_status_of_its_own(
    http: HttpSite, local_llm: LocalLLM
) -> None:
    """As without a stream. The client repeats what may pass, and no more."""
    local_llm.fail(OllamaBusy).fail(StreamBroken)
    with pytest.raises(openai.InternalServerError) as busy:
        list(ask(http.openai(), stream=True))
    assert (busy.value.status_code, busy.value.code) == (503, "ollama_busy")
    with pytest.raises(openai.InternalServerError) as broken:
        ask(http.openai(max_retries=2), extra_body={"cache": False})
    assert broken.value.status_code == 502
    assert len(local_llm.prompts) == 2


def test_a_stream_of_a_job_that_waits_is_kept_alive(
    http: HttpSite, local_llm: LocalLLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By comments, before the first token too; the client does not see them."""
    monkeypatch.setattr("local_llm_service.producers.http.openai.completing.FIRST_SECONDS", 0.01)
    monkeypatch.setitem(EventStream.__init__.__kwdefaults__, "seconds", 0.02)
    local_llm.delay(0.2).reply("Late.", times=2)
    body = {"model": MODEL, "messages": HI, "stream": True}
    with http.client.stream("POST", "/v1/chat/completions", json=body) as reply:
        lines = list(reply.iter_lines())
    assert lines[:2] == [": keep-alive", ""]
    assert lines[-2:] == ["data: [DONE]", ""]
    chunks = list(ask(http.openai(), stream=True, extra_body={"cache": False}))
    assert chunks[1].choices[0].delta.content == "Late."


def test_a_stream_that_is_dropped_ends_its_reading(http: HttpSite, local_llm: LocalLLM) -> None:
    """At each event. The job goes on for whoever asks again, and nothing of the reader is left."""
    client = http.openai()
    ask(client, messages=[{"role": "user", "content": "first"}])  # what stays is there
    [state] = http.app.service.client._states.values()
    before = len(asyncio.all_tasks(state.loop))
    for events in range(4):
        question = [{"role": "user", "content": f"{events}"}]
        local_llm.stream("A ", "lan", "guage.", pause_seconds=0.05)
        stream = ask(client, messages=question, stream=True)
        assert len(asyncio.all_tasks(state.loop)) > before
        for _ in range(events):
            next(stream)
        stream.close()
        wait_until(lambda: len(asyncio.all_tasks(state.loop)) <= before, "the reading has ended")
        assert ask(client, messages=question).choices[0].message.content == "A language."
    assert len(local_llm.prompts) == 5


@pytest.mark.local_llm(settings={"orphan_seconds": 0.3})
def test_the_job_of_a_dropped_stream_ends_with_its_last_reader(
    http: HttpSite, local_llm: LocalLLM
) -> None:
    """ORPHAN_SECONDS after it has left, before its first token or after."""
    client = http.openai()
    for pieces in ([], ["A ", "lan"]):
        local_llm.stream(*pieces, *["word "] * 200, pause_seconds=0.1)
        question = [{"role": "user", "content": f"{len(pieces)}"}]
        stream = ask(client, messages=question, stream=True)
        for _ in pieces:
            next(stream)
        stream.close()
        job = local_llm.submitted[-1]
        wait_until(lambda job=job: job.state is JobState.CANCELLED, "the job has ended")


def test_a_process_that_ends_tells_its_readers(http: HttpSite, local_llm: LocalLLM) -> None:
    """The client raises, and the job goes on: whoever asks the next process has its answer."""
    local_llm.stream("A ", "lan", "guage.", pause_seconds=0.1)
    stream = ask(http.openai(), stream=True)
    next(stream)
    http.app.service.stopping.set()  # as SIGTERM does
    with pytest.raises(openai.APIError) as failure:
        list(stream)
    assert failure.value.code == "shutting_down"
    [job] = local_llm.submitted
    wait_until(lambda: job.state is JobState.SUCCEEDED, "the job goes on")
