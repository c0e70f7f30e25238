"""Reads a line as a call: what it asks, and the id under which its answer is written. Pure.

Four shapes are known: plain (`{"custom_id", "messages", …}`, the kind's own arguments), OpenAI's
Batch (`{"custom_id", "method", "url", "body"}`), ShareGPT (`{"id", "conversations"}`) and OpenAI's
chat (`{"messages"}` with content in parts, tool calls). What a conversation becomes for each kind
is in `conversations.py`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from local_llm_service.producers.batch.conversations import as_arguments, turns_of
from local_llm_service.tasks.kind import Kind
from local_llm_service.tasks.request import JobRequest
from local_llm_service.worker.errors import InvalidRequest, ServiceError, UnsupportedUrl

#: The longest custom_id, characters: it is written into ledger, output and report.
MOST_ID_CHARACTERS: Final = 512

#: Fields that OpenAI's calls have beside what is asked. They are left out, as they mean nothing
#: here; any other field that the kind does not know is an error, as it may be a misspelt one.
OPENAI_FIELDS: Final = frozenset(
    {
        *("audio", "frequency_penalty", "function_call", "logit_bias", "logprobs", "metadata"),
        *("max_completion_tokens", "max_tokens", "modalities", "n", "parallel_tool_calls"),
        *("prediction", "temperature"),
        *("presence_penalty", "reasoning_effort", "seed", "service_tier", "stop", "store"),
        *("stream", "stream_options", "tool_choice", "top_logprobs", "top_p", "user", "weight"),
    }
)


#: Of these fields, those that mean nothing to `chat` and `embed` either. Any other would change the
#: answer, so the kind takes it or refuses it by its name.
_MEANINGLESS: Final = frozenset(
    {
        *("encoding_format", "metadata", "service_tier", "store", "stream", "stream_options"),
        *("user", "weight"),
    }
)
#: OpenAI's URLs beside our own, by kind.
_URLS: Final = {"chat": "/v1/chat/completions", "embed": "/v1/embeddings"}


@dataclass(frozen=True, slots=True)
class Reading:
    """What a line says. `custom_id` is None where the line has none; `error` says why it is not a
    call, and then there are no `arguments`. `kind` is what it asks for; `context` is of the plan's
    own, for whoever writes the line's end."""

    custom_id: str | None
    arguments: Mapping[str, Any] = field(default_factory=dict)
    error: ServiceError | None = None
    kind: str = ""
    context: Any = None


def read_line(text: bytes | None, kind: Kind, id_field: str | None = None) -> Reading:
    """Read one line; what is wrong with it is in the Reading, and never its content."""
    custom_id = None
    try:
        fields = _object_of(text)
        custom_id, fields = id_of(fields, id_field)
        return Reading(custom_id, _arguments_of(fields, kind), kind=kind.name)
    except ServiceError as error:
        return Reading(custom_id, error=error, kind=kind.name)


_ONE_A_LINE: Final = "Write one JSON object a line, in UTF-8."


def _object_of(text: bytes | None) -> dict[str, Any]:
    if text is None:
        raise InvalidRequest("the line is longer than 32 MiB", _ONE_A_LINE)
    try:
        found = json.loads(text.decode())
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"the line is not UTF-8 at byte {error.start}", _ONE_A_LINE) from None
    except json.JSONDecodeError as error:
        raise InvalidRequest(
            f"the line is not JSON at character {error.pos + 1}", _ONE_A_LINE
        ) from None
    except RecursionError:
        raise InvalidRequest("the line is nested too deep", _ONE_A_LINE) from None
    except ValueError:  # Python reads no integer of more than 4,300 digits
        raise InvalidRequest("the line has a number that is too long", _ONE_A_LINE) from None
    if isinstance(found, list) and turns_of(found) is not None:
        return {"messages": found}
    if not isinstance(found, dict):
        raise InvalidRequest("the line is not a JSON object", _ONE_A_LINE)
    return found


def id_of(fields: dict[str, Any], id_field: str | None) -> tuple[str | None, dict[str, Any]]:
    """The line's own id, and the other fields. Raises InvalidRequest for what is no id."""
    name = id_field or "custom_id"
    if name not in fields and id_field is None and _is_sharegpt(fields):
        name = "id"
    if name not in fields:
        if id_field is not None:
            raise InvalidRequest(f"{name}: the line has no such field")
        return None, fields
    rest = {key: value for key, value in fields.items() if key != name}
    found = fields[name]
    if isinstance(found, int) and not isinstance(found, bool):
        found = str(found)
    if not isinstance(found, str) or not found.strip():
        raise InvalidRequest(f"{name}: must be a text or a whole number")
    if len(found) > MOST_ID_CHARACTERS:
        raise InvalidRequest(f"{name}: at most {MOST_ID_CHARACTERS} characters, got {len(found)}")
    try:
        found.encode()
    except UnicodeEncodeError:
        raise InvalidRequest(f"{name}: holds half a character (a lone surrogate)") from None
    return found, rest


def _arguments_of(fields: dict[str, Any], kind: Kind) -> dict[str, Any]:
    if "url" in fields and "body" in fields:
        fields = _body_of(fields, kind)
    if _is_sharegpt(fields):
        kept = kind.request.model_fields.keys() - JobRequest.model_fields.keys()
        own = {key: value for key, value in fields.items() if key in kept}
        conversation = fields.get("conversations", fields.get("conversation"))
        return own | as_arguments(kind.name, _with_system(conversation, fields.get("system")), {})
    if kind.name in _URLS:
        return _as_openai(fields)
    if "messages" not in fields:
        return fields
    known = _names(kind)
    rest = {
        key: value
        for key, value in fields.items()
        if key != "messages" and (key in known or key not in OPENAI_FIELDS)
    }
    return as_arguments(kind.name, fields["messages"], rest)


def _as_openai(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a kind that is one of OpenAI's own, under its names."""
    kept = {name: one for name, one in fields.items() if name not in _MEANINGLESS}
    if "max_completion_tokens" in kept:
        kept.setdefault("max_tokens", kept.pop("max_completion_tokens"))
    if kept.get("n") == 1:
        del kept["n"]
    return {name: one for name, one in kept.items() if one is not None}


def _names(kind: Kind) -> set[str]:
    """The names of a kind's arguments and options as callers give them."""
    fields = kind.request.model_fields
    return {field.alias or name for name, field in fields.items()}


def _is_sharegpt(fields: Mapping[str, Any]) -> bool:
    return isinstance(fields.get("conversations", fields.get("conversation")), list)


def _with_system(conversation: Any, system: Any) -> Any:
    if isinstance(system, str) and system.strip():
        return [{"from": "system", "value": system}, *conversation]
    return conversation


def _body_of(fields: Mapping[str, Any], kind: Kind) -> dict[str, Any]:
    """The body of a line of OpenAI's Batch. Raises InvalidRequest, UnsupportedUrl."""
    url, body, method = fields["url"], fields["body"], fields.get("method", "POST")
    if method != "POST":
        raise InvalidRequest("method: must be POST")
    if url not in (f"/v1/{kind.name}", _URLS.get(kind.name)):
        raise UnsupportedUrl(
            "url: this batch does not run calls of this URL",
            f"Lines of this batch have the URL /v1/{kind.name}, or no URL at all.",
        )
    if not isinstance(body, dict):
        raise InvalidRequest("body: must be a JSON object")
    return body
