"""Every kind runs from `.delay()` in a backend to an answer, through a real Redis and worker."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

import pytest

from local_llm_service import tasks
from local_llm_service.worker.embedded.processes.worker_process import WorkerProcess
from tests.doubles.ollama import FakeOllama, Script

FUNCTION = {
    "name": "create_course",
    "parameters": {
        "properties": {"title": {"type": "string"}, "organization_id": {"type": "integer"}},
        "required": ["title", "organization_id"],
    },
}


def call_with(nonce: str) -> dict[str, Any]:
    """One call of each kind, each with `nonce` in its input."""
    return {
        "generate": tasks.generate.delay(f"Say {nonce}", system_prompt="Be brief."),
        "summarize": tasks.summarize.delay(
            context=f"The word is {nonce}. " * 20, max_summary_tokens=50
        ),
        "compress": tasks.compress.delay(
            [{"role": "user", "content": f"My name is {nonce}. " * 40}], target_tokens=50
        ),
        "extract_parameters": tasks.extract_parameters.delay(f"A course {nonce} for 5", FUNCTION),
        "structured_output": tasks.structured_output.delay(
            f"Count {nonce}", {"type": "object", "properties": {"n": {"type": "integer"}}}
        ),
    }


def test_five_requests_carry_their_input_and_five_answers_are_the_servers(
    worker: WorkerProcess, ollama: FakeOllama
) -> None:
    """The caller gets the model server's text, with the server's own token counts."""
    nonce, words = uuid4().hex, "the same again"

    def respond(body: dict[str, Any]) -> Script:
        if body["options"]["num_predict"] == 1:  # a count
            return Script()
        text = f"It says {words}."
        if isinstance(body.get("format"), dict):
            properties = body["format"]["properties"]
            text = json.dumps(
                {"n": 7} if "n" in properties else {"title": nonce, "organization_id": 5}
            )
        return Script(chunks=(text,), prompt_tokens=321, completion_tokens=45)

    ollama.respond = respond
    answers = {kind: result.get(timeout=20) for kind, result in call_with(nonce).items()}

    asked = [one for one in ollama.seen if one.body["options"]["num_predict"] > 1]
    assert len(asked) == 5
    assert all(nonce in json.dumps(seen.body["messages"][-1]) for seen in asked)
    assert answers["generate"]["usage"] == {"prompt_tokens": 321, "completion_tokens": 45}
    assert answers["generate"]["text"] == f"It says {words}."
    assert answers["summarize"]["summary"] == f"It says {words}."
    assert answers["compress"]["summary"].endswith(f"In short: It says {words}.")
    assert words in answers["compress"]["messages"][0]["content"]
    assert answers["extract_parameters"]["parameters"] == {"title": nonce, "organization_id": 5}
    assert answers["structured_output"]["data"] == {"n": 7}
    for kind, answer in answers.items():
        assert answer["kind"] == kind
        assert answer["origin"] == "computed"
        # Texts are counted, too, where that decides something.
        assert answer["usage"]["prompt_tokens"] >= 321
        assert answer["usage"]["completion_tokens"] >= 45
        assert answer["timings"]["queued_seconds"] >= 0
    # Of the text alone, and the bound that shows that the summary fits.
    assert 160 < answers["summarize"]["original_tokens"] < 321
    assert answers["summarize"]["summary_tokens"] == len(f"It says {words}.") + 2
    assert 10 < answers["compress"]["compressed_tokens"] <= 50
    assert answers["compress"]["usage"]["prompt_tokens"] > 321


def test_all_kinds_send_one_option_profile_and_never_let_ollama_cut(
    worker: WorkerProcess, ollama: FakeOllama
) -> None:
    """Different num_ctx or shift values would reload the model at every change of kind."""
    ollama.respond = lambda body: Script(
        chunks=('{"n": 1, "title": "t", "organization_id": 1}',) if "format" in body else ("Yes.",)
    )
    for result in call_with("x").values():
        result.get(timeout=20)

    bodies = [seen.body for seen in ollama.seen]
    assert {body["options"]["num_ctx"] for body in bodies} == {8192}
    assert {(body["truncate"], body["shift"], body["stream"]) for body in bodies} == {
        (False, False, True)
    }


def test_a_schema_that_ollama_cannot_express_is_still_kept(
    worker: WorkerProcess, ollama: FakeOllama
) -> None:
    """When Ollama refuses the grammar, the engine asks for a looser one and checks the answer."""
    refused = json.dumps({"error": {"code": 400, "message": "JSON schema conversion failed"}})

    def respond(body: dict[str, Any]) -> Script:
        if body.get("format", {}).get("pattern"):
            return Script(status=400, error=refused)
        return Script(chunks=('"abc"',))

    ollama.respond = respond
    schema = {"type": "string", "pattern": "^a.c$"}
    assert tasks.structured_output.delay("x", schema).get(timeout=20)["data"] == "abc"
    assert [seen.body.get("format") for seen in ollama.seen] == [schema, {"type": "string"}]


def test_another_app_may_send_by_name(worker: WorkerProcess, ollama: FakeOllama) -> None:
    """`send_task` needs only the task's name, the queue and JSON from this project."""
    import os

    from celery import Celery

    other = Celery("other", broker=os.environ["REDIS_URL"], set_as_current=False)
    sent = other.send_task("llm.generate", kwargs={"prompt": "hi"}, queue="llm.low")
    answer = tasks.generate.AsyncResult(sent.id).get(timeout=20)
    assert answer["text"] == "Hello."
    assert answer["timings"]["queued_seconds"] is None


def test_a_call_by_name_is_checked_in_the_worker(worker: WorkerProcess) -> None:
    """The worker validates again, and the error names the field."""
    from local_llm_service.worker.app import app
    from local_llm_service.worker.errors import InvalidRequest

    sent = app.send_task("llm.generate", kwargs={"prompt": "hi", "max_tokens": 0})
    with pytest.raises(InvalidRequest, match="max_tokens"):
        app.AsyncResult(sent.id).get(timeout=20)
