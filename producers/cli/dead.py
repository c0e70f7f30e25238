"""`dead`: look at jobs that failed permanently, send them again, or throw them away."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import click

from local_llm_service.producers import service
from local_llm_service.producers.cli.output import Exit, note, say, show_json
from local_llm_service.worker.errors import InvalidRequest, NotFound
from local_llm_service.worker.log_lines import one_line
from local_llm_service.worker.settings import get_settings
from local_llm_service.worker.store import keys
from local_llm_service.worker.store.connection import reachable
from local_llm_service.worker.store.dead_letters import DeadLetter
from local_llm_service.worker.store.store import process_store

_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group()
def dead() -> None:
    """Jobs that failed permanently: kept 7 days, the newest 1000."""


@dead.command("list")
@_JSON
def list_(as_json: bool) -> Exit:
    """List all dead letters, newest first."""
    with reachable(service.redis_url()):
        found = process_store().dead_letters.all()
    if as_json:
        show_json([asdict(letter) for letter in found])
    for letter in () if as_json else found:
        say(_line(letter))
    return Exit.ANSWER


@dead.command()
@click.argument("task_id")
@click.option("--request", "with_request", is_flag=True, help="Also show the request itself.")
@click.option("--text", "with_text", is_flag=True, help="Also show what the model wrote last.")
@_JSON
def show(task_id: str, with_request: bool, with_text: bool, as_json: bool) -> Exit:
    """Show one dead letter: error, counts, time.

    Request and text are people's words, so they are shown only on demand.
    """
    with reachable(service.redis_url()):
        letters = process_store().dead_letters
        letter = letters.get(task_id)
        asked: dict[str, Any] = {"request": letters.request(task_id)} if with_request else {}
        written: dict[str, Any] = {"last_text": letters.last_text(task_id)} if with_text else {}
    if letter is None:
        raise _no_letter()
    if as_json:
        show_json({**asdict(letter), **asked, **written})
        return Exit.ANSWER
    say(_line(letter))
    for request in asked.values():
        show_json(request)
    for text in written.values():
        say(text or "no text of the model is kept")
    return Exit.ANSWER


@dead.command()
@click.argument("task_id", required=False)
@click.option("--all", "everything", is_flag=True, help="Send all of them again.")
@_JSON
def replay(task_id: str | None, everything: bool, as_json: bool) -> Exit:
    """Send TASK_ID again under its id, as if it had never run."""
    if (task_id is None) is not everything:
        raise InvalidRequest("give a task id, or --all")
    with reachable(service.redis_url()):
        ids = (
            [letter.task_id for letter in process_store().dead_letters.all()]
            if everything
            else [task_id]
        )
        done = [one for one in ids if one is not None and _replay(one)]
    if not done and not everything:
        raise _no_letter()
    show_json({"replayed": done}) if as_json else note(f"{len(done)} sent again")
    return Exit.ANSWER


@dead.command()
@click.argument("task_id")
@_JSON
def drop(task_id: str, as_json: bool) -> Exit:
    """Throw TASK_ID away; its failure stays readable until it expires."""
    with reachable(service.redis_url()):
        if not process_store().dead_letters.drop(task_id):
            raise _no_letter()
    show_json({"dropped": task_id}) if as_json else note("dropped")
    return Exit.ANSWER


def _replay(task_id: str) -> bool:
    return process_store().jobs.replay(
        task_id,
        deadline_seconds=get_settings().deadline_seconds,
        default_queue=keys.queue_of("normal"),
    )


def _line(letter: DeadLetter) -> str:
    when = datetime.fromtimestamp(letter.died_at, UTC).strftime("%Y-%m-%d %H:%M:%S")
    counts = f"started {letter.starts}, crashed {letter.crashes}"
    names = one_line(f"{letter.task_id}  {letter.kind}  {letter.error}  {letter.queue}")
    return f"{names}  {counts}  {when} UTC"


def _no_letter() -> NotFound:
    return NotFound("no such dead letter", "See local-llm dead list.")
