"""What chat and the old completions share: what is known of a call at once, and its stream."""

from __future__ import annotations

from collections.abc import Callable
from time import time

from starlette.responses import Response

from local_llm_service.producers.http.asking import Asked
from local_llm_service.producers.http.call import Call
from local_llm_service.producers.http.event_stream import EventStream
from local_llm_service.producers.http.first_event import after_first
from local_llm_service.producers.http.job_stream import stream
from local_llm_service.producers.http.known_models import default_model
from local_llm_service.producers.http.openai.chat_reply import Facts
from local_llm_service.producers.http.openai.chat_stream import Chunks, written
from local_llm_service.producers.http.openai.dialect import tier_of
from local_llm_service.producers.http.replies import answer_headers

#: A job that fails within this time is told with a status of its own, before the stream begins.
FIRST_SECONDS = 2.0


async def facts_of(call: Call, asked: Asked) -> Facts:
    """What objects say beside their answers, as it is now."""
    models = await call.service.models_by_name()
    digests = {name: one["digest"] for name, one in models.items()}
    return Facts(int(time()), tier_of(asked), digests)


async def model_of(call: Call, asked: Asked) -> str:
    """The model of a call whose answer has not come yet."""
    named = asked.arguments.get("model")
    return named if isinstance(named, str) else await default_model(call.service)


async def stream_reply(
    call: Call, asked: Asked, model: str, chunks: Callable[[str], Chunks]
) -> Response:
    """The stream of a call of this model. `chunks` makes its form of the job's id.

    Raises the error of a job that has failed within FIRST_SECONDS without a text.
    """
    job = await stream(call, asked)
    events = await after_first(call, job.events, FIRST_SECONDS)
    headers = await answer_headers(call, {"task_id": job.job.id, "model": model})
    return EventStream(call, written(events, chunks(job.job.id)), headers=headers)
