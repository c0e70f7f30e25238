"""What ends or pauses a batch, how many jobs it keeps in flight, and which files it writes."""

from __future__ import annotations

import asyncio
from datetime import datetime
from pathlib import Path

import pytest

from local_llm_service.producers.batch import window as window_module
from local_llm_service.producers.batch.limits import Hours, MostFailures
from local_llm_service.producers.batch.places import places_of, refuse_overwriting
from local_llm_service.producers.batch.window import Window
from local_llm_service.worker.errors import BrokerUnreachable, InvalidRequest
from local_llm_service.worker.store.presence import Presence


def presence(slots: int, *closed_by: str) -> Presence:
    """A worker."""
    return Presence(
        name="w",
        slots=slots,
        running=0,
        model="m",
        ollama_host="h",
        ollama_version=None,
        ollama_reachable=True,
        closed_by=list(closed_by),
        cache_enabled=True,
        models=[],
    )


def test_a_number_of_failures_may_be_reached_and_not_passed() -> None:
    """`--max-failures 0` stops at the first."""
    assert not MostFailures.read("3").exceeded(3, 3)
    assert MostFailures.read("3").exceeded(4, 1000)
    assert MostFailures.read("0").exceeded(1, 1)
    assert not MostFailures.read(None).exceeded(10**6, 10**6)


def test_a_share_of_failures_needs_some_lines_first() -> None:
    """The first line alone is 0 or 100 percent."""
    assert not MostFailures.read("5%").exceeded(1, 1)
    assert not MostFailures.read("5%").exceeded(5, 100)
    assert MostFailures.read("5%").exceeded(6, 100)
    assert MostFailures.read("0.5%").exceeded(6, 1000)


@pytest.mark.parametrize("word", ["", "x", "-1", "5.5", "101%", "5%%", "1e9", "%"])
def test_what_is_no_limit_of_failures_is_refused(word: str) -> None:
    """Before anything is submitted."""
    with pytest.raises(InvalidRequest, match="--max-failures"):
        MostFailures.read(word)


def at(hour: int, minute: int = 0, day: int = 28) -> datetime:
    """A time in November."""
    return datetime(2026, 11, day, hour, minute)


def test_until_is_the_next_such_time() -> None:
    """A run that begins at that very minute has a whole day."""
    clock = [at(22)]
    hours = Hours(until="06:00", now=lambda: clock[0])
    assert hours.end == at(6, day=29)
    clock[0] = at(5, 59, day=29)
    assert not hours.are_over()
    clock[0] = at(6, day=29)
    assert hours.are_over()
    assert Hours(until="6:00", now=lambda: at(6)).end == at(6, day=29)
    assert Hours(until="06:01", now=lambda: at(6)).end == at(6, 1)


@pytest.mark.parametrize(
    ("between", "hour", "is_open"),
    [
        *(("22:00-06:00", hour, hour >= 22 or hour < 6) for hour in (0, 5, 6, 12, 21, 22, 23)),
        *(("01:00-05:00", hour, 1 <= hour < 5) for hour in (0, 1, 4, 5, 23)),
    ],
)
def test_between_may_go_over_midnight(between: str, hour: int, is_open: bool) -> None:
    """The first time belongs to it, the second does not."""
    hours = Hours(between=between, now=lambda: at(hour))
    assert hours.are_open() is is_open
    opening = hours.opening()
    assert (opening is None) is is_open
    if opening is not None:
        assert opening > at(hour)
        assert f"{opening:%H:%M}" == between[:5]


@pytest.mark.parametrize("word", ["25:00", "12:60", "noon", "6", "", "06:00-", "06:00-06:00"])
def test_what_is_no_time_of_day_is_refused(word: str) -> None:
    """With an example of one."""
    for given in ({"until": word}, {"between": word}):
        with pytest.raises(InvalidRequest) as raised:
            Hours(**given)
        assert "06:00" in raised.value.hint


def test_the_window_is_twice_the_slots_of_workers_that_take_jobs() -> None:
    """So each slot has its next job waiting."""
    there = [presence(4), presence(2), presence(8, "draining")]
    window = Window(None, lambda: there)
    window.look()
    assert (window.size, window.slots) == (12, 6)
    there[:] = []
    window.look()
    assert (window.size, window.slots) == (2, 0), "a worker may come"
    there[:] = [presence(256)] * 3
    window.look()
    assert window.size == 1000
    fixed = Window(7, lambda: there)
    fixed.look()
    assert fixed.size == 7


def test_the_window_follows_the_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """While Redis is away it stays as it is."""
    monkeypatch.setattr(window_module, "LOOK_SECONDS", 0)
    answers: list[list[Presence] | None] = [[presence(3)], None, [presence(5)]]
    sizes = []

    def workers() -> list[Presence]:
        sizes.append((window.size, window.is_blind))
        if not answers:
            raise KeyboardInterrupt
        if (found := answers.pop(0)) is None:
            raise BrokerUnreachable("away")
        return found

    window = Window(None, workers)
    with pytest.raises(KeyboardInterrupt):
        asyncio.run(window.follow())
    assert sizes == [(2, False), (6, False), (6, True), (10, False)]


def test_the_files_of_a_batch(tmp_path: Path) -> None:
    """Ledger and errors stand beside the output."""
    output = str(tmp_path / "out.jsonl")
    places = places_of(output, None, writes_sql=False)
    assert places.ledger == f"{output}.ledger"
    assert places.errors == str(tmp_path / "out.errors.jsonl")
    assert places_of(str(tmp_path / "out.v2"), None, writes_sql=False).errors == str(
        tmp_path / "out.v2.errors.jsonl"
    )
    alone = places_of(None, str(tmp_path / "night.ledger"), writes_sql=True)
    assert (alone.output, alone.errors) == (None, str(tmp_path / "night.errors.jsonl"))
    stdout = places_of("-", None, writes_sql=False)
    assert (stdout.ledger, stdout.errors) == ("", None)


@pytest.mark.parametrize(
    ("output", "ledger", "writes_sql"),
    [
        (None, None, False),
        (None, None, True),
        (None, "x.ledger", False),
        ("-", None, True),
        ("-", "x.ledger", False),
        ("out.jsonl.gz", None, False),
        ("missing/out.jsonl", None, False),
    ],
)
def test_files_that_make_no_batch_are_refused(
    output: str | None, ledger: str | None, writes_sql: bool
) -> None:
    """Before anything is written."""
    with pytest.raises(InvalidRequest):
        places_of(output, ledger, writes_sql=writes_sql)


def test_an_input_is_never_written_over(tmp_path: Path) -> None:
    """Also not by another name, or as the file of errors."""
    (tmp_path / "in.jsonl").write_text("1\n")
    (tmp_path / "link.jsonl").symlink_to(tmp_path / "in.jsonl")
    (tmp_path / "x.errors.jsonl").write_text("1\n")
    for given, output in (("in.jsonl", "link.jsonl"), ("x.errors.jsonl", "x.jsonl")):
        places = places_of(str(tmp_path / output), None, writes_sql=False)
        with pytest.raises(InvalidRequest, match="input and output"):
            refuse_overwriting([str(tmp_path / given)], places)
