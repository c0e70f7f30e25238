"""`POST /v1/completions`, OpenAI's old form: a prompt and the text that answers it.

A prompt is what the user says in a `chat`, which can do more than `generate`: `stop`, `seed`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final

from starlette.responses import Response

from local_llm_service.producers.http.asking import Asked
from local_llm_service.producers.http.call import Call
from local_llm_service.producers.http.many_answers import answers
from local_llm_service.producers.http.openai.bodies import CompletionBody
from local_llm_service.producers.http.openai.chat_reply import (
    Facts,
    fingerprint_of,
    local_of,
    usage_of,
)
from local_llm_service.producers.http.openai.completing import (
    facts_of,
    model_of,
    stream_reply,
)
from local_llm_service.producers.http.openai.dialect import Dialect, flag, queued, wants_usage
from local_llm_service.producers.http.openai.schemas import Completion
from local_llm_service.producers.http.operations import Operation
from local_llm_service.producers.http.reading import as_object
from local_llm_service.producers.http.replies import answer_headers, json_reply
from local_llm_service.worker.errors import InvalidRequest

#: Prompts of one call, each a job.
MOST_PROMPTS: Final = 128
MOST_LOGPROBS: Final = 5

_SAMPLING: Final = {
    *("max_tokens", "temperature", "top_p", "top_k", "min_p", "repeat_penalty"),
    *("frequency_penalty", "presence_penalty", "stop", "seed"),
}
COMPLETION: Final = Dialect(
    taken=frozenset({*_SAMPLING, "logprobs"}),
    renamed={"prompt": "messages"},
    said={
        "n": (1,),
        "best_of": (1,),
        "echo": (False,),
        "suffix": ("",),
        "logit_bias": ({},),
    },
    refused={
        "n": "one text to a prompt is all that there is",
        "best_of": "one text to a prompt is all that there is",
        "echo": "the prompt is not sent back",
        "suffix": "text is not put in between",
        "logit_bias": "the model server cannot weigh single tokens",
    },
)


def asked_of(body: Any) -> list[Asked]:
    """The calls that a body asks for, one for each prompt. Raises InvalidRequest."""
    arguments = COMPLETION.arguments_of(body)
    top = arguments.pop("logprobs", None)
    if top is not None:
        if type(top) is not int or not 0 <= top <= MOST_LOGPROBS:
            raise InvalidRequest(f"logprobs: must be a whole number from 0 to {MOST_LOGPROBS}")
        arguments |= {"logprobs": True, "top_logprobs": top}
    prompts = _prompts(arguments.pop("messages", None))
    return [
        Asked("chat", {**arguments, "messages": [{"role": "user", "content": prompt}]})
        for prompt in prompts
    ]


def _prompts(prompt: Any) -> Sequence[str]:
    prompts = [prompt] if isinstance(prompt, str) else prompt
    if not isinstance(prompts, list) or not 0 < len(prompts) <= MOST_PROMPTS:
        raise InvalidRequest(f"prompt: must be a text or 1 to {MOST_PROMPTS} texts")
    for place, one in enumerate(prompts):
        if not isinstance(one, str):
            raise InvalidRequest(
                "prompt: must be text", "Tokens are another model's; send the text itself."
            )
        if not one.strip():
            where = "prompt" if isinstance(prompt, str) else f"prompt.{place}"
            raise InvalidRequest(f"{where}: must not be empty")
    return prompts


def completion_of(found: Sequence[Mapping[str, Any]], facts: Facts) -> dict[str, Any]:
    """The object `text_completion` of the answers to its prompts."""
    usage = {
        name: sum(answer["usage"][name] for answer in found)
        for name in ("prompt_tokens", "completion_tokens")
    }
    whole = _object(found[0]["task_id"], found[0]["model"], facts)
    whole["choices"] = [
        _choice(answer["message"]["content"], place, answer) for place, answer in enumerate(found)
    ]
    whole |= {"usage": usage_of(usage), "local": local_of(found[0])}
    return whole


class TextChunks:
    """`text_completion`s of one job, each with a piece of its text."""

    def __init__(self, task_id: str, model: str, facts: Facts, *, with_usage: bool) -> None:
        self._shared = _object(task_id, model, facts)
        if with_usage:
            self._shared["usage"] = None
        self._with_usage = with_usage

    def begin(self) -> Iterator[dict[str, Any]]:
        return iter(())

    def text(self, piece: str) -> Iterator[dict[str, Any]]:
        yield self._chunk([_choice(piece)])

    def end(self, answer: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        self._shared["model"] = answer["model"]  # of a route, the one that has answered
        yield self._chunk([_choice("", 0, answer)]) | {"local": local_of(answer)}
        if self._with_usage:
            yield self._chunk([]) | {"usage": usage_of(answer["usage"])}

    def _chunk(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return self._shared | {"choices": choices}


def _object(task_id: str, model: str, facts: Facts) -> dict[str, Any]:
    return {
        "id": f"cmpl-{task_id}",
        "object": "text_completion",
        "created": facts.created,
        "model": model,
        "system_fingerprint": fingerprint_of(model, facts),
        "service_tier": facts.tier,
    }


def _choice(text: str, place: int = 0, answer: Mapping[str, Any] | None = None) -> dict[str, Any]:
    return {
        "text": text,
        "index": place,
        "logprobs": None if answer is None else _logprobs(answer.get("logprobs")),
        "finish_reason": None if answer is None else answer["finish_reason"],
    }


def _logprobs(tokens: Sequence[Mapping[str, Any]] | None) -> dict[str, Any] | None:
    if tokens is None:
        return None
    offsets, place = [], 0
    for token in tokens:
        offsets.append(place)
        place += len(token["token"])
    return {
        "tokens": [token["token"] for token in tokens],
        "token_logprobs": [token["logprob"] for token in tokens],
        "top_logprobs": [
            {other["token"]: other["logprob"] for other in token.get("top_logprobs") or ()}
            for token in tokens
        ],
        "text_offset": offsets,
    }


async def completions(call: Call) -> Response:
    """The texts that answer prompts, whole or, one, as it is written."""
    body = as_object(await call.json())
    is_stream, with_usage = flag(body, "stream"), wants_usage(body)
    asked = asked_of(body)
    if is_stream and len(asked) > 1:
        raise InvalidRequest("stream: one prompt at a time can be streamed")
    asked = [queued(call.caller, one) for one in asked]
    facts = await facts_of(call, asked[0])
    with COMPLETION.own_names():
        if is_stream:
            model = await model_of(call, asked[0])
            chunks = partial(TextChunks, model=model, facts=facts, with_usage=with_usage)
            return await stream_reply(call, asked[0], model, chunks)
        found = await answers(call, asked)
    headers = await answer_headers(call, found[0])
    return json_reply(completion_of(found, facts), headers=headers)


OPERATION = Operation(
    "POST",
    "/v1/completions",
    completions,
    "The text that answers a prompt (OpenAI's old form)",
    "OpenAI",
    body=CompletionBody,
    answers={200: (Completion, "text/event-stream")},
)
