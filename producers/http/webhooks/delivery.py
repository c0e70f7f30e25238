"""Delivers events, as each HTTP process does: takes what is due from Redis, sends it, and notes
what became of it. A process that dies leaves its events to the others: they are due again."""

from __future__ import annotations

import asyncio
import logging
import random
from time import monotonic, time

import redis

from local_llm_service.producers.http.service import HttpService
from local_llm_service.producers.http.webhooks.allow_list import AllowList
from local_llm_service.producers.http.webhooks.message import Signer, body_of
from local_llm_service.producers.http.webhooks.sending import (
    TRY_SECONDS,
    Reply,
    Resolve,
    addresses_of,
    send,
    tls_context,
)
from local_llm_service.producers.http.webhooks.target import parse_target
from local_llm_service.worker.errors import InvalidRequest, ServiceError
from local_llm_service.worker.store.webhooks import Event, Outcome

log = logging.getLogger(__name__)

#: The pause before each try, counted from the end of the one before. Seconds.
SCHEDULE = (0, 5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400)
#: A pause is up to this share longer, so that events that failed together come apart.
JITTER = 0.1
#: No Retry-After puts a try off for longer. Seconds.
RETRY_AFTER_MOST = 86_400.0

#: Events that one process delivers at once, those for one host among them, and those for all hosts
#: together whose last try failed: a slow or dead host holds up no other.
AT_ONCE = 8
FOR_ONE_HOST = 4
FOR_FAILING_HOSTS = 4
#: A host counts as failing for so long after a try failed, seconds; and the most that are known so.
FAILING_SECONDS = 600.0
FAILING_MOST = 200

#: An event belongs to the process that took it for so long; longer than a try. Seconds.
LEASE_SECONDS = 2 * TRY_SECONDS
#: How often a process looks for what is due, and how often while Redis is away. Seconds.
LOOK_SECONDS = 1.0
AWAY_SECONDS = 5.0


async def deliver(service: HttpService) -> None:
    """Deliver events until cancelled. Without WEBHOOK_SECRET there is nothing to do."""
    if service.settings.webhook_secret:
        await Deliveries(service).run()


class Deliveries:
    """The events that one process delivers."""

    def __init__(
        self,
        service: HttpService,
        *,
        resolve: Resolve = addresses_of,
        try_seconds: float = TRY_SECONDS,
    ) -> None:
        self._service, self._webhooks = service, service.store.webhooks
        self._signer = Signer.of(service.settings.webhook_secret or "")
        self._allowed = AllowList.of(service.settings.webhook_allow)
        self._resolve, self._try_seconds = resolve, try_seconds
        tls_context()  # now, as it reads files
        self._running: dict[asyncio.Task[None], Event] = {}
        self._failing_until: dict[str, float] = {}
        self._is_away = False

    async def run(self) -> None:
        """Deliver until cancelled; what is being delivered then is left to other processes."""
        try:
            while True:
                await self._rest(await self._look())
        finally:
            running = [*self._running]
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    async def _look(self) -> float:
        """Take what is due and begin to deliver it. Returns how long to rest."""
        free = AT_ONCE - len(self._running)
        if free == 0:
            return LOOK_SECONDS
        try:
            events = await self._service.drive(
                self._webhooks.take_webhooks(
                    free,
                    lease_seconds=LEASE_SECONDS,
                    for_one_host=FOR_ONE_HOST,
                    busy=self._busy(),
                )
            )
        except (ServiceError, redis.RedisError) as error:
            if not self._is_away:
                log.warning("webhooks wait for Redis: %s", type(error).__name__)
            self._is_away = True
            return AWAY_SECONDS
        self._is_away = False
        for event in events:
            task = asyncio.create_task(self._deliver(event))
            self._running[task] = event
            task.add_done_callback(self._running.pop)
        return LOOK_SECONDS

    async def _rest(self, seconds: float) -> None:
        """Return when something was delivered, or after so long."""
        if self._running:
            waiting = [*self._running]
            await asyncio.wait(waiting, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        else:
            await asyncio.sleep(seconds)

    def _busy(self) -> list[str]:
        """The hosts of what is delivered now, each as often as it counts against FOR_ONE_HOST."""
        now, hosts = monotonic(), [event.host for event in self._running.values()]
        self._failing_until = {h: until for h, until in self._failing_until.items() if until > now}
        failing = [host for host in hosts if host in self._failing_until]
        more = FOR_ONE_HOST if len(failing) >= FOR_FAILING_HOSTS else FOR_ONE_HOST - 1
        return [*hosts, *(host for host in self._failing_until for _ in range(more))]

    async def _deliver(self, event: Event) -> None:
        reply = await self._send(event)
        outcome, again_seconds = what_follows(event.tries, reply)
        self._failing_until.pop(event.host, None)
        if outcome != "delivered" and len(self._failing_until) < FAILING_MOST:
            self._failing_until[event.host] = monotonic() + FAILING_SECONDS
        if outcome in ("given_up", "gone"):
            log.warning("webhook %s is given up after try %d", event.event_id, event.tries)
        end = self._webhooks.end_webhook(event, outcome, reply.code, again_seconds)
        try:
            await self._service.drive(end)
        except (ServiceError, redis.RedisError) as error:
            # It is due again when its lease is over, and its receiver knows it by its id.
            log.warning("webhook %s: %s", event.event_id, type(error).__name__)

    async def _send(self, event: Event) -> Reply:
        try:
            target = parse_target(event.url)
        except InvalidRequest:  # as a newer version may take
            return Reply("not_allowed")
        body = body_of(event)
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "local-llm-service",
            **self._signer.headers(event.event_id, int(time()), body),
        }
        return await send(
            target,
            self._allowed,
            body,
            headers,
            resolve=self._resolve,
            try_seconds=self._try_seconds,
        )


def what_follows(tries: int, reply: Reply) -> tuple[Outcome, float]:
    """What becomes of an event after its try number `tries`, from 1, and in how many seconds the
    next one is due."""
    if 200 <= reply.status < 300:
        return "delivered", 0.0
    if reply.status == 410:
        return "gone", 0.0
    if tries >= len(SCHEDULE):
        return "given_up", 0.0
    pause = SCHEDULE[tries] * (1 + JITTER * random.random())
    return "again", max(pause, min(reply.retry_after_seconds, RETRY_AFTER_MOST))
