"""Calls of OpenAI's routes: what is known of them at once, and their streams."""

from __future__ import annotations

from collections.abc import Callable
from time import time

from starlette.responses import Response

from local_llm_service.producers.http.asking import Asked, stream
from local_llm_service.producers.http.call import Call
from local_llm_service.producers.http.event_stream import EventStream
from local_llm_service.producers.http.first_event import begun
from local_llm_service.producers.http.openai.body import tier_of
from local_llm_service.producers.http.openai.chat_reply import Facts
from local_llm_service.producers.http.openai.chat_stream import Chunks, written
from local_llm_service.worker.fingerprint import full_name

#: A job that fails within this time is told with a status of its own, before the stream begins.
FIRST_SECONDS = 2.0


async def facts_of(call: Call, asked: Asked) -> Facts:
    """What objects say beside their answers, as it is now."""
    models = await call.service.models()
    digests = {full_name(one["name"]): one["digest"] for one in models}
    return Facts(int(time()), tier_of(asked), digests)


async def model_of(call: Call, asked: Asked) -> str:
    """The model of a call whose answer has not come yet."""
    named = asked.arguments.get("model")
    if isinstance(named, str):
        return named
    models = await call.service.models()
    return next((one["name"] for one in models if one["default"]), "")


async def streamed(call: Call, asked: Asked, chunks: Callable[[str], Chunks]) -> Response:
    """The stream of a call. `chunks` makes its form of the job's id.

    Raises the error of a job that has failed within FIRST_SECONDS without a text.
    """
    job = await stream(call, asked)
    events = await begun(call, job.events, FIRST_SECONDS)
    headers = {"X-Local-LLM-Task-Id": job.job.id}
    return EventStream(call, written(events, chunks(job.job.id)), headers=headers)
