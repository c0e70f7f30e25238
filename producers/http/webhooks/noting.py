"""What an endpoint asks of webhooks: may this URL be one, and tell it of that."""

from __future__ import annotations

from local_llm_service.producers.http.service import HttpService
from local_llm_service.producers.http.webhooks.allow_list import AllowList
from local_llm_service.producers.http.webhooks.target import parse_target
from local_llm_service.worker.errors import InvalidRequest, NotFound
from local_llm_service.worker.store.webhooks import EventKind


async def check_target(service: HttpService, url: str) -> None:
    """Say whether events may be sent to this URL, before anything is submitted.

    Raises InvalidRequest: there is no WEBHOOK_SECRET, the URL is none, its host is not in
    WEBHOOK_ALLOW, or it has answered 410. Raises BrokerUnreachable. Which address a host's name has
    is looked up, and checked, when an event is delivered.
    """
    if not service.settings.webhook_secret:
        raise InvalidRequest(
            "webhook: this service has no key to sign webhooks with",
            "Set WEBHOOK_SECRET where HTTP runs: whsec_ and base64 of 24 to 64 bytes.",
        )
    target = parse_target(url)
    if not AllowList.of(service.settings.webhook_allow).names(target):
        raise InvalidRequest(
            "webhook: no webhook may go to this host and port",
            "Name the host, or the address, in WEBHOOK_ALLOW where HTTP runs.",
        )
    if await service.drive(service.store.webhooks.is_gone(url)):
        raise InvalidRequest(
            "webhook: this URL has answered 410 Gone, less than a day ago",
            "Use another URL, or `local-llm webhooks retry` the event that it refused.",
        )


async def notify_at_end(
    service: HttpService, task_id: str, url: str, kind_of_event: EventKind = "job"
) -> None:
    """Tell a checked URL of a job's end, at once where it has ended. Of one job one URL is told.

    The event is `job.succeeded`, `job.failed` or `job.cancelled`; of a "response" it is
    `response.completed`, `incomplete`, `failed` or `cancelled`, with the id `resp_<task id>`.
    Raises NotFound for a job that there is not (any more), BrokerUnreachable.
    """
    host, webhooks = parse_target(url).host, service.store.webhooks
    if not await service.drive(webhooks.note_webhook(task_id, kind_of_event, host, url)):
        raise NotFound("no job has this id")


async def notify(service: HttpService, event_type: str, object_id: str, url: str) -> None:
    """Tell a checked URL of something else that has happened, a batch's end for example.

    Whoever says the same again adds nothing, or an event with the same id. Raises
    BrokerUnreachable.
    """
    host = parse_target(url).host
    await service.drive(service.store.webhooks.add_webhook(event_type, object_id, host, url))
