"""A run's text goes to Redis when somebody wants it: the first piece at once, then in groups."""

from __future__ import annotations

import threading

import pytest
import redis

from local_llm_service.worker import text_writer
from local_llm_service.worker.store.bounds import TEXT_BYTES_MOST
from local_llm_service.worker.store.texts import TextAddition, Written
from local_llm_service.worker.text_writer import (
    AGAIN_SECONDS,
    GROUP_PIECES,
    GROUP_SECONDS,
    LEAST_SECONDS,
    RunText,
    TextWriter,
)
from tests.conftest import wait_until


class Texts:
    """What Redis holds, by task id, as write_text.lua keeps it; it can be away, full, or forget."""

    def __init__(self) -> None:
        self.held: dict[str, bytes] = {}
        self.complete: set[str] = set()
        self.calls: list[list[TextAddition]] = []
        self.over: set[str] = set()
        self.error: redis.RedisError | None = None

    def write_text(self, addition: TextAddition) -> Written:
        if self.error is not None:
            raise self.error
        self.calls.append([addition])
        return self._write(addition)

    def write_texts(self, additions: list[TextAddition]) -> list[Written | redis.RedisError]:
        if isinstance(self.error, redis.ConnectionError):
            raise self.error
        if self.error is not None:
            return [self.error for _ in additions]
        self.calls.append(list(additions))
        return [self._write(one) for one in additions]

    def _write(self, one: TextAddition) -> Written:
        if one.task_id in self.over:
            return Written.OVER
        there = self.held.get(one.task_id, b"")
        if one.at_bytes and len(there) != one.at_bytes:
            return Written.GONE
        assert len(there[: one.at_bytes].decode()) == one.at_characters
        self.held[one.task_id] = there[: one.at_bytes] + one.text
        if one.is_complete:
            self.complete.add(one.task_id)
        return Written.ADDED

    def text(self, task_id: str) -> str:
        return self.held.get(task_id, b"").decode()


class Site:
    """A writer without its thread, on a clock that stands until it is moved."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(threading.Thread, "start", lambda _: None)
        self.now = 1000.0
        self.texts = Texts()
        self.writer = TextWriter(self.texts, clock=lambda: self.now)

    def open(self, task_id: str = "1", *, wanted: bool = True) -> RunText:
        text = self.writer.open(task_id, f"token-{task_id}")
        if wanted:
            text.want()
        return text

    def pass_by(self, seconds: float) -> None:
        self.now += seconds
        self.writer.send_due()


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Site:
    return Site(monkeypatch)


def test_the_first_piece_is_sent_at_once(site: Site) -> None:
    """A reader waits for it with nothing on the screen."""
    text = site.open()
    text.add("Once")
    site.pass_by(0)
    assert site.texts.text("1") == "Once"


def test_later_pieces_go_in_groups(site: Site) -> None:
    """At most one call in GROUP_SECONDS."""
    text = site.open()
    text.add("Once")
    site.pass_by(0)
    for piece in (" upon", " a", " time"):
        text.add(piece)
        site.pass_by(GROUP_SECONDS / 10)
    assert site.texts.text("1") == "Once"
    site.pass_by(GROUP_SECONDS)
    assert site.texts.text("1") == "Once upon a time"
    assert len(site.texts.calls) == 2


def test_many_pieces_do_not_wait(site: Site) -> None:
    """A quick model fills a group before its time; one that is quicker still waits a little."""
    text = site.open()
    text.add("0")
    site.pass_by(0)
    for _ in range(GROUP_PIECES):
        text.add("x")
    site.pass_by(0)
    assert site.texts.text("1") == "0"
    site.pass_by(LEAST_SECONDS)
    assert site.texts.text("1") == "0" + "x" * GROUP_PIECES


def test_all_texts_that_are_due_share_a_round_trip(site: Site) -> None:
    """A worker of eight slots makes one call, not eight."""
    for number in range(8):
        site.open(str(number)).add("piece")
    site.pass_by(0)
    assert [len(call) for call in site.texts.calls] == [8]


def test_nothing_is_sent_that_nobody_wants(site: Site) -> None:
    """Most jobs are not streamed: they cost Redis nothing."""
    text = site.open(wanted=False)
    text.add("Once")
    site.pass_by(1)
    text.end(is_complete=True)
    assert site.texts.calls == []


def test_a_late_wish_gets_the_text_from_the_start(site: Site) -> None:
    """As an identical job does that joins half-way."""
    text = site.open(wanted=False)
    text.add("Once ")
    text.add("upon")
    text.want()
    site.pass_by(0)
    assert site.texts.text("1") == "Once upon"


def test_the_rest_is_there_when_the_run_has_ended(site: Site) -> None:
    """A result must not overtake the text that led to it."""
    text = site.open()
    for piece in ("Once", " upon", " a"):
        text.add(piece)
    text.end(is_complete=True)
    assert (site.texts.text("1"), site.texts.complete) == ("Once upon a", {"1"})


def test_a_text_that_broke_off_is_not_complete(site: Site) -> None:
    """It fails, or another run takes its place."""
    text = site.open()
    text.add("Once")
    text.end(is_complete=False)
    assert (site.texts.text("1"), site.texts.complete) == ("Once", set())


@pytest.mark.parametrize("error", [redis.ConnectionError("gone"), redis.ResponseError("OOM x")])
def test_a_redis_that_takes_nothing_gets_it_later(
    site: Site, error: redis.RedisError, caplog: pytest.LogCaptureFixture
) -> None:
    """It is asked once a second, and the log says so once and without a word of the text."""
    text = site.open()
    site.texts.error = error
    for _ in range(3 * GROUP_PIECES):
        text.add("secret ")
        site.pass_by(AGAIN_SECONDS / 50)
    assert len([line for line in caplog.records if line.levelname == "WARNING"]) == 1
    assert "secret" not in caplog.text
    site.texts.error = None
    site.pass_by(AGAIN_SECONDS)
    assert site.texts.text("1") == "secret " * 3 * GROUP_PIECES


def test_a_redis_that_is_away_at_the_end_is_no_error_of_the_job(site: Site) -> None:
    """The answer has all of it."""
    text = site.open()
    text.add("Once")
    site.texts.error = redis.ConnectionError("gone")
    text.end(is_complete=True)
    site.texts.error = None
    site.pass_by(10)
    assert site.texts.calls == []


def test_a_redis_that_has_lost_the_text_gets_all_of_it_again(site: Site) -> None:
    """It was restarted, and its last second is gone."""
    text = site.open()
    text.add("Once ")
    site.pass_by(0)
    site.texts.held.clear()
    text.add("upon ")
    site.pass_by(1)
    site.pass_by(1)
    assert site.texts.text("1") == "Once upon "
    site.texts.held.clear()
    text.add("a time")
    text.end(is_complete=True)
    assert (site.texts.text("1"), site.texts.complete) == ("Once upon a time", {"1"})


def test_a_run_that_is_over_writes_no_more(site: Site) -> None:
    """Its lease ran out, and another worker has the job."""
    text = site.open()
    site.texts.over.add("1")
    text.add("Once")
    site.pass_by(0)
    text.add(" upon")
    site.pass_by(1)
    text.end(is_complete=True)
    assert len(site.texts.calls) == 1


@pytest.mark.parametrize("character", ["a", "é", "𝔞"])
def test_a_text_is_bounded_in_bytes(site: Site, character: str) -> None:
    """What is more its readers get from the answer, so it never counts as complete."""
    text = site.open()
    piece = character * 60_001
    for _ in range(20):
        text.add(piece)
        site.pass_by(1)
    text.end(is_complete=True)
    held = site.texts.held["1"]
    assert TEXT_BYTES_MOST - 4 < len(held) <= TEXT_BYTES_MOST
    assert set(held.decode()) == {character}
    assert site.texts.complete == set()


def test_half_a_character_can_be_sent(site: Site) -> None:
    """JSON can hold one, UTF-8 cannot; the places of what follows stay."""
    text = site.open()
    text.add("a\ud83d")
    site.pass_by(0)
    text.add("b")
    text.end(is_complete=True)
    assert site.texts.text("1") == "a?b"


def test_the_thread_ends_when_there_is_nothing_to_send(monkeypatch: pytest.MonkeyPatch) -> None:
    """It starts with the first text that is wanted, and again when one comes later."""
    monkeypatch.setattr(text_writer, "IDLE_SECONDS", 0.05)
    texts = Texts()
    writer = TextWriter(texts)
    for number in ("1", "2"):
        text = writer.open(number, "token")
        assert writer._thread is None
        text.want()
        text.add("Once")
        wait_until(lambda n=number: texts.text(n) == "Once", "it is sent")
        text.end(is_complete=True)
        wait_until(lambda: writer._thread is None, "the thread has ended")
