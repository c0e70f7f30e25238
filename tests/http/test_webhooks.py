"""What a caller's own server is told by webhooks, and when."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import openai
import pytest

from local_llm_service.producers.http import webhooks
from local_llm_service.testing import LocalLLM
from local_llm_service.worker.errors import InvalidRequest, ModelFailed, NotFound
from tests.doubles.receiver import Got, Receiver
from tests.http.webhook_site import (
    OLD_SECRET,
    PROMPT,
    SECRET,
    SETTINGS,
    Site,
    run,
    types,
    until,
    unwrapped,
)

pytestmark = [pytest.mark.local_llm(settings=SETTINGS), pytest.mark.usefixtures("soon")]


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
