"""Translates the errors of httpx, aiohttp, the ollama client and Ollama into `worker.errors`.

Two tables do it: one by exception type, one by status and wording (recorded in tests/wire). Words
that no row knows fall to a class by status and moment, and are counted (unknown_words.py). Ollama's
own words are not passed on, because they may quote the request (a schema, a message).
"""

from __future__ import annotations

import json
import re
from typing import Any

import aiohttp
import httpx
import ollama

from local_llm_service.worker import errors
from local_llm_service.worker.engine import unknown_words
from local_llm_service.worker.engine.cut_off import was_cut_off
from local_llm_service.worker.engine.protocol import EngineDied
from local_llm_service.worker.errors import ServiceError


class FormatRefused(errors.ModelFailed):
    """Ollama cannot turn the JSON Schema into a grammar.

    Only the engine sees this error: it asks again with a looser schema.
    """


#: The client gives the status -1 to an error line in a stream that began with 200.
MIDWAY = -1

#: Exception type → what it means before the first byte of an answer. First match wins.
_TRANSPORT: tuple[tuple[type[Exception], type[ServiceError], str], ...] = (
    (httpx.ConnectTimeout, errors.OllamaUnreachable, "Ollama does not answer at {host}"),
    (httpx.ConnectError, errors.OllamaUnreachable, "Ollama is not running at {host}"),
    (ConnectionError, errors.OllamaUnreachable, "Ollama is not running at {host}"),
    (httpx.UnsupportedProtocol, errors.OllamaUnreachable, "OLLAMA_HOST is not a URL: {host}"),
    (httpx.InvalidURL, errors.OllamaUnreachable, "OLLAMA_HOST is not a URL: {host}"),
    (httpx.TimeoutException, errors.EngineTimeout, "Ollama at {host} did not take the request"),
    # The request was sent: whatever cuts the connection now may have died of it.
    (httpx.TransportError, EngineDied, "the connection to Ollama at {host} broke off"),
    (httpx.HTTPError, errors.StreamBroken, "the exchange with Ollama at {host} failed"),
    (httpx.StreamError, EngineDied, "the connection to Ollama at {host} broke off"),
    # What aiohttp raises and the transport does not turn into an error of httpx.
    (aiohttp.ClientError, EngineDied, "the connection to Ollama at {host} broke off"),
    (httpx.CookieConflict, errors.ModelFailed, "what answers at {host} is not Ollama"),
    (ollama.RequestError, errors.ModelFailed, "the Ollama client refused the request to {host}"),
    (json.JSONDecodeError, errors.StreamBroken, "Ollama's answer broke off inside a line"),
    # pydantic's ValidationError is a ValueError: a record lacks a field that it must have.
    (ValueError, errors.ModelFailed, "what answers at {host} does not speak Ollama's API"),
    # The client takes every line for an object; a line that is not one ends in one of these two.
    (AttributeError, errors.ModelFailed, "what answers at {host} does not speak Ollama's API"),
    (TypeError, errors.ModelFailed, "what answers at {host} does not speak Ollama's API"),
)

#: Everything that `translate` knows how to read.
FOREIGN: tuple[type[Exception], ...] = (ollama.ResponseError, *(row[0] for row in _TRANSPORT))

_NO_GRAMMAR = "Ollama cannot turn this JSON Schema into a grammar"
_ANSWERED = "Ollama answered {status} for model {model!r}"
#: What to do where a model is not made for it, by the last word of its row.
_ABILITIES = {
    "chat": "Name another model; `ollama show MODEL` lists what it is made for.",
    "tools": "Name a model of which `ollama show MODEL` lists tools; or set tool_choice "
    '"required", which any model can do.',
    "embed": 'Name a model for embeddings, as model="nomic-embed-text".',
    "embeddings": 'Name a model for embeddings, as model="nomic-embed-text".',
}
#: A runner that died under its prompts: 0.24 and 0.33, and what Go and Windows say of a lost peer.
_DEATH = (
    r"model runner has unexpectedly stopped|signal arrived during cgo execution|unexpected EOF|"
    r"connection refused|connection reset|broken pipe|forcibly closed|actively refused|"
    r"llama runner process no longer running"
)

#: (status, pattern in Ollama's error text) → ours. First match wins. Texts that begin with the
#: model's name come first, then those that quote the schema: words that a caller chose must not
#: match a later row.
_RESPONSES: tuple[tuple[int, str, type[ServiceError], str], ...] = (
    (400, r"^invalid model name", errors.InvalidRequest, "model: {model!r} is not a model's name"),
    # What a model is not made for is no fault of its engine: it goes on with what it is made for.
    (400, r"^\S+ does not support chat", errors.InvalidRequest,
     "model: {model!r} does not write text"),
    (400, r"^\S+ does not support tools", errors.InvalidRequest,
     "tools: model {model!r} cannot choose by itself to call one"),
    (400, r"^\S+ does not support embed", errors.InvalidRequest,
     "model: {model!r} gives no embeddings"),
    (400, r"json_schema|JSON schema|grammar|[Pp]attern", FormatRefused, _NO_GRAMMAR),
    (400, r"exceed_context_size_error|longer than the context|exceeds the available context|"
          r"input length exceeds the context length|entire prompt removed by truncation|"
          r"^input exceeds maximum context length",
     errors.ContextOverflow, errors.ContextOverflow.REFUSED),
    (400, r"does not support|^json: cannot unmarshal|^missing request body|^unexpected EOF|"
          r"^invalid character|^time: invalid duration|^model is required|^top_logprobs must|"
          r"^this model only supports one image|^invalid input type",
     errors.ModelFailed, _ANSWERED),
    (500, r"invalid format|invalid JSON schema in format|"
          r"failed to load model vocabulary required for format", FormatRefused, _NO_GRAMMAR),
    (500, r"error loading model|model failed to load|exceeds file size|"
          r"requires more system memory|unable to load model|incompatible with your version",
     errors.ModelFailed, "Ollama cannot load model {model!r}"),
    (500, r"^option \S+ must be of type", errors.ModelFailed, _ANSWERED),
    (500, r"no slots available", errors.OllamaBusy, "Ollama at {host} is busy or loading"),
    (500, r"timed out waiting for llama|server not responding", errors.EngineTimeout,
     "Ollama's runner for {model!r} did not start in time"),
    (501, r"does not support embeddings", errors.InvalidRequest,
     "model: {model!r} gives no embeddings"),
    (404, r"^model .*not found", errors.ModelMissing, "{model!r} is not on the Ollama at {host}"),
    (404, r"", errors.ModelFailed, "what answers at {host} does not speak Ollama's API"),
    (405, r"", errors.ModelFailed, "what answers at {host} does not speak Ollama's API"),
    (503, r"", errors.OllamaBusy, "Ollama at {host} is busy or loading"),
    (429, r"", errors.OllamaBusy, "Ollama at {host} is busy or loading"),
    # It died while it loaded the model: of no prompt.
    (500, r"runner process has terminated|llama-server.*exit|do load request|error starting runner",
     errors.StreamBroken, "Ollama's runner for {model!r} stopped"),
    # It died while it ran prompts, before the first token of this one or midway.
    (500, _DEATH, EngineDied, "Ollama's runner for {model!r} died"),
    (MIDWAY, _DEATH, EngineDied, "Ollama's runner for {model!r} died half-way"),
    (502, r"", errors.StreamBroken, "a proxy before {host} lost Ollama"),
    (504, r"", errors.StreamBroken, "a proxy before {host} lost Ollama"),
)  # fmt: skip


def translate(error: Exception, *, host: str, model: str) -> ServiceError:
    """Turn a foreign error into one of ours, whose message names `host` and `model`.

    Our own errors come back unchanged; an error that neither table knows is an InternalError.
    """
    if isinstance(error, ServiceError):
        return error
    if isinstance(error, ollama.ResponseError):
        return _response(error, host=host, model=model)
    if was_cut_off(error):
        return EngineDied(f"the connection to Ollama at {host} broke off")
    for kind, ours, text in _TRANSPORT:
        if isinstance(error, kind):
            return ours(text.format(host=host))
    return errors.InternalError(f"unexpected {type(error).__name__} in the engine")


def _response(error: ollama.ResponseError, *, host: str, model: str) -> ServiceError:
    said = str(error.error)  # a proxy may put an object where Ollama puts a text
    for status, pattern, ours, text in _RESPONSES:
        if status == error.status_code and re.search(pattern, said):
            message = text.format(host=host, model=model, status=error.status_code)
            if ours is errors.ContextOverflow:
                return _overflow(message, said)
            if ours is errors.ModelMissing:
                return ours(message, f"Run `ollama pull {model}` on the worker's host.")
            if "does not support" in pattern and ours is errors.InvalidRequest:
                return ours(message, _ABILITIES[pattern.rpartition(" ")[2]])
            return ours(message)
    unknown_words.note(error.status_code, midway=error.status_code == MIDWAY)
    if error.status_code == MIDWAY:
        return errors.StreamBroken(f"Ollama's answer for model {model!r} broke off half-way")
    return errors.ModelFailed(_ANSWERED.format(status=error.status_code, model=model))


def _overflow(message: str, said: str) -> errors.ContextOverflow:
    """The overflow with its sizes, where Ollama gives them: in JSON nested in the error string.

    0.24 gives none.
    """
    try:
        inner: Any = json.loads(said)["error"]
        tokens, room = int(inner["n_prompt_tokens"]), int(inner["n_ctx"])
    except (ValueError, KeyError, TypeError, OverflowError):
        return errors.ContextOverflow(message)
    return errors.ContextOverflow.of(message, tokens, room)
