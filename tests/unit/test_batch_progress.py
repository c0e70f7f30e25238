"""What people see of a batch while it runs and at its end."""

from __future__ import annotations

import io
import json
import sys
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import pytest
from rich.console import Console

from local_llm_service.producers.batch.limits import Hours
from local_llm_service.producers.batch.progress import Bar, PlainLines
from local_llm_service.producers.batch.run import End
from local_llm_service.producers.batch.summary import Summary, duration
from local_llm_service.producers.batch.tally import Tally
from local_llm_service.producers.cli.batch import _progress


@dataclass
class _Records:
    total: Tally = field(default_factory=Tally)
    run: Tally = field(default_factory=Tally)
    skipped: int = 0
    failed_now: int = 0


@dataclass
class _Asker:
    troubles: Counter[str] = field(default_factory=Counter)


@dataclass
class _Window:
    size: int = 8
    slots: int | None = 4
    is_blind: bool = False


@dataclass
class Shown:
    """As much of a Run as can be seen; `seconds` is its clock."""

    records: _Records = field(default_factory=_Records)
    asker: _Asker = field(default_factory=_Asker)
    window: _Window = field(default_factory=_Window)
    hours: Hours = field(default_factory=Hours)
    end: End | None = None
    part: float | None = None
    in_flight: int = 8
    seconds: float = 100.0

    def clock(self) -> float:
        """Its time."""
        return self.seconds

    def pass_time(self, seconds: float, answered: int, part: float | None = None) -> None:
        """Answer lines."""
        self.seconds += seconds
        self.part = part
        for tally in (self.records.total, self.records.run):
            tally.answered += answered
            tally.tokens_saved += 10 * answered


def test_in_a_pipe_there_is_a_line_every_ten_seconds() -> None:
    """Counts, speed of the last minute, time left by the part of the input that was read."""
    run, said = Shown(), list[str]()
    lines: Any = PlainLines(said.append, run.clock)
    for second in range(30):
        run.pass_time(1, 2, (second + 1) / 100)
        lines.show(run)
    assert len(said) == 3
    assert said[-1].startswith("60 done  0 failed  0 cached  600 tokens saved  120 lines a minute")
    assert said[-1].endswith("8 of 8 in flight  1 min left")


def test_nobody_guesses_a_time_where_the_size_is_unknown() -> None:
    """Of a pipe or a query."""
    run, said = Shown(), list[str]()
    lines: Any = PlainLines(said.append, run.clock)
    for _ in range(11):
        run.pass_time(1, 1)
        lines.show(run)
    assert "left" not in said[-1]


def test_what_holds_a_run_up_is_said_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """And that it goes on."""
    run, said = Shown(), list[str]()
    lines: Any = PlainLines(said.append, run.clock)

    def shown() -> str:
        said.clear()
        for _ in range(3):
            run.pass_time(1, 0)
            lines.show(run)
        return "; ".join(said)

    run.asker.troubles["broker_unreachable"] = 8
    assert shown() == "Redis is away: waiting"
    run.asker.troubles.clear()
    assert shown() == "going on"
    run.window.slots = 0
    assert "no worker takes jobs" in shown()
    run.window.slots = 4
    run.hours = Hours(between="22:00-06:00", now=lambda: datetime(2026, 11, 28, 12))
    assert "waiting until 22:00" in shown()
    run.end = End.HOURS
    assert "collecting what is in flight" in shown()


def test_on_a_terminal_there_is_a_bar() -> None:
    """With the same numbers below it."""
    run = Shown()
    bar: Any = Bar(run.clock)
    bar.show(run)
    run.pass_time(30, 10, 0.25)
    bar.show(run)
    run.pass_time(30, 10, 0.5)
    bar.show(run)
    bar.close()
    console = Console(file=io.StringIO(), width=100)
    console.print(bar._drawn(run))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert " 50%  1 min left" in text
    assert "20 done  0 failed" in text


def test_without_rich_a_terminal_gets_plain_lines(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And is told what a bar needs."""
    for name in [one for one in sys.modules if one.partition(".")[0] == "rich"]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert isinstance(_progress(), PlainLines)
    assert "pip install 'local-llm-service[batch]'" in capsys.readouterr().err


def test_the_summary_is_for_people_and_for_programs() -> None:
    """Savings are an estimate, and say by which prices."""
    total = Tally(10, 2, 3, 1, 700, 1_000_000, 100_000, 60.0, Counter({"timeout": 2}))
    summary = Summary(
        "compress", End.HOURS, total, total, 2, 5, "out", "out.errors.jsonl", 3.5, "X, 2026-06"
    )
    text = "\n".join(summary.lines())
    for words in ("10 lines answered, 2 failed", "5 lines were done before", "12 lines a minute"):
        assert words in text
    for words in ("700 tokens saved", "3.50 USD", "X, 2026-06", "out.errors.jsonl (2 timeout)"):
        assert words in text
    plain = json.loads(json.dumps(summary.plain()))
    assert (plain["end"], plain["run"]["lines_a_minute"]) == ("hours", 12.0)


def test_times_are_for_people() -> None:
    """Nobody divides by 3,600 in the morning."""
    assert [duration(seconds) for seconds in (7, 59, 60, 3599, 11_100)] == [
        *("7 s", "59 s", "1 min", "1 h 00 min", "3 h 05 min"),
    ]
