"""What a listener knows without I/O: what to subscribe, what a reply means, when Redis is away."""

from __future__ import annotations

from typing import Any

import pytest
import redis

from local_llm_service.worker.errors import BrokerUnreachable
from local_llm_service.worker.listening import ear as ears
from local_llm_service.worker.listening import line as lines
from local_llm_service.worker.listening import patience, wait
from local_llm_service.worker.listening.ear import LOOK, ThreadEar
from local_llm_service.worker.listening.interests import BATCH, Interests
from local_llm_service.worker.listening.line import Away, Line
from local_llm_service.worker.listening.sleepers import ThreadSleeper
from local_llm_service.worker.listening.wait import NoResult, Wait
from local_llm_service.worker.store.keys import Keys
from local_llm_service.worker.store.states import JobState, Seen

KEYS = Keys()
NOTHING = Seen(None, JobState.RUNNING)


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of waits, ears and lines."""
    clock = Clock()
    for module in (wait, ears):
        monkeypatch.setattr(module, "monotonic", clock)
    return clock


class Watch:
    """A listener, as far as a wait knows it."""

    url = "redis://127.0.0.1:1/0"

    def __init__(self, clock: Clock) -> None:
        self.line = Line(clock)

    def away(self, patience: float = lines.SILENCE_SECONDS) -> Away | None:
        return self.line.away(patience)

    def look_soon(self, task_id: str | None = None) -> None:
        self.line.look_soon()


@pytest.fixture
def watch(clock: Clock) -> Watch:
    """A listener whose Redis has not been asked yet."""
    return Watch(clock)


@pytest.fixture
def interests() -> Interests:
    """Those of a listener that serves nobody."""
    return Interests(KEYS)


def waiting(watch: Watch, *ids: str) -> Wait[ThreadSleeper]:
    """A wait for these jobs."""
    return Wait(watch, ids, ThreadSleeper())


def message(task_id: str, payload: bytes) -> list[bytes]:
    """What Redis publishes of a job."""
    return [b"message", KEYS.announced(task_id).encode(), payload]


def confirmed(task_id: str) -> list[bytes]:
    """Redis will tell of a job from now on."""
    return [b"subscribe", KEYS.announced(task_id).encode(), b"1"]


# --- who wants what --------------------------------------------------------------------------


def test_what_somebody_wants_is_subscribed_once_and_looked_at_when_confirmed(
    interests: Interests, watch: Watch
) -> None:
    """Not before: what is published in between would be missed."""
    one, other = waiting(watch, "a"), waiting(watch, "a")
    interests.begin(one)
    assert interests.subscriptions() == ([("SUBSCRIBE", [KEYS.announced("a")])], set())
    channel = interests.read(confirmed("a"))
    assert channel == KEYS.announced("a")
    assert interests.look({channel}) == ["a"]
    # One more waits for the same job: it is looked at at once.
    interests.begin(other)
    assert interests.subscriptions() == ([], {KEYS.announced("a")})
    interests.end(one, {"a"})
    assert interests.subscriptions() == ([], set())
    interests.end(other, {"a"})
    assert interests.subscriptions() == ([("UNSUBSCRIBE", [KEYS.announced("a")])], set())
    assert interests.are_none


def test_many_are_subscribed_in_batches(interests: Interests, watch: Watch) -> None:
    """One command does not hold Redis up."""
    interests.begin(waiting(watch, *(f"job {n}" for n in range(2 * BATCH + 1))))
    commands, _ = interests.subscriptions()
    assert [len(channels) for _, channels in commands] == [BATCH, BATCH, 1]


def test_a_new_connection_subscribes_everything_again(interests: Interests, watch: Watch) -> None:
    """Redis has forgotten what the old one had asked for."""
    interests.begin(waiting(watch, "a"))
    interests.subscriptions()
    interests.forget_subscriptions()
    assert interests.subscriptions()[0] == [("SUBSCRIBE", [KEYS.announced("a")])]


def test_what_is_heard_is_looked_at_and_not_believed(interests: Interests, watch: Watch) -> None:
    """Anybody can publish: the result itself is read."""
    here = waiting(watch, "a")
    interests.begin(here)
    for payload in (b'{"status": "SUCCESS"}', b"", b"{forged"):
        assert interests.read(message("a", payload)) == KEYS.announced("a")
    assert here.take() is None
    interests.looked_up("a", Seen("{}", None))
    assert here.take() == ("a", "{}")
    assert interests.read([b"pong", b""]) is None
    assert interests.read(b"PONG") is None


def test_a_message_for_nobody_is_nothing(interests: Interests, watch: Watch) -> None:
    """The wait has ended meanwhile."""
    assert interests.read(message("gone", b"{}")) is None
    interests.looked_up("gone", NOTHING)


# --- ears ------------------------------------------------------------------------------------


def test_an_ear_hears_payloads_and_is_told_to_look_again(
    interests: Interests, watch: Watch
) -> None:
    """When a subscription is confirmed, at a poll, and for what came too fast to be taken."""
    ear = ThreadEar(watch, interests.change, ThreadSleeper())
    ear.listen_to(["text.a"])
    assert interests.subscriptions()[0] == [("SUBSCRIBE", ["text.a"])]
    assert interests.look({"text.a"}) == []  # no result is to be read
    interests.look({"text.a"})  # two marks in a row are one
    interests.read([b"message", b"text.a", b"piece"])
    assert [ear.next(0) for _ in range(3)] == [LOOK, b"piece", None]
    assert ear.channel == "text.a"
    for number in range(ears.PAYLOADS_MOST + 1):
        interests.read([b"message", b"text.a", b"%d" % number])
    assert [ear.next(0), ear.next(0)] == [LOOK, b"%d" % ears.PAYLOADS_MOST]
    ear.listen_to(["text.b"])
    assert interests.subscriptions()[0] == [
        ("SUBSCRIBE", ["text.b"]),
        ("UNSUBSCRIBE", ["text.a"]),
    ]
    ear.listen_to(())
    assert interests.are_none


def test_an_ear_gives_up_on_a_redis_that_is_away(
    interests: Interests, watch: Watch, clock: Clock
) -> None:
    """After seconds when it was never reached, after a minute when it was."""
    ear = ThreadEar(watch, interests.change, ThreadSleeper())
    ear.listen_to(["text.a"])
    clock.now += patience.REACH_SECONDS
    with pytest.raises(BrokerUnreachable):
        ear.next(10)
    interests.look({"text.a"})
    watch.line.is_lost(redis.ConnectionError())
    assert [ear.next(0), ear.next(0)] == [LOOK, None]
    clock.now += patience.AWAY_SECONDS
    with pytest.raises(BrokerUnreachable):
        ear.next(10)


# --- is Redis there? -------------------------------------------------------------------------


def test_a_line_is_away_when_it_is_silent_or_broken(clock: Clock) -> None:
    """Silence counts from the first question without an answer."""
    line = Line(clock)
    assert line.away() is None
    line.asks()
    asked_at = clock.now
    clock.now += 1
    line.asks()
    assert line.away() is None
    clock.now += lines.SILENCE_SECONDS
    assert line.away() == Away(asked_at, asked_at)
    error = redis.ConnectionError()
    line.is_lost(error)
    assert line.away() == Away(asked_at, clock.now, error)
    line.is_there()
    assert line.away() is None


def test_a_line_tells_each_duty_once_and_pauses_longer_each_time(clock: Clock) -> None:
    """A poll every 3 s, a sign of life each second, tries to connect ever less often."""
    line = Line(clock)
    line.is_made()
    assert not line.poll_is_due()
    assert line.rest_seconds == lines.PING_SECONDS
    clock.now += lines.PING_SECONDS
    assert (line.ping_is_due(), line.ping_is_due()) == (True, False)
    line.look_soon()
    assert (line.poll_is_due(), line.poll_is_due()) == (True, False)
    pauses = [line.is_lost(redis.ConnectionError()) for _ in range(8)]
    assert pauses[:3] == [0.05, 0.1, 0.2]
    assert pauses[-1] == lines.LONGEST_PAUSE_SECONDS
    line.is_made()
    assert line.is_lost(redis.ConnectionError()) == lines.FIRST_PAUSE_SECONDS


def test_a_line_that_nobody_needs_is_idle_after_a_while(clock: Clock) -> None:
    """Not at once: the next wait would connect anew."""
    line = Line(clock)
    line.is_made()
    clock.now += lines.IDLE_SECONDS + 1
    assert not line.is_idle(wanted=True)
    assert not line.is_idle(wanted=False)
    clock.now += lines.IDLE_SECONDS + 1
    assert line.is_idle(wanted=False)


# --- when a wait ends ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seen", "away", "timeout", "seconds"),
    [
        (True, False, 7.0, 7.0),
        (True, False, None, float("inf")),
        (False, False, 0.01, patience.LOOK_SECONDS),
        (False, False, None, patience.REACH_SECONDS),
        (False, True, 60.0, patience.REACH_SECONDS),
        (True, True, 60.0, 60.0),
        (True, True, None, patience.AWAY_SECONDS),
    ],
)
def test_when_a_wait_gives_up(
    watch: Watch, clock: Clock, seen: bool, away: bool, timeout: float | None, seconds: float
) -> None:
    """By its timeout, by the time to reach Redis, or a minute after Redis went."""
    here = waiting(watch, "a")
    began = clock.now
    if seen:
        here.looked_up("a", NOTHING)
    if away:
        watch.line.is_lost(redis.ConnectionError())
    assert here.end(began, timeout, clock.now) - began == seconds
    assert isinstance(here.too_late(timeout), BrokerUnreachable if away or not seen else NoResult)


def test_a_login_that_is_refused_is_told_at_once(watch: Watch, clock: Clock) -> None:
    """No second try changes it."""
    here, began = waiting(watch, "a"), clock.now
    watch.line.is_lost(redis.AuthenticationError())
    assert here.end(began, 60, clock.now) == began


def test_a_job_is_gone_after_two_looks_with_time_between(watch: Watch, clock: Clock) -> None:
    """One that was sent by name has no record yet; a later look may find it."""
    here = waiting(watch, "a")
    here.looked_up("a", Seen(None, None))
    assert here.unknown_since("a") == clock.now
    clock.now += wait.GONE_SECONDS / 2
    here.looked_up("a", Seen(None, None))
    assert not here.is_gone("a")
    here.looked_up("a", NOTHING)
    assert here.unknown_since("a") is None
    here.looked_up("a", Seen(None, JobState.SUCCEEDED))  # its result has expired
    clock.now += wait.GONE_SECONDS
    here.looked_up("a", Seen(None, None))
    assert here.is_gone("a")


def test_a_sleeper_that_was_rung_before_does_not_sleep(watch: Watch) -> None:
    """News between a look and the sleep is not slept through."""
    here = waiting(watch, "a")
    assert here.take() is None
    here.looked_up("a", Seen("{}", None))
    here.sleeper.sleep(60)
    found: Any = here.take()
    assert found == ("a", "{}")
