"""The shapes of a batch's lines, and what each becomes for each kind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from local_llm_service.producers.batch.formats import Reading
from local_llm_service.producers.batch.plan import Plan
from local_llm_service.worker.errors import InvalidRequest

ROOT = Path(__file__).parents[2]
TALK = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
FUNCTION = {"name": "f", "parameters": {"properties": {"n": {"type": "integer"}}}}


def read(kind: str, line: Any, id_field: str | None = None, **arguments: Any) -> Reading:
    text = line if isinstance(line, bytes) else json.dumps(line).encode()
    return Plan(kind, arguments, id_field).read(text)


def good(kind: str, line: Any, **arguments: Any) -> Reading:
    reading = read(kind, line, **arguments)
    assert reading.error is None, reading.error.message
    return reading


def test_a_plain_line_is_a_call_with_an_id() -> None:
    """All arguments and options of the kind, by their names."""
    reading = good("compress", {"custom_id": "a", "messages": TALK, "target_tokens": 50})
    assert reading.custom_id == "a"
    assert reading.arguments == {"messages": TALK, "target_tokens": 50}
    assert good("generate", {"prompt": "hi"}).custom_id is None


def test_what_the_command_gives_wins() -> None:
    """It is what was typed last; so a batch keeps to its queue, whatever its lines say."""
    line = {"prompt": "hi", "priority": "high", "max_tokens": 5}
    reading = good("generate", line, priority="low")
    assert reading.arguments == {"prompt": "hi", "priority": "low", "max_tokens": 5}


def test_an_id_may_be_a_number_or_another_field() -> None:
    """A table's key is one."""
    assert good("generate", {"custom_id": 7, "prompt": "hi"}).custom_id == "7"
    reading = read("generate", {"key": "k", "prompt": "hi"}, id_field="key")
    assert (reading.custom_id, reading.error) == ("k", None)
    reading = read("generate", {"prompt": "hi"}, id_field="key")
    assert reading.error is not None
    assert "key" in reading.error.message


@pytest.mark.parametrize("wrong", ["", "  ", None, True, 1.5, [], "x" * 513, "\ud800"])
def test_what_is_no_id_is_an_error(wrong: Any) -> None:
    """An id that nobody can look for is refused, not changed."""
    reading = read("generate", {"custom_id": wrong, "prompt": "hi"})
    assert isinstance(reading.error, InvalidRequest)
    assert reading.custom_id is None


def test_a_line_of_openais_batch() -> None:
    """Its body is the call; calls of other URLs are told apart by their code."""
    line = {"custom_id": "a", "method": "POST", "url": "/v1/generate", "body": {"prompt": "hi"}}
    assert good("generate", line).arguments == {"prompt": "hi"}
    for url in ("/v1/chat/completions", "/v1/embeddings", "/v1/compress", 3):
        reading = read("generate", {**line, "url": url})
        assert reading.error is not None
        assert (reading.custom_id, reading.error.code) == ("a", "unsupported_url")
    for wrong in ({**line, "method": "GET"}, {**line, "body": "x"}):
        reading = read("generate", wrong)
        assert reading.error is not None
        assert reading.error.code == "invalid_request"


def test_lines_of_openais_own_calls() -> None:
    """For `chat` and `embed` they mean what they say: only what means nothing is left out."""
    body = {
        "model": "m",
        "messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}],
        "max_completion_tokens": 5,
        "stop": None,
        "n": 1,
        "tool_choice": "none",
        "user": "u",
        "metadata": {"a": "b"},
    }
    line = {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": body}
    assert good("chat", line).arguments == {
        "model": "m",
        "messages": body["messages"],
        "max_tokens": 5,
        "tool_choice": "none",
    }
    line = {**line, "url": "/v1/embeddings", "body": {"input": ["a"], "encoding_format": "base64"}}
    assert good("embed", line).arguments == {"input": ["a"]}
    assert good("chat", {"conversations": [{"from": "human", "value": "Hi"}]}).arguments == {
        "messages": TALK[:1]
    }
    for more in ({"n": 2}, {"logit_bias": {"1": 2}}, {"audio": {}}):
        reading = read("chat", {"custom_id": "a", "messages": TALK, **more})
        assert reading.error is not None
        assert next(iter(more)) in reading.error.message


def test_sharegpt() -> None:
    """Its speakers get our names, its id is the line's, and fields of the data set are left out."""
    line = {
        "id": "abc_0",
        "source": "x",
        "model": "gpt-4",
        "system": "Be brief.",
        "conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}],
    }
    reading = good("compress", line)
    assert reading.custom_id == "abc_0"
    assert reading.arguments == {"messages": [{"role": "system", "content": "Be brief."}, *TALK]}


def test_what_a_conversation_was_asked_with_is_left_out_of_another_kind() -> None:
    """An export of OpenAI's calls says how its answers were made; `generate` knows two of these."""
    line = {"custom_id": "a", "messages": TALK, "temperature": 0.2, "max_tokens": 9, "top_p": 1}
    assert good("compress", line).arguments == {"messages": TALK}
    assert good("generate", {**line, "messages": TALK[:1]}).arguments == {
        "prompt": "Hi",
        "temperature": 0.2,
        "max_tokens": 9,
    }


def test_openais_chat() -> None:
    """Parts are joined; calls stay calls for a kind that knows them, and are text in a transcript;
    fields that mean nothing here are left out."""
    call = {"function": {"name": "f", "arguments": '{"n": 1}'}}
    line = {
        "messages": [
            {"role": "developer", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "a"}, {"text": "b"}]},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "1", "content": "2"},
        ],
        "parallel_tool_calls": False,
        "metadata": {"k": "v"},
    }
    assert good("compress", line).arguments["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "a\nb"},
        *line["messages"][2:],
    ]
    transcript = good("summarize", line).arguments["context"]
    assert transcript == 'system: Be brief.\nuser: a\nb\nassistant: f({"n": 1})\ntool: 2'
    older = [
        {"role": "assistant", "content": None, "function_call": call["function"]},
        {"role": "function", "content": "2"},
    ]
    assert good("compress", {"messages": [*TALK, *older]}).arguments["messages"][2:] == [
        {"role": "assistant", "content": 'f({"n": 1})'},
        {"role": "tool", "content": "2"},
    ]


def test_a_line_may_be_a_bare_conversation() -> None:
    """As `local-llm compress FILE` takes it."""
    assert good("compress", TALK).arguments == {"messages": TALK}


def test_conversations_for_the_other_kinds() -> None:
    """A transcript, or one question."""
    transcript = good("summarize", {"messages": TALK}).arguments["context"]
    assert transcript == "user: Hi\nassistant: Hello"
    ask = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    assert good("generate", {"messages": ask}).arguments == {
        "prompt": "Hi",
        "system_prompt": "Be brief.",
    }
    reading = good("extract_parameters", {"messages": ask[1:]}, function_schema=FUNCTION)
    assert reading.arguments["user_message"] == "Hi"
    assert (
        good("structured_output", {"messages": ask[1:], "schema": {}}).arguments["prompt"] == "Hi"
    )


@pytest.mark.parametrize(
    ("kind", "line"),
    [
        ("compress", b"not json"),
        ("compress", b"\xff\xfe"),
        ("compress", b"[" * 100_000),
        ("compress", b'{"n": ' + b"9" * 5000 + b"}"),
        ("compress", 3),
        ("compress", [1]),
        ("compress", {"messages": "secret"}),
        ("compress", {"messages": []}),
        ("compress", {"messages": [{"role": "alien", "content": "secret"}]}),
        ("compress", {"messages": [{"role": "user", "content": [{"type": "image"}]}]}),
        ("compress", {"messages": TALK, "target_token": 5}),
        ("compress", {"conversations": ["secret"]}),
        ("generate", {"messages": TALK}),
        ("generate", {"messages": "secret"}),
        ("generate", {"prompt": "secret", "max_tokens": "5"}),
        ("generate", {"prompt": "secret\ud800"}),
        ("structured_output", {"prompt": "secret", "schema": {"type": "secret"}}),
        ("summarize", {"context": "secret", "task_id": "mine"}),
        ("extract_parameters", {"messages": [{"role": "system", "content": "x"}, TALK[0]]}),
    ],
)
def test_what_is_no_call_says_why_without_its_content(kind: str, line: Any) -> None:
    """It is a line of the errors' file, and the run goes on."""
    reading = read(kind, line)
    assert isinstance(reading.error, InvalidRequest)
    assert reading.error.message
    assert "secret" not in reading.error.message
    assert reading.error.hint


def test_an_unknown_kind_is_refused() -> None:
    """With the names that there are."""
    with pytest.raises(InvalidRequest) as raised:
        Plan("comprss")
    assert "compress" in raised.value.hint


def test_the_example_has_each_shape() -> None:
    """`local-llm batch compress examples/conversations.jsonl -o out.jsonl` is the first to try."""
    lines = (ROOT / "examples" / "conversations.jsonl").read_bytes().splitlines()
    readings = [Plan("compress").read(line) for line in lines]
    assert [one.error for one in readings] == [None] * 4
    assert [one.custom_id for one in readings] == ["plain", "openai-batch", "sharegpt", "chat"]
