"""What is to stay on one's own hardware never reaches a model elsewhere: 0 bytes of it, whatever
the route would rather do, at every door, and whoever dies.

The other house keeps all that it is sent; each kept prompt has the word SECRET, each of those
beside them, which show that the test would see a leak, the word FREE.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from celery import chain, chord, group
from click.testing import CliRunner

from local_llm_service import Client, chat, generate, tasks
from local_llm_service.producers.cli import cli
from local_llm_service.tasks.routing.policy import MAY_LEAVE
from local_llm_service.worker.embedded.processes.worker_process import WorkerProcess
from local_llm_service.worker.errors import InvalidRequest, ServiceError
from tests.conftest import wait_until
from tests.doubles.forked_worker import ForkedWorker
from tests.doubles.two_houses import ANSWER, TROUBLES, TwoHouses, two_houses
from tests.http.api_keys import operate
from tests.http.conftest import HttpSite, http_site
from tests.http.test_keep_local import DOORS, STREAMS
from tests.integration.conftest import _beside

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
FUNCTION = {"name": "place", "parameters": SCHEMA}
ROUTES = ("auto", "hard", "picky")
HOME = "fake:1b"
_numbers = itertools.count()


def arguments(kind: str, text: str) -> dict[str, Any]:
    """A call of a kind about a text."""
    turns = [{"role": "user", "content": text}]
    return {
        "generate": {"prompt": text},
        "summarize": {"context": f"{text}. " * 60},
        "compress": {"messages": [{"role": "user", "content": f"{text}. " * 90}, *turns]},
        "extract_parameters": {"user_message": text, "function_schema": FUNCTION},
        "structured_output": {"prompt": text, "schema": SCHEMA},
        "chat": {"messages": turns},
        "embed": {"input": text},
    }[kind]


@pytest.fixture(scope="module")
def houses(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TwoHouses]:
    with two_houses(tmp_path_factory.mktemp("houses")) as found:
        yield found


@pytest.fixture(scope="module")
def worker(shared_redis: redis.Redis, houses: TwoHouses) -> Iterator[WorkerProcess]:
    """One worker for all tests of this file."""
    found = ForkedWorker(_beside(houses.home, houses.environment))
    found.start()
    yield found
    found.kill()


@pytest.fixture
def site(
    worker: WorkerProcess, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> Iterator[HttpSite]:
    """HTTP in this process, in front of that worker."""
    monkeypatch.chdir(tmp_path)
    with http_site() as found:
        yield found


def unique(word: str) -> str:
    """A text that no other call has."""
    return f"{word}-{next(_numbers)}"


def assert_kept(houses: TwoHouses) -> None:
    """Nothing of a kept prompt is abroad; and somebody has read some at home."""
    assert "SECRET" not in houses.sent_abroad()
    assert "SECRET" in houses.sent_home()


def outcome(job: Any) -> Any:
    """An answer, or a typed error."""
    try:
        return job.result(30)
    except ServiceError as error:
        return error


def test_no_route_and_no_trouble_sends_it_away(worker: WorkerProcess, houses: TwoHouses) -> None:
    """Every kind, by every route, whatever becomes of it at home: answered there, or an error."""
    faults = ("FAILS", "BUSY", "GONE", "CUTS OFF")  # few, as a worker is careful after each
    answers = [one for one in TROUBLES if one not in (*faults, "SLOWLY")]
    asked = list(itertools.product(MAY_LEAVE, ROUTES, answers))
    asked += [(kind, "hard", "FINE") for kind in tasks.__all__ if kind not in MAY_LEAVE]
    asked += [("generate", "hard", fault) for fault in faults]
    asked += [("summarize", "auto", "FAILS"), ("chat", "auto", "CUTS OFF")]
    with Client() as client:
        jobs = [
            client.submit(
                kind, arguments(kind, unique(f"SECRET {trouble}")), model=route,
                keep_local=True, deadline_seconds=20,
            )
            for kind, route, trouble in asked
        ]  # fmt: skip
        found = [outcome(job) for job in jobs]
    assert_kept(houses)
    answered = [one for one in found if not isinstance(one, ServiceError)]
    assert len(answered) > len(found) / 3
    assert all(one.keep_local for one in answered)
    assert {one.model for one in answered} == {HOME}
    assert {one.route.reason for one in answered} >= {"keep_local", "summarize stays local"}
    fine = [one for (_, _, trouble), one in zip(asked, found, strict=True) if trouble == "FINE"]
    assert not [one for one in fine if isinstance(one, ServiceError)], fine


@pytest.mark.parametrize("kind", MAY_LEAVE)
def test_what_is_free_does_leave(worker: WorkerProcess, houses: TwoHouses, kind: str) -> None:
    """So that the test before would have seen it: as complex, as unsure, and where home fails."""
    for route, trouble in (
        ("hard", "FINE"),
        ("picky", "UNSURE"),
        ("auto", "EMPTY"),
        ("auto", "FULL"),
    ):
        text = unique(f"FREE {trouble}")
        with Client() as client:
            found = client.submit(kind, arguments(kind, text), model=route).result(30)
        assert (found.model, found.route.chosen, found.keep_local) == ("large", "large", False)
        assert text in houses.sent_abroad(), (route, trouble)


def test_a_model_that_leaves_is_refused_by_its_name(
    worker: WorkerProcess, houses: TwoHouses
) -> None:
    """By an alias, too, and for kinds that stay; a tenant of `local_scopes` says as much."""
    kept: list[tuple[str, dict[str, Any]]] = [(kind, {"keep_local": True}) for kind in MAY_LEAVE]
    kept += [(kind, {"cache_scope": scope}) for kind in MAY_LEAVE for scope in ("hr", "hr/anna")]
    kept += [(kind, {}) for kind in ("summarize", "compress", "extract_parameters", "embed")]
    for (kind, options), model in itertools.product(kept, ("large", "big")):
        job = getattr(tasks, kind).delay(
            **arguments(kind, unique("SECRET")), model=model, **options
        )
        with pytest.raises(InvalidRequest, match="must not"):
            job.get(timeout=30)
    for kind, options in kept:
        text = unique("SECRET")
        answer = getattr(tasks, kind).delay(**arguments(kind, text), model="hard", **options)
        assert answer.get(timeout=30)["model"] == HOME
    assert_kept(houses)


def test_every_door_of_http_keeps_it(site: HttpSite, houses: TwoHouses) -> None:
    """By the body, the header, and the key; whole and streamed. Free calls there do leave."""
    _, key = operate("add", "hr", "--keep-local"), operate("rotate", "hr")
    free_key = operate("add", "web")
    ways: dict[str, tuple[dict[str, Any], dict[str, str]]] = {
        "body": ({"keep_local": True}, {"x-api-key": free_key}),
        "header": ({}, {"x-api-key": free_key, "X-Keep-Local": "true"}),
        "key": ({"keep_local": False}, {"x-api-key": key}),
        "FREE": ({}, {"x-api-key": free_key}),
    }
    streamed = [(path, {"stream": True}) for path in STREAMS]
    for path, own in [*((path, {}) for path in DOORS), *streamed]:
        for way, (more, headers) in ways.items():
            text = unique("FREE" if way == "FREE" else "SECRET")
            body = json.loads(json.dumps(DOORS[path]).replace("Hi", text).replace("Ada", text))
            body = {**body, **own, **more, "model": "hard"}
            reply = site.post(path, json=body, headers=headers)
            assert reply.status_code in (200, 202), (path, way, reply.text)
            job = f"/v1/jobs/{reply.headers['X-Local-LLM-Task-Id']}"
            done = wait_until(
                lambda job=job, headers=headers: (
                    site.get(job, headers=headers).json().get("answer")
                ),
                "the job is answered",
            )
            left = text in houses.sent_abroad()
            assert left == (way == "FREE" and done["kind"] in MAY_LEAVE), (path, way)
    assert_kept(houses)


def test_other_doors_keep_it(worker: WorkerProcess, houses: TwoHouses) -> None:
    """Celery's tasks, canvases whose first part alone says it, and the command line."""
    options = {"model": "hard", "keep_local": True}
    assert generate.delay(unique("SECRET"), **options).get(timeout=30)["model"] == HOME
    # The model at home says what it was told, so that a chain hands the word on.
    made = chain(
        generate.s(unique("SECRET"), **options),
        chat.s(model="hard"),
        generate.s(model="hard"),
    )
    assert made.apply_async().get(timeout=30)["model"] == HOME
    header = group(generate.s(unique("SECRET"), **options), generate.s(unique("Fine")))
    body = chord(header)(generate.s(model="hard"))
    assert body.get(timeout=30)["route"]["reason"] == "keep_local"
    for words in (
        ["generate", unique("SECRET")],
        ["summarize", "-"],
        ["generate", unique("SECRET"), "--stream"],
    ):
        done = CliRunner().invoke(
            cli, [*words, "--model", "hard", "--keep-local"], input=unique("SECRET. ") * 90
        )
        assert done.exit_code == 0, done.output
        assert HOME in done.stderr
    assert_kept(houses)


def test_the_same_question_of_another_caller_leaves_alone(
    worker: WorkerProcess, houses: TwoHouses
) -> None:
    """Neither waits for the other, nor gets its answer."""
    text, before = unique("Whose is it?"), len(houses.abroad.requests)
    with Client() as client:
        jobs = [client.generate(text, model="hard", keep_local=one) for one in (True, False) * 4]
        answers = [job.result(30) for job in jobs]
    assert [one.model for one in answers] == [HOME, "large"] * 4
    assert len(houses.abroad.requests) == before + 1
    assert {one.keep_local for one in answers[::2]} == {True}


def test_of_a_context_only_its_summary_leaves(worker: WorkerProcess, houses: TwoHouses) -> None:
    """1,500 tokens become as many as the caller says, 100 else; of a kept one, nothing."""
    raw = "RAW tells of a day in Bern, and of no other one. " * 125
    for most, bound in ((None, 100), (40, 40)):
        before = len(houses.abroad.requests)
        found = generate.delay(
            unique("FREE"), model="hard", context=raw, max_context_tokens=most
        ).get(timeout=30)
        (seen,) = houses.abroad.requests[before:]
        material = seen.body["messages"][-1]["content"].split('"""')[1]
        assert "MADE AT HOME" in material
        assert found["model"] == "large"
        use = found["context"]
        assert use["tokens"] > 1200
        assert len(material.split()) <= use["sent_tokens"] <= bound
        assert use["saved_usd"] == pytest.approx(use["saved_tokens"] / 1e6)
        assert use["usage"]["prompt_tokens"] > 1200 > found["usage"]["prompt_tokens"]
    assert "RAW" not in houses.sent_abroad()
    named = generate.delay(unique("FREE"), model="big", context=raw).get(timeout=30)
    assert (named["model"], named["context"]["sent_tokens"] <= 100) == ("large", True)
    kept = generate.delay(
        unique("SECRET"), model="hard", context=f"SECRET {raw}", keep_local=True
    ).get(timeout=30)
    assert (kept["model"], kept["text"]) == (HOME, ANSWER)
    assert "RAW" not in houses.sent_abroad()
    assert_kept(houses)
