"""A job's text is read by its id, from any process, while the model writes it.

One worker with two slots serves all tests; each asks a question of its own.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import count
from textwrap import dedent
from typing import Any

import pytest
import redis
from celery import Celery
from pydantic import BaseModel, Field

from local_llm_service import AsyncClient, Client, tasks
from local_llm_service.producers.client import Job
from local_llm_service.producers.stream_event import StreamEvent
from local_llm_service.worker.embedded.processes.worker_process import WorkerProcess
from local_llm_service.worker.errors import (
    Cancelled,
    DeadlineExceeded,
    InvalidOutput,
    InvalidRequest,
    NotFound,
)
from local_llm_service.worker.listening.thread_listener import process_listener
from local_llm_service.worker.store.bounds import TEXT_SECONDS
from local_llm_service.worker.store.keys import Keys
from tests.conftest import wait_until
from tests.doubles.ollama import FakeOllama, Script
from tests.integration.conftest import run_python

SHARED_WORKER = {"CONCURRENCY": "2"}
KEYS = Keys()
_numbers = count(1)

PIECES = ("Once ", "upon ", "a ", "tïme ", "𝔱here ", "was")
TEXT = "".join(PIECES)

Events = list[StreamEvent[Any]]


class Model:
    """The scripted Ollama: `say` gives one question its answer."""

    def __init__(self, ollama: FakeOllama) -> None:
        self._scripts: dict[str, Script] = {}
        self.ollama = ollama
        ollama.respond = self._respond

    def _respond(self, body: dict[str, Any]) -> Script:
        # A model that is asked again has the question further up.
        asked = " ".join(message["content"] for message in body["messages"])
        return next(script for word, script in self._scripts.items() if word in asked)

    def say(
        self, *chunks: str, pause_seconds: float = 0.02, end: str = "done", first: float = 0.0
    ) -> str:
        """A new question that is answered so."""
        question = f"question {next(_numbers)}."
        self._scripts[question] = Script(
            chunks or PIECES, pause_seconds=pause_seconds, end=end, first_seconds=first
        )
        return question


@pytest.fixture
def model(shared_worker: WorkerProcess, shared_ollama: FakeOllama) -> Model:
    """What the model says."""
    return Model(shared_ollama)


client = Client()


def text_of(events: Events) -> str:
    """What a person sees who reads along: all since the last restart."""
    text = ""
    for event in events:
        text = "" if event.type == "restart" else text + event.text
    return text


def in_thread(job: Job[Any], after: str | None = None) -> Callable[[], Events]:
    """Read a job's events in a thread; the function returned waits for their end."""
    events: Events = []
    thread = threading.Thread(target=lambda: events.extend(job.stream(after)), daemon=True)
    thread.start()

    def end() -> Events:
        thread.join(20)
        assert not thread.is_alive(), "the stream has no end"
        return events

    return end


def begun(stream: Iterator[StreamEvent[Any]]) -> StreamEvent[Any]:
    """Wait for the first piece."""
    event = next(stream)
    assert event.type == "text"
    return event


def types(events: Events) -> list[str]:
    """The kinds of event, each once in a row."""
    return [e.type for n, e in enumerate(events) if n == 0 or events[n - 1].type != e.type]


# --- reading ----------------------------------------------------------------------------------


def test_a_text_is_read_while_it_is_written(model: Model) -> None:
    """Piece by piece, and then the typed answer, which is what `result` returns."""
    job = client.generate(model.say(end="done", pause_seconds=0.06), stream=True)
    events = list(job.stream())
    assert types(events) == ["text", "end"]
    assert len(events) > 3, "it did not come in one piece"
    assert text_of(events) == TEXT
    assert events[-1].answer == job.result(5)
    assert events[-1].error is None


def test_the_first_piece_does_not_wait_for_the_second(model: Model) -> None:
    """It is there while the model thinks about the next one."""
    job = client.generate(model.say("Once ", "upon", pause_seconds=0.0, end="hang"), stream=True)
    stream = job.stream()
    assert begun(stream).text.startswith("Once")
    assert job.cancel() is not None
    assert [event.type for event in stream][-1] == "cancelled"


def test_any_process_reads_on_from_an_offset(model: Model) -> None:
    """With the id and the offset alone; several readers see the same."""
    job = client.generate(model.say(pause_seconds=0.05), stream=True)
    stream = job.stream()
    first = begun(stream)
    late = in_thread(client.job(job.id), first.offset)
    code = (
        "import sys; from local_llm_service import Client\n"
        "for event in Client().job(sys.argv[1]).stream(sys.argv[2]): print(end=event.text)"
    )
    told = run_python("-c", code, job.id, first.offset)
    rest = text_of(list(stream))
    assert first.text + rest == TEXT
    assert text_of(late()) == rest
    assert told.stdout == rest, told.stderr


def test_every_offset_is_a_place_to_go_on(model: Model) -> None:
    """Unicode code points are counted, not bytes; after its end the text stays for a while."""
    job = client.generate(model.say(pause_seconds=0.05), stream=True)
    events = list(job.stream())
    for place, event in enumerate(events[:-1]):
        again = list(client.job(job.id).stream(event.offset))
        assert text_of(events[: place + 1]) + text_of(again) == TEXT
        assert "restart" not in types(again)
    run, _, characters = events[-1].offset.partition(".")
    assert int(characters) == len(TEXT)
    for character in range(len(TEXT) + 1):
        assert text_of(list(job.stream(f"{run}.{character}"))) == TEXT[character:]


@pytest.mark.parametrize("offset", ["", "x", "1.2.3", "-1", "run.-1", 5])
def test_a_wrong_offset_is_refused_at_the_call(offset: Any) -> None:
    """Before anything is read."""
    with pytest.raises(InvalidRequest):
        client.job("any").stream(offset)


PROCESSES = {
    "gevent": """
        from gevent import monkey; monkey.patch_all()
        import gevent, sys
        from local_llm_service import Client
        def read(_): return "".join(event.text for event in Client().job(sys.argv[1]).stream())
        readers = gevent.joinall([gevent.spawn(read, number) for number in range(9)])
        print(end="".join({one.value for one in readers}))
    """,
    "uvloop": """
        import asyncio, sys, uvloop
        from local_llm_service import AsyncClient
        client = AsyncClient()
        async def read(): return "".join([e.text async for e in client.job(sys.argv[1]).stream()])
        async def main(): return await asyncio.gather(*(read() for _ in range(9)))
        print(end="".join({*uvloop.run(main()), *uvloop.run(main())}))
    """,
    "fork while it reads": """
        import os, sys
        from local_llm_service import Client
        stream = Client().job(sys.argv[1]).stream()
        first, child = next(stream), os.fork()
        text = first.text + "".join(event.text for event in stream)
        if child:
            assert os.waitpid(child, 0)[1] == 0
            print(end=text)
        else:
            os._exit(text != """
    + repr(TEXT)
    + """)
    """,
    "fork": """
        import os, sys
        from local_llm_service import Client
        stream = Client().job(sys.argv[1]).stream()
        first = next(stream)
        if child := os.fork():
            assert os.waitpid(child, 0)[1] == 0
        else:
            stream = Client().job(sys.argv[1]).stream(first.offset)
        print(end=first.text + "".join(event.text for event in stream))
    """,
}


@pytest.mark.parametrize("kind", PROCESSES)
def test_every_kind_of_process_reads(model: Model, kind: str) -> None:
    """Under gevent's monkey patch, in two loops of uvloop, on both sides of a fork."""
    job = client.generate(model.say(pause_seconds=0.1, first=0.5), stream=True)
    done = run_python("-W", "error", "-c", dedent(PROCESSES[kind]), job.id)
    assert done.stdout == TEXT * (1 + (kind == "fork")), done.stderr


def test_an_id_that_nobody_knows_is_not_found(shared_worker: WorkerProcess) -> None:
    """As `result` says."""
    with pytest.raises(NotFound):
        next(client.job("nobody").stream())


def test_an_event_loop_reads_the_same(model: Model) -> None:
    """And frees its ear when it reads no further."""
    question = model.say(pause_seconds=0.05)

    async def read() -> tuple[Events, Events]:
        async with AsyncClient() as a_client:
            job = await a_client.generate(question, stream=True)
            first = [event async for event in job.stream()]
            again = a_client.job(job.id).stream(first[0].offset)
            [one] = [await anext(again)]
            await again.aclose()  # type: ignore[attr-defined]
            assert a_client.here().listener._interests._ears == {}
            with pytest.raises(InvalidRequest):
                job.stream("nonsense")
            return first, [one]

    first, again = asyncio.run(read())
    assert text_of(first) == TEXT
    assert types(first) == ["text", "end"]
    assert first[0].text + again[0].text == TEXT


def test_whoever_stops_reading_frees_the_ear(model: Model) -> None:
    """The job goes on."""
    job = client.generate(model.say(pause_seconds=0.05), stream=True)
    with closing(job.stream()) as stream:  # type: ignore[type-var]
        begun(stream)
        assert process_listener()._interests._ears != {}
    assert process_listener()._interests._ears == {}
    assert job.result(10).text == TEXT


def test_a_text_beyond_its_bound_is_whole_all_the_same(model: Model) -> None:
    """1 MiB goes through Redis while it is written, the rest with the answer."""
    text = tuple(f"{word} " * 100_000 for word in ("ünd", "or", "xor"))
    job = client.generate(model.say(*text, pause_seconds=0.2), stream=True)
    events = list(job.stream())
    assert types(events) == ["text", "end"]
    assert text_of(events) == "".join(text)
    middle = events[1].offset
    assert text_of(events[:2]) + text_of(list(job.stream(middle))) == "".join(text)


# --- who shares an answer -----------------------------------------------------------------------


def test_a_job_that_joins_reads_from_the_start(model: Model) -> None:
    """Its leader was not asked to stream, and had written a part when the wish came."""
    question = model.say(*(f"{n} " for n in range(30)), pause_seconds=0.04)
    leader = client.generate(question)
    wait_until(lambda: leader.status() == "running", "the leader runs")
    other = client.generate(question, stream=True)
    end = in_thread(other)
    stream = leader.stream()
    first = begun(stream)
    assert leader.status() != "succeeded"
    assert first.text.startswith("0 ")
    assert text_of(end()) == "".join(f"{n} " for n in range(30))
    assert end()[-1].answer.origin == "joined"
    assert len(end()) > 3


def test_a_cached_answer_is_one_piece(model: Model) -> None:
    """No model writes it."""
    question = model.say()
    client.generate(question).result(10)
    events = list(client.generate(question, stream=True).stream())
    assert [event.type for event in events] == ["text", "end"]
    assert events[0].text == TEXT


class Town(BaseModel):
    """A class that writes itself in other words than the model."""

    people: int = Field(alias="n")


def test_a_text_is_the_same_for_readers_with_and_without_the_callers_class(model: Model) -> None:
    """An offset of one is a place for the other, also in an answer that is read from the cache."""
    question = model.say('{"n": 12}')
    client.structured_output(question, Town).result(10)
    job = client.structured_output(question, Town, stream=True)
    typed, plain = list(job.stream()), list(client.job(job.id).stream())
    assert text_of(typed) == text_of(plain) == '{"n": 12}'
    assert typed[-1].answer is not None
    assert typed[-1].answer.data == Town(n=12)
    assert [one.offset for one in typed] == [one.offset for one in plain]


def test_a_job_that_was_not_to_stream_is_one_piece_at_its_end(
    model: Model, shared_redis: redis.Redis
) -> None:
    """And costs Redis nothing but a look at whether somebody wants it."""
    before = written(shared_redis)
    job = client.generate(model.say())
    events = list(job.stream())
    assert [event.type for event in events] == ["text", "end"]
    assert text_of(events) == TEXT
    assert written(shared_redis) == before
    assert not shared_redis.exists(KEYS.text + job.id)


def written(client: redis.Redis) -> list[str]:
    """The keys of texts and wishes."""
    return sorted(client.scan_iter(f"{KEYS.text.removesuffix(':')}*"))


def test_a_job_that_shares_nothing_streams(model: Model) -> None:
    """With cache=False its text is its own."""
    question = model.say()
    jobs = [client.generate(question, stream=True, cache=False) for _ in range(2)]
    ends = [in_thread(job) for job in jobs]
    assert [text_of(end()) for end in ends] == [TEXT, TEXT]


def test_a_job_sent_by_name_streams(model: Model) -> None:
    """By a stock app that knows nothing of this service."""
    stock = Celery("other", broker=os.environ["REDIS_URL"], set_as_current=False)
    asked = stock.send_task(
        "llm.generate", kwargs={"prompt": model.say(pause_seconds=0.05), "stream": True},
        queue="llm.normal",
    )  # fmt: skip
    events = list(client.job(asked.id).stream())
    assert text_of(events) == TEXT
    assert events[-1].type == "end"
    stock.close()


def test_a_step_of_a_chain_streams(model: Model) -> None:
    """By the id that Celery gave it."""
    chain = tasks.generate.s(model.say(pause_seconds=0.05), stream=True) | tasks.summarize.s()
    model._scripts[TEXT.strip()] = Script(("A tale.",))
    last = chain.apply_async()
    assert text_of(list(client.job(last.parent.id).stream())) == TEXT
    assert last.get(timeout=10)["summary"]


def test_json_kinds_stream_what_the_model_writes(model: Model) -> None:
    """As it is written; in the end what the answer holds, so that a reader too has valid JSON."""
    question = model.say('```json\n{"a": ', '"ü"', "}\n```", pause_seconds=0.06)
    job = client.structured_output(question, {"type": "object"}, stream=True)
    events = list(job.stream())
    assert types(events) == ["text", "restart", "text", "end"]
    assert text_of(events) == '{"a": "ü"}'
    assert events[-1].answer is not None
    assert events[-1].answer.data == {"a": "ü"}


# --- ends that are no answer ----------------------------------------------------------------------


def test_a_failure_is_an_event(model: Model) -> None:
    """After what was written until then, at the last of three tries."""
    job = client.structured_output(model.say("no ", "JSON"), {"type": "object"}, stream=True)
    events = list(job.stream())
    assert types(events)[-2:] == ["text", "failed"]
    assert text_of(events) == "no JSON"
    assert isinstance(events[-1].error, InvalidOutput)
    with pytest.raises(InvalidOutput):
        job.result(5)


def test_a_cancelled_job_ends_its_streams(model: Model) -> None:
    """From another place, while it is written."""
    job = client.generate(model.say(end="hang"), stream=True)
    stream = job.stream()
    events = [begun(stream)]
    client.job(job.id).cancel()
    events += stream
    assert types(events)[-1] == "cancelled"
    assert isinstance(events[-1].error, Cancelled)
    assert TEXT.startswith(text_of(events))


def test_a_deadline_ends_its_streams(model: Model) -> None:
    """The job fails."""
    job = client.generate(model.say(end="hang"), stream=True, deadline_seconds=1)
    events = list(job.stream())
    assert types(events) == ["text", "failed"]
    assert isinstance(events[-1].error, DeadlineExceeded)
    assert text_of(events) == TEXT


def test_a_second_try_begins_anew(model: Model) -> None:
    """Ollama broke off; readers are told, also one who kept an offset of the first try."""
    question = model.say("There ", "is ", "no ", end="cut", pause_seconds=0.06)
    job = client.generate(question, stream=True)
    stream = job.stream()
    events = [begun(stream)]
    model._scripts[question] = Script(PIECES, pause_seconds=0.02)
    events += stream
    assert types(events) == ["text", "restart", "text", "end"]
    assert text_of(events) == TEXT
    again = list(job.stream(events[0].offset))
    assert types(again) == ["restart", "text", "end"]
    assert text_of(again) == TEXT


# --- what is left -------------------------------------------------------------------------------


def test_texts_fade_and_are_nowhere_else(
    model: Model, shared_redis: redis.Redis, shared_worker: WorkerProcess
) -> None:
    """Not in the worker's log, in no event and in no other key than its own and the result."""
    canary = f"canary-{os.urandom(8).hex()}"
    job = client.generate(model.say(f"{canary} ", "and ", canary), stream=True, cache=False)
    assert text_of(list(job.stream())) == f"{canary} and {canary}"
    holding = []
    for key in shared_redis.scan_iter():
        if shared_redis.type(key) == "string" and canary in str(shared_redis.get(key)):
            holding.append(key)
    assert sorted(holding) == sorted([KEYS.text + job.id, KEYS.result(job.id)])
    assert 0 < int(shared_redis.ttl(KEYS.text + job.id)) <= TEXT_SECONDS  # type: ignore[arg-type]
    assert canary not in shared_worker.log_path.read_text(errors="replace")
