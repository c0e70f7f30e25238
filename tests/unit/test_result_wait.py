"""Waiting for a result, on a clock and a listener that the test plays: no Redis, no sleep."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import redis

from local_llm_service.producers import result_wait
from local_llm_service.producers.job_core import JobCore, JobFacts
from local_llm_service.tasks.generate import GenerateAnswer
from local_llm_service.worker.errors import (
    BrokerUnreachable,
    Cancelled,
    InternalError,
    ModelFailed,
    NotFound,
    NotReady,
)
from local_llm_service.worker.listening import ear, wait
from local_llm_service.worker.listening.line import SILENCE_SECONDS, Away, Line
from local_llm_service.worker.listening.sleepers import ThreadSleeper
from local_llm_service.worker.listening.wait import Wait
from local_llm_service.worker.store.calls import Call, Command, Rest, drive
from local_llm_service.worker.store.eviction import EvictionCheck
from local_llm_service.worker.store.keys import Keys
from local_llm_service.worker.store.moves import Moves
from local_llm_service.worker.store.states import NO_CACHE, JobState, Lifetimes, Seen

TIMINGS = {f"{word}_seconds": 0.0 for word in ("queued", "load", "prompt", "generation")}
ANSWER = {
    "task_id": "1",
    "kind": "generate",
    "model": "m",
    "origin": "computed",
    "finish_reason": "stop",
    "usage": {"prompt_tokens": 1, "completion_tokens": 1},
    "timings": TIMINGS,
    "text": "Hello.",
}
RUNNING, UNKNOWN = Seen(None, JobState.RUNNING), Seen(None, None)


def stored(result: Any, status: str = "SUCCESS") -> str:
    """A result as Redis holds it."""
    return json.dumps({"status": status, "result": result, "traceback": None, "children": []})


def failure(kind: str, *arguments: str, module: str = "local_llm_service.worker.errors") -> str:
    """A failure as Celery stores it."""
    error = {"exc_type": kind, "exc_message": arguments, "exc_module": module}
    return stored(error, "FAILURE")


class Site:
    """A client's process: Redis, its listener, and time, all played."""

    url = "redis://127.0.0.1:1/0"
    reads_first = False
    eviction = EvictionCheck()
    moves = Moves(Keys(), Lifetimes(60.0, 600, 60), NO_CACHE)

    def __init__(self) -> None:
        self.now = 1000.0
        self.line = Line(lambda: self.now)
        #: What is in Redis.
        self.there: Seen | Exception = RUNNING
        #: What happens after so many seconds.
        self.later: list[tuple[float, Callable[[], object]]] = []
        self.waits: list[Wait[Any]] = []
        self.looks = self.commands = 0

    @property
    def listener(self) -> Site:
        return self

    @contextmanager
    def wait(self, task_ids: list[str]) -> Iterator[Wait[ThreadSleeper]]:
        here = Wait(self, task_ids, ThreadSleeper())
        self.waits.append(here)
        if not self.line.away():
            self.look_soon("1")
        try:
            yield here
        finally:
            self.waits.remove(here)

    def look_soon(self, task_id: str | None = None) -> None:
        self.looks += 1
        assert isinstance(self.there, Seen)
        for here in self.waits:
            here.looked_up("1", self.there)

    def away(self, patience: float = SILENCE_SECONDS) -> Away | None:
        return self.line.away(patience)

    def publish(self, text: str) -> None:
        """Redis announces a result."""
        for here in self.waits:
            here.looked_up("1", Seen(text, JobState.RUNNING))

    def goes_away(self) -> None:
        """The connection breaks."""
        self.line.is_lost(redis.ConnectionError())
        for here in self.waits:
            here.redis_is_away()

    def after(self, seconds: float, happens: Callable[[], object]) -> None:
        """Let something happen while somebody waits."""
        self.later.append((self.now + seconds, happens))

    def answer(self, call: Call) -> Any:
        """What a driver does: time passes only here."""
        if isinstance(call, Rest):
            assert isinstance(call.sleeper, ThreadSleeper)
            if call.sleeper._rung.is_set():
                return None
            end = self.now + call.seconds
            due = [one for one in self.later if one[0] <= end]
            self.now = min([end, *(at for at, _ in due)])
            for one in [one for one in due if one[0] <= self.now]:
                self.later.remove(one)
                one[1]()
            return None
        self.commands += 1
        if isinstance(self.there, Exception):
            raise self.there
        if isinstance(call, Command):
            return self.there.result
        return [self.there.result or "", str(self.there.state or "")]

    def result(
        self, timeout: float | None = None, answer: type[Any] | None = GenerateAnswer
    ) -> GenerateAnswer:
        """Wait as a client does."""
        core = JobCore(self, JobFacts("1", answer))
        found: GenerateAnswer = drive(core.result(timeout), self.answer)
        assert self.waits == []
        return found

    def ends_in(self, error: type[Exception], timeout: float | None = None) -> tuple[Any, float]:
        """Wait for an error; returns it, and after how many seconds it came."""
        began = self.now
        with pytest.raises(error) as found:
            self.result(timeout)
        assert self.waits == [], "the wait was cleaned up"
        return found.value, self.now - began


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Site:
    """A site where the job runs."""
    site = Site()
    for module in (result_wait, wait, ear):
        monkeypatch.setattr(module, "monotonic", lambda: site.now)
    return site


def test_a_result_that_is_announced_ends_the_wait(site: Site) -> None:
    """Its listener finds it; the wait asks nothing of its own."""
    site.after(5, lambda: site.publish(stored(ANSWER)))
    assert site.result(60).text == "Hello."
    assert site.now == 1005
    assert site.commands == 0


def test_a_state_that_is_not_the_last_does_not(site: Site) -> None:
    """Celery publishes PROGRESS on the same channel."""
    site.after(1, lambda: site.publish(stored({"done": 1}, "PROGRESS")))
    site.after(2, lambda: site.publish(stored(ANSWER)))
    assert site.result(60).text == "Hello."
    assert site.now == 1002


def test_a_result_whose_message_was_lost_is_found_by_a_look(site: Site) -> None:
    """The listener polls."""

    def is_stored() -> None:
        site.there = Seen(stored(ANSWER), JobState.SUCCEEDED)
        site.after(3, lambda: site.look_soon())

    site.after(1, is_stored)
    assert site.result(60).text == "Hello."


def test_a_job_that_is_not_ready_in_time_is_told_with_its_state(site: Site) -> None:
    """It is a TimeoutError, too."""
    error, seconds = site.ends_in(NotReady, 7)
    assert isinstance(error, TimeoutError)
    assert "running" in error.message
    assert seconds == 7


@pytest.mark.parametrize(("timeout", "seconds"), [(None, 2.0), (60, 2.0), (0.5, 0.5), (0, 0)])
def test_a_job_that_nobody_knows_is_not_found(
    site: Site, timeout: float | None, seconds: float
) -> None:
    """Two looks with two seconds between them, or fewer where there is no time."""
    site.there = UNKNOWN
    assert site.ends_in(NotFound, timeout)[1] == seconds


def test_a_job_that_was_sent_by_name_is_waited_for(site: Site) -> None:
    """It has no record until a worker collects it."""
    site.there = UNKNOWN
    site.after(1, lambda: setattr(site, "there", RUNNING))
    site.after(30, lambda: site.publish(stored(ANSWER)))
    assert site.result().text == "Hello."


@pytest.mark.parametrize("gone", [UNKNOWN, Seen(None, JobState.SUCCEEDED)])
def test_a_job_that_vanishes_while_somebody_waits_is_not_found(site: Site, gone: Seen) -> None:
    """Redis lost its data, or the result has expired: there will be none."""

    def vanishes() -> None:
        site.there = gone
        site.look_soon()

    site.after(10, vanishes)
    assert site.ends_in(NotFound)[1] == 12


def test_one_look_is_one_call(site: Site) -> None:
    """And no wait: the listener has no part in it."""
    site.there = Seen(stored(ANSWER), None)
    assert site.result(0).text == "Hello."
    site.there = RUNNING
    site.ends_in(NotReady, 0)
    site.there = redis.ConnectionError()
    site.ends_in(BrokerUnreachable, 0)
    assert (site.commands, site.looks) == (3, 0)


def test_a_patient_thread_reads_first(site: Site) -> None:
    """What is there needs no listener; a Redis that is away leaves it to the listener."""
    site.reads_first = True
    site.there = Seen(stored(ANSWER), None)
    assert site.result(60).text == "Hello."
    assert (site.commands, site.looks) == (1, 0)


def test_a_redis_that_was_never_reached_ends_the_wait_soon(site: Site) -> None:
    """Within 5 s, whatever the timeout."""
    site.goes_away()
    for timeout in (None, 60.0):
        assert site.ends_in(BrokerUnreachable, timeout)[1] == pytest.approx(4.5)


def test_a_wait_outlives_a_redis_that_comes_back(site: Site) -> None:
    """And one that does not come back ends a wait without a timeout after a minute."""
    site.after(1, site.goes_away)
    site.after(31, site.line.is_there)
    site.after(40, lambda: site.publish(stored(ANSWER)))
    assert site.result().text == "Hello."
    site.after(1, site.goes_away)
    assert site.ends_in(BrokerUnreachable)[1] == 61


def test_a_failure_is_raised_as_it_was_and_anew_each_time(site: Site) -> None:
    """Two who ask get two errors: a traceback belongs to one."""
    site.there = Seen(failure("ModelFailed", "the model broke", "Look."), None)
    core = JobCore(site, JobFacts("1", GenerateAnswer))
    errors = []
    for _ in range(2):
        with pytest.raises(ModelFailed, match="the model broke") as found:
            drive(core.result(5), site.answer)
        errors.append(found.value)
    assert errors[0] is not errors[1]
    assert errors[0].hint == "Look."


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (failure("TaskRevokedError", "revoked", module="celery.exceptions"), Cancelled),
        (failure("ValueError", "a secret", module="builtins"), InternalError),
        ("{no JSON", InternalError),
        (stored("a secret"), InternalError),
        (stored({"kind": "generate", "text": ["a secret"]}), InternalError),
        (stored({"kind": "sing", "text": "a secret"}), InternalError),
        (stored({"kind": "__doc__"}), InternalError),
    ],
)
def test_what_is_no_answer_is_an_error_of_ours_without_its_text(
    site: Site, text: str, error: type[Exception]
) -> None:
    """Whatever is stored under a job's id."""
    site.there = Seen(text, None)
    with pytest.raises(error) as found:
        site.result(5, None)
    assert "secret" not in f"{found.value.args}{found.value}"


def test_a_job_rebuilt_from_its_id_gives_the_answer_of_its_kind(site: Site) -> None:
    """The answer says which."""
    site.there = Seen(stored(ANSWER), None)
    assert isinstance(site.result(5, None), GenerateAnswer)
