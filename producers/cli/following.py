"""Prints a job's text as it comes: `--stream` of the kinds' commands, and `local-llm stream ID`."""

from __future__ import annotations

import json
import sys
from contextlib import ExitStack
from time import monotonic
from typing import Any

import click

from local_llm_service.producers.cli.output import Exit, fail, note, numbers, say_piece
from local_llm_service.producers.cli.reading import SECONDS
from local_llm_service.producers.cli.waiting import shown
from local_llm_service.producers.client import SITE, Client, Job, read_along
from local_llm_service.producers.job_core import JobCore, facts_of
from local_llm_service.producers.stream_event import StreamEvent
from local_llm_service.worker.errors import BrokerUnreachable, NotReady, ServiceError


def follow(
    job: Job[Any], timeout: float, as_json: bool, *, after: str | None = None, owns: bool = False
) -> Exit:
    """Print the events of a job, from an offset or from the start, for `timeout` seconds at most.

    Whoever `owns` the job cancels it with Ctrl-C, and when nobody reads what is printed. Raises
    NotReady, BrokerUnreachable, NotFound and InvalidRequest: the job goes on.
    """
    printer = _Printer(job.id, as_json)
    try:
        with ExitStack() as until_it_comes:
            if sys.stderr.isatty():
                until_it_comes.enter_context(shown(job))
            stream = JobCore(SITE, facts_of(job.id)).stream(after)
            for event in read_along(stream, monotonic() + timeout):
                until_it_comes.close()
                printer.show(event)
                after = event.offset
        if printer.code is not None:
            return printer.code
        printer.end_line()
        on = f"local-llm stream {job.id}{f' --after {after}' if after else ''}"
        raise NotReady(f"no end within {timeout:g} s", f"Read on: {on}.")
    except KeyboardInterrupt:
        printer.end_line()
        leave(job, owns=owns)
        return Exit.INTERRUPTED
    except BrokenPipeError:
        if owns:
            _cancel(job)
        raise


class _Printer:
    """Shows events on stdout: pieces of text, or a line of JSON for each."""

    def __init__(self, task_id: str, as_json: bool) -> None:
        self._task_id, self._as_json = task_id, as_json
        self._is_within_line = False
        #: How it ended, once it has.
        self.code: Exit | None = None

    def show(self, event: StreamEvent[Any]) -> None:
        """Print one event. Raises OSError where stdout cannot be written."""
        if event.type in ("end", "failed", "cancelled"):
            self.code = Exit.JOB_FAILED if event.error else Exit.ANSWER
        if self._as_json:
            say_piece(json.dumps(self._line(event), ensure_ascii=False) + "\n")
            return
        if event.text:
            say_piece(event.text)
            self._is_within_line = not event.text.endswith("\n")
            return
        self.end_line()
        if event.type == "restart":
            note("The job runs again. What follows is its text from the start.")
        elif event.error is not None:
            fail(event.error, False, Exit.JOB_FAILED)
        elif event.answer is not None:
            note(f"task {self._task_id}  {numbers(event.answer.model_dump(mode='json'))}")

    def end_line(self) -> None:
        """Begin a new line where one is under way."""
        if self._is_within_line:
            say_piece("\n")
        self._is_within_line = False

    def _line(self, event: StreamEvent[Any]) -> dict[str, Any]:
        line: dict[str, Any] = {"task_id": self._task_id, "type": event.type}
        if event.type == "text":
            line["text"] = event.text
        line["offset"] = event.offset
        if event.answer is not None:
            line["answer"] = event.answer.plain()
        if (error := event.error) is not None:
            line["error"] = {"code": error.code, "message": error.message, "hint": error.hint}
        return line


def leave(job: Job[Any], *, owns: bool) -> None:
    """End on Ctrl-C: whoever owns the job cancels it, and says so."""
    if not owns:
        note(f"The job goes on. Read on: local-llm stream {job.id}")
        return
    why = _cancel(job)
    note(why or f"Job {job.id} is cancelled.")


def _cancel(job: Job[Any]) -> str | None:
    """Cancel a job; returns why it goes on, if it does."""
    try:
        state = job.cancel()
    except BrokerUnreachable as error:
        return f"The job goes on: {error.message}. Cancel it: local-llm cancel {job.id}"
    except ServiceError as error:
        return f"{error.message}. {error.hint}"
    return None if state in ("cancelled", "running") else f"The job had ended before: {state}."


@click.command()
@click.argument("task_id")
@click.option("--after", help="Begin after this offset of an earlier event; default: the start.")
@click.option("--timeout", type=SECONDS, default=300.0, show_default=True, help="Seconds to wait.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one event a line.")
def stream(task_id: str, after: str | None, timeout: float, as_json: bool) -> Exit:
    """Print the text of job TASK_ID as it comes; Ctrl-C leaves the job alone."""
    return follow(Client().job(task_id), timeout, as_json, after=after)
