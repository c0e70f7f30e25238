"""The messages of a `chat`, as OpenAI's and Ollama's clients write them: checked, in one form.

What a client adds without meaning anything by it (`"refusal": null`) is left out. What a model
cannot be given (an image, a speaker's name) is refused, never left out in silence.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    model_validator,
)

from local_llm_service.tasks.json_schema import json_text
from local_llm_service.tasks.request import (
    check_chars,
    check_unicode,
    from_answer,
    limits_of,
)
from local_llm_service.worker.prompt import Message

#: Of every model in here: it is built at the first call, and takes nothing that it does not know.
STRICT = ConfigDict(strict=True, extra="forbid", frozen=True, defer_build=True)

#: OpenAI's newer word for the same.
_ROLES = {"developer": "system"}


def unicode_text(value: str) -> str:
    """The text itself. Raises ValueError for half a character."""
    check_unicode(value)
    return value


UnicodeText = Annotated[str, AfterValidator(unicode_text)]


def without(value: Any, *names: str) -> Any:
    """An object without the members that say nothing more than the others do."""
    if not isinstance(value, dict):
        return value
    return {name: one for name, one in value.items() if name not in names}


def _arguments(value: Any, info: ValidationInfo) -> Any:
    """OpenAI writes the arguments as a text that holds JSON, Ollama as an object."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise ValueError("must be a JSON object, or a text that holds one") from None
    if not isinstance(value, dict):
        raise ValueError("must be a JSON object, or a text that holds one")
    json_text(value, info)
    return value


class CalledFunction(BaseModel):
    """A function that the assistant called, and its arguments."""

    model_config = STRICT

    name: Annotated[UnicodeText, Field(min_length=1, max_length=200)]
    arguments: Annotated[dict[str, Any], BeforeValidator(_arguments)]

    @model_validator(mode="before")
    @classmethod
    def _plain(cls, value: Any) -> Any:
        return without(value, "index")


class Call(BaseModel):
    """One call of the assistant. Its `id` tells which result is its own, and nothing else."""

    model_config = STRICT

    id: Annotated[str | None, Field(exclude=True)] = None
    function: CalledFunction

    @model_validator(mode="before")
    @classmethod
    def _plain(cls, value: Any) -> Any:
        if isinstance(value, dict) and value.get("type") not in (None, "function"):
            raise ValueError("type: only functions can be called")
        return without(value, "type", "index")


def plain_text(value: Any) -> Any:
    """The text of a content, which may be in parts. Raises ValueError for parts of another kind."""
    if value is None:
        return ""
    if not isinstance(value, list):
        return value
    texts = []
    for place, part in enumerate(value):
        kind = part.get("type") if isinstance(part, dict) else None
        text = part.get("text") if isinstance(part, dict) else None
        if kind not in ("text", "input_text", "output_text") or not isinstance(text, str):
            raise ValueError(
                f"part {place} must be {{'type': 'text', 'text': …}}: this service sends text only"
            )
        texts.append(text)
    return "\n".join(texts)


class ChatMessage(BaseModel):
    """One message. Of a tool's, `tool_name` is the function whose result it is.

    REFUSED: members that clients know, and why a message that has one is refused.
    """

    model_config = STRICT
    REFUSED: ClassVar[Mapping[str, str]] = {
        "name": "models are not told who speaks; put the name into the content",
        "images": "this service sends text only",
        "audio": "this service sends text only",
        "thinking": "models are not sent what they thought; leave it out",
        "refusal": "models are not told of a refusal; put it into the content",
        "function_call": "is OpenAI's old form; use tool_calls",
    }

    role: Literal["system", "user", "assistant", "tool"]
    content: Annotated[UnicodeText, BeforeValidator(plain_text)] = ""
    tool_calls: list[Call] = []
    tool_name: Annotated[UnicodeText, Field(min_length=1, max_length=200)] | None = None
    tool_call_id: Annotated[str | None, Field(exclude=True)] = None

    @model_validator(mode="before")
    @classmethod
    def _plain(cls, value: Any) -> Any:
        """Leave out what is empty, and take other clients' words for the same."""
        if not isinstance(value, dict):
            return value
        plain = {name: one for name, one in value.items() if one not in (None, [], {})}
        role = plain.get("role")
        if isinstance(role, str):
            plain["role"] = _ROLES.get(role, role)
        if role == "tool" and "name" in plain:
            plain.setdefault("tool_name", plain.pop("name"))
        for name, message in cls.REFUSED.items():
            if name in plain:
                raise ValueError(f"{name}: {message}")
        return plain

    @model_validator(mode="after")
    def _has_its_members(self) -> ChatMessage:
        if self.tool_calls and self.role != "assistant":
            raise ValueError("tool_calls: only the assistant makes calls")
        if self.role != "tool" and (self.tool_name or self.tool_call_id):
            raise ValueError("tool_call_id: only a tool's message has one")
        if self.role == "user" and "content" not in self.model_fields_set:
            raise ValueError("content: is missing")
        return self

    def as_sent(self) -> Message:
        """The message as an engine takes it."""
        message: Message = {"role": self.role, "content": self.content}
        if self.tool_calls:
            message["tool_calls"] = [
                {"function": {"name": one.function.name, "arguments": one.function.arguments}}
                for one in self.tool_calls
            ]
        if self.tool_name is not None:
            message["tool_name"] = self.tool_name
        return message


def _conversation(messages: list[ChatMessage], info: ValidationInfo) -> list[ChatMessage]:
    limit = limits_of(info).max_messages
    if len(messages) > limit:
        raise ValueError(f"at most {limit} messages (MAX_MESSAGES), got {len(messages)}")
    if not any(one.content.strip() or one.tool_calls for one in messages):
        raise ValueError("must hold at least one message that is not empty")
    return with_tool_names(messages)


def with_tool_names(messages: Sequence[ChatMessage]) -> list[ChatMessage]:
    """Each tool's message with the function's name, which OpenAI's clients tell by a call's id.

    Raises ValueError for a result whose call is not there.
    """
    names: dict[str, str] = {}
    named = []
    for place, message in enumerate(messages):
        names |= {call.id: call.function.name for call in message.tool_calls if call.id}
        if message.role == "tool" and message.tool_name is None:
            name = names.get(message.tool_call_id or "")
            if name is None:
                raise ValueError(
                    f"message {place} is a tool's and answers no call before it: its tool_call_id "
                    "must be the id of one, or tool_name the function's name"
                )
            message = message.model_copy(update={"tool_name": name})
        named.append(message)
    return named


def _told(value: Any, info: ValidationInfo) -> Any:
    """Answers of this service, as a chain or a chord passes them on, are what the user says."""
    text = from_answer(value)
    if isinstance(text, str) and text != value:
        return [{"role": "user", "content": text}]
    check_chars(argument_chars(value), info)
    return value


def argument_chars(messages: object) -> int:
    """The characters of the arguments that are texts. Each is read as JSON, and may hold a million
    values, so that they are counted before any is read."""
    chars = 0
    for message in messages if isinstance(messages, list) else ():
        calls = message.get("tool_calls") if isinstance(message, dict) else None
        for call in calls if isinstance(calls, list) else ():
            function = call.get("function") if isinstance(call, dict) else None
            arguments = function.get("arguments") if isinstance(function, dict) else None
            chars += len(arguments) if isinstance(arguments, str) else 0
    return chars


#: The messages of a conversation, oldest first, up to MAX_MESSAGES.
Conversation = Annotated[list[ChatMessage], BeforeValidator(_told), AfterValidator(_conversation)]


def instructed(messages: list[Message], instruction: str) -> list[Message]:
    """The messages with an instruction of ours, at the end of the leading system message.

    Some chat templates accept no second system message.
    """
    if messages and messages[0]["role"] == "system":
        content = f"{messages[0]['content']}\n\n{instruction}".strip()
        return [{"role": "system", "content": content}, *messages[1:]]
    return [{"role": "system", "content": instruction}, *messages]
