"""Bodies are read in one way: what JSON readers disagree on is refused, and no word is quoted."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict

from local_llm_service.producers.http.reading import VALUES_MOST, checked, strict_json
from local_llm_service.producers.job_core import task_of
from local_llm_service.worker.errors import InvalidRequest

REFUSED = {
    "empty": b"",
    "no JSON": b"secret words",
    "cut": b'{"prompt": "secret',
    "two values": b'{"a": 1} {"a": 2}',
    "twice": b'{"secret": 1, "secret": 2}',
    "twice, deep": b'{"a": [{"b": {"secret": 1, "secret": 2}}]}',
    "twice, escaped": b'{"a": 1, "\\u0061": 2}',
    "NaN": b'{"a": NaN}',
    "Infinity": b'{"a": [-Infinity]}',
    "too large a number": b'{"a": 1e999}',
    "a number of many digits": b'{"a": ' + b"9" * 5000 + b"}",
    "half a character": b'{"a": "\\ud800"}',
    "half a character, as a key": b'{"\\udfff": 1}',
    "half a character, deep": b'[[{"a": ["\\ud83dx"]}]]',
    "Latin-1": b'{"a": "caf\xe9"}',
    "UTF-16": '{"a": 1}'.encode("utf-16"),
    "UTF-8 with a mark": b'\xef\xbb\xbf{"a": 1}',
    "a control character": b'{"a": "\x00"}',
    "too deep": b"[" * 200_000,
}


MANY = VALUES_MOST + 1
TOO_MANY = {
    "items": b"[" + b"1," * MANY + b"1]",
    "lists": b"[" * MANY,
    "objects": b"[" + b"{}," * MANY + b"{}]",
    "texts": b'["\\\\",' + b'"\\\\",' * MANY + b'""]',
    "members": b"{" + b",".join(b'"%d":""' % place for place in range(MANY)) + b"}",
}


@pytest.mark.parametrize("body", TOO_MANY.values(), ids=TOO_MANY.keys())
def test_no_body_of_millions_of_values(body: bytes) -> None:
    """They would be checked one by one, and nobody else served meanwhile: pydantic needs a minute
    for the list of ones that fits into MAX_BODY_BYTES."""
    with pytest.raises(InvalidRequest, match="50,000 JSON values"):
        strict_json(body)


@pytest.mark.parametrize("text", [',"[{', '\\,"', "é,"])
def test_marks_in_a_text_are_no_values(text: str) -> None:
    document = {"prompt": text * 60_000}
    assert strict_json(json.dumps(document).encode()) == document


def test_a_text_without_an_end_is_looked_through_once() -> None:
    began = time.monotonic()
    with pytest.raises(InvalidRequest):
        strict_json(b'"' + b',\\"' * 100_000)
    assert time.monotonic() - began < 1


def test_an_error_repeats_no_long_name() -> None:
    class Small(BaseModel):
        model_config = ConfigDict(extra="forbid")

    name = "n" * 1_000_000
    for ask in (
        lambda: checked(Small, {name: 1}),
        lambda: task_of("generate").parse((), {"prompt": "a", name: 1}),
    ):
        with pytest.raises(InvalidRequest, match="nnn: Extra inputs") as caught:
            ask()
        assert len(caught.value.message) < 200


@pytest.mark.parametrize("body", REFUSED.values(), ids=REFUSED.keys())
def test_what_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequest) as caught:
        strict_json(body)
    assert "secret" not in str(caught.value)
    assert caught.value.hint


@pytest.mark.parametrize("body", [b"", b" \n"])
def test_an_empty_body_is_called_so(body: bytes) -> None:
    with pytest.raises(InvalidRequest, match=r"^the body is empty"):
        strict_json(body)


def values(leaves: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    keys = st.text(st.characters(exclude_categories=["Cs"]))
    return st.recursive(
        leaves, lambda inner: st.lists(inner) | st.dictionaries(keys, inner), max_leaves=8
    )


@given(
    values(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(st.characters(exclude_categories=["Cs"]))
    ),
    st.booleans(),
)
def test_what_json_can_say_is_read_as_it_is(value: object, escaped: bool) -> None:
    assert strict_json(json.dumps(value, ensure_ascii=escaped).encode()) == value


class Model(BaseModel):
    model_config = ConfigDict(extra="forbid")

    number: int
    parts: list[dict[str, int]] = []


def test_each_wrong_field_is_named_by_its_path_and_without_its_value() -> None:
    with pytest.raises(InvalidRequest) as caught:
        checked(Model, {"number": "secret", "parts": [{"a": "secret"}]})
    assert str(caught.value).startswith("number: ")
    assert "parts.0.a: " in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("value", [None, [], "text", 1])
def test_a_body_is_an_object(value: object) -> None:
    with pytest.raises(InvalidRequest, match="must be a JSON object"):
        checked(Model, value)
