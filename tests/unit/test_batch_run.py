"""Runs of a batch against a scripted service, killed at every step that touches a disk."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import os
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from local_llm_service.producers.batch import asking, output
from local_llm_service.producers.batch.asking import Asker
from local_llm_service.producers.batch.ledger import Ledger
from local_llm_service.producers.batch.limits import Hours, MostFailures
from local_llm_service.producers.batch.lines import Files
from local_llm_service.producers.batch.output import ErrorLines, NotWritten, Output
from local_llm_service.producers.batch.plan import Plan
from local_llm_service.producers.batch.records import Records
from local_llm_service.producers.batch.run import End, Run
from local_llm_service.producers.batch.window import Window
from local_llm_service.producers.batch.writing import Writing
from local_llm_service.worker.errors import BrokerUnsafe, InvalidRequest
from tests.doubles.scripted_client import ScriptedClient


class Killed(BaseException):
    """kill -9 at this point."""


@dataclass
class Death:
    """Kills after so many steps that touch a disk; with `half`, in the middle of a write."""

    steps: int
    half: bool = False

    def step(self) -> None:
        """One more step."""
        self.steps -= 1
        if self.steps == 0:
            raise Killed

    def wrapped(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """`call` with a chance to die before and after it."""

        def run(*args: Any, **kwargs: Any) -> Any:
            self.step()
            done = call(*args, **kwargs)
            self.step()
            return done

        return run

    def pwrite(self, file: int, data: memoryview, offset: int) -> int:
        """Write, or a part only."""
        if self.half:
            part = os.pwrite(file, data[: len(data) // 2], offset)
            self.step()
            return part
        return self.wrapped(os.pwrite)(file, data, offset)


class _Os:
    def __init__(self, death: Death) -> None:
        self.ftruncate = death.wrapped(os.ftruncate)
        self.fsync = death.wrapped(lambda _: None)  # what a process wrote outlives its death
        self.pwrite = death.pwrite

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)


@dataclass
class Batch:
    """One batch in a folder: `run()` is one run of the command."""

    folder: Path
    client: ScriptedClient
    ordered: bool = False
    window: int = 4

    def __post_init__(self) -> None:
        self.input, self.output = self.folder / "in.jsonl", self.folder / "out.jsonl"
        self.errors = self.folder / "out.errors.jsonl"

    def write(self, *lines: Any) -> None:
        """Write the input."""
        self.input.write_text("".join(f"{json.dumps(line)}\n" for line in lines))

    def run(self, death: Death | None = None, **options: Any) -> Run:
        """Run to the end, or to the death."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(asking, "FIRST_PAUSE_SECONDS", 0.0)
            if death is not None:
                patch.setattr(output, "os", _Os(death))
                patch.setattr(Ledger, "commit", death.wrapped(Ledger.commit))
            return asyncio.run(self._run(**options))

    async def _run(
        self,
        retry_errors: bool = False,
        most_failures: str | None = None,
        hours: Hours | None = None,
        show: Callable[[Run], None] = lambda _: None,
    ) -> Run:
        plan = Plan(self.client.kind, {"priority": "low"}, ordered=self.ordered)
        with contextlib.ExitStack() as opened:
            ledger = opened.enter_context(Ledger(str(self.output) + ".ledger"))
            out = Output(str(self.output))
            opened.callback(out.close)
            writing = Writing(ledger, out, ordered=self.ordered)
            records = Records(
                plan,
                ledger,
                writing,
                ErrorLines(str(self.errors)),
                retried_tries=math.inf if retry_errors else 0,
            )
            records.begin()
            run = Run(
                Files([str(self.input)]),
                records,
                Asker(self.client),
                Window(self.window, list),
                hours=hours,
                failures=MostFailures.read(most_failures),
                show=show,
            )
            end = await run.run()
            records.end(everything=end is End.INPUT and run.broken is None)
            if run.broken is not None:
                raise run.broken
            return run

    def answers(self) -> list[dict[str, Any]]:
        """The lines of the output; each must be whole."""
        return [json.loads(line) for line in self.output.read_text().splitlines()]

    def failures(self) -> list[dict[str, Any]]:
        """The lines of the file of errors."""
        if not self.errors.exists():
            return []
        return [json.loads(line) for line in self.errors.read_text().splitlines()]


def prompts(count: int, begin: int = 0) -> list[dict[str, Any]]:
    """Lines, of which every seventh fails and every eleventh is no call."""
    return [
        {"custom_id": f"id-{n}", "prompt": f"{'fail' if n % 7 == 3 else 'ask'} {n}"}
        | ({"max_tokens": 0} if n % 11 == 5 else {})
        for n in range(begin, begin + count)
    ]


def expected(lines: list[dict[str, Any]]) -> tuple[list[str], list[str]]:
    """The ids that are answered and those that fail, in order."""
    bad = [one["custom_id"] for one in lines if "max_tokens" in one or "fail" in one["prompt"]]
    return [one["custom_id"] for one in lines if one["custom_id"] not in bad], bad


@pytest.fixture
def batch(tmp_path: Path) -> Batch:
    return Batch(tmp_path, ScriptedClient())


def ids(lines: list[dict[str, Any]]) -> list[str]:
    return [one["custom_id"] for one in lines]


def test_every_line_is_answered_or_an_error(batch: Batch) -> None:
    """And is known by its id in one file, with what to do in the other."""
    lines = prompts(40)
    batch.write(*lines)
    run = batch.run()
    good, bad = expected(lines)
    assert run.end is End.INPUT
    assert sorted(ids(batch.answers())) == sorted(good)
    assert ids(batch.failures()) == bad
    first = next(one for one in batch.answers() if one["custom_id"] == "id-0")
    assert first["answer"]["text"] == "answer to ask 0"
    assert first["task_id"] == first["answer"]["task_id"]
    said = {one["custom_id"]: one for one in batch.failures()}
    assert said["id-3"]["error"]["code"] == "stream_broken"
    assert said["id-5"]["error"]["code"] == "invalid_request"
    assert said["id-5"]["task_id"] is None
    assert said["id-5"]["line"].endswith("in.jsonl:6")
    assert all(options["priority"] == "low" for _, options in batch.client.submitted)


def test_no_more_than_the_window_is_in_flight(batch: Batch) -> None:
    """Whatever the size of the input."""
    batch.write(*prompts(60))
    batch.run()
    assert batch.client.most_running == batch.window


@settings(max_examples=30, deadline=None)
@given(
    steps=st.lists(st.integers(1, 40), max_size=6),
    half=st.booleans(),
    ordered=st.booleans(),
    seed=st.integers(0, 10_000),
)
def test_a_run_killed_at_any_step_goes_on(
    tmp_path_factory: pytest.TempPathFactory,
    steps: list[int],
    half: bool,
    ordered: bool,
    seed: int,
) -> None:
    """No line is missing, none is written twice, and none is generated again."""
    client = ScriptedClient(seed=seed, trouble=0.1)
    batch = Batch(tmp_path_factory.mktemp("batch"), client, ordered)
    lines = prompts(30)
    batch.write(*lines)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("local_llm_service.producers.batch.records.GROUP_LINES", 3)
        for number in steps:
            with contextlib.suppress(Killed):
                batch.run(Death(number, half))
        batch.run()
    good, bad = expected(lines)
    found = ids(batch.answers())
    assert sorted(found) == sorted(good)
    assert not ordered or found == good
    assert ids(batch.failures()) == bad
    assert set(client.generated.values()) == {1}


def test_a_finished_batch_asks_nothing(batch: Batch) -> None:
    """The same command once more changes no file."""
    batch.write(*prompts(20))
    batch.run()
    before, sent = batch.output.read_bytes(), len(batch.client.submitted)
    run = batch.run()
    assert (run.records.skipped, len(batch.client.submitted)) == (20, sent)
    assert batch.output.read_bytes() == before


def test_lines_may_be_added(batch: Batch) -> None:
    """They, and no others, are asked."""
    batch.write(*prompts(10))
    batch.run()
    batch.write(*prompts(15))
    assert batch.run().records.added == 5
    assert sorted(ids(batch.answers())) == sorted(expected(prompts(15))[0])
    assert set(batch.client.generated.values()) == {1}


@pytest.mark.parametrize("change", ["changed", "removed"])
def test_a_changed_input_is_noticed(batch: Batch, change: str) -> None:
    """At the first line that differs, whose place is named."""
    lines = prompts(10)
    batch.write(*lines)
    batch.run()
    batch.write(*(lines[:4] + ([{"prompt": "new"}] if change == "changed" else []) + lines[5:]))
    with pytest.raises(InvalidRequest, match=r"in\.jsonl:5: is not what it was"):
        batch.run()


def test_an_input_that_is_shorter_now_is_noticed(batch: Batch) -> None:
    """At its end: what was cut off may still be in flight."""
    batch.write(*prompts(10))
    batch.run()
    batch.write(*prompts(7))
    with pytest.raises(InvalidRequest, match="has 7 lines, and had 10"):
        batch.run()


def test_another_command_on_the_same_output_is_refused(batch: Batch) -> None:
    """The output would be a mixture."""
    batch.write({"prompt": "hi", "context": "hi"})
    batch.run()
    batch.client = ScriptedClient("summarize")
    with pytest.raises(InvalidRequest, match="begun by another command: kind differs"):
        batch.run()


def test_two_runs_on_one_output_are_refused(batch: Batch) -> None:
    """The second says so and touches nothing."""
    batch.write(*prompts(3))
    with Ledger(str(batch.output) + ".ledger"), pytest.raises(InvalidRequest, match="another run"):
        batch.run()
    other = Output(str(batch.output))  # of a run with another --ledger
    with pytest.raises(InvalidRequest, match="another run"):
        batch.run()
    other.close()
    batch.run()


@pytest.mark.parametrize("content", [b"", b'{"custom_id": "x"}\n' * 100])
def test_an_output_that_was_replaced_is_refused(batch: Batch, content: bytes) -> None:
    """Cut off or overwritten by another program: the ledger would speak of another file."""
    batch.write(*prompts(10))
    batch.run()
    batch.output.write_bytes(content)
    with pytest.raises(InvalidRequest, match="not what this batch wrote") as raised:
        batch.run()
    assert raised.value.hint
    assert batch.output.read_bytes() == content


def test_lines_that_somebody_else_appended_are_not_cut_off(batch: Batch) -> None:
    """Only a killed run may have left something behind its last commit."""
    batch.write(*prompts(10))
    batch.run()
    with batch.output.open("a") as file:
        file.write("mine\n")
    with pytest.raises(InvalidRequest, match="did not write"):
        batch.run()


def test_an_output_without_a_ledger_is_refused(batch: Batch) -> None:
    """It is somebody's work."""
    batch.write(*prompts(3))
    batch.output.write_text("mine\n")
    with pytest.raises(InvalidRequest):
        batch.run()
    assert batch.output.read_text() == "mine\n"


def test_the_second_line_of_an_id_is_an_error(batch: Batch) -> None:
    """Which of two answers would be meant, nobody could say; also after a restart."""
    batch.write(
        {"custom_id": "a", "prompt": "1"},
        {"custom_id": "a", "prompt": "2"},
        {"custom_id": "b", "prompt": "3"},
    )
    for _ in range(2):
        batch.run()
        assert sorted(ids(batch.answers())) == ["a", "b"]
        (failure,) = batch.failures()
        assert (failure["custom_id"], failure["error"]["code"]) == ("a", "invalid_request")
        assert failure["line"].endswith(":2")


def test_equal_lines_without_an_id_are_told_apart(batch: Batch) -> None:
    """Their ids are the line's hash and a count, the same at every run."""
    line = {"prompt": "hi"}
    batch.write(line, {"prompt": "ho"}, line, line)
    batch.run()
    found = sorted(ids(batch.answers()))
    assert len(set(found)) == 4
    (base,) = [one for one in found if f"{one}-2" in found]
    assert f"{base}-3" in found
    batch.write(line, {"prompt": "ho"}, line, line, line)
    batch.run()
    assert f"{base}-4" in ids(batch.answers())


def test_failed_lines_can_be_run_again_alone(batch: Batch) -> None:
    """Under a new task id; the file of errors then has those that fail still."""
    lines = prompts(20)
    batch.write(*lines)
    batch.run()
    bad = expected(lines)[1]
    batch.run()
    assert ids(batch.failures()) == bad, "without the option they stay"
    batch.client.jobs.clear()
    sent = len(batch.client.submitted)
    real = batch.client.submit

    async def mended(kind: str, arguments: Any, **options: Any) -> Any:
        prompt = arguments["prompt"].replace("fail", "mended")
        return await real(kind, {**arguments, "prompt": prompt}, **options)

    batch.client.submit = mended  # type: ignore[method-assign]
    batch.run(retry_errors=True)
    wrong = [one["custom_id"] for one in lines if "max_tokens" in one]
    assert ids(batch.failures()) == wrong
    assert sorted(ids(batch.answers())) == sorted({*ids(lines)} - {*wrong})
    assert len(batch.client.submitted) - sent == len(bad) - len(wrong)


def test_a_failed_line_may_be_corrected(batch: Batch) -> None:
    """With --retry-errors, under the id that it has; a line without one gets another."""
    ok = {"custom_id": "ok", "prompt": "fine"}
    batch.write(ok, {"custom_id": "a", "prompt": "fail 1"}, {"prompt": "fail 2"}, "no object")
    batch.run()
    assert len(batch.failures()) == 3
    mended = [ok, {"custom_id": "a", "prompt": "one"}, {"prompt": "two"}, {"prompt": "three"}]
    batch.write(*mended)
    with pytest.raises(InvalidRequest, match=r"in\.jsonl:2: is not what it was") as caught:
        batch.run()
    assert "with --retry-errors" in caught.value.hint
    run = batch.run(retry_errors=True)
    assert (run.records.failed_now, batch.failures()) == (0, [])
    assert len(batch.answers()) == 4
    batch.write(ok, {"custom_id": "b", "prompt": "one"}, *mended[2:])
    with pytest.raises(InvalidRequest, match="is not what it was"):
        batch.run(retry_errors=True)


def test_another_id_is_no_correction(batch: Batch) -> None:
    """The line of the old one would be missing."""
    batch.write({"custom_id": "a", "prompt": "fail"})
    batch.run()
    batch.write({"custom_id": "b", "prompt": "fine"})
    with pytest.raises(InvalidRequest, match="is not what it was"):
        batch.run(retry_errors=True)


def test_a_run_that_goes_wrong_is_stopped(batch: Batch) -> None:
    """What is in flight is still collected."""
    batch.write(*({"prompt": f"fail {n}"} for n in range(100)))
    run = batch.run(most_failures="10")
    assert run.end is End.FAILURES
    assert 10 < len(batch.failures()) <= 10 + batch.window
    run = batch.run(most_failures="50%")
    assert run.end is End.FAILURES
    assert 20 <= run.records.run.failed <= 20 + batch.window


def test_an_interrupt_waits_for_nothing_and_loses_nothing(batch: Batch) -> None:
    """Jobs that are in flight are collected by the next run."""
    batch.write(*prompts(30))

    def interrupt(run: Run) -> None:
        if run.records.run.answered >= 5:
            run.interrupt()

    assert batch.run(show=interrupt).end is End.INTERRUPTED
    there = ids(batch.answers())
    assert 5 <= len(there) < 25
    batch.run()
    assert sorted(ids(batch.answers())) == sorted(expected(prompts(30))[0])
    assert set(batch.client.generated.values()) == {1}


def test_at_the_given_hour_it_submits_no_more(batch: Batch) -> None:
    """What is in flight is collected; the next night goes on."""
    batch.write(*prompts(30))
    clock = [datetime(2026, 11, 28, 5, 59)]
    hours = Hours(until="06:00", now=lambda: clock[0])

    def show(run: Run) -> None:
        if run.records.run.answered >= 5:
            clock[0] = datetime(2026, 11, 28, 6, 0)

    assert batch.run(hours=hours, show=show).end is End.HOURS
    assert 5 <= len(batch.answers()) <= 5 + 2 * batch.window
    batch.run()
    assert set(batch.client.generated.values()) == {1}


def test_outside_of_its_hours_it_waits(batch: Batch) -> None:
    """And goes on by itself."""
    batch.write(*prompts(10))
    clock = [datetime(2026, 11, 28, 12, 0)]
    hours = Hours(between="22:00-06:00", now=lambda: clock[0])
    turns = []

    def show(run: Run) -> None:
        turns.append(len(batch.client.submitted))
        if len(turns) == 2:
            clock[0] = datetime(2026, 11, 29, 1, 0)

    batch.run(hours=hours, show=show)
    assert turns[1] == 0
    assert len(batch.answers()) == len(expected(prompts(10))[0])


def test_an_ordered_output_waits_for_its_slowest_line(batch: Batch) -> None:
    """In the ledger, not in memory, and not in the window: the others go on."""
    batch.ordered = True
    batch.write(*({"custom_id": f"{n}", "prompt": f"{n}"} for n in range(300)))
    real, first = batch.client.submit, asyncio.Event()

    async def submit(kind: str, arguments: Any, **options: Any) -> Any:
        if arguments["prompt"] == "0":
            await first.wait()
        return await real(kind, arguments, **options)

    batch.client.submit = submit  # type: ignore[method-assign]
    seen = []

    def show(run: Run) -> None:
        if run.records.run.answered == 299 and not first.is_set():
            run.records.commit()
            seen.append(batch.output.stat().st_size)
            first.set()

    batch.run(show=show)
    assert seen == [0]
    assert ids(batch.answers()) == [f"{n}" for n in range(300)]


def test_a_full_disk_ends_the_run_and_leaves_no_half_line(
    batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the next run goes on."""
    batch.write(*prompts(30))

    class Full(_Os):
        def __init__(self) -> None:
            super().__init__(Death(0))
            self.pwrite = self.fail

        def fail(self, file: int, data: memoryview, offset: int) -> int:
            if len(data) > 20:
                return os.pwrite(file, data[:20], offset)
            raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(output, "os", Full())
        with pytest.raises(NotWritten, match="No space left"):
            batch.run()
    assert batch.answers() == []
    batch.run()
    assert sorted(ids(batch.answers())) == sorted(expected(prompts(30))[0])


def test_a_redis_that_drops_jobs_ends_the_run(batch: Batch) -> None:
    """It is no line's failure."""
    batch.write(*prompts(3))

    async def submit(*_: Any, **__: Any) -> Any:
        raise BrokerUnsafe("drops")

    batch.client.submit = submit  # type: ignore[method-assign]
    with pytest.raises(BrokerUnsafe):
        batch.run()
    assert batch.failures() == []


def test_what_is_no_ledger_is_refused(batch: Batch) -> None:
    """A file of that name, or a ledger of a later version."""
    batch.write(*prompts(3))
    ledger = Path(f"{batch.output}.ledger")
    ledger.write_bytes(b"something else" * 100)
    with pytest.raises(InvalidRequest, match="no ledger"):
        batch.run()


def test_shuffled_outcomes_have_one_tally(batch: Batch) -> None:
    """The tally of all runs is the sum of what the files hold."""
    lines = prompts(40)
    batch.write(*lines)
    chance = random.Random(1)
    for _ in range(3):
        with contextlib.suppress(Killed):
            batch.run(Death(chance.randint(5, 12)))
    run = batch.run()
    good, bad = expected(lines)
    assert run.records.total.answered == len(good)
    assert len(batch.failures()) == len(bad)
    assert run.records.total.errors == Counter(one["error"]["code"] for one in batch.failures())
