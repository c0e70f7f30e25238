"""Who may call: API keys, from the first one on."""

from __future__ import annotations

import time
from typing import Any

import httpx
import pytest

from local_llm_service.producers.http import server
from local_llm_service.producers.http.callers import anonymous, key_ring
from local_llm_service.testing import LocalLLM
from local_llm_service.worker.errors import InvalidSetting
from local_llm_service.worker.settings import get_settings
from local_llm_service.worker.store.api_keys import ApiKey, ApiKeys
from local_llm_service.worker.store.store import process_store
from tests.conftest import wait_until
from tests.http.api_keys import add_key, bearer, operate
from tests.http.conftest import HttpSite, http_site

BODY = {"prompt": "a"}


def asked(http: HttpSite, headers: dict[str, str] | None = None, **more: Any) -> httpx.Response:
    """One question; its answer is cached from the second time on."""
    return http.post("/generate", json={**BODY, **more}, headers=headers)


def test_anybody_may_ask_until_there_is_a_key(http: HttpSite) -> None:
    """Also with the word that a client insists on sending; then nobody without one."""
    assert asked(http, bearer("anything")).status_code == 200
    headers = add_key("mine")
    assert asked(http, headers).status_code == 200
    refused = asked(http)
    assert refused.status_code == 401
    assert refused.headers["WWW-Authenticate"] == "Bearer"


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process looks for the first key a little more often."""
    assert key_ring.LOOK_SECONDS <= 1
    monkeypatch.setattr(key_ring, "LOOK_SECONDS", 0.3)


@pytest.mark.usefixtures("quick")
def test_a_process_that_nobody_has_shown_a_key_finds_out_soon(http: HttpSite) -> None:
    """Within LOOK_SECONDS."""
    assert asked(http).status_code == 200
    add_key("mine")
    began = time.monotonic()
    wait_until(lambda: asked(http).status_code == 401, "the door is shut")
    assert time.monotonic() - began < key_ring.LOOK_SECONDS + 0.5


def test_missing_wrong_and_revoked_are_told_the_same(http: HttpSite) -> None:
    """Nobody learns which keys there are."""
    known, revoked = add_key("known"), add_key("revoked")
    operate("revoke", "revoked")
    expired = add_key("expired", "--expires", "1s")
    guessed = {"Authorization": known["Authorization"][:-5] + "AAAAA"}
    unknown = bearer(f"llm_{'0' * 12}_{'A' * 43}")
    wait_until(lambda: asked(http, expired).status_code == 401, "it has expired")
    told = []
    for headers in ({}, revoked, expired, guessed, unknown, bearer("x"), bearer("é" * 3)):
        sent = {name: value.encode() for name, value in headers.items()}
        reply = http.post("/generate", json=BODY, headers=sent)  # type: ignore[arg-type]
        problem = {**reply.json(), "instance": ""}
        told.append((reply.status_code, problem, sorted(reply.headers)))
    assert told[0][0] == 401
    assert all(one == told[0] for one in told)
    assert asked(http, known).status_code == 200


@pytest.mark.parametrize("scheme", ["Bearer {}", "bearer {}", "BEARER   {}"])
def test_how_a_key_is_sent(http: HttpSite, scheme: str) -> None:
    """As OpenAI's and Ollama's clients do, or as x-api-key; never in the URL."""
    text = operate("add", "mine")
    assert asked(http, {"Authorization": scheme.format(text)}).status_code == 200
    assert asked(http, {"x-api-key": text}).status_code == 200
    assert asked(http, {"x-api-key": text, **bearer("of-a-proxy")}).status_code == 200
    assert asked(http, {"Authorization": f"Basic {text}"}).status_code == 401
    assert http.post(f"/generate?api_key={text}&key={text}", json=BODY).status_code == 401


def test_a_revocation_holds_from_the_next_request_on(http: HttpSite) -> None:
    headers = add_key("mine")
    assert asked(http, headers).status_code == 200
    operate("revoke", "mine")
    assert asked(http, headers).status_code == 401


def test_rotation(http: HttpSite) -> None:
    """The old secret holds for the grace, and no longer."""
    first = add_key("mine")
    second = bearer(operate("rotate", "mine", "--grace", "60"))
    assert [asked(http, one).status_code for one in (first, second)] == [200, 200]
    third = bearer(operate("rotate", "mine"))
    assert [asked(http, one).status_code for one in (first, second, third)] == [401, 401, 200]
    fourth = bearer(operate("rotate", "mine", "--grace", "0.2"))
    assert asked(http, third).status_code == 200
    wait_until(lambda: asked(http, third).status_code == 401, "the grace is over")
    assert asked(http, fourth).status_code == 200


def test_only_a_hash_is_kept(http: HttpSite) -> None:
    text = operate("add", "mine")
    asked(http, bearer(text))
    store = process_store()
    kept = store.drive(ApiKeys(store.keys).records())
    secret = text.split("_", 2)[2]
    everything = str(kept) + "".join(str(one) for one in store.client.scan_iter())
    assert secret not in everything
    assert len(kept) == 1


def test_a_redis_that_lost_its_keys_opens_no_door(http: HttpSite) -> None:
    """Neither does one whose keys have all been revoked, nor a record that cannot be read."""
    headers = add_key("mine")
    assert asked(http, headers).status_code == 200
    store = process_store()
    store.client.delete(store.keys.api_key_records)
    assert asked(http, headers).status_code == asked(http).status_code == 401


def test_the_last_key_revoked_opens_no_door(local_llm: LocalLLM) -> None:
    """Also for a process that starts then; until the operator drops it."""
    headers = add_key("mine")
    operate("revoke", "mine")
    with http_site() as http:
        assert asked(http, headers).status_code == asked(http).status_code == 401
    operate("drop", "mine")
    with http_site() as http:
        assert asked(http).status_code == 200


@pytest.mark.parametrize("record", ["{", "[]", '"x"', "{}", '{"name": "mine"}', "1", "null"])
def test_a_record_that_cannot_be_read_opens_nothing(http: HttpSite, record: str) -> None:
    text = operate("add", "mine")
    store = process_store()
    [key_id] = store.client.hkeys(store.keys.api_key_records)
    store.client.hset(store.keys.api_key_records, key_id, record)
    assert asked(http, bearer(text)).status_code == 401


def test_a_record_of_a_newer_version_is_read(http: HttpSite) -> None:
    """What it says more is not for this version."""
    text = operate("add", "mine")
    store = process_store()
    [(key_id, record)] = store.client.hgetall(store.keys.api_key_records).items()
    newer = record[:-1] + ', "colour": "blue"}'
    store.client.hset(store.keys.api_key_records, key_id, newer)
    assert asked(http, bearer(text)).status_code == 200


def test_without_redis_nobody_comes_in(http: HttpSite, local_llm: LocalLLM) -> None:
    """503, not 401: the client may try again; and not 200."""
    headers = add_key("mine")
    assert asked(http, headers).status_code == 200
    with local_llm.redis_away():
        assert asked(http, headers).status_code == 503
        assert http.get("/health/live").status_code == 200
    assert asked(http, headers).status_code == 200


@pytest.mark.usefixtures("quick")
def test_anonymous_without_redis(http: HttpSite, local_llm: LocalLLM) -> None:
    """Nobody knows whether there are keys by now."""
    assert asked(http).status_code == 200
    with local_llm.redis_away():
        wait_until(lambda: asked(http).status_code == 503, "the look is old")


@pytest.fixture
def beyond_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    """The process takes its address for one that others reach."""
    monkeypatch.setattr(anonymous, "is_loopback", lambda _: False)


@pytest.mark.usefixtures("beyond_loopback")
def test_beyond_loopback_nobody_is_anonymous(http: HttpSite) -> None:
    """Also where the keys have gone since the start."""
    assert asked(http).status_code == 401


@pytest.mark.usefixtures("beyond_loopback", "quick")
@pytest.mark.local_llm(settings={"allow_anonymous": True})
def test_an_operator_may_insist(http: HttpSite) -> None:
    """A key counts there, too."""
    assert asked(http).status_code == 200
    add_key("mine")
    wait_until(lambda: asked(http).status_code == 401, "the door is shut")


@pytest.mark.usefixtures("beyond_loopback")
def test_http_does_not_start_beyond_loopback_without_a_key(local_llm: LocalLLM) -> None:
    with pytest.raises(InvalidSetting, match="there is no API key"):
        server.listening(get_settings())
    add_key("mine")
    server.check_has_keys(get_settings())


def test_a_priority_above_the_ceiling_is_forbidden(http: HttpSite, local_llm: LocalLLM) -> None:
    """It is never lowered in silence; a default is."""
    headers = add_key("mine", "--ceiling", "low")
    for priority in ("high", "normal"):
        reply = asked(http, headers, priority=priority)
        assert (reply.status_code, reply.json()["code"]) == (403, "forbidden")
    assert asked(http, headers, priority="low").status_code == 200
    assert asked(http, headers, prompt="b").status_code == 200
    assert [job.priority for job in local_llm.submitted] == ["low", "low"]


def test_two_tenants_share_no_answer(http: HttpSite, local_llm: LocalLLM) -> None:
    """Two keys of one tenant do."""
    first, again = add_key("a1", "--tenant", "a"), add_key("a2", "--tenant", "a")
    other = add_key("b")
    origins = [asked(http, one).json()["origin"] for one in (first, again, other)]
    assert origins == ["computed", "cached", "computed"]


def test_a_key_is_worth_its_record(local_llm: LocalLLM) -> None:
    made = ApiKey(name="mine", tenant="t")
    made, text = made.with_new_secret(1000)
    assert text.startswith(f"llm_{made.key_id}_")
    assert ApiKey.of(made.as_text()) == made
