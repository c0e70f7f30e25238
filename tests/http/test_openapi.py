"""The OpenAPI document is true: what it declares is what a real server replies."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from local_llm_service.producers.http.app import OPERATIONS
from local_llm_service.producers.http.operations import Operation
from local_llm_service.producers.http.pages.examples import EXAMPLES, MODEL
from local_llm_service.producers.http.pages.openapi import document, parameters_of, shown_path
from local_llm_service.producers.http.pages.reference import anchor, curl, reference_page
from local_llm_service.producers.http.pages.schemas import Models
from tests.fuzz.declared import Declared
from tests.fuzz.mutations import CANARY, mutated
from tests.fuzz.site import service
from tests.http.conftest import HttpSite, http_site

DOCUMENT = document(OPERATIONS, version="1", needs_key=False)
#: Bodies that each route is tried with; `make fuzz` sends thousands.
MUTATIONS = 30
#: Operations that are tried with changed examples.
TRIED = [one for one in OPERATIONS if one.body and not one.streams_body]


@pytest.fixture(scope="module")
def served() -> Iterator[HttpSite]:
    """A service that answers at once, for all tests of this file."""
    with service(model_wait_seconds=0.1), http_site() as site:
        yield site


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


def test_the_document_is_what_is_served(served: HttpSite) -> None:
    """Anonymous, as this service has no keys."""
    shown = served.get("/openapi.json").json()
    assert shown["paths"] == json.loads(json.dumps(DOCUMENT["paths"]))
    assert shown["security"] == [{}]


def test_every_operation_is_there_once() -> None:
    """With a summary, a tag that is explained, and an id of its own."""
    listed = [(m.upper(), path) for path, methods in DOCUMENT["paths"].items() for m in methods]
    assert sorted(listed) == sorted((one.method, shown_path(one)) for one in OPERATIONS)
    operations = [one for methods in DOCUMENT["paths"].values() for one in methods.values()]
    assert len({one["operationId"] for one in operations}) == len(operations)
    assert all(one["summary"] and not one["summary"].endswith(".") for one in operations)
    assert {one.tag for one in OPERATIONS} == {tag["name"] for tag in DOCUMENT["tags"]}


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


#: What is refused unless an operator or a caller has done something before.
REFUSED = {
    **{("POST", f"/api/{word}"): 403 for word in ("pull", "push", "create", "copy")},
    ("DELETE", "/api/delete"): 403,
    ("HEAD", "/api/blobs/{digest}"): 403,
    ("POST", "/api/blobs/{digest}"): 403,
    ("POST", "/v1/batches/{batch_id}/retry"): 400,  # none of its lines has failed
}
LINE = {
    "custom_id": "1",
    "method": "POST",
    "url": "/v1/chat/completions",
    "body": EXAMPLES["POST", "/v1/chat/completions"].body,
}


def test_every_example_gets_a_declared_answer(served: HttpSite) -> None:
    """A 2xx, which keeps its schema: the examples are what the documentation shows."""
    real = _prepared(served)
    for one in sorted(OPERATIONS, key=lambda one: one.method == "DELETE"):
        reply = _sent(served, one, real)
        checked(reply, one)
        wanted = REFUSED.get(key_of(one), 200)
        assert reply.status_code // 100 == wanted // 100, f"{one.method} {one.path}: {reply.text}"


def _prepared(http: HttpSite) -> dict[str, str]:
    """Things that the examples name, by the name of the path's parameter."""
    file_id = http.post("/v1/files", **_form()).json()["id"]
    batch = {**EXAMPLES["POST", "/v1/batches"].body, "input_file_id": file_id}
    body = EXAMPLES["POST", "/v1/responses"].body
    return {
        **{"name": "style.css", "model": MODEL},
        **EXAMPLES["POST", "/api/blobs/{digest}"].path,
        "task_id": http.post("/v1/jobs", json=EXAMPLES["POST", "/v1/jobs"].body).json()["id"],
        "response_id": http.post("/v1/responses", json=body).json()["id"],
        "file_id": file_id,
        "batch_id": http.post("/v1/batches", json=batch).json()["id"],
    }


def _form() -> dict[str, Any]:
    """An upload: `purpose`, then the file, as the official client sends it."""
    file = ("requests.jsonl", json.dumps(LINE).encode(), "application/octet-stream")
    return {"data": {"purpose": "batch"}, "files": {"file": file}}


def _sent(http: HttpSite, one: Operation, real: dict[str, str]) -> httpx.Response:
    example = EXAMPLES.get(key_of(one))
    path = shown_path(one).format(**real)
    query, body = (dict(example.query), example.body) if example else ({}, None)
    if isinstance(body, dict) and "input_file_id" in body:
        body = {**body, "input_file_id": real["file_id"]}
    given = {} if body is None else {"json": body}
    if one.streams_body and one.body is not None:
        given = _form()
    return http.client.request(one.method, path, params=query, **given)


@pytest.mark.parametrize(
    "one",
    [one for one in OPERATIONS if one.body and not one.streams_body],
    ids=lambda one: f"{one.method} {one.path}",
)
def test_no_body_breaks_it(served: HttpSite, one: Operation) -> None:
    """Changed examples get a declared reply, and no error repeats a value of theirs.

    So do examples in which one field, each in its turn, is of a type that it cannot be.
    """
    example = EXAMPLES[key_of(one)].body
    names = Models(OPERATIONS).properties(one.body) if one.body else ()
    wrong = ({**example, name: {"": CANARY}} for name, _, _ in names)
    for body in (*mutated(example, MUTATIONS, seed=1), *wrong):
        reply = served.client.request(one.method, one.path, json=body)
        checked(reply, one)
        assert reply.status_code != 500, body
        # The name of a model that nobody has is said, as people mistype it.
        if reply.status_code >= 400 and "no live worker has" not in reply.text:
            assert CANARY not in reply.text, body
