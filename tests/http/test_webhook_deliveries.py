"""What becomes of an event when its delivery goes wrong."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from ipaddress import ip_address
from typing import Any

import pytest

from local_llm_service.producers.cli import main
from local_llm_service.producers.http import webhooks
from local_llm_service.producers.http.webhooks import delivery
from local_llm_service.producers.http.webhooks.delivery import Deliveries
from local_llm_service.testing import LocalLLM
from local_llm_service.worker.errors import InvalidRequest
from local_llm_service.worker.store import bounds
from local_llm_service.worker.store.webhooks import Event
from tests.conftest import wait_until
from tests.doubles.receiver import Answer, Receiver, receiver
from tests.http.conftest import HttpSite
from tests.http.webhook_site import (
    PROMPT,
    SETTINGS,
    Site,
    run,
    types,
    until,
    unwrapped,
)

pytestmark = [pytest.mark.local_llm(settings=SETTINGS), pytest.mark.usefixtures("soon")]


def test_a_failed_try_is_made_again_with_the_same_id(local_llm: LocalLLM, told: Receiver) -> None:
    """After an error of the server's and after a redirect, which nobody follows."""

    async def test(site: Site) -> None:
        with receiver() as elsewhere:
            told.answers.extend([Answer(500), Answer(307, {"Location": elsewhere.url})])
            async with site.delivers():
                job = await site.ask(told.url)
                await job.result(5)
                await site.none_waits()
            assert (len(told.got), elsewhere.got) == (3, [])

    run(test)
    assert len({(got.headers["webhook-id"], got.body) for got in told.got}) == 1
    assert unwrapped(told.got[2]).type == "job.succeeded"


def test_an_event_that_nobody_takes_is_given_up_and_can_be_delivered_again(
    local_llm: LocalLLM,
    told: Receiver,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The command shows the host and what came of the last try; nothing shows the URL."""
    told.answers.extend([Answer(503, {"X": PROMPT})] * 4)

    async def test(site: Site) -> None:
        async with site.delivers():
            job = await site.ask(told.url)
            await job.result(5)
            while (found := await site.events())[0].due_ms is not None:
                await asyncio.sleep(0.01)
        assert len(told.got) == 4
        (event,) = found
        assert (event.tries, event.code, event.host) == (4, "503", "127.0.0.1")
        assert said(capsys, "webhooks", "list", "--json") == [event._asdict()]
        line = said(capsys, "webhooks", "list")
        assert f"{event.event_id}  job.succeeded  {job.id}  127.0.0.1  tries 4, last 503" in line
        assert said(capsys, "webhooks", "retry", event.event_id, "--json") == {
            "due": event.event_id
        }
        async with site.delivers():
            await site.none_waits()
        assert len(told.got) == 5

    with caplog.at_level(logging.WARNING):
        run(test)
    assert said(capsys, "webhooks", "list") == ""
    assert "is given up after try 4" in caplog.text
    assert "told" not in caplog.text
    assert (
        "not_found"
        in said(capsys, "webhooks", "retry", "evt_none", "--json", code=5)["error"]["code"]
    )


def said(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> Any:
    """What a command prints."""
    with pytest.raises(SystemExit) as end:
        main([*words])
    assert end.value.code == code
    out = capsys.readouterr().out
    return json.loads(out) if "--json" in words else out


def test_a_url_that_is_gone_is_told_nothing_any_more(local_llm: LocalLLM, told: Receiver) -> None:
    """410: what waits for it is given up, and new jobs are refused; a retry by hand ends that."""
    told.answers.append(Answer(410))

    async def test(site: Site) -> None:
        for number in range(3):
            await webhooks.notify(site.service, "batch.failed", f"batch_{number}", told.url)
        await webhooks.notify(site.service, "batch.failed", "batch_4", f"{told.url}&other")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(delivery, "AT_ONCE", 1)
            async with site.delivers():
                await until(lambda: len(told.got) == 2, "one of each URL is delivered")
                while len(found := await site.events()) != 3 or found[0].due_ms is not None:
                    await asyncio.sleep(0.01)
        assert {event.code for event in found} == {"410"}
        with pytest.raises(InvalidRequest, match=r"^webhook: .* 410"):
            await site.ask(told.url)
        retry = site.service.store.webhooks.retry_webhook(found[0].event_id)
        assert await site.service.drive(retry)
        await site.ask(told.url)

    run(test)


def test_two_processes_deliver_once_and_one_that_dies_leaves_it_to_the_other(
    local_llm: LocalLLM, told: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lease of the dead one runs out; the receiver knows the event by its id."""
    monkeypatch.setattr(delivery, "LEASE_SECONDS", 0.3)
    held = threading.Event()
    told.answers.append(Answer(200, held=held))

    async def test(one: Site) -> None:
        other = Site()
        async with one.delivers():
            await webhooks.notify(one.service, "batch.completed", "batch_1", told.url)
            await until(lambda: told.got, "the first one tries")
        held.set()
        async with other.delivers(), one.delivers():
            await until(lambda: len(told.got) == 2, "another one tries")
            monkeypatch.setattr(delivery, "LEASE_SECONDS", 30.0)  # the others are told once
            for number in range(2, 30):
                await webhooks.notify(one.service, "batch.completed", f"batch_{number}", told.url)
            await one.none_waits()
        assert len(told.got) == 30
        await other.service.close()

    run(test)
    assert len({got.headers["webhook-id"] for got in told.got}) == 29


def test_a_late_word_of_a_process_that_was_taken_for_dead_counts_no_more(
    local_llm: LocalLLM, told: Receiver
) -> None:
    """The try of the one that took it since counts."""

    async def test(site: Site) -> None:
        store, drive = site.service.store.webhooks, site.service.drive
        await webhooks.notify(site.service, "batch.completed", "batch_1", told.url)
        (late,) = await drive(store.take_webhooks(1, lease_seconds=0, for_one_host=1))
        (now,) = await drive(store.take_webhooks(1, lease_seconds=0, for_one_host=1))
        assert not await drive(store.end_webhook(late, "given_up", "500"))
        assert await drive(store.end_webhook(now, "again", "503", 60))
        (event,) = await site.events()
        assert (event.tries, event.code) == (2, "503")

    run(test)


def test_a_slow_host_holds_up_no_other(local_llm: LocalLLM, told: Receiver) -> None:
    """Nor do many events for it, which were due earlier."""
    held = threading.Event()

    async def resolve(_: str) -> list[Any]:
        return [ip_address("127.0.0.1")]

    async def test(site: Site) -> None:
        with receiver() as slow:
            slow.answers.extend([Answer(held=held)] * 1000)
            for number in range(bounds.NUMBERS["WEBHOOKS_LOOK"] + 10):
                url = f"http://slow.example.com:{slow.server_port}/"
                await webhooks.notify(site.service, "batch.completed", f"batch_{number}", url)
            await webhooks.notify(site.service, "batch.completed", "batch_other", told.url)
            async with site.delivers(resolve=resolve):
                await until(lambda: told.got, "another host is told meanwhile")
                assert len(slow.got) == delivery.FOR_ONE_HOST
                held.set()
                await until(lambda: len(slow.got) > 2 * delivery.FOR_ONE_HOST, "others follow")

    run(test)


def test_failing_hosts_get_one_event_at_a_time_and_half_of_all(local_llm: LocalLLM) -> None:
    """A host counts against its share as often as `busy` names it."""

    async def test(site: Site) -> None:
        deliveries = Deliveries(site.service)
        deliveries._failing_until = dict.fromkeys(["a", "b", "c", "d", "e"], float("inf"))

        def may_take(*hosts: str) -> set[str]:
            deliveries._running = {
                asyncio.create_task(asyncio.sleep(0)): Event("", "", "", host, "", 0, 1)
                for host in hosts
            }
            busy = deliveries._busy()
            return {one for one in "aefg" if busy.count(one) < delivery.FOR_ONE_HOST}

        assert may_take() == {"a", "e", "f", "g"}
        assert may_take("a", "f", "f", "f") == {"e", "f", "g"}
        assert may_take("f", "f", "f", "f") == {"a", "e", "g"}
        assert may_take("a", "b", "c", "d") == {"f", "g"}

    run(test)


def test_redis_away_is_borne_and_said_once(
    local_llm: LocalLLM, told: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    """Deliveries go on when it is back."""

    async def test(site: Site) -> None:
        async with site.delivers():
            with local_llm.redis_away():
                await until(lambda: "webhooks wait for Redis" in caplog.text, "it is said")
                await asyncio.sleep(0.2)
            await webhooks.notify(site.service, "batch.completed", "batch_1", told.url)
            await until(lambda: told.got, "it is told")

    run(test)
    assert caplog.text.count("webhooks wait for Redis") == 1


def test_a_full_table_gives_up_what_has_failed_most(
    local_llm: LocalLLM, told: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The number of events that wait is bounded, and of those that were given up."""
    for name, most in (("WEBHOOKS_MOST", 3), ("WEBHOOKS_GIVEN_UP_MOST", 2)):
        monkeypatch.setitem(bounds.NUMBERS, name, most)
    from local_llm_service.worker.store.scripts import script_text

    script_text.cache_clear()

    async def test(site: Site) -> None:
        drive, store = site.service.drive, site.service.store.webhooks
        await webhooks.notify(site.service, "batch.failed", "old", told.url)
        (event,) = await drive(store.take_webhooks(1, lease_seconds=9, for_one_host=1))
        await drive(store.end_webhook(event, "again", "503", 60))
        for number in range(3):
            await webhooks.notify(site.service, "batch.failed", f"new_{number}", told.url)
        found = await site.events()
        assert [event.object_id for event in found[3:]] == ["old"]
        assert (found[3].due_ms, found[3].code) == (None, "too_many")
        for number in range(3, 6):
            await webhooks.notify(site.service, "batch.failed", f"new_{number}", told.url)
        assert len(await site.events()) == 3 + 2
        held = site.service.store.client.keys("*webhook_event:*")
        assert len(held) == 3 + 2

    try:
        run(test)
    finally:
        script_text.cache_clear()


def test_the_running_server_tells_of_its_jobs_and_responses(
    http: HttpSite, local_llm: LocalLLM, told: Receiver
) -> None:
    """Under the ids that its replies have; and it refuses a URL that is not allowed."""
    body = {"kind": "generate", "args": {"prompt": PROMPT}}
    reply = http.post("/v1/jobs", json={**body, "webhook": "http://10.0.0.1/"})
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, "webhook")
    assert local_llm.submitted == []
    job = http.post("/v1/jobs", json={**body, "webhook": told.url}).json()
    extra = {"webhook": told.url}
    response = http.openai().responses.create(
        model="scripted:1b", input=PROMPT, background=True, extra_body=extra
    )
    wait_until(lambda: len(told.got) == 2, "the running server tells of both")
    assert {unwrapped(got).data.id for got in told.got} == {job["id"], response.id}
    assert {*types(told)} == {"job.succeeded", "response.completed"}
