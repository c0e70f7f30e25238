"""`/v1/responses/compact`: a conversation as one item that can take its place, by `compress`.

OpenAI's item is sealed; this one holds its text, and any later request may begin with it.
"""

from __future__ import annotations

from time import time
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from local_llm_service.producers.http.asking import Asked, answer
from local_llm_service.producers.http.call import Call
from local_llm_service.producers.http.known_models import check_model
from local_llm_service.producers.http.openai.chat_reply import local_of
from local_llm_service.producers.http.openai.responses_ask import own_words, priority_of
from local_llm_service.producers.http.openai.responses_items import items_of, messages_of
from local_llm_service.producers.http.openai.responses_kept import conversation_of
from local_llm_service.producers.http.openai.responses_object import PREFIX, usage_of
from local_llm_service.producers.http.openai.responses_request import ServiceTier
from local_llm_service.producers.http.openai.responses_shapes import Compaction
from local_llm_service.producers.http.operations import Operation
from local_llm_service.producers.http.renaming import in_words_of
from local_llm_service.producers.http.replies import answer_headers, json_reply
from local_llm_service.tasks.request import Priority


class CompactRequest(BaseModel):
    """A conversation. The instructions stay word for word; `target_tokens` bounds the summary."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    model: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    input: Any = None
    instructions: str | None = None
    previous_response_id: str | None = None
    service_tier: ServiceTier | None = None
    # Of no effect on the answer.
    prompt_cache_key: str | None = None
    prompt_cache_options: dict[str, Any] | None = None
    prompt_cache_retention: str | None = None
    # The service's own.
    target_tokens: int | None = None
    priority: Priority | None = None
    deadline_seconds: float | None = None
    cache: bool | None = None
    cache_scope: str | None = None
    keep_local: bool | None = None


async def compact(call: Call) -> Response:
    """Compress a conversation."""
    request = await call.read(CompactRequest)
    await check_model(call.service, request.model)
    before, is_kept = await conversation_of(call, request.previous_response_id)
    own = [] if request.input is None and before else items_of(request.input)
    messages = messages_of([*before, *own], request.instructions)
    names = ("model", "target_tokens", "deadline_seconds", "cache", "cache_scope")
    options = {name: getattr(request, name) for name in names}
    with in_words_of(own_words):
        # An item holds one text, so that no turn may stand beside it.
        given = {"keep_last": 0} | {
            name: value for name, value in options.items() if value is not None
        }
        if is_kept or request.keep_local is not None:
            given["keep_local"] = is_kept or request.keep_local
        given["priority"] = priority_of(request.priority, request.service_tier, call.caller)
        found = await answer(call, Asked("compress", {"messages": messages, **given}))
    return json_reply(_object(found), headers=await answer_headers(call, found))


def _object(answer: dict[str, Any]) -> dict[str, Any]:
    task_id = answer["task_id"]
    rules = [one["content"] for one in answer["messages"] if one["role"] == "system"]
    item = {
        "id": f"cmp_{task_id}",
        "type": "compaction",
        "encrypted_content": "\n\n".join([*rules, answer["summary"]]),
    }
    return {
        "id": f"{PREFIX}{task_id}",
        "object": "response.compaction",
        "created_at": int(time()),
        "output": [item],
        "usage": usage_of(answer),
        "local": local_of(answer),
    }


OPERATIONS = (
    Operation(
        "POST",
        "/v1/responses/compact",
        compact,
        "A conversation as one item that can take its place",
        "OpenAI",
        body=CompactRequest,
        answers={200: Compaction},
    ),
)
