"""`webhooks`: look at the events that wait to be delivered or were given up, and deliver again."""

from __future__ import annotations

from datetime import UTC, datetime

import click

from local_llm_service.producers import service
from local_llm_service.producers.cli.output import Exit, note, say, show_json
from local_llm_service.worker.errors import NotFound
from local_llm_service.worker.log_lines import one_line
from local_llm_service.worker.store.connection import reachable
from local_llm_service.worker.store.store import process_store
from local_llm_service.worker.store.webhooks import EventLook

_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group()
def webhooks() -> None:
    """Webhooks that wait to be delivered, or were given up: kept 3 days."""


@webhooks.command("list")
@_JSON
def list_(as_json: bool) -> Exit:
    """List what waits, the next one first, then what was given up; 1000 of each."""
    store = process_store()
    with reachable(service.redis_url()):
        found = store.drive(store.webhooks.events())
    if as_json:
        show_json([event._asdict() for event in found])
    for event in () if as_json else found:
        say(_line(event))
    return Exit.ANSWER


@webhooks.command()
@click.argument("event_id")
@_JSON
def retry(event_id: str, as_json: bool) -> Exit:
    """Deliver EVENT_ID now, as if it had not been tried, also where its URL answered 410 Gone."""
    store = process_store()
    with reachable(service.redis_url()):
        if not store.drive(store.webhooks.retry_webhook(event_id)):
            raise NotFound("no such event", "See local-llm webhooks list.")
    show_json({"due": event_id}) if as_json else note("due now")
    return Exit.ANSWER


def _line(event: EventLook) -> str:
    due = "given up"
    if event.due_ms is not None:
        when = datetime.fromtimestamp(event.due_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
        due = f"due {when} UTC"
    tried = f"tries {event.tries}, last {event.code or '-'}"
    return one_line(f"{event.event_id}  {event.type}  {event.object_id}  {event.host}") + (
        f"  {tried}  {due}"
    )
