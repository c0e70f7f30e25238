"""What Ollama's clients send, as recorded with a real one, gets a reply of the same shape here.

The replies' members are compared, in their order, and the statuses: values are the model's.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from local_llm_service.testing import LocalLLM
from local_llm_service.worker.prompt import FunctionCall
from tests.http.conftest import HttpSite

WIRE = Path(__file__).parents[1] / "wire"
MODELS = ("smollm2:135m", "smollm2-native:135m", "smollm2-embed:135m", "smollm2-tools:135m")

#: Here a model, a full server or a killed one decides, so that the request alone has no one reply.
LEFT_OUT = (
    *("queue_", "client_disconnect", "runner_killed", "serve_stopped", "ctx_", "np4_"),
    *("chat_model_load", "chat_tools_unsupported", "chat_to_embedding", "embed.", "embed_string"),
    *("embed_empty", "embed_wrong_type", "embed_model_list_with_empty", "embed_model_long"),
    *("embed_model_dimensions", "chat_token_repeat", "chat_native_token_repeat"),
    *("chat_tools_result", "chat_tools_model_wont", "chat_logprobs", "chat_native_logprobs"),
    *("chat_num_predict_0", "show_", "ps_", "tags_"),
)
#: What this service refuses, by the member that its error begins with. Ollama answers 200 where it
#: leaves out what it does not know, and 500 to some of what is wrong.
REFUSED = {
    "chat_debug_render_only": "_debug_render_only",
    "chat_debug_render_only_native": "_debug_render_only",
    "chat_debug_render_only_native_shared_runner": "_debug_render_only",
    "chat_tools_debug_render": "_debug_render_only",
    "chat_empty_content": "messages",
    "chat_format_bad_schema": "format",
    "chat_format_bad_schema_stream": "format",
    "chat_native_format_bad_schema": "format",
    "chat_format_invalid_string": "format",
    "chat_format_invalid_string_stream": "format",
    "chat_format_number": "format",
    "chat_format_ref_missing": "format",
    "chat_images_unsupported": "messages.0",
    "chat_invalid_model_name": "model",
    "chat_keep_alive_bad": "keep_alive",
    "chat_messages_wrong_type": "messages",
    "chat_no_model_field": "model",
    "chat_option_wrong_type": "options.temperature",
    "chat_options_wrong_type": "options",
    "chat_think_unsupported": "think",
    "chat_top_logprobs_out_of_range": "top_logprobs",
    "chat_unknown_role": "messages.0.role",
    "embed_model_wrong_type": "input",
    "generate_no_model_field": "model",
    "generate_raw_nostream": "raw",
    "generate_raw_with_template": "template",
    "generate_suffix_unsupported": "suffix",
}


def names() -> list[str]:
    """The recordings of Ollama's own API."""
    files = [*WIRE.glob("*.json"), *(WIRE / "generate").glob("*.json")]
    return sorted(
        str(file.relative_to(WIRE).with_suffix(""))
        for file in files
        if not f"{file.stem}.".startswith(LEFT_OUT)
    )


def sent(http: HttpSite, request: dict[str, Any]) -> httpx.Response:
    """Send a recorded request."""
    content = request.get("body_text")
    if content is None and "body" in request:
        content = json.dumps(request["body"])
    return http.client.request(request["method"], request["path"], content=content)


def shape(value: Any) -> Any:
    """The members of an object, in order; of a list's first entry."""
    if isinstance(value, dict):
        return {name: shape(one) for name, one in value.items() if name not in FREE}
    return [shape(one) for one in value[:1]] if isinstance(value, list) else None


#: `context` is the prompt in tokens, which no worker knows; the rest is as the model's file has it.
FREE = {"context", "model_info", "tensors", "families", "capabilities", "arguments"}


def records(reply: Any) -> list[Any]:
    """The shapes of a recorded reply: of its lines the first and the last, else of the one body."""
    lines = reply.get("lines")
    if lines:
        return [list(shape(json.loads(line)).items()) for line in (lines[0], lines[-1])]
    return [list(shape(reply["body"]).items())] if isinstance(reply.get("body"), dict) else []


def replied(reply: httpx.Response) -> dict[str, Any]:
    """A reply of ours, as recordings hold them."""
    if reply.headers["content-type"].startswith("application/x-ndjson"):
        return {"lines": reply.text.splitlines()}
    return {"body": reply.json()} if reply.text.startswith("{") else {}


@pytest.mark.local_llm(models=MODELS)
def test_recorded_requests_get_replies_of_the_same_shape(
    http: HttpSite, local_llm: LocalLLM
) -> None:
    """Statuses, members and their order, streamed or not."""
    different = {}
    for name in names():
        exchange = json.loads((WIRE / f"{name}.json").read_text())
        theirs, stem = exchange["response"], name.rpartition("/")[2]
        if stem.startswith("chat_tools_forced"):
            # The recorder had to force the small model to its call, by a format.
            del exchange["request"]["body"]["format"]
        if stem == "chat_tools_forced_nostream":  # the cache has it for the streamed one
            local_llm.reply_calls(FunctionCall(name="get_weather", arguments={"city": "Paris"}))
        ours = sent(http, exchange["request"])
        status = 400 if stem in REFUSED else theirs["status"]
        if stem in REFUSED or status >= 400:
            if status == 405 or theirs.get("body_text", "").startswith("404 "):
                same = ours.status_code == status  # Ollama writes plain text
            else:
                same = list(ours.json()) == ["error"]
                same &= ours.json()["error"].startswith(REFUSED.get(stem, ""))
        else:
            same = records(replied(ours)) == records(theirs)
        if not same or ours.status_code != status:
            different[name] = (ours.status_code, ours.text[:300], status)
    assert different == {}
