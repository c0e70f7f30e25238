"""Every operation of HTTP: nobody gets in without a key, and no tenant reaches another's things."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from local_llm_service.producers.http.app import OPERATIONS
from local_llm_service.producers.http.operations import Operation
from local_llm_service.testing import LocalLLM
from local_llm_service.worker.store.states import JobState
from tests.http.api_keys import add_key
from tests.http.conftest import HttpSite

PATHS = {one.path for one in OPERATIONS}
PARAMETER = re.compile(r"{(\w+)(?::\w+)?}")
#: What stands for a parameter where only the key counts.
ANY = "00000000-0000-4000-8000-000000000000"

#: A parameter of a path is the id of a thing that has an owner, unless it is one of these.
NOT_OWNED = {"model", "digest", "asset", "name"}
#: What a client puts before an id.
PREFIXES = ("", "chatcmpl-", "resp_", "file-", "batch_", "job_", "cmpl-")
#: A stranger is told one of these, and nothing else.
REFUSALS = {403, 404}

SECRET = "the-first-tenants-words"


def named(operation: Operation) -> str:
    """An operation's name in a test's."""
    return f"{operation.method} {operation.path}"


def filled(path: str, value: str) -> str:
    """A path with a value for each of its parameters."""
    return PARAMETER.sub(value, path)


@dataclass
class Site:
    """Two tenants at one HTTP. The first has a job that ended, one that runs, and what rooms that
    are there can make."""

    http: HttpSite
    local_llm: LocalLLM
    first: dict[str, str]
    second: dict[str, str]
    ids: list[str] = field(default_factory=list)

    def stranger(self, method: str, path: str, **more: Any) -> httpx.Response:
        """A request of the second tenant."""
        return self.http.client.request(method, path, headers=self.second, **more)


@pytest.fixture(autouse=True)
def files_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """FILES_DIR of this test alone."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def site(http: HttpSite, local_llm: LocalLLM) -> Iterator[Site]:
    """See Site."""
    first, second = add_key("first"), add_key("second")
    made = Site(http, local_llm, first, second)
    local_llm.reply(SECRET)
    ended = http.post("/generate", json={"prompt": SECRET}, headers=first)
    made.ids.append(ended.json()["task_id"])
    if "/v1/files" in PATHS:
        line = b'{"custom_id": "1", "method": "POST", "url": "/v1/chat/completions", "body": %s}\n'
        body = b'{"model": "scripted:1b", "messages": [{"role": "user", "content": "%s"}]}'
        file = http.post(
            "/v1/files",
            headers=first,
            data={"purpose": "batch"},
            files={"file": ("in.jsonl", line % (body % SECRET.encode()))},
        ).json()
        made.ids.append(file["id"])
        batch = {
            "input_file_id": file["id"],
            "endpoint": "/v1/chat/completions",
            "completion_window": "24h",
        }
        made.ids.append(http.post("/v1/batches", headers=first, json=batch).json()["id"])
    with local_llm.held():
        if "/v1/jobs" in PATHS:
            job = {"kind": "generate", "args": {"prompt": f"{SECRET} once more"}}
            http.post("/v1/jobs", headers=first, json=job)
        if "/v1/responses" in PATHS:
            asked = {"model": "scripted:1b", "input": f"{SECRET} again", "background": True}
            made.ids.append(http.post("/v1/responses", headers=first, json=asked).json()["id"])
        made.ids += [job.id for job in local_llm.submitted if job.id not in made.ids]
        yield made


# One test for all operations, not one for each: what a tenant needs is made once.


def test_without_a_key_only_what_is_public(http: HttpSite, local_llm: LocalLLM) -> None:
    """401 before anything of the request is read, whatever it is; HEAD as GET."""
    add_key("mine")
    wrong = {}
    for operation in OPERATIONS:
        body = b"no JSON" if operation.method in ("POST", "PUT", "PATCH") else None
        for method in (operation.method, *(["HEAD"] if operation.method == "GET" else [])):
            with http.client.stream(method, filled(operation.path, ANY), content=body) as reply:
                if (reply.status_code == 401) is operation.public:
                    wrong[f"{method} {operation.path}"] = reply.status_code
    assert wrong == {}


def owned() -> list[Operation]:
    """The operations on a thing that somebody owns."""
    found = [one for one in OPERATIONS if set(PARAMETER.findall(one.path)) - NOT_OWNED]
    return [one for one in found if not one.public]


def test_a_stranger_reaches_nothing(site: Site) -> None:
    """By no id, in whatever form, of whatever thing; and does nothing to it."""
    bare = re.sub("^(?:chatcmpl-|resp_|file-|batch_)", "", site.ids[0])
    things = sorted({*site.ids, *(prefix + bare for prefix in PREFIXES), f"resp_{ANY}", ANY})
    wrong = {}
    for operation in owned():
        for thing in things:
            reply = site.stranger(operation.method, filled(operation.path, thing))
            if reply.status_code not in REFUSALS or SECRET in reply.text:
                wrong[f"{named(operation)} {thing}"] = reply.status_code
    assert wrong == {}
    states = [one.state for one in site.local_llm.submitted]
    assert JobState.CANCELLED not in states


def test_no_list_shows_a_strangers_things(site: Site) -> None:
    """Nor any of its words."""
    wrong = {}
    for operation in OPERATIONS:
        if operation.method == "GET" and not PARAMETER.search(operation.path):
            reply = site.stranger("GET", operation.path)
            shown = [one for one in (*site.ids, SECRET) if one in reply.text]
            if reply.status_code >= 500 or shown:
                wrong[operation.path] = (reply.status_code, shown)
    assert wrong == {}


def test_a_strangers_id_in_a_body_is_not_found(site: Site) -> None:
    """Where a body names another thing: a batch its file, a response the one before it."""
    for path, body in (
        ("/v1/batches", {"endpoint": "/v1/chat/completions", "completion_window": "24h"}),
        ("/v1/responses", {"model": "scripted:1b", "input": "a"}),
    ):
        if path not in PATHS:
            continue
        name = "input_file_id" if path == "/v1/batches" else "previous_response_id"
        for thing in site.ids:
            reply = site.stranger("POST", path, json={**body, name: thing})
            assert 400 <= reply.status_code < 500, (path, thing, reply.text)
            assert SECRET not in reply.text


def test_the_first_tenant_reaches_its_own(site: Site) -> None:
    """The tests above would find out: with the owner's key these ids are there."""
    missed = []
    for operation in owned():
        if operation.method == "GET":
            reached = []
            for thing in site.ids:
                path = filled(operation.path, thing)
                with site.http.client.stream("GET", path, headers=site.first) as reply:
                    reached.append(reply.status_code == 200)
            if not any(reached):
                missed.append(operation.path)
    assert missed == []
