"""The sets about function calls: what counts as right, what is cut out, and how both sides ask."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from evals.evaluate import load
from evals.frame.bfcl_functions import FunctionCall, calls
from evals.frame.data import Data
from evals.frame.here import Here
from evals.frame.plain_ollama import PlainOllama
from evals.sets.unsaid import cut_out
from local_llm_service import AsyncClient
from local_llm_service.testing.local_llm import MODEL, LocalLLM

FUNCTION = {
    "name": "book.table",
    "description": "Books a table.",
    "parameters": {
        "type": "dict",
        "properties": {
            "guests": {"type": "integer"},
            "price": {"type": "float"},
            "name": {"type": "string"},
            "days": {"type": "array", "items": {"type": "string"}},
            "range": {"type": "dict", "properties": {"min": {"type": "integer"}}},
        },
        "required": ["guests", "name"],
    },
}
CALL = FunctionCall(
    "simple_0",
    "A table for 4, for Ann.",
    [FUNCTION],
    "book.table",
    {
        "guests": [4],
        "name": ["Ann", "Ms. Ann"],
        "price": ["", 2.0],
        "days": ["", ["Mon", "Tue"]],
        "range": ["", {"min": [1], "max": ["", 2]}],
    },
)
RIGHT = {"guests": 4, "name": "Ann"}


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"name": "ms ANN"},
        {"price": 2},
        {"days": ["mon.", "Tue"]},
        {"range": {"min": 1}},
        {"range": {"min": 1, "max": 2}},
    ],
)
def test_accepted_arguments_are_right(more: dict[str, Any]) -> None:
    """Texts without regard to case and some punctuation, numbers by value."""
    assert CALL.is_right("book.table", {**RIGHT, **more})


@pytest.mark.parametrize(
    "arguments",
    [
        {"guests": 4},
        {**RIGHT, "guests": 5},
        {**RIGHT, "guests": "4"},
        {**RIGHT, "guests": 4.0},
        {**RIGHT, "guests": True},
        {**RIGHT, "more": 1},
        {**RIGHT, "price": 3},
        {**RIGHT, "days": ["Tue", "Mon"]},
        {**RIGHT, "days": "Mon"},
        {**RIGHT, "range": {"max": 2}},
        {**RIGHT, "range": {"min": 1, "other": 1}},
        None,
        [],
    ],
)
def test_other_arguments_are_wrong(arguments: Any) -> None:
    """Also by their type, and by what is there that nobody asked for."""
    assert not CALL.is_right("book.table", arguments)


def test_another_function_is_wrong_and_none_is_right_where_none_fits() -> None:
    """Whatever its arguments are."""
    assert not CALL.is_right("other", RIGHT)
    assert not CALL.is_right(None, {})
    nothing = replace(CALL, name=None, accepted={})
    assert nothing.is_right(None, {})
    assert not nothing.is_right("book.table", RIGHT)


def test_a_value_is_cut_out_where_it_stands_once() -> None:
    """The last required one, as whole words."""
    cut = cut_out(CALL)
    assert cut is not None
    assert (cut[0].message, cut[1]) == ("A table for 4, for .", "name")
    twice = replace(CALL, message="Ann wants a table for 4, for Ann.")
    cut = cut_out(twice)
    assert cut is not None
    assert (cut[0].message, cut[1]) == ("Ann wants a table for , for Ann.", "guests")
    assert cut_out(replace(CALL, message="A table, please.")) is None


def test_both_sides_get_the_message_and_json_schema(local_llm: LocalLLM, tmp_path: Path) -> None:
    """And each is judged by its own answer."""
    folder = tmp_path / "bfcl_eval" / "data"
    (folder / "possible_answer").mkdir(parents=True)
    question = {"id": "simple_0", "question": [[{"role": "user", "content": CALL.message}]]}
    (folder / "BFCL_v4_simple_python.json").write_text(
        json.dumps({**question, "function": [FUNCTION]})
    )
    truth = {"id": "simple_0", "ground_truth": [{"book.table": CALL.accepted}]}
    (folder / "possible_answer" / "BFCL_v4_simple_python.json").write_text(json.dumps(truth))
    bodies: list[dict[str, Any]] = []

    def answer(asked: httpx.Request) -> httpx.Response:
        bodies.append(json.loads(asked.content))
        call = {"function": {"name": "book_table", "arguments": {**RIGHT, "guests": 5}}}
        message = {"content": json.dumps({**RIGHT, "price": 9}), "tool_calls": [call]}
        return httpx.Response(200, json={"message": message, "done_reason": "stop"})

    functions, unsaid = load("functions"), load("unsaid")
    data = Data([tmp_path])
    (item,) = functions.items(data)
    (cut,) = unsaid.items(data)
    assert item.data == calls(data, "simple_python")[0] == CALL

    async def ask() -> list[dict[str, float]]:
        plain = PlainOllama("http://naive", MODEL, 8192, httpx.MockTransport(answer))
        async with AsyncClient() as client:
            here = Here(client, plain)
            found = [await side(here, item) for side in functions.sides.values()]
            found += [await side(here, cut) for side in unsaid.sides.values()]
        await plain.close()
        return [{n: s.points for n, s in one.scores.items() if s.of} for one in found]

    nothing = {"price": None, "days": None, "range": None}
    local_llm.reply_json({**RIGHT, **nothing})
    local_llm.reply_json({**RIGHT, **nothing, "name": None})
    scores = asyncio.run(ask())
    assert [one["exact arguments"] for one in scores[:4]] == [1, 0, 0, 0]
    assert scores[4] == {"not invented": 1, "named as missing": 1}
    assert scores[5:] == [{"not invented": 0}, {"not invented": 0}]
    assert bodies[0]["format"]["properties"]["price"] == {"type": "number"}
    assert bodies[1]["tools"][0]["function"]["name"] == "book_table"
    assert "format" not in bodies[2]
    assert all(CALL.message in body["messages"][-1]["content"] for body in bodies[:3])
