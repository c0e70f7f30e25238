"""JSON without kombu's types, for the bodies of messages and for results.

kombu's own JSON turns `{"__type__": "uuid", "__value__": …}` into an object, also where a model or
a caller wrote it: data became objects, and such text that fits no type made results unreadable.
Here data stays data. A value of a type that JSON does not know (a datetime for somebody else's next
step in a chain) is written as kombu writes it and passed on as it is.

The serializer has a name of its own, because kombu's registry belongs to the whole process. On the
wire its bodies are `application/json`, which they are, so that stock tools and older workers read
them; the transport gives every JSON body of a job to this module.
"""

from __future__ import annotations

import base64
import json
import re
from typing import Any

from kombu.compression import decompress
from kombu.serialization import registry
from kombu.utils.json import JSONEncoder

#: Its name in Celery's settings, and its content type inside a process.
NAME = "llm-json"
CONTENT_TYPE = "application/vnd.local-llm+json"
#: Its content type in Redis.
WIRE_TYPE = "application/json"

# Letters as they are: an emoji is 4 bytes in Redis, and 12 with escapes.
_ENCODER = JSONEncoder(ensure_ascii=False)
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


def dumps(value: object) -> str:
    """Write JSON that can be sent as UTF-8. Raises TypeError and ValueError as `json.dumps`."""
    text = _ENCODER.encode(value)
    if text.isascii():
        return text
    # Half a character is not valid UTF-8: it stays an escape.
    return _LONE_SURROGATE.sub(lambda found: f"\\u{ord(found.group()):04x}", text)


def loads(text: str | bytes | bytearray | memoryview) -> Any:
    """Read JSON; every object is a dict. Raises ValueError, and RecursionError for deep nesting."""
    if isinstance(text, memoryview):
        text = text.tobytes()
    return json.loads(text if isinstance(text, str) else text.decode("utf-8"))


def with_plain_body(message: dict[str, Any]) -> dict[str, Any]:
    """The message of a stock sender with its JSON body as text, without base64 and escapes.

    As it is if its body is something else. Raises what a broken body raises.
    """
    properties, headers = message["properties"], message["headers"]
    if message.get("content-type") != WIRE_TYPE or headers.get("compression"):
        return message
    body = dumps(loads(body_text(message)))
    return {**message, "body": body, "properties": {**properties, "body_encoding": "utf-8"}}


def body_text(message: dict[str, Any]) -> str | bytes:
    """The body of a message: as Redis holds it, or without the base64 of stock senders and without
    compression.

    Raises ValueError for what is not base64, and whatever a broken body raises.
    """
    body: str | bytes = message["body"]
    if message["properties"].get("body_encoding") == "base64":
        body = base64.b64decode(body)
    compression = message["headers"].get("compression")
    if compression and isinstance(body, bytes):
        body = decompress(body, compression)  # type: ignore[no-untyped-call]
    return body


registry.register(NAME, dumps, loads, CONTENT_TYPE, "utf-8")  # type: ignore[no-untyped-call]
