"""The OpenAPI document is true: what it declares is what a real server replies."""

from __future__ import annotations

import json
import re
from typing import Any

import httpx
import pytest

from local_llm_service.producers.http.app import OPERATIONS
from local_llm_service.producers.http.operations import Operation
from local_llm_service.producers.http.pages.examples import EXAMPLES, MODEL, TASK_ID
from local_llm_service.producers.http.pages.openapi import document, parameters_of, shown_path
from local_llm_service.producers.http.pages.reference import anchor, curl, reference_page
from local_llm_service.testing import LocalLLM
from tests.fuzz.declared import Declared
from tests.fuzz.mutations import CANARY, mutated
from tests.http.conftest import HttpSite

DOCUMENT = document(OPERATIONS, version="1", needs_key=False)
#: Bodies that each route is tried with; `make fuzz` sends thousands.
MUTATIONS = 30
_served = pytest.mark.local_llm(slots=4, models=[MODEL])


def key_of(one: Operation) -> tuple[str, str]:
    """How examples name an operation."""
    return one.method, one.path


def checked(reply: httpx.Response, one: Operation) -> None:
    """Fail unless the document declares this reply."""
    media_type = reply.headers.get("content-type", "")
    fault = Declared(DOCUMENT).fault_of(
        one.method, shown_path(one), reply.status_code, media_type, reply.content
    )
    assert fault is None, f"{one.method} {one.path}: {fault}"


def test_the_document_is_what_is_served(http: HttpSite) -> None:
    """Anonymous, as this service has no keys."""
    served = http.get("/openapi.json").json()
    assert served["paths"] == json.loads(json.dumps(DOCUMENT["paths"]))
    assert served["security"] == [{}]


def test_every_operation_is_there_once() -> None:
    """With a summary, a tag that is explained, and an id of its own."""
    listed = [(m.upper(), path) for path, methods in DOCUMENT["paths"].items() for m in methods]
    assert sorted(listed) == sorted((one.method, shown_path(one)) for one in OPERATIONS)
    operations = [one for methods in DOCUMENT["paths"].values() for one in methods.values()]
    assert len({one["operationId"] for one in operations}) == len(operations)
    assert all(one["summary"] and not one["summary"].endswith(".") for one in operations)
    assert [tag["name"] for tag in DOCUMENT["tags"] if not tag["description"]] == []


def test_every_reference_leads_somewhere() -> None:
    """Also those of models that only other models name."""
    text = json.dumps(DOCUMENT)
    for place in set(re.findall(r'"\$ref": "#/([^"]+)"', text)):
        found: Any = DOCUMENT
        for part in place.split("/"):
            found = found[part]


def test_every_operation_that_reads_something_has_an_example() -> None:
    """And no example is for an operation that is gone."""
    operations = {key_of(one): one for one in OPERATIONS}
    reads = {key for key, one in operations.items() if one.body or parameters_of(one.path)}
    assert sorted(reads - EXAMPLES.keys()) == []
    assert sorted(EXAMPLES.keys() - operations.keys()) == []


def test_a_service_with_keys_says_so() -> None:
    """Except of what is public."""
    made = document(OPERATIONS, version="1", needs_key=True)
    assert made["security"] == [{"bearer": []}, {"x-api-key": []}]
    assert made["paths"]["/health/live"]["get"]["security"] == [{}]
    assert "security" not in made["paths"]["/generate"]["post"]


def test_the_page_shows_every_operation_and_every_schema() -> None:
    """Each with an id to link to, and every link on the page leads somewhere."""
    page = reference_page(DOCUMENT, "http://127.0.0.1:8015")
    ids = re.findall(r' id="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert {anchor(one.method, shown_path(one)) for one in OPERATIONS} <= set(ids)
    assert set(re.findall(r'href="#([^"]+)"', page)) <= set(ids)
    assert not re.search(r"<script(?! src=)|style=|https?://(?!127)", page), (
        "nothing from elsewhere"
    )


def test_the_page_escapes_what_it_shows() -> None:
    """Names of schemas and words of models are text, not HTML."""
    evil = json.loads(json.dumps(DOCUMENT).replace("Free text for a prompt", "<b>\\\"'&"))
    assert "<b>" not in reference_page(evil, "http://127.0.0.1:8015")


def test_the_curl_of_an_example_is_quoted() -> None:
    """An apostrophe in an example does not end the shell's text."""
    operation = {
        "responses": {},
        "requestBody": {"content": {"application/json": {"example": {"prompt": "It's"}}}},
    }
    assert curl("POST", "/generate", operation, "http://h") == (
        "curl http://h/generate \\\n  -H 'Content-Type: application/json' \\\n"
        "  -d '{\n  \"prompt\": \"It'\\''s\"\n}'"
    )


@_served
def test_every_example_gets_a_declared_answer(http: HttpSite, local_llm: LocalLLM) -> None:
    """A 2xx, which keeps its schema: the examples are what the documentation shows."""
    real = _prepared(http)
    for one in sorted(OPERATIONS, key=lambda one: one.method == "DELETE"):
        reply = _sent(http, one, real)
        checked(reply, one)
        assert reply.status_code < 300, f"{one.method} {one.path}: {reply.text}"


def _prepared(http: HttpSite) -> dict[str, str]:
    """Things that the examples name, by the name of the path's parameter."""
    return {"name": "style.css", "model": MODEL, "task_id": TASK_ID}


def _sent(http: HttpSite, one: Operation, real: dict[str, str]) -> httpx.Response:
    example = EXAMPLES.get(key_of(one))
    path = shown_path(one).format(**real)
    query, body = (dict(example.query), example.body) if example else ({}, None)
    given = {} if body is None else {"json": body}
    return http.client.request(one.method, path, params=query, **given)  # type: ignore[arg-type]


@_served
@pytest.mark.parametrize(
    "one", [one for one in OPERATIONS if one.body], ids=lambda one: f"{one.method} {one.path}"
)
def test_no_body_breaks_it(http: HttpSite, local_llm: LocalLLM, one: Operation) -> None:
    """Changed examples get a declared reply, and no error repeats a value of theirs."""
    path = shown_path(one).format(**_prepared(http))
    for body in mutated(EXAMPLES[key_of(one)].body, MUTATIONS, seed=1):
        reply = http.client.request(one.method, path, json=body)
        checked(reply, one)
        assert reply.status_code < 500 or reply.json()["code"] != "internal_error", body
        assert reply.status_code < 400 or CANARY not in reply.text, body
