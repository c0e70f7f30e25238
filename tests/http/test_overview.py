"""`/v1/overview`, and the page that shows it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from local_llm_service import tasks
from local_llm_service.producers.http.callers.caller import Caller
from local_llm_service.producers.http.pages.assets import _files
from local_llm_service.tasks.steps.protocol import Steps
from local_llm_service.testing import LocalLLM
from local_llm_service.worker.errors import ModelFailed
from local_llm_service.worker.prompt import Prompt
from tests.conftest import wait_until
from tests.http.conftest import HttpSite

STRANGER = Caller(tenant="another").new_id()


def look(http: HttpSite) -> dict[str, Any]:
    """What is there now."""
    found: dict[str, Any] = http.get("/v1/overview").json()
    return found


def test_nothing_runs(http: HttpSite) -> None:
    """All queues are there, and the worker."""
    seen = look(http)
    assert (seen["status"], seen["running"], seen["jobs"], seen["failures"]) == (
        "healthy",
        0,
        [],
        [],
    )
    assert [queue["name"] for queue in seen["queues"]] == ["llm.high", "llm.normal", "llm.low"]
    assert [worker["slots"] for worker in seen["workers"]] == [1]


@pytest.mark.local_llm(slots=2)
def test_jobs_run_and_wait(http: HttpSite, local_llm: LocalLLM) -> None:
    """The caller's own are named; of others' it is told how many there are."""
    with local_llm.held():
        own = tasks.summarize.delay("A text. " * 60, priority="low")
        tasks.summarize.apply_async(("Of another tenant. " * 40,), task_id=STRANGER)
        local_llm.wait_until_asked(2)
        tasks.generate.delay("It waits.")
        local_llm._worker.publish()
        seen = look(http)
    (job,) = seen["jobs"]
    assert (job["task_id"], job["kind"], job["queue"]) == (own.id, "summarize", "llm.low")
    assert (job["model"], job["tokens"], job["tokens_per_second"]) == ("scripted:1b", 0, None)
    assert job["seconds"] >= 0
    assert (seen["running"], [queue["waiting"] for queue in seen["queues"]]) == (2, [1, 0, 0])
    assert STRANGER not in str(seen)


def test_a_job_of_several_steps_is_shown_with_them(
    http: HttpSite, local_llm: LocalLLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As its worker says."""

    def work(request: Any, ask: Steps) -> Mapping[str, object]:
        ask.progress(3, 12, "reading")
        return {"text": ask(Prompt(({"role": "user", "content": request.prompt},), 9)).text}

    monkeypatch.setattr(tasks.generate, "kind", replace(tasks.generate.kind, work=work))
    with local_llm.held():
        job = tasks.generate.delay("Count.")
        local_llm.wait_until_asked()
        local_llm._worker.publish()
        assert look(http)["jobs"][0]["progress"] == {"done": 3, "total": 12, "phase": "reading"}
        assert http.get(f"/v1/jobs/{job.id}").json()["progress"]["done"] == 3
        assert (job.state, job.info["total"]) == ("PROGRESS", 12)


@pytest.mark.parametrize("cache", [True, False], ids=["others may read it", "nobody reads it"])
def test_a_job_is_shown_while_it_is_written(
    http: HttpSite, local_llm: LocalLLM, cache: bool
) -> None:
    """With the pieces so far and their pace."""
    local_llm.stream(*["word "] * 200, pause_seconds=0.01)
    job = tasks.generate.delay("Count.", cache=cache)

    def written() -> dict[str, Any] | None:
        local_llm._worker.publish()
        found = look(http)["jobs"]
        return found[0] if found and found[0]["tokens"] > 5 else None

    seen = wait_until(written, "some of it is written")
    assert 5 < seen["tokens_per_second"] <= 200
    job.revoke()


def test_failures_are_codes(http: HttpSite, local_llm: LocalLLM) -> None:
    """Of the caller's own jobs, the newest first, without a word of theirs."""
    local_llm.fail(ModelFailed, times=3)
    for task_id in (None, STRANGER, None):
        job = tasks.generate.apply_async(("secret",), task_id=task_id)
        with pytest.raises(ModelFailed):
            job.get(timeout=5)
    seen = look(http)
    assert seen["failures"][0]["task_id"] == job.id
    assert [(one["error"], one["kind"], one["queue"]) for one in seen["failures"]] == [
        ("model_failed", "generate", "llm.high")
    ] * 2
    assert STRANGER not in str(seen)
    assert "secret" not in str(seen)


def test_the_counts_are_those_of_the_statistics(http: HttpSite, local_llm: LocalLLM) -> None:
    """And the cache's."""
    for _ in range(2):
        http.post("/generate", json={"prompt": "Hi"})
    seen = look(http)
    assert seen["stats"] == http.get("/metrics").json()
    assert (seen["stats"]["hits"], seen["cached"]) == (1, 1)
    assert seen["cached_bytes"] > 0


def test_the_page_loads_nothing_from_elsewhere() -> None:
    """Neither the page nor its parts, nor anything that the policy of pages would refuse."""
    for name, content in _files().items():
        text = content.decode().replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?://(?!127)|//cdn|@import", text.replace("http:\\/\\/", "")), (
            name
        )
        if name.endswith(".html"):
            assert not re.search(r"<script(?! src=)|<style|style=|\son\w+=", text), name


def test_the_page_names_only_what_is_there() -> None:
    """Every id that a script asks for is in the page, and every part of it is a file."""
    page = _files()["index.html"].decode()
    ids = set(re.findall(r' id="([^"]+)"', page))
    assert len(ids) == page.count(' id="')
    scripts = {name: text.decode() for name, text in _files().items() if name.endswith(".js")}
    for name, text in scripts.items():
        assert set(re.findall(r'\$\("([\w-]+)"\)', text)) <= ids, name
        assert {one.removeprefix("./") for one in re.findall(r'from "([^"]+)"', text)} <= set(
            scripts
        )
    assert set(re.findall(r'(?:href|src)="assets/([^"]+)"', page)) <= set(_files())
    labels = set(re.findall(r'aria-labelledby="([^"]+)"', page))
    assert labels <= ids


def test_the_form_has_each_kind() -> None:
    """With the fields that its request really has."""
    page = _files()["index.html"].decode()
    assert set(re.findall(r'name="kind" value="(\w+)"', page)) == set(tasks.__all__)
    for part in page.split('<div class="fields" data-kind="')[1:]:
        kind, _, fields = part.partition('"')
        fields = fields.partition("<details")[0]
        names = set(re.findall(r' name="(\w+)"', fields))
        request = getattr(tasks, kind).kind.request
        known = {field.alias or name for name, field in request.model_fields.items()}
        assert names <= known, kind


def test_the_front_is_a_page_for_browsers(http: HttpSite) -> None:
    """And Ollama's words for its clients, who look there for them."""
    browser = http.get("/", headers={"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"})
    assert browser.text.startswith("<!doctype html>")
    assert http.get("/").text == "Ollama is running"
    assert browser.headers["vary"] == "Accept"
