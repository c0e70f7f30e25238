"""Values for the tests of the fingerprint: requests, changes of a value, other spellings of it."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from local_llm_service.tasks.job import KindTask
from local_llm_service.tasks.request import Limits

Values = st.SearchStrategy[Any]

LIMITS = Limits(
    max_prompt_chars=10_000, max_messages=50, max_schema_depth=32, max_output_tokens=2048
)


# --- JSON-like data: any value, a change of it, and another spelling of it --------------------

#: Lone surrogates are included: unchecked data must not crash the fingerprint.
ANY_TEXT = st.text(st.characters(), max_size=8)
NUMBERS = st.one_of(
    st.sampled_from([0, 1, 0.0, -0.0, 1.0, 1000, 1e3, 0.1, 2**53, 2**53 + 1, 2.0**53, 1e23]),
    st.integers(-(2**70), 2**70),
    st.floats(),
)
PLAIN = st.none() | st.booleans() | NUMBERS | ANY_TEXT
JSON: Values = st.recursive(
    PLAIN,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(ANY_TEXT, inner, max_size=4),
    max_leaves=12,
)
OBJECT = st.dictionaries(ANY_TEXT, JSON, max_size=4)


def same(one: Any, other: Any) -> bool:
    """The rule: equal as JSON, with numbers by value, and true and false not numbers."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    return bool(one == other) or (one != one and other != other)


@st.composite
def rewritten(draw: st.DrawFn, value: Any) -> Any:
    """The same value with keys in any order at every depth, and integers as int or float."""
    if isinstance(value, dict):
        keys = draw(st.permutations(list(value)))
        return {key: draw(rewritten(value[key])) for key in keys}
    if isinstance(value, list):
        return [draw(rewritten(item)) for item in value]
    if isinstance(value, float) and value.is_integer():
        return draw(st.sampled_from([value, int(value)]))
    if isinstance(value, int) and not isinstance(value, bool) and float(value) == value:
        return draw(st.sampled_from([value, float(value)]))
    return value


@st.composite
def altered_json(draw: st.DrawFn, value: Any) -> Any:
    """The value with one part changed, added or left out (or, by chance, unchanged)."""
    if isinstance(value, dict | list) and value and draw(st.booleans()):
        copy = value.copy()
        place = draw(st.sampled_from(sorted(copy) if isinstance(copy, dict) else range(len(copy))))
        if draw(st.booleans()):
            copy[place] = draw(altered_json(copy[place]))
        else:
            del copy[place]
        return copy
    if isinstance(value, dict) and draw(st.booleans()):
        return {**value, draw(ANY_TEXT): draw(PLAIN)}
    return draw(altered_text(value) if isinstance(value, str) else JSON)


# --- requests: values of each field, and changes of a value -----------------------------------


def altered_text(text: str) -> Values:
    """Small changes: white space, case, Unicode normal forms, one character more or less."""
    near = [f"{text} ", f"\n{text}", text.strip(), text.swapcase(), f"{text}\u200b", text[1:]]
    near += [unicodedata.normalize(form, text) for form in ("NFC", "NFD", "NFKC", "NFKD")]
    return st.sampled_from([word for word in near if word.strip() and word != text] or ["other"])


TEXT = st.text(max_size=20).filter(str.strip) | st.sampled_from(["é", "e\u0301", "ﬁ", " a"])
TOKENS = st.integers(1, LIMITS.max_output_tokens)
TURN = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "assistant", "system", "tool"]), "content": TEXT}
)
#: The first turn is not a system message: a conversation needs at least one such turn.
MESSAGES = st.lists(TURN, max_size=4).map(lambda turns: [{"role": "user", "content": "a"}, *turns])
SCHEMA = st.fixed_dictionaries(
    {"type": st.just("object")},
    optional={
        "properties": st.dictionaries(st.sampled_from("abc"), st.just({"type": "string"})),
        "required": st.lists(st.sampled_from("abc"), unique=True),
        "minProperties": st.integers(0, 3),
        "description": st.text(max_size=9),
        "default": st.none() | st.booleans() | st.integers(-9, 9) | st.floats(-9, 9),
    },
)
#: What `strict` takes.
ENFORCED = SCHEMA.map(
    lambda schema: {w: schema[w] for w in schema if w not in ("required", "minProperties")}
)
FUNCTION = st.fixed_dictionaries(
    {"parameters": ENFORCED}, optional={"name": TEXT, "description": st.text(max_size=9)}
)


@st.composite
def altered_messages(draw: st.DrawFn, messages: list[Any]) -> list[Any]:
    """Change a word, a role or the order, or add or remove a turn."""
    head, *turns = messages
    place = draw(st.integers(0, len(turns)))
    return draw(
        st.sampled_from(
            [
                [{**head, "content": draw(altered_text(head["content"]))}, *turns],
                [{**head, "role": "tool"}, *turns],
                [head, *turns[:place], draw(TURN), *turns[place:]],
                [head, *turns[:place], *turns[place + 1 :]],
                [head, *reversed(turns)],
            ]
        )
    )


def altered_schema(schema: dict[str, Any]) -> Values:
    """Add or remove a keyword, or change a word or a value some levels down."""
    words = altered_text(schema.get("description", "word"))
    return st.one_of(
        st.sampled_from(sorted(schema)).map(
            lambda left_out: {word: schema[word] for word in schema if word != left_out}
        ),
        words.map(lambda text: {**schema, "description": text}),
        words.map(lambda text: {**schema, "default": {"deep": [{text: schema.get("default")}]}}),
    )


def altered_function(function: dict[str, Any]) -> Values:
    """Change the name, the description or the schema, or leave only the schema."""
    name, description = function.get("name", ""), function.get("description", "")
    return st.one_of(
        st.just({"parameters": function["parameters"]}),
        altered_text(name).map(lambda text: {**function, "name": text}),
        altered_text(description).map(lambda text: {**function, "description": text}),
        altered_schema(function["parameters"]).map(lambda other: {**function, "parameters": other}),
    )


CHAT_TURN = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "assistant", "system", "developer"]), "content": TEXT}
)
CONVERSATION = st.lists(CHAT_TURN, min_size=1, max_size=4)
TOOL = st.fixed_dictionaries(
    {
        "type": st.just("function"),
        "function": st.fixed_dictionaries(
            {"parameters": SCHEMA, "name": st.sampled_from(["f", "g", "a-1"])},
            optional={"description": st.text(max_size=9)},
        ),
    }
)
TOOLS = st.lists(TOOL, max_size=3, unique_by=lambda tool: tool["function"]["name"])
CALLS = [{"id": "1", "function": {"name": "f", "arguments": {"a": 1}}}]


@st.composite
def altered_chat(draw: st.DrawFn, messages: list[Any]) -> list[Any]:
    """Change a word or a role, add or remove a turn, or let the assistant call something."""
    place = draw(st.integers(0, len(messages) - 1))
    before, turn, after = messages[:place], messages[place], messages[place + 1 :]
    called = {"role": "assistant", "content": turn["content"], "tool_calls": CALLS}
    return draw(
        st.sampled_from(
            [
                [*before, {**turn, "content": draw(altered_text(turn["content"]))}, *after],
                [*before, {**turn, "role": "assistant"}, *after],
                [*before, turn, draw(CHAT_TURN), *after],
                [*before, called, *after],
                [*before, called, {"role": "tool", "tool_call_id": "1", "content": "2"}, *after],
                [turn, *after],
            ]
        )
    )


def altered_texts(texts: list[str]) -> Values:
    """Change the first text, repeat it, or leave one."""
    return st.one_of(
        altered_text(texts[0]).map(lambda text: [text, *texts[1:]]),
        st.sampled_from([[texts[0], *texts], texts[:1], texts[0]]),
    )


def among(values: Values) -> tuple[Values, Callable[[Any], Values]]:
    """The strategies of a field that changes to any other of its values."""
    return values, lambda _: values


#: For each field of each kind: its values, and the changes of a value. Add a new field here.
FIELDS: dict[str, dict[str, tuple[Values, Callable[[Any], Values]]]] = {
    "generate": {
        "keep_local": among(st.booleans()),
        "prompt": (TEXT, altered_text),
        "system_prompt": (st.none() | TEXT, lambda text: st.none() | altered_text(text or "")),
        "max_tokens": among(TOKENS),
        "temperature": among(st.sampled_from([0.0, 1.0, 2.0]) | st.floats(0, 2)),
        "context": (TEXT, altered_text),
        "max_context_tokens": among(st.none() | TOKENS),
    },
    "summarize": {
        "keep_local": among(st.booleans()),
        "context": (TEXT, altered_text),
        "max_summary_tokens": among(TOKENS),
        "question": (st.none() | TEXT, lambda text: st.none() | altered_text(text or "")),
    },
    "compress": {
        "keep_local": among(st.booleans()),
        "messages": (MESSAGES, altered_messages),
        "target_tokens": among(TOKENS),
        "keep_last": among(st.integers(0, 9)),
        "keep": among(st.lists(TEXT, max_size=2)),
        "previous_summary": (st.just("") | TEXT, lambda text: st.just("") | altered_text(text)),
    },
    "extract_parameters": {
        "keep_local": among(st.booleans()),
        "user_message": (TEXT, altered_text),
        "function_schema": (FUNCTION, altered_function),
        "strict": among(st.booleans()),
    },
    "structured_output": {
        "keep_local": among(st.booleans()),
        "prompt": (TEXT, altered_text),
        "schema": (ENFORCED, altered_schema),
        "strict": among(st.booleans()),
    },
    # Not every choice goes with every other: each change starts from what goes with all.
    "chat": {
        "keep_local": among(st.booleans()),
        "messages": (CONVERSATION, altered_chat),
        "tools": among(TOOLS),
        "tool_choice": (st.just("none"), lambda _: st.just("auto")),
        "parallel_tool_calls": among(st.booleans()),
        "response_format": (
            st.none(),
            lambda _: (
                st.just({"type": "json_object"})
                | SCHEMA.map(lambda one: {"type": "json_schema", "json_schema": {"schema": one}})
            ),
        ),
        "allow_cut_json": among(st.booleans()),
        "stop": among(st.lists(st.text(min_size=1, max_size=4), max_size=4)),
        "seed": among(st.none() | st.integers(-(2**40), 2**40)),
        "max_tokens": among(TOKENS),
        "temperature": among(st.floats(0, 2)),
        "top_p": among(st.none() | st.floats(0, 1)),
        "top_k": among(st.none() | st.integers(1, 100)),
        "min_p": among(st.none() | st.floats(0, 1)),
        "repeat_penalty": among(st.none() | st.floats(0.1, 2)),
        "frequency_penalty": among(st.none() | st.floats(-2, 2)),
        "presence_penalty": among(st.none() | st.floats(-2, 2)),
        "logprobs": (st.just(True), lambda _: st.just(False)),
        "top_logprobs": (st.none(), lambda _: st.integers(0, 20)),
    },
    "embed": {
        "keep_local": among(st.booleans()),
        "input": (st.lists(TEXT, min_size=1, max_size=3), altered_texts),
        "dimensions": among(st.none() | st.integers(1, 2000)),
    },
}


def calls(task: KindTask) -> Values:
    """Arguments of calls of this kind, with none left out."""
    fields = FIELDS[task.kind.name]
    return st.fixed_dictionaries({name: values for name, (values, _) in fields.items()})
