"""The turns of a conversation that is compressed: read as `chat` reads them, kept as they came."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import ConfigDict, PrivateAttr, model_serializer, model_validator

from local_llm_service.tasks.conversation import STRICT, ChatMessage, plain_text

if TYPE_CHECKING:
    from pydantic import ModelWrapValidatorHandler  # older versions do not export it

#: What of a message goes on to the model that reads the compressed conversation.
_KEPT = ("tool_calls", "tool_call_id", "tool_name")


class Turn(ChatMessage):
    """One message, as `chat` takes it; members that it does not know are left out.

    As JSON it is what the caller gave, with the ids of calls, as the answer holds it so.
    """

    model_config = ConfigDict(**{**STRICT, "extra": "ignore"})
    REFUSED: ClassVar[Mapping[str, str]] = {
        name: ChatMessage.REFUSED[name] for name in ("images", "audio", "function_call")
    }

    _given: dict[str, Any] = PrivateAttr(default_factory=dict)

    @model_validator(mode="wrap")
    @classmethod
    def _as_it_came(cls, value: Any, handler: ModelWrapValidatorHandler[Turn]) -> Turn:
        if not isinstance(value, dict):
            return handler(value)
        if value.get("refusal") and not value.get("content"):
            value = {**value, "content": value["refusal"]}
        turn = handler(value)
        kept = {name: value[name] for name in _KEPT if value.get(name)}
        if turn.tool_name is not None:
            kept["tool_name"] = turn.tool_name
        turn._given = {"role": turn.role, "content": value.get("content"), **kept}
        return turn

    @model_serializer
    def _as_json(self) -> dict[str, Any]:
        return self.given

    @property
    def given(self) -> dict[str, Any]:
        """The message as it came, but for members that are left out."""
        return dict(self._given)

    @property
    def text(self) -> str:
        """What is said, and below it the calls that are made."""
        return text_of(self.given)


def text_of(message: Mapping[str, Any]) -> str:
    """What a message says, and below it each call that it makes, as JSON."""
    content = plain_text(message.get("content"))
    lines = [_call(one["function"]) for one in message.get("tool_calls") or ()]
    return "\n".join([content, *lines] if content else lines)


def _call(function: Mapping[str, Any]) -> str:
    arguments = function["arguments"]
    if not isinstance(arguments, str):
        arguments = json.dumps(arguments, ensure_ascii=False)
    return f'{{"name": {json.dumps(function["name"])}, "arguments": {arguments}}}'


def transcript(messages: Iterable[Mapping[str, Any]]) -> str:
    """A conversation as a text: of each message its role and what it says."""
    return "\n".join(f"{message['role']}: {text_of(message)}" for message in messages)


def exchanges(turns: Sequence[Turn]) -> list[range]:
    """The places of messages that belong together: one with calls, and the results after it."""
    borders = [place for place, turn in enumerate(turns) if turn.role != "tool" or not place]
    return [range(begin, end) for begin, end in pairwise([*borders, len(turns)])]


def is_complete(exchange: Sequence[Turn], *, is_last: bool) -> bool:
    """Whether a model can be sent these messages: each result has its call, each call its result.

    The last calls of a conversation may still wait for theirs.
    """
    first, *results = exchange
    if first.role == "tool" or (len(results) < len(first.tool_calls) and not is_last):
        return False
    ids = {call.id for call in first.tool_calls if call.id}
    return all(
        first.tool_calls and (result.tool_name is not None or result.tool_call_id in ids)
        for result in results
    )
