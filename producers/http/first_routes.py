"""The first service's own routes: they wait for the answer and return it."""

from __future__ import annotations

from starlette.responses import Response

from local_llm_service import tasks
from local_llm_service.producers.http.asking import Asked, attended, longest_wait, patient
from local_llm_service.producers.http.call import Call
from local_llm_service.producers.http.jobs.job_resource import JobResource
from local_llm_service.producers.http.jobs.submitting import as_preferred, once
from local_llm_service.producers.http.operations import Endpoint, Operation
from local_llm_service.producers.http.reading import as_object
from local_llm_service.producers.http.replies import answer_headers, json_reply
from local_llm_service.tasks.job import KINDS

_SUMMARIES = {
    "generate": "Free text for a prompt",
    "summarize": "A text in whole sentences within a budget of tokens",
    "compress": "A conversation within a budget of tokens",
    "extract_parameters": "The arguments of a function call, out of a user's message",
    "structured_output": "An instance of a JSON Schema",
}


def _waiting(kind: str) -> Endpoint:
    async def endpoint(call: Call) -> Response:
        asked = Asked(kind, as_object(await call.json()))
        if (reply := await as_preferred(call, asked)) is not None:
            return reply
        asked = patient(call, asked)
        most = longest_wait(asked, call.service.settings)
        found = await attended(call, await once(call, asked), most)
        return json_reply(found, headers=await answer_headers(call, found))

    return endpoint


def _operation(kind: str) -> Operation:
    getattr(tasks, kind)  # registers it
    declared = KINDS[kind]
    return Operation(
        "POST",
        f"/{kind.replace('_', '-')}",
        _waiting(kind),
        _SUMMARIES[kind],
        "first API",
        body=declared.request,
        answers={200: declared.answer, 202: JobResource},
    )


OPERATIONS = tuple(map(_operation, _SUMMARIES))
