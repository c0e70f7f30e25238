"""Jobs of several steps: what is kept and found again, who goes first, and what readers see."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from local_llm_service import Client
from local_llm_service.producers import cancel, status
from local_llm_service.tasks import generate, summarize
from local_llm_service.tasks.steps.protocol import Steps
from local_llm_service.testing.local_llm import LocalLLM
from local_llm_service.worker.engine import EngineDied
from local_llm_service.worker.errors import Cancelled, InvalidOutput, StreamBroken
from local_llm_service.worker.prompt import Message, Sampling
from local_llm_service.worker.store.keys import Keys
from local_llm_service.worker.store.scripts import Scripts
from local_llm_service.worker.store.states import JobRecord
from local_llm_service.worker.store.store import process_store
from tests.doubles.every_script import message
from tests.doubles.pieces import prompt_of, read_pieces, second_try, summary_of, working_by

KEYS = Keys()


def lines(*words: str) -> str:
    """A context of so many pieces."""
    return "\n".join(words)


def asked(local_llm: LocalLLM) -> list[str]:
    """What the model was asked, in order."""
    return [one.text for one in local_llm.prompts]


def record_of(task_id: str) -> JobRecord:
    """The job's record."""
    found = process_store().jobs.record(task_id)
    assert found is not None
    return found


def during(word: str, act: Callable[[], object]) -> Callable[[list[Message]], str]:
    """What the model says: the question in capitals; while it works at `word`, `act` happens."""

    def say(messages: list[Message]) -> str:
        text = messages[-1]["content"]
        if text == word:
            act()
        return text.upper()

    return say


def answer_of(job: Any) -> dict[str, Any]:
    """Wait for a job's answer."""
    found: dict[str, Any] = job.get(timeout=10)
    return found


def kept_keys() -> set[str]:
    """The names of the steps that are in Redis."""
    found = process_store().client.scan_iter(f"{KEYS.step}*")
    return {key.removeprefix(KEYS.step) for key in found}


# --- one run ----------------------------------------------------------------------------------


def test_a_job_of_one_step_asks_redis_for_no_step(
    local_llm: LocalLLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It costs nothing of what this is about."""
    called: list[str] = []
    run = Scripts.run

    def noted(self: Scripts, name: str, args: Any) -> Any:
        called.append(name)
        return run(self, name, args)

    monkeypatch.setattr(Scripts, "run", noted)
    answer_of(generate.delay("once"))
    assert "take" in called
    assert "note_step" not in called
    with working_by(read_pieces):
        answer_of(summarize.delay(lines("a", "b")))
    assert called.count("note_step") == 3
    assert kept_keys()


def test_all_steps_count_in_the_answer(local_llm: LocalLLM) -> None:
    """Those that were found, too: the answer stands for them."""
    with working_by(read_pieces):
        first = answer_of(summarize.delay(lines("a b", "c d")))
        second = answer_of(summarize.delay(lines("a b", "c d"), cache=True, max_summary_tokens=9))
    assert len(asked(local_llm)) == 3 + 1, "the pieces are known; the join is asked again"
    assert first["usage"] == second["usage"]
    assert first["usage"]["prompt_tokens"] > 4


def test_progress_is_in_the_record_while_the_job_runs(local_llm: LocalLLM) -> None:
    """Before the first piece, and before each next one."""
    seen: list[tuple[int, int, str]] = []
    jobs: list[Any] = []

    def look() -> None:
        record = record_of(jobs[0].id)
        seen.append((record.done, record.total, record.phase))

    local_llm.reply(lambda messages: (look(), "x")[1], times=None)
    with working_by(read_pieces), local_llm.held():
        jobs.append(summarize.delay(lines("a", "b")))
    with working_by(read_pieces):
        answer_of(jobs[0])
    assert seen == [(0, 3, "reading"), (1, 3, "reading"), (2, 3, "joining")]


# --- the same steps again ---------------------------------------------------------------------


def test_jobs_share_the_pieces_that_they_share(local_llm: LocalLLM) -> None:
    """A document that grew at its end pays for what is new; another tenant shares nothing."""
    with working_by(read_pieces):
        answer_of(summarize.delay(lines("a", "b")))
        answer_of(summarize.delay(lines("a", "b", "c")))
        answer_of(summarize.delay(lines("a", "c"), cache_scope="other"))
    pieces = [text for text in asked(local_llm) if not text.startswith("join")]
    assert pieces == ["a", "b", "c", "a", "c"]


@pytest.mark.parametrize("cache", [True, False])
def test_a_job_that_is_tried_again_pays_for_the_step_that_failed(
    local_llm: LocalLLM, cache: bool
) -> None:
    """Whether it shares anything or not; what it kept for itself goes with its result."""
    for word in ("A", "B"):
        local_llm.reply(word)
    local_llm.fail(StreamBroken)
    with working_by(read_pieces):
        job = summarize.delay(lines("a", "b", "c"), cache=cache)
        assert answer_of(job)["origin"] == "computed"
    assert asked(local_llm)[:4] == ["a", "b", "c", "c"]
    assert record_of(job.id).attempts == 1
    assert len(kept_keys()) == (3 if cache else 0)


def test_a_step_that_differs_each_time_is_of_one_job_alone(local_llm: LocalLLM) -> None:
    """A temperature without a seed; the job itself finds it, another one does not."""

    def work(request: Any, ask: Steps) -> Mapping[str, object]:
        for word in ("one", "two"):
            ask(prompt_of(word, sampling=Sampling(temperature=1.0, seed=None)), shared=True)
        return summary_of(ask(prompt_of(request.context)).text)

    local_llm.reply("1").reply("2").fail(StreamBroken)
    with working_by(work):
        answer_of(summarize.delay("first"))
        answer_of(summarize.delay("second"))
    assert asked(local_llm) == ["one", "two", "first", "first", "one", "two", "second"]
    assert kept_keys() == set()


def test_with_the_cache_off_a_job_still_finds_its_own_steps(
    local_llm_without_cache: LocalLLM,
) -> None:
    """And shares them with nobody."""
    local_llm = local_llm_without_cache
    local_llm.reply("A").fail(StreamBroken)
    with working_by(read_pieces):
        answer_of(summarize.delay(lines("a", "b")))
        answer_of(summarize.delay(lines("a", "b")))
    assert [text for text in asked(local_llm) if len(text) == 1] == ["a", "b", "b", "a", "b"]


@pytest.fixture
def local_llm_without_cache(request: pytest.FixtureRequest) -> LocalLLM:
    """The service with ENABLE_CACHE off."""
    request.node.add_marker(pytest.mark.local_llm(settings={"enable_cache": False}))
    found: LocalLLM = request.getfixturevalue("local_llm")
    return found


@pytest.mark.parametrize("bad", ["", "x", "{}", '{"text": 1}', "[" * 5000, "null"])
def test_what_cannot_be_read_is_not_there(local_llm: LocalLLM, bad: str) -> None:
    """Another version wrote it, or Redis was touched: the step is asked for again."""
    client = process_store().client

    def spoil() -> None:
        for name in kept_keys():
            client.set(f"{KEYS.step}{name}", bad, ex=60)

    with working_by(read_pieces):
        answer_of(summarize.delay(lines("a", "b")))
        spoil()
        answer_of(summarize.delay(lines("a", "c")))
    assert asked(local_llm)[3:5] == ["a", "c"]


def test_redis_goes_away_between_two_steps(local_llm: LocalLLM) -> None:
    """The work goes on; the answer is stored once Redis is back."""
    away = local_llm.redis_away()
    local_llm.reply(during("a", away.__enter__), times=1)
    local_llm.reply(during("b", lambda: None), times=1)
    local_llm.reply(during("join A B", lambda: away.__exit__(None, None, None)), times=1)
    with working_by(read_pieces):
        assert answer_of(summarize.delay(lines("a", "b")))["summary"] == "JOIN A B"
    assert len(asked(local_llm)) == 3


# --- making room ------------------------------------------------------------------------------


def test_an_urgent_job_starts_after_the_running_step(local_llm: LocalLLM) -> None:
    """Not after the job, which goes on where it was; twice at most, and no try is used."""
    urgent: list[Any] = []

    def say(messages: list[Message]) -> str:
        text = messages[-1]["content"]
        if len(text) == 1:
            urgent.append(generate.delay(f"urgent {len(urgent)}"))
        return text.upper()

    local_llm.reply(say, times=None)
    with working_by(read_pieces):
        job = summarize.delay(lines("a", "b", "c", "d"), priority="low")
        assert answer_of(job)["summary"] == "JOIN A B C D"
        for one in urgent:
            answer_of(one)
    order = [text[:8] for text in asked(local_llm)]
    assert order[:7] == ["a", "urgent 0", "b", "urgent 1", "c", "d", "join A B"]
    assert (record_of(job.id).yields, record_of(job.id).attempts) == (2, 0)


def test_a_job_that_made_room_is_queued_for_its_caller(local_llm: LocalLLM) -> None:
    """And never an error."""
    seen: list[str] = []
    jobs: list[Any] = []

    def say(messages: list[Message]) -> str:
        text = messages[-1]["content"]
        if text == "a":
            generate.delay("urgent")
        if text == "urgent":
            seen.append(status(jobs[0].id))
        return text

    local_llm.reply(say, times=None)
    with working_by(read_pieces), local_llm.held():
        jobs.append(summarize.delay(lines("a", "b"), priority="normal"))
    with working_by(read_pieces):
        answer_of(jobs[0])
    assert seen == ["queued"]


@pytest.mark.local_llm(slots=2)
def test_no_room_is_made_where_a_slot_is_free(local_llm: LocalLLM) -> None:
    """That one takes the urgent message, though it has not yet."""

    def put_and_wake_nobody() -> None:
        process_store().client.rpush(KEYS.queue("llm.high"), message("urgent"))

    local_llm.reply(during("a", put_and_wake_nobody), times=None)
    with working_by(read_pieces):
        job = summarize.delay(lines("a", "b"), priority="low")
        answer_of(job)
    assert record_of(job.id).yields == 0


def test_no_room_is_made_for_jobs_that_are_no_more_urgent(local_llm: LocalLLM) -> None:
    """Neither for its equals nor for those that can wait."""

    def more() -> None:
        generate.delay("equal", priority="normal")
        generate.delay("low", priority="low")

    local_llm.reply(during("a", more), times=None)
    with working_by(read_pieces):
        answer_of(summarize.delay(lines("a", "b"), priority="normal"))
    assert asked(local_llm)[:3] == ["a", "b", "join A B"]


def test_who_joined_a_job_that_makes_room_goes_on_with_its_steps(local_llm: LocalLLM) -> None:
    """The joined job is more urgent than its leader, and no piece is read twice."""
    urgent: list[Any] = []

    def say(messages: list[Message]) -> str:
        text = messages[-1]["content"]
        if text == "b":
            urgent.append(generate.delay("urgent", priority="high"))
        return text.upper()

    local_llm.reply(say, times=None)
    with working_by(read_pieces), local_llm.held():
        leader = summarize.delay(lines("a", "b", "c"), priority="low")
        local_llm.wait_until_asked()
        joined = summarize.delay(lines("a", "b", "c"), priority="normal")
    with working_by(read_pieces):
        answers = [answer_of(job) for job in (leader, joined, *urgent)]
    assert asked(local_llm) == ["a", "b", "urgent", "c", "join A B C"]
    assert sorted(one["origin"] for one in answers[:2]) == ["computed", "joined"]
    assert record_of(leader.id).yields == 1


def test_a_job_in_a_chain_makes_room_too(local_llm: LocalLLM) -> None:
    """The chain goes on after it."""

    def more() -> None:
        generate.delay("urgent", priority="high")

    local_llm.reply(during("a", more), times=None)
    with working_by(read_pieces):
        head = summarize.s(lines("a", "b"), priority="low")
        last = (head | generate.s(priority="low")).apply_async()
        assert answer_of(last)["text"] == "JOIN A B"
    assert asked(local_llm) == ["a", "urgent", "b", "join A B", "JOIN A B"]


def test_an_engine_that_dies_in_a_step_costs_that_step(local_llm: LocalLLM) -> None:
    """The job is a suspect then, runs alone, and makes no room."""
    local_llm.reply("A").fail(EngineDied("Ollama died")).reply("B")
    local_llm.reply(during("c", lambda: generate.delay("urgent")), times=None)
    with working_by(read_pieces):
        job = summarize.delay(lines("a", "b", "c"), priority="low")
        answer_of(job)
    assert asked(local_llm)[:5] == ["a", "b", "b", "c", "join A B C"]
    assert (record_of(job.id).engine_deaths, record_of(job.id).yields) == (1, 0)


def test_a_death_is_unexplained_once_the_whole_job_is_answered(local_llm: LocalLLM) -> None:
    """Not once its first step is: the one that kills may come yet."""
    deaths = local_llm._worker._runtime.engine_deaths
    seen: list[bool] = []
    local_llm.reply("A").fail(EngineDied("Ollama died")).reply("B").fail(StreamBroken)
    local_llm.reply(during("c", lambda: seen.append(deaths.has_unexplained)), times=None)
    with working_by(read_pieces):
        answer_of(summarize.delay(lines("a", "b", "c")))
    assert (seen, deaths.has_unexplained) == ([False], True)


def test_a_cancel_ends_a_job_between_two_steps(local_llm: LocalLLM) -> None:
    """The next one is never asked."""
    jobs: list[Any] = []
    local_llm.reply(during("a", lambda: cancel(jobs[0].id)), times=None)
    with working_by(read_pieces), local_llm.held():
        jobs.append(summarize.delay(lines("a", "b"), cache=False))
    with working_by(read_pieces), pytest.raises(Cancelled):
        answer_of(jobs[0])
    assert "join A B" not in asked(local_llm)
    assert kept_keys() == set()


# --- readers ----------------------------------------------------------------------------------


def told(job: Any) -> list[str]:
    """What a reader is told, text in one piece."""
    found: list[str] = []
    for event in job.stream():
        if event.type == "text" and found and found[-1].startswith("text"):
            found[-1] += event.text
        else:
            found.append(f"{event.type} {event.text}" if event.text else event.type)
    return found


def test_a_reader_keeps_the_text_of_the_last_spoken_step(local_llm: LocalLLM) -> None:
    """A second one begins anew; what is not spoken is seen by nobody."""
    local_llm.stream("One ", "two ", "three", pause_seconds=0.01).reply("hidden")
    local_llm.stream("One ", "two.", pause_seconds=0.01)
    client = Client()
    with working_by(second_try):
        job = client.summarize("text", stream=True)
        assert told(job) == ["text One two three", "restart", "text One two.", "end"]
        assert record_of(job.id).run
        late = client.job(job.id)
        assert told(late) == ["text One two.", "end"]


def test_a_reader_of_a_joined_job_sees_the_same(local_llm: LocalLLM) -> None:
    """By the leader's text."""
    client = Client()
    local_llm.reply("first").reply("hidden").reply("second")
    with working_by(second_try), local_llm.held():
        client.summarize("text")
        local_llm.wait_until_asked()
        joined = client.summarize("text", stream=True)
    with working_by(second_try):
        assert told(joined)[-2:] == ["text second", "end"]
        assert joined.result(10).origin == "joined"


def test_a_step_that_is_found_is_read_as_one_that_is_written(local_llm: LocalLLM) -> None:
    """After a retry its text is there in one piece, and no older one is taken for the answer's."""

    def work(request: Any, ask: Steps) -> Mapping[str, object]:
        ask(prompt_of("draft", sampling=Sampling(temperature=1.0, seed=None)))
        found = ask(prompt_of("final"), shared=True)
        if ask.steps == 2 and request.context == "second":
            ask(prompt_of("hidden", spoken=False))
        return summary_of(found.text)

    client = Client()
    local_llm.reply("Draft.").reply("Final.")
    with working_by(work):
        client.summarize("first").result(10)
        assert kept_keys() == set(), "the last step of a job is not kept: its answer is"
        local_llm.reply("Another draft.").reply("Final.").fail(StreamBroken).reply("done")
        job = client.summarize("second", stream=True)
        assert told(job)[-2:] == ["text Final.", "end"]
    assert asked(local_llm)[2:] == ["draft", "final", "hidden", "hidden"]


def test_a_failure_after_a_text_is_a_failure(local_llm: LocalLLM) -> None:
    """Its readers are told, whatever they have read."""

    def work(request: Any, ask: Steps) -> Mapping[str, object]:
        ask(prompt_of("one"))
        ask(prompt_of("two"))
        raise InvalidOutput("no answer keeps the budget")

    local_llm.reply("One.").reply("Two.")
    with working_by(work):
        assert told(Client().summarize("x", stream=True))[-2:] == ["text Two.", "failed"]
