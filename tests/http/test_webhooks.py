"""Webhooks: what a caller's own server is told, and what becomes of it when things go wrong."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import ssl
import subprocess
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, suppress
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import openai
import pytest
from starlette.requests import Request

from local_llm_service.producers.cli import main
from local_llm_service.producers.http import webhooks
from local_llm_service.producers.http.asking import Asked, submit
from local_llm_service.producers.http.call import Call
from local_llm_service.producers.http.callers.caller import Caller
from local_llm_service.producers.http.service import HttpService
from local_llm_service.producers.http.webhooks import delivery, sending
from local_llm_service.producers.http.webhooks.allow_list import AllowList
from local_llm_service.producers.http.webhooks.delivery import Deliveries
from local_llm_service.producers.http.webhooks.sending import Reply, send
from local_llm_service.producers.http.webhooks.target import parse_target
from local_llm_service.testing import LocalLLM
from local_llm_service.worker.errors import InvalidRequest, ModelFailed, NotFound
from local_llm_service.worker.settings import get_settings
from local_llm_service.worker.store import bounds
from local_llm_service.worker.store.webhooks import Event
from tests.conftest import wait_until
from tests.doubles.receiver import Answer, Got, Receiver, receiver
from tests.http.conftest import HttpSite

SECRET = "whsec_" + base64.b64encode(b"k" * 32).decode()
OLD_SECRET = "whsec_" + base64.b64encode(b"o" * 32).decode()
SETTINGS = {
    "webhook_secret": f"{SECRET} {OLD_SECRET}",
    "webhook_allow": "127.0.0.1, *.example.com",
}
pytestmark = pytest.mark.local_llm(settings=SETTINGS)
PROMPT = "Words of a person."


@pytest.fixture
def told() -> Iterator[Receiver]:
    """A caller's server."""
    with receiver() as server:
        yield server


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tries follow each other in a moment."""
    monkeypatch.setattr(delivery, "SCHEDULE", (0, 0.02, 0.02, 0.02))
    monkeypatch.setattr(delivery, "LOOK_SECONDS", 0.02)
    monkeypatch.setattr(delivery, "AWAY_SECONDS", 0.02)


class Site:
    """One HTTP process's half of webhooks, without its server."""

    def __init__(self) -> None:
        self.service = HttpService(get_settings())

    async def ask(
        self, url: str, kind: Any = "job", *, task_id: str | None = None, **more: Any
    ) -> Any:
        """Submit a job with a webhook, as an endpoint does."""
        request = Request({"type": "http", "headers": []})
        call = Call(self.service, request, Caller(), "request")
        asked = Asked("generate", {"prompt": PROMPT, **more})
        return await submit(call, asked, task_id=task_id, webhook=url, event_kind=kind)

    @asynccontextmanager
    async def delivers(self, **more: Any) -> AsyncIterator[None]:
        """Deliver until the end of the block."""
        task = asyncio.create_task(Deliveries(self.service, **more).run())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def none_waits(self) -> None:
        """Wait until all events are delivered; then nothing is kept of them."""
        store = self.service.store
        kept = f"{store.keys.webhook_event}*"
        await until(lambda: not store.client.keys(kept), "all are delivered")
        assert await self.events() == []

    async def events(self) -> list[Any]:
        """What waits, or was given up."""
        return await self.service.drive(self.service.store.webhooks.events())


def run(test: Callable[[Site], Coroutine[Any, Any, None]]) -> None:
    """Run a test in an event loop of its own."""

    async def main() -> None:
        site = Site()
        await test(site)
        await site.service.close()

    asyncio.run(main())


async def until(condition: Callable[[], object], what: str) -> None:
    """`wait_until` beside what runs in this loop."""
    await asyncio.to_thread(wait_until, condition, what, 5)


def types(told: Receiver) -> list[str]:
    """The types of the events that a receiver got."""
    return [json.loads(got.body)["type"] for got in told.got]


def unwrapped(got: Got, secret: str = SECRET) -> Any:
    """The event as OpenAI's client verifies and reads it."""
    client = openai.OpenAI(api_key="none")
    return client.webhooks.unwrap(got.body, dict(got.headers), secret=secret)


# --- what is told ---------------------------------------------------------------------------


def test_a_jobs_end_is_told_without_a_word_of_it(local_llm: LocalLLM, told: Receiver) -> None:
    """By a body that OpenAI's client verifies, with the new key and the old one."""
    local_llm.reply("An answer to a person.")

    async def test(site: Site) -> None:
        async with site.delivers():
            job = await site.ask(told.url)
            await job.result(5)
            await site.none_waits()
        (got,) = told.got
        for secret in (SECRET, OLD_SECRET):
            assert unwrapped(got, secret).data.id == job.id
        body = json.loads(got.body)
        assert body.keys() == {"id", "object", "created_at", "type", "timestamp", "data"}
        assert (body["type"], body["object"]) == ("job.succeeded", "event")
        assert body["data"] == {"id": job.id}
        assert body["id"] == got.headers["webhook-id"]
        assert b"person" not in got.body
        assert got.path == "/told?by=us"
        assert got.headers["host"] == told.host
        with pytest.raises(openai.InvalidWebhookSignatureError):
            unwrapped(Got(got.path, got.headers, got.body + b" "))

    run(test)


def test_each_end_has_its_event(local_llm: LocalLLM, told: Receiver) -> None:
    """Of a job, and of a response, which says that it was cut."""

    async def test(site: Site) -> None:
        async with site.delivers():

            async def end_of(kind: str, **more: Any) -> str:
                before = len(told.got)
                await site.ask(told.url, kind, cache=False, **more)
                await until(lambda: len(told.got) > before, "the end is told")
                return types(told)[-1]

            local_llm.reply("Whole.").fail(ModelFailed)
            assert await end_of("job") == "job.succeeded"
            assert await end_of("job") == "job.failed"
            local_llm.reply("Whole.").reply("Cut off after one.").fail(ModelFailed)
            assert await end_of("response") == "response.completed"
            assert await end_of("response", max_tokens=1) == "response.incomplete"
            assert await end_of("response") == "response.failed"
            assert await end_of("job", deadline_seconds=0.001) == "job.failed"
            for kind in ("job", "response"):
                asked = len(local_llm.prompts)
                with local_llm.held():
                    job = await site.ask(told.url, kind, cache=False)
                    await asyncio.to_thread(local_llm.wait_until_asked, asked + 1)
                    await job.cancel()
                    word = f"{kind}.cancelled"
                    await until(lambda word=word: types(told)[-1] == word, "it is cancelled")
            data = json.loads(told.got[-1].body)["data"]
            assert data == {"id": f"resp_{job.id}"}

    run(test)


def test_everybody_who_waits_for_one_answer_is_told(local_llm: LocalLLM, told: Receiver) -> None:
    """Jobs that joined another, and one that the cache answers; each by its own id."""

    async def test(site: Site) -> None:
        with local_llm.held():
            jobs = [await site.ask(told.url) for _ in range(103)]
            await asyncio.to_thread(local_llm.wait_until_asked)
        await asyncio.gather(*(job.result(10) for job in jobs))
        jobs.append(await site.ask(told.url))
        assert (await jobs[-1].result(10)).origin == "cached"
        async with site.delivers():
            await until(lambda: len(told.got) == len(jobs), "all are told")
        assert {json.loads(got.body)["data"]["id"] for got in told.got} == {j.id for j in jobs}
        assert {*types(told)} == {"job.succeeded"}
        assert len(local_llm.prompts) == 1

    run(test)


def test_a_late_note_tells_of_the_end_once(local_llm: LocalLLM, told: Receiver) -> None:
    """A job can end before its webhook is noted; a note is repeated when its reply was lost."""
    local_llm.fail(ModelFailed)

    async def test(site: Site) -> None:
        job = await site.service.client.generate(PROMPT)
        with pytest.raises(ModelFailed):
            await job.result(5)
        for _ in range(2):
            await webhooks.notify_at_end(site.service, job.id, told.url)
        hit = await site.service.client.generate("Another.")
        await hit.result(5)
        hit = await site.service.client.generate("Another.")
        for _ in range(2):
            await webhooks.notify_at_end(site.service, hit.id, told.url, "response")
        found = await site.events()
        assert [(event.type, event.object_id) for event in found] == [
            ("job.failed", job.id),
            ("response.completed", f"resp_{hit.id}"),
        ]
        with pytest.raises(NotFound):
            await webhooks.notify_at_end(site.service, "nobody", told.url)

    run(test)


def test_whoever_says_it_twice_adds_nothing(local_llm: LocalLLM, told: Receiver) -> None:
    """Two drivers of one batch, for example."""

    async def test(site: Site) -> None:
        drive, store = site.service.drive, site.service.store.webhooks
        for _ in range(2):
            await webhooks.notify(site.service, "batch.completed", "batch_1", told.url)
            for event in await drive(store.take_webhooks(9, lease_seconds=60, for_one_host=9)):
                await drive(store.end_webhook(event, "again", "503", 60))
        (event,) = await site.events()
        assert (event.tries, event.code) == (1, "503")
        await drive(store.retry_webhook(event.event_id))
        async with site.delivers():
            await site.none_waits()
        assert [unwrapped(got).type for got in told.got] == ["batch.completed"]

    run(test)


@pytest.mark.parametrize(
    ("settings", "url", "message"),
    [
        ({"webhook_secret": None}, "https://a.example.com/", "no key to sign"),
        ({"webhook_allow": ""}, "https://a.example.com/", "may go to this host"),
        ({}, "https://a.example.org/", "may go to this host"),
        ({}, "http://169.254.169.254/latest", "may go to this host"),
        ({}, "http://127.1/", "four decimal numbers"),
    ],
)
def test_a_wrong_target_is_refused_before_anything_is_queued(
    local_llm: LocalLLM, settings: dict[str, Any], url: str, message: str
) -> None:
    """By an error that names the field."""

    async def test(site: Site) -> None:
        site.service.settings = site.service.settings.model_copy(update=settings)
        with pytest.raises(InvalidRequest, match=rf"^webhook: .*{message}"):
            await site.ask(url)
        assert local_llm.submitted == []

    run(test)


# --- tries ----------------------------------------------------------------------------------


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


# --- hostile targets ------------------------------------------------------------------------


def sent(url: str, allow: str, **more: Any) -> Reply:
    """One try to deliver to a URL."""
    target = parse_target(url)
    return asyncio.run(send(target, AllowList.of(allow), b"{}", {}, **more))


class Resolver:
    """A name server that gives another answer each time."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers, self.asked = list(answers), 0

    async def __call__(self, host: str) -> list[Any]:
        self.asked += 1
        return [ip_address(one) for one in self.answers[min(self.asked, len(self.answers)) - 1]]


def test_a_name_is_looked_up_once_and_that_very_address_is_connected_to(told: Receiver) -> None:
    """A second answer, of a name server that rebinds, is never asked for."""
    url = f"http://hooks.example.com:{told.server_port}/"
    # 127.0.0.2 stands for a public address here: it is named. Nobody listens there.
    rebinds = Resolver(["127.0.0.2"], ["127.0.0.1"])
    assert sent(url, "*.example.com 127.0.0.2", resolve=rebinds) == Reply("unreachable")
    assert rebinds.asked == 1
    assert told.got == []


@pytest.mark.parametrize(
    "answer",
    [
        ["127.0.0.1"],
        ["::ffff:127.0.0.1"],
        ["10.0.0.1", "169.254.169.254", "fd00:ec2::254"],
        ["64:ff9b::7f00:1"],
    ],
)
def test_a_name_of_a_private_address_is_not_told(told: Receiver, answer: list[str]) -> None:
    """Though the name is allowed, and though the address would answer."""
    url = f"http://hooks.example.com:{told.server_port}/"
    assert sent(url, "*.example.com", resolve=Resolver(answer)) == Reply("not_allowed")
    assert told.got == []


def test_only_the_open_addresses_of_a_name_are_connected_to(told: Receiver) -> None:
    """A private one beside them is left out, and one that is dead is not the last. The name stays
    in the header."""
    url = f"http://hooks.example.com:{told.server_port}/"
    resolver = Resolver(["127.0.0.3", "127.0.0.4", "::ffff:127.0.0.1"])
    assert sent(url, "*.example.com 127.0.0.4 127.0.0.1", resolve=resolver) == Reply("204", 204)
    (got,) = told.got
    assert got.headers["host"] == f"hooks.example.com:{told.server_port}"


def test_a_name_that_nobody_knows_and_a_host_that_is_no_more_allowed() -> None:
    """Each has its word."""

    async def unknown(_: str) -> list[Any]:
        raise OSError

    assert sent("http://a.example.com/", "*.example.com", resolve=unknown).code == "no_address"
    assert sent("http://a.example.com/", "", resolve=unknown).code == "not_allowed"


def test_the_environment_names_no_proxy(told: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor a login: the request goes where its URL says, as it is."""
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert sent(told.url, "127.0.0.1").status == 204
    assert "authorization" not in told.got[0].headers


def test_a_response_is_not_read(told: Receiver) -> None:
    """Be its body without an end; the connection is closed."""
    told.answers.append(Answer(200, endless=True))
    assert sent(told.url, "127.0.0.1").status == 200
    assert told.closed.wait(5)


@pytest.mark.parametrize(
    ("says", "code"),
    [
        (b"SSH-2.0-OpenSSH_9.6\r\n", "broken"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 10_000 + b"\r\n", "broken"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000 + b"\r\n\r\n", "broken"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 100_000, "broken"),
        (b"HTTP/1.1 99 Odd\r\n\r\n" * 100_000, "broken"),
        (b"", "broken"),
        (b"HTTP/1.1 2", "timeout"),
        (b"HTTP/1.1 100 Continue\r\n\r\n", "timeout"),
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n", "101"),
        (b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 202 Accepted\r\n\r\n", "202"),
        (b"HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n\0\0", "101"),
        (b"HTTP/1.1 100 X\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n\0", "broken"),
        (b"HTTP/1.0 200 OK\r\n\r\n", "200"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\nmore", "200"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nno number\r\n", "200"),
        (b"HTTP/1.1 429 Slow\r\nRetry-After: 7\r\nContent-Length: 9\r\n\r\n", "429"),
    ],
)
def test_whatever_answers_ends_the_try(says: bytes, code: str) -> None:
    """A server of something else, one that says too much, and one that says too little."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"{}")
        writer.write(says)
        if code == "timeout":
            await reader.read()
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
        ended.set()

    async def test() -> Reply:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        target = parse_target(f"http://127.0.0.1:{port}/")
        seconds = 0.2 if code == "timeout" else 10
        reply = await send(target, AllowList.of("127.0.0.1"), b"{}", {}, try_seconds=seconds)
        server.close()
        await ended.wait()
        return reply

    ended = asyncio.Event()
    reply = asyncio.run(test())
    assert reply.code == code
    assert reply.retry_after_seconds == (7.0 if code == "429" else 0.0)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Key and self-signed certificate of hooks.example.com, in one file."""
    folder = tmp_path_factory.mktemp("tls")
    made = folder / "made.pem"
    name = ["-subj", "/CN=hooks", "-addext", "subjectAltName=DNS:hooks.example.com"]
    words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    files = ["-keyout", str(made), "-out", str(folder / "cert.pem")]
    subprocess.run([*words, "-nodes", "-days", "2", *files, *name], check=True, capture_output=True)
    made.write_text(made.read_text() + (folder / "cert.pem").read_text())
    return made


def test_a_certificate_has_to_be_that_of_the_name(
    certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name, not the address, is what TLS verifies; an unknown certificate is none."""
    with receiver(str(certificate)) as told:
        where = Resolver(["127.0.0.1"])
        port = told.server_port

        def reply(host: str) -> str:
            allow = "*.example.com 127.0.0.1"
            return sent(f"https://{host}:{port}/", allow, resolve=where).code

        assert reply("hooks.example.com") == "tls"
        trusting = ssl.create_default_context(cafile=certificate.with_name("cert.pem"))
        monkeypatch.setattr(sending, "tls_context", lambda: trusting)
        assert reply("hooks.example.com") == "204"
        assert reply("other.example.com") == "tls"
        assert reply("127.0.0.1") == "tls"
