"""The fixture `local_llm`: what a backend's own tests can script, see and rely on."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

import pytest
from celery import Celery, chain, chord, group, states
from pydantic import BaseModel

from local_llm_service import AsyncClient, Client
from local_llm_service.producers import cancel, health, models, queues, status
from local_llm_service.tasks import (
    chat,
    compress,
    extract_parameters,
    generate,
    structured_output,
    summarize,
)
from local_llm_service.testing.local_llm import LocalLLM
from local_llm_service.testing.stand_in import fake
from local_llm_service.worker import errors
from local_llm_service.worker.app import app
from local_llm_service.worker.store.store import process_store
from tests.conftest import wait_until

HI = [{"role": "user", "content": "Hi."}]
FUNCTION = {
    "name": "book",
    "parameters": {
        "type": "object",
        "properties": {"guests": {"type": "integer", "minimum": 1}, "name": {"type": "string"}},
        "required": ["guests"],
    },
}


def answer(prompt: str = "Hello", **options: Any) -> dict[str, Any]:
    """Ask and wait."""
    found: dict[str, Any] = generate.delay(prompt, **options).get(timeout=10)
    return found


# --- what the model says ------------------------------------------------------------------------


def test_without_a_script_each_kind_has_an_answer(local_llm: LocalLLM) -> None:
    """An echo for text, which tells two questions apart, and an instance of the schema for JSON."""
    assert answer("What is Python?")["text"] == "Echo: What is Python?."
    assert answer("What is Ruby?")["text"] == "Echo: What is Ruby?."
    rain = "It rained. " * 60
    assert summarize.delay(rain).get(timeout=10)["summary"].startswith("Echo:")
    talk = [{"role": "user", "content": "we talked of this and that. " * 60}]
    assert "In short: Echo:" in compress.delay(talk, 100).get(timeout=10)["summary"]
    found = extract_parameters.delay("Book for 1", FUNCTION).get(timeout=10)
    assert found["parameters"] == {"guests": 1}
    assert structured_output.delay("Say", {"type": "array"}).get(timeout=10)["data"] == []


def test_a_conversation_and_vectors_need_no_script_either(local_llm: LocalLLM) -> None:
    """An echo, a call of a function, an instance of a class; texts that share words are alike."""

    def book(guests: int, name: str = "") -> None:
        """Books a table."""
        raise AssertionError("a tool is not called")

    class Table(BaseModel):
        seats: int

    client, talk = Client(), [{"role": "user", "content": "A table for two"}]
    assert client.chat(talk).result(10).message.content == "Echo: A table for two."
    called = client.chat(talk, tools=[book], tool_choice="required").result(10).message
    assert called.tool_calls is not None
    assert called.tool_calls[0]["function"] == {"name": "book", "arguments": {"guests": 0}}
    said = client.chat(talk, response_format=Table).result(10).message.content
    assert Table.model_validate_json(said) == Table(seats=0)
    two, near, far = client.embed(["table for two", "a table", "tax law"]).result(10).embeddings
    alike = [sum(a * b for a, b in zip(two, one, strict=True)) for one in (near, far)]
    assert alike[0] > alike[1]


def test_answers_come_in_the_order_of_the_script(local_llm: LocalLLM) -> None:
    """Then the echo again; `times` repeats one, and without end with None."""
    local_llm.reply("One.", times=2).reply("Two.")
    assert [answer(str(n))["text"] for n in range(4)] == ["One.", "One.", "Two.", "Echo: 3."]
    local_llm.reply("Always.", times=None).reply("Once.")
    assert [answer(str(n))["text"] for n in range(4, 7)] == ["Once.", "Always.", "Always."]
    assert local_llm.unused == 0


def test_a_reply_can_be_made_of_what_was_asked(local_llm: LocalLLM) -> None:
    """The function gets the prompt's messages, as the model would."""
    local_llm.reply(lambda messages: f"{len(messages)} {messages[0]['role']}.")
    assert summarize.delay("text " * 120).get(timeout=10)["summary"] == "2 system."


def test_json_is_checked_against_the_schema_as_of_any_model(local_llm: LocalLLM) -> None:
    """What does not fit is InvalidOutput, which is what a backend has to handle."""
    local_llm.reply_json({"guests": 4})
    assert extract_parameters.delay("4", FUNCTION).get(timeout=10)["parameters"] == {"guests": 4}
    for text in ('{"guests": "four"}', "Four guests."):
        local_llm.reply(text).reply(text).reply(text)  # it is asked again, twice
        with pytest.raises(errors.InvalidOutput):
            extract_parameters.delay(text, FUNCTION).get(timeout=10)


def test_a_model_can_call_the_tools_of_a_chat(local_llm: LocalLLM) -> None:
    """Its calls are checked, too, and its words come before them."""
    local_llm.reply_calls({"name": "clock", "arguments": {"zone": "CET"}}, text="Let me see.")
    tools = [{"type": "function", "function": {"name": "clock"}}]
    message = chat.delay(HI, tools=tools).get(timeout=10)["message"]
    assert message["content"] == "Let me see."
    assert message["tool_calls"][0]["function"] == {"name": "clock", "arguments": {"zone": "CET"}}
    local_llm.reply_calls({"name": "sing", "arguments": {}}, times=3)  # it is asked twice again
    with pytest.raises(errors.InvalidOutput):
        chat.delay(HI, tools=tools, cache=False).get(timeout=10)


def test_log_probabilities_come_where_they_are_asked_for(local_llm: LocalLLM) -> None:
    """One for each token."""
    local_llm.reply("Hi there.", times=2)
    tokens = chat.delay(HI, logprobs=True, top_logprobs=1).get(timeout=10)["logprobs"]
    assert [token["token"] for token in tokens] == ["Hi ", "there."]
    assert [len(token["top_logprobs"]) for token in tokens] == [1, 1]
    assert chat.delay(HI).get(timeout=10)["logprobs"] is None


def test_a_long_answer_is_cut_at_the_callers_budget(local_llm: LocalLLM) -> None:
    """A word is a token; a summary keeps its whole sentences."""
    local_llm.reply("one two three four").reply("It rained. It was very wet.", times=None)
    cut = answer(max_tokens=2)
    assert (cut["text"], cut["finish_reason"]) == ("one two ", "length")
    assert cut["usage"] == {"prompt_tokens": 1, "completion_tokens": 2}
    found = summarize.delay("text " * 9, max_summary_tokens=4).get(timeout=10)
    assert (found["summary"], found["finish_reason"]) == ("It rained.", "length")


def test_a_stream_is_one_text_in_the_end(local_llm: LocalLLM) -> None:
    """With pauses in it, as a model writes."""
    local_llm.stream("pie", "ces", pause_seconds=0.01)
    assert answer()["text"] == "pieces"


# --- errors -------------------------------------------------------------------------------------


def test_a_passing_error_is_tried_again(local_llm: LocalLLM) -> None:
    """The caller sees the answer; the model was asked twice."""
    local_llm.fail(errors.OllamaBusy).reply("At last.")
    assert answer()["text"] == "At last."
    assert len(local_llm.prompts) == 2


def test_an_error_that_stays_is_the_callers(local_llm: LocalLLM) -> None:
    """After MAX_ATTEMPTS tries, with its class, code, hint and message."""
    local_llm.fail(errors.OllamaBusy("scripted", "Wait."), times=3)
    with pytest.raises(errors.OllamaBusy, match="scripted") as caught:
        answer()
    assert (caught.value.code, caught.value.hint) == ("ollama_busy", "Wait.")
    assert len(local_llm.prompts) == 3


@pytest.mark.parametrize(
    "error", [errors.ModelFailed, errors.ContextOverflow, errors.InvalidOutput]
)
def test_an_error_for_good_is_not_tried_again(
    local_llm: LocalLLM, error: type[errors.ServiceError]
) -> None:
    """One try, and nothing in the cache: the next call asks again."""
    local_llm.fail(error, "half an ans").reply("Well.")
    with pytest.raises(error):
        answer()
    assert answer()["text"] == "Well."


@pytest.mark.parametrize(
    ("script", "says"),
    [
        (lambda one: one.fail(errors.QueueFull), "max_queue_length"),
        (lambda one: one.fail(errors.BrokerUnreachable), "redis_away"),
        (lambda one: one.fail(ValueError("a")), "not ValueError"),
        (lambda one: one.fail(ValueError), "error of the service"),
        (lambda one: one.reply(None), "not NoneType"),
        (lambda one: one.reply("a", times=0), "1 or more"),
        (lambda one: one.stream(), "at least one"),
        (lambda one: one.stream("a", 1), "pieces of text"),
        (lambda one: one.delay(-1), "0 or more"),
        (lambda one: one.delay(float("nan")), "0 or more"),
        (lambda one: one.reply_json({1, 2}), "not JSON serializable"),
        (lambda one: one.reply_calls(), "at least one"),
        (lambda one: one.reply_calls({"name": "f"}), "at least one"),
    ],
)
def test_a_script_that_cannot_be_is_an_error_at_its_line(
    local_llm: LocalLLM, script: Callable[[LocalLLM], object], says: str
) -> None:
    """The message says what to do instead."""
    with pytest.raises((TypeError, ValueError), match=says):
        script(local_llm)
    assert local_llm.unused == 0


@pytest.mark.local_llm(settings={"max_queue_length": 1})
def test_a_full_queue(local_llm: LocalLLM) -> None:
    """Settings are those of the service, by their names in docs/settings.md in small letters."""
    with local_llm.held():
        first = generate.delay("first")
        with pytest.raises(errors.QueueFull):
            generate.delay("second")
    assert first.get(timeout=10)["text"] == "Echo: first."


def test_redis_goes_away_and_comes_back(local_llm: LocalLLM) -> None:
    """A call fails as in production; a job that was queued before is answered afterwards."""
    local_llm.reply("Safe.")
    with local_llm.held():
        job = generate.delay("first")
        local_llm.wait_until_asked()
        with local_llm.redis_away():
            with pytest.raises(errors.BrokerUnreachable):
                generate.delay("second")
            with pytest.raises(errors.BrokerUnreachable):
                status(job.id)
    assert job.get(timeout=10)["text"] == "Safe."


# --- the service is the real one ----------------------------------------------------------------


def test_a_repeated_question_is_cached(local_llm: LocalLLM) -> None:
    """Also for another caller; not where the call says so; statistics count it."""
    origins = [answer()["origin"], answer()["origin"], answer(cache=False)["origin"]]
    assert origins == ["computed", "cached", "computed"]
    found = local_llm.stats()
    assert (found["hits"], found["misses"]) == (1, 2)


def test_identical_calls_share_one_run(local_llm: LocalLLM) -> None:
    """Whoever asks while the answer is written joins it."""
    with local_llm.held():
        jobs = [generate.delay("same") for _ in range(3)]
        local_llm.wait_until_asked()
    assert sorted(job.get(timeout=10)["origin"] for job in jobs) == ["computed", *["joined"] * 2]
    assert len(local_llm.prompts) == 1


def test_urgent_jobs_go_first(local_llm: LocalLLM) -> None:
    """One slot, so the order of the prompts is that of the queues."""
    with local_llm.held():
        jobs = [generate.delay("busy")]
        local_llm.wait_until_asked()
        jobs += [generate.delay(word, priority=word) for word in ("low", "normal", "high")]
        assert [queue["waiting"] for queue in queues()] == [1, 1, 1]
    for job in jobs:
        job.get(timeout=10)
    assert [asked.text for asked in local_llm.prompts] == ["busy", "high", "normal", "low"]
    assert [job.priority for job in local_llm.submitted] == ["high", "low", "normal", "high"]


def test_a_job_is_cancelled_while_it_waits_and_while_it_runs(local_llm: LocalLLM) -> None:
    """By our call, and by Celery's own."""
    with local_llm.held():
        running, waiting = generate.delay("runs"), generate.delay("waits")
        local_llm.wait_until_asked()
        assert (status(running.id), status(waiting.id)) == ("running", "queued")
        assert cancel(waiting.id) == "cancelled"
        running.revoke()
        for job in (running, waiting):
            with pytest.raises(errors.Cancelled):
                job.get(timeout=10)
    assert len(local_llm.prompts) == 1


def test_a_deadline_ends_a_job_that_runs_and_one_that_waits(local_llm: LocalLLM) -> None:
    """Nobody has to wait for the answer that is held."""
    with local_llm.held():
        jobs = [generate.delay(word, deadline_seconds=0.1) for word in ("runs", "waits")]
        for job in jobs:
            with pytest.raises(errors.DeadlineExceeded):
                job.get(timeout=10)


def test_a_late_answer_is_not_there_yet(local_llm: LocalLLM) -> None:
    """`delay` is of the next answer, scripted or not."""
    local_llm.delay(0.1).reply("Late.")
    job = generate.delay("Hello")
    assert job.state in (states.PENDING, states.STARTED)
    assert job.get(timeout=10)["timings"]["prompt_seconds"] >= 0.1
    assert local_llm.delay(0.1) is local_llm
    assert answer("next")["timings"]["prompt_seconds"] >= 0.1
    assert answer("after that")["timings"]["prompt_seconds"] < 0.1


def test_a_wrong_call_is_refused_and_queues_nothing(local_llm: LocalLLM) -> None:
    """As in production, in the caller."""
    with pytest.raises(errors.InvalidRequest, match="max_tokens"):
        generate.delay("Hello", max_tokens=0)
    assert local_llm.submitted == []


def test_what_was_submitted_has_its_arguments(local_llm: LocalLLM) -> None:
    """In order, with a state that goes on; what the cache answers is not queued."""
    generate.delay("Hello", max_tokens=5).get(timeout=10)
    generate.delay("Hello", max_tokens=5).get(timeout=10)
    job = generate.apply_async(("Later",), countdown=60)
    first, second = local_llm.submitted
    assert (first.kind, first.arguments) == ("generate", {"prompt": "Hello", "max_tokens": 5})
    assert (second.id, first.state, second.state) == (job.id, "succeeded", "deferred")


@pytest.mark.local_llm(models=["first:1b", "second:1b"])
def test_models_are_those_of_the_marker(local_llm: LocalLLM) -> None:
    """The first is the default; another one is missing until it is pulled."""
    assert [model["name"] for model in models()] == ["first:1b", "second:1b"]
    assert [answer()["model"], answer(model="second:1b")["model"]] == ["first:1b", "second:1b"]
    waiting = generate.delay("Hello", model="third:1b")
    wait_until(lambda: status(waiting.id) == "parked", "nobody serves it")
    local_llm.add_model("third:1b")
    assert waiting.get(timeout=10)["model"] == "third:1b"


@pytest.mark.local_llm(settings={"model_wait_seconds": 0.05})
def test_a_model_that_nobody_has_is_missing(local_llm: LocalLLM) -> None:
    """After MODEL_WAIT_SECONDS, which are two here, as a service's minute is too long."""
    with pytest.raises(errors.ModelMissing):
        answer(model="unknown:1b")


def test_chains_groups_and_chords_run(local_llm: LocalLLM) -> None:
    """Celery's canvas, with what a failure does to it."""
    local_llm.reply("a").reply("b")
    done = chord([generate.si("one"), generate.si("two")], generate.si("three"))()
    assert done.get(timeout=10)["text"] == "Echo: three."
    assert [job.arguments["prompt"] for job in local_llm.submitted] == ["one", "two", "three"]
    both = group([generate.si("four"), generate.si("five")])()
    assert [one["text"] for one in both.get(timeout=10)] == ["Echo: four.", "Echo: five."]
    local_llm.fail(errors.ModelFailed)
    after = chain(generate.si("six"), generate.si("seven")).delay()
    with pytest.raises(errors.ModelFailed):
        after.get(timeout=10)


def test_a_step_of_the_backends_own_app_gets_our_answer(local_llm: LocalLLM) -> None:
    """Its broker is kombu's own in this process, where a worker of that app would find it."""
    own = Celery("own", broker="memory://", backend="cache+memory://", set_as_current=False)

    @own.task(name="own.keep")
    def keep(found: dict[str, Any]) -> str:
        return str(found["text"])

    chain(generate.s("Hello"), keep.s()).delay()
    with own.connection() as connection, connection.SimpleQueue("celery") as queue:
        message = queue.get(timeout=10)
        message.ack()
    assert message.headers["task"] == "own.keep"
    assert message.payload[0][0]["text"] == "Echo: Hello."


def test_a_task_that_is_called_runs_here(local_llm: LocalLLM) -> None:
    """`generate(...)` without `.delay()` asks the same model."""
    local_llm.reply("Direct.")
    assert generate("Hello")["text"] == "Direct."
    assert health()["status"] == "healthy"


def test_a_job_by_name_that_does_not_exist_is_refused(local_llm: LocalLLM) -> None:
    """As a worker refuses it."""
    job = app.send_task("llm.translate", queue="llm.normal")
    with pytest.raises(errors.InvalidRequest, match="no task of this name"):
        job.get(timeout=10)


@pytest.mark.local_llm(slots=4)
def test_threads_and_event_loops_wait_at_once(local_llm: LocalLLM) -> None:
    """50 callers, four slots; nothing of it is particular to a main thread."""
    with ThreadPoolExecutor(50) as pool:
        found = list(pool.map(lambda n: answer(f"number {n}")["text"], range(50)))
    assert found == [f"Echo: number {n}." for n in range(50)]

    async def ask(number: int) -> str:
        return str((await asyncio.to_thread(answer, f"task {number}"))["text"])

    async def all_of_them() -> list[str]:
        return await asyncio.gather(*(ask(number) for number in range(10)))

    assert asyncio.run(all_of_them()) == [f"Echo: task {n}." for n in range(10)]


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """fakeredis, or lupa, without which that has no scripts."""
    monkeypatch.delitem(sys.modules, "local_llm_service.testing.fake_redis", raising=False)
    monkeypatch.setitem(sys.modules, "lupa", None)
    with pytest.raises(ModuleNotFoundError, match=r"local-llm-service\[testing\]"), fake():
        pass


# --- the clients --------------------------------------------------------------------------------

#: As a backend has them: made once, at import.
CLIENT, ASYNC_CLIENT = Client(), AsyncClient()


def test_the_client_works_as_in_production(local_llm: LocalLLM) -> None:
    """Typed answers, states by name, errors by class, and a job from its id alone."""
    local_llm.reply("It rained.").fail(errors.ModelFailed)
    job = CLIENT.summarize("A text. " * 60, priority="low")
    assert job.result(timeout_seconds=10).summary == "It rained."
    assert CLIENT.job(job.id).status() == "succeeded"
    with pytest.raises(errors.ModelFailed):
        CLIENT.generate("Hello").result(timeout_seconds=10)
    with local_llm.held():
        waiting = CLIENT.generate("Wait")
        with pytest.raises(errors.NotReady):
            waiting.result(timeout_seconds=0.01)
        assert waiting.cancel() in ("cancelled", "running")
        with pytest.raises(errors.Cancelled):
            waiting.result(timeout_seconds=10)
    assert [one.priority for one in local_llm.submitted] == ["low", "high", "high"]


def test_a_text_is_read_while_it_is_written(local_llm: LocalLLM) -> None:
    """By any reader, from any place; and how the job ended is an event."""
    local_llm.stream("pie", "ces", pause_seconds=0.1).fail(errors.ModelFailed, "half")
    job = CLIENT.generate("Hello", stream=True)
    events = list(job.stream())
    assert [event.text for event in events if event.type == "text"] == ["pie", "ces"]
    assert events[-1].answer is not None
    assert events[-1].answer.text == "pieces"
    (rest,) = [one.text for one in CLIENT.job(job.id).stream(events[0].offset) if one.text]
    assert rest == "ces"
    failed = list(CLIENT.generate("Again", stream=True).stream())
    assert (failed[-1].type, type(failed[-1].error)) == ("failed", errors.ModelFailed)

    async def read() -> list[str]:
        job = await ASYNC_CLIENT.generate("In a loop", stream=True)
        return [event.text async for event in job.stream()]

    assert "".join(asyncio.run(read())) == "Echo: In a loop."


def test_many_jobs_in_one_call(local_llm: LocalLLM) -> None:
    """Failures are values."""
    local_llm.reply("One.").fail(errors.ModelFailed).reply("Three.")
    items = [{"context": f"{text} " * 110} for text in "abc"]
    found = list(CLIENT.map("summarize", items))
    assert [getattr(one, "summary", None) for one in found] == ["One.", None, "Three."]
    assert isinstance(found[1], errors.ModelFailed)


async def asked(prompt: str) -> str:
    """An answer by the client of event loops."""
    job = await ASYNC_CLIENT.generate(prompt)
    return (await job.result(timeout_seconds=10)).text


@pytest.mark.parametrize("again", [False, True])
def test_the_client_of_event_loops_does_so_in_each_loop(local_llm: LocalLLM, again: bool) -> None:
    """Many waits at once, and a cancel; one loop after the other."""

    async def ask() -> list[str]:
        found = await asyncio.gather(*(asked(f"number {n}") for n in range(20)))
        with local_llm.held():
            job = await ASYNC_CLIENT.generate("Hold")
            await job.cancel()
            with pytest.raises(errors.Cancelled):
                await job.result(timeout_seconds=10)
        return found

    for _ in range(2):
        assert asyncio.run(ask()) == [f"Echo: number {n}." for n in range(20)]
    assert len(local_llm.prompts) in (20, 21, 22), "the second loop was answered from the cache"


def test_waits_of_event_loops_go_on_while_redis_is_away(local_llm: LocalLLM) -> None:
    """A new call fails, and the answer of the one before comes afterwards."""

    async def ask() -> str:
        with local_llm.held():
            job = await ASYNC_CLIENT.generate("Hold")
            waiting = asyncio.create_task(job.result(timeout_seconds=20))
            await asyncio.to_thread(local_llm.wait_until_asked)
            with local_llm.redis_away():
                with pytest.raises(errors.BrokerUnreachable):
                    await ASYNC_CLIENT.generate("Another")
                assert not waiting.done()
        return (await waiting).text

    assert asyncio.run(ask()) == "Echo: Hold."


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """A loop that many tests use, as pytest-asyncio can have it."""
    made = asyncio.new_event_loop()
    yield made
    assert asyncio.all_tasks(made) == set()
    made.run_until_complete(made.shutdown_asyncgens())
    made.close()


@pytest.mark.parametrize("again", [0, 1, 2])
def test_a_loop_may_outlive_a_test(
    loop: asyncio.AbstractEventLoop, local_llm: LocalLLM, again: int
) -> None:
    """The client's connections in it are those of this test, and nothing is left in it."""
    local_llm.reply(f"Test {again}.")
    assert loop.run_until_complete(asked("Hello")) == f"Test {again}."
    job = loop.run_until_complete(ASYNC_CLIENT.generate("In the middle"))
    assert job.id
    assert len(asyncio.all_tasks(loop)) <= 2, "the listener of this test, and its reader"


# --- one test after the other --------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["{one}:", "{two}:"])
def test_each_test_has_settings_of_its_own(request: pytest.FixtureRequest, prefix: str) -> None:
    """Whatever has read them before: Celery's app, its tracer, the clients."""
    request.applymarker(pytest.mark.local_llm(settings={"key_prefix": prefix}))
    request.getfixturevalue("local_llm")
    assert answer()["origin"] == "computed"
    keys = {str(key) for key in process_store().client.scan_iter()}
    assert {key[: len(prefix)] for key in keys} == {prefix}


@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize("backing", ["fake", "embedded"])
def test_nothing_is_left_of_an_earlier_test(
    request: pytest.FixtureRequest, again: bool, backing: str
) -> None:
    """Neither answers nor counts nor scripts, on both kinds of Redis."""
    request.applymarker(pytest.mark.local_llm(redis=backing))
    local_llm: LocalLLM = request.getfixturevalue("local_llm")
    assert answer()["origin"] == "computed"
    assert local_llm.stats()["total_requests"] == 1
    local_llm.reply("left over")


def test_a_test_may_end_while_its_jobs_run(local_llm: LocalLLM) -> None:
    """Its end does not wait for them; the next test has threads and model of its own."""
    local_llm.delay(60)
    generate.delay("Hello")
    local_llm.wait_until_asked()


def test_no_thread_is_left_of_an_earlier_test(local_llm: LocalLLM) -> None:
    """Those of this one are there."""
    names = sorted(thread.name for thread in threading.enumerate())
    assert "text-writer" not in names
    slots = [name for name in names if name.startswith("local-llm-slot")]
    assert slots == ["local-llm-slot-0"]
    assert len([name for name in names if name == "lease-heartbeat"]) == 1


def test_no_text_is_logged(local_llm: LocalLLM, caplog: pytest.LogCaptureFixture) -> None:
    """The rule of the service holds in its callers' tests, too."""
    caplog.set_level(logging.DEBUG)
    local_llm.reply("secret answer").fail(errors.ModelFailed)
    answer("secret question")
    with pytest.raises(errors.ModelFailed):
        answer("another secret")
    assert "secret" not in caplog.text


def test_an_id_that_is_none_is_told_and_harms_no_other_wait(local_llm: LocalLLM) -> None:
    """All waits of a process share one connection, which such an id would break for everybody."""
    for bad in (None, 5, b"x", "half \ud800"):
        for client in (Client(), AsyncClient()):
            with pytest.raises(errors.InvalidRequest, match="task_id"):
                client.job(bad)  # type: ignore[arg-type]
    with local_llm.held():
        job = Client().generate("Hello")
        with pytest.raises(errors.InvalidRequest, match="half a character"):
            generate.AsyncResult("half \ud800").get(timeout=0.5)
    assert job.result(timeout_seconds=5).text == "Echo: Hello."


def test_a_job_of_an_id_that_a_database_gives(local_llm: LocalLLM) -> None:
    """A driver of PostgreSQL makes a UUID of what a column of that type holds."""
    job = Client().generate("Hello", stream=True)
    same = Client().job(UUID(job.id))
    assert (same.id, same.result(timeout_seconds=5).text) == (job.id, "Echo: Hello.")
    assert [event.type for event in same.stream()][-1] == "end"
