"""Routes and aliases at the doors: callers name them as models, and learn which one answered.

By the official clients, which know nothing of any of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import ollama
import openai
import pytest
import redis
from click.testing import CliRunner

from local_llm_service import Client
from local_llm_service.producers import models, routes
from local_llm_service.producers.cli import cli
from tests.doubles.forked_worker import ForkedWorker
from tests.doubles.two_houses import ANSWER, TwoHouses, two_houses
from tests.http.conftest import HttpSite, http_site
from tests.integration.conftest import _beside

HOME, ABROAD, ROUTES = "fake:1b", "large", ["auto", "hard", "picky"]


@pytest.fixture(scope="module")
def houses(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TwoHouses]:
    with two_houses(tmp_path_factory.mktemp("houses")) as found:
        yield found


@pytest.fixture(scope="module")
def site(shared_redis: redis.Redis, houses: TwoHouses) -> Iterator[HttpSite]:
    """HTTP in this process, in front of one worker for all tests of this file."""
    worker = ForkedWorker(_beside(houses.home, houses.environment))
    worker.start()
    with http_site() as found:
        yield found
    worker.kill()


def said(text: str) -> list[Any]:
    return [{"role": "user", "content": text}]


def test_what_can_be_named_is_listed(site: HttpSite) -> None:
    """Models, then aliases, then routes, by OpenAI's client and Ollama's; each can be looked at."""
    named = [HOME, ABROAD, "small", "big", *ROUTES]
    listed = {one.id: one for one in site.openai().models.list()}
    assert list(listed) == named
    local: dict[str, Any] = {name: one.local for name, one in listed.items()}  # type: ignore[attr-defined]
    assert [name for name in named if local[name]["leaves_the_house"]] == [ABROAD, "big"]
    assert {name: local[name].get("alias_of") for name in ("small", "big", "auto")} == {
        "small": HOME, "big": ABROAD, "auto": None,
    }  # fmt: skip
    assert [name for name in named if local[name].get("is_route")] == ROUTES
    assert site.openai().models.retrieve("hard").owned_by == "local-llm"
    with ollama.Client(site.url, trust_env=False) as client:
        assert [one.model for one in client.list().models] == named
        for name in named:
            assert client.show(name).capabilities
    assert routes() == ROUTES
    rows = {one["name"]: one for one in models()}
    assert rows[ABROAD]["aliases"] == ["big"]
    assert list(rows) == [HOME, ABROAD]
    shown = CliRunner().invoke(cli, ["models"]).stdout.splitlines()
    assert shown[0].startswith(f"{HOME}  ")
    assert shown[0].endswith("also small  (default)")
    assert shown[1] == f"{ABROAD}  also big  leaves the house"
    assert shown[2:] == [f"{name}  (route)" for name in ROUTES]


@pytest.mark.parametrize("name", ["auto", "hard", "small", "big"])
def test_openais_clients_name_them_and_learn_who_answered(site: HttpSite, name: str) -> None:
    """In `model` and `local.route`, of what is whole, streamed, and in Responses."""
    expected = ABROAD if name in ("hard", "big") else HOME
    client, extra = site.openai(), {"cache": False}
    whole: Any = client.chat.completions.create(model=name, messages=said("Hi"), extra_body=extra)
    assert (whole.model, whole.choices[0].message.content) == (expected, ANSWER)
    route = whole.local.get("route")
    assert (route and route["chosen"]) == (expected if name in ROUTES else None)
    old: Any = client.completions.create(model=name, prompt="Hi", extra_body=extra)
    assert (old.model, old.local.get("route")) == (expected, route)
    parsed: Any = client.responses.create(model=name, input="Hi", extra_body=extra)
    assert (parsed.model, parsed.output_text, parsed.local.get("route")) == (
        expected,
        ANSWER,
        route,
    )
    chunks: list[Any] = list(
        client.chat.completions.create(
            model=name, messages=said("Hi"), stream=True, extra_body=extra,
            stream_options={"include_usage": True},
        )
    )  # fmt: skip
    text = "".join(one.choices[0].delta.content or "" for one in chunks if one.choices)
    assert (text, chunks[-1].model, chunks[-1].usage.completion_tokens > 0) == (
        ANSWER,
        expected,
        True,
    )
    assert [one.local.get("route") for one in chunks if getattr(one, "local", None)] == [route]
    with client.chat.completions.stream(model=name, messages=said("Hi")) as stream:
        assert stream.get_final_completion().choices[0].message.content == ANSWER


def test_a_route_that_nobody_has_is_told_at_once(site: HttpSite) -> None:
    """As a model is."""
    with pytest.raises(openai.NotFoundError, match="no worker has it"):
        site.openai().chat.completions.create(model="hardest", messages=said("Hi"))
    for path in ("/v1/models/hardest", "/v1/models/"):
        assert site.get(path).status_code == 404


def test_ollamas_client_names_them_and_reads_the_route(site: HttpSite) -> None:
    """It drops a member that it does not know; who reads the record itself has it."""
    with ollama.Client(site.url, trust_env=False) as client:
        for name, expected in (("auto", HOME), ("hard", ABROAD)):
            reply = client.chat(name, said("Hello"))
            assert (reply.model, reply.message.content) == (name, ANSWER)
            assert client.embed(name, "Hello").embeddings
            for stream in (False, True):
                body = {"model": name, "messages": said("Hello"), "stream": stream}
                last = site.post("/api/chat", json=body).text.splitlines()[-1]
                assert f'"chosen":"{expected}"' in last
    body = {"model": "small", "prompt": "Hello", "stream": False}
    assert "route" not in site.post("/api/generate", json=body).json()


def test_the_plain_doors_say_the_route(site: HttpSite) -> None:
    """Jobs, the first API, typed clients, and a line on the command line."""
    body = {"prompt": "Hello", "model": "hard"}
    assert site.post("/generate", json=body).json()["route"]["chosen"] == ABROAD
    assert "route" not in site.post("/generate", json={**body, "model": "big"}).json()
    with Client() as client:
        answer = client.generate("Hello", model="hard").result(30)
        assert answer.route is not None
        assert (answer.route.chosen, answer.route.reason) == (ABROAD, "complex prompt")
        assert client.generate("Hello", model="small").result(30).route is None
    done = CliRunner().invoke(cli, ["generate", "Hello", "--model", "hard"])
    assert f"{ABROAD}  " in done.stderr
    assert "route: complex prompt" in done.stderr
    done = CliRunner().invoke(cli, ["generate", "EMPTY hello", "--model", "auto"])
    assert f"{HOME} before: wrote nothing" in done.stderr
