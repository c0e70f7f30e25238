"""`POST /v1/chat/completions`."""

from __future__ import annotations

from functools import partial

from starlette.responses import Response

from local_llm_service.producers.http.asking import answer
from local_llm_service.producers.http.call import Call
from local_llm_service.producers.http.openai.bodies import ChatCompletionBody
from local_llm_service.producers.http.openai.chat_reply import completion_of
from local_llm_service.producers.http.openai.chat_request import CHAT, asked_of
from local_llm_service.producers.http.openai.chat_stream import ChatChunks
from local_llm_service.producers.http.openai.completing import (
    facts_of,
    model_of,
    stream_reply,
)
from local_llm_service.producers.http.openai.dialect import flag, queued, wants_usage
from local_llm_service.producers.http.openai.schemas import ChatCompletion
from local_llm_service.producers.http.operations import Operation
from local_llm_service.producers.http.reading import as_object
from local_llm_service.producers.http.replies import answer_headers, json_reply


async def chat_completions(call: Call) -> Response:
    """The next message of a conversation, whole or as it is written."""
    body = as_object(await call.json())
    is_stream, with_usage = flag(body, "stream"), wants_usage(body)
    with CHAT.own_names():
        asked = queued(call.caller, asked_of(body))
        facts = await facts_of(call, asked)
        if is_stream:
            model = await model_of(call, asked)
            chunks = partial(ChatChunks, model=model, facts=facts, with_usage=with_usage)
            return await stream_reply(call, asked, model, chunks)
        found = await answer(call, asked)
    headers = await answer_headers(call, found)
    return json_reply(completion_of(found, facts), headers=headers)


OPERATION = Operation(
    "POST",
    "/v1/chat/completions",
    chat_completions,
    "The next message of a conversation, or calls of the caller's functions",
    "OpenAI",
    body=ChatCompletionBody,
    answers={200: (ChatCompletion, "text/event-stream")},
)
