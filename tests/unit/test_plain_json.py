"""Data stays data: no text of a model or a caller becomes an object."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from kombu.serialization import registry
from kombu.utils import json as kombu_json

from local_llm_service.worker.celery_ext import plain_json

JUNK = {"__type__": "uuid", "__value__": "junk"}
HUGE = {"__type__": "decimal", "__value__": "1E+999999999"}


@pytest.mark.parametrize("value", [JUNK, HUGE, {"a": [JUNK]}, {"__type__": "nobody's", "b": 1}])
def test_what_looks_like_a_type_of_kombu_stays_a_dict(value: Any) -> None:
    """Also through kombu's registry, as Celery reads bodies and results."""
    content_type, encoding, text = registry.dumps(value, plain_json.NAME)
    assert registry.loads(text, content_type, encoding, accept={content_type}) == value


def test_kombu_s_own_json_is_untouched() -> None:
    """Its registry belongs to the process: a backend's own app goes on as before."""
    assert registry._decoders["application/json"] is kombu_json.loads
    assert registry.dumps({}, "json")[0] == "application/json"


def test_a_type_of_somebody_else_is_passed_on() -> None:
    """The datetime of another app's next step goes through this service as it came."""
    moment = datetime(2026, 11, 28, tzinfo=UTC)
    passed_on = plain_json.dumps(plain_json.loads(plain_json.dumps({"at": moment})))
    assert kombu_json.loads(passed_on) == {"at": moment}


@pytest.mark.parametrize("text", ["😀" * 9, "naïve", '"\\\n\x00\u2028'])
def test_letters_are_sent_as_they_are(text: str) -> None:
    """Four bytes for an emoji, not twelve."""
    written = plain_json.dumps(text)
    assert json.loads(written) == plain_json.loads(written.encode()) == text
    assert len(written.encode()) <= len(text.encode()) + 15


@pytest.mark.parametrize("text", ["\ud800", "a\udfffb", "😀\ud83d"])
def test_half_a_character_can_be_sent(text: str) -> None:
    """A model may write "\\ud800" in its JSON, which is not valid UTF-8."""
    assert plain_json.loads(plain_json.dumps(text).encode("utf-8")) == text


def stock(body: str, **changes: Any) -> dict[str, Any]:
    """A message as a stock sender makes it."""
    whole = {
        "body": base64.b64encode(body.encode()).decode(),
        "content-type": "application/json",
        "headers": {"id": "one"},
        "properties": {"body_encoding": "base64", "delivery_tag": "t"},
    }
    return {**whole, **changes}


def test_a_stock_sender_s_body_becomes_text() -> None:
    """Without base64 and without escapes, and nothing else changes."""
    body = [[], {"prompt": "😀", "schema": JUNK}, {}]
    before = stock(json.dumps(body))
    after = plain_json.with_plain_body(before)
    assert after["body"] == json.dumps(body, ensure_ascii=False)
    assert after["properties"] == {"body_encoding": "utf-8", "delivery_tag": "t"}
    assert (after["headers"], after["content-type"]) == (before["headers"], before["content-type"])
    assert plain_json.with_plain_body(after) == after


@pytest.mark.parametrize(
    "changes", [{"content-type": "application/x-yaml"}, {"headers": {"compression": "gzip"}}]
)
def test_another_body_stays_as_it_is(changes: dict[str, Any]) -> None:
    """The worker that takes it refuses it, or reads it as kombu does."""
    message = stock("- 1", **changes)
    assert plain_json.with_plain_body(message) is message
