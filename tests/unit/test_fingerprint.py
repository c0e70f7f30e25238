"""Equivalent requests share a fingerprint; anything that can change an answer changes it."""

import hashlib
import inspect
import json
from itertools import permutations
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from local_llm_service import tasks
from local_llm_service.tasks.job import KindTask
from local_llm_service.tasks.request import JobRequest, parse
from local_llm_service.worker.fingerprint import fingerprint
from tests.unit.fingerprint_values import (
    FIELDS,
    LIMITS,
    OBJECT,
    altered_json,
    calls,
    rewritten,
    same,
)

#: Options that choose a job's way, or enter the fingerprint by an argument of their own.
DELIVERY = {
    "model": "other",
    "priority": "low",
    "cache": False,
    "cache_scope": "tenant",
    "deadline_seconds": 5,
    "stream": True,
}

#: One call of each kind; test_template_versions.py pins the prompts that it makes.
SAMPLES: dict[str, dict[str, Any]] = {
    "generate": {"prompt": "Why?", "system_prompt": "Be brief."},
    "summarize": {"context": "It rains in Bern.", "max_summary_tokens": 6},
    "compress": {
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Ahoy! " * 40},
            {"role": "assistant", "content": "Arr"},
        ],
        "target_tokens": 120,
    },
    "extract_parameters": {
        "user_message": "It rains in Bern.",
        "function_schema": {
            "name": "get_weather",
            "description": "The weather of a city.",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
        },
    },
    "structured_output": {"prompt": "Describe Bern.", "schema": {"type": "object"}},
    "chat": {
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Is it warm in Bern?"},
        ],
        "tools": [
            {"type": "function", "function": {"name": name, "parameters": {"type": "object"}}}
            for name in ("get_weather", "get_time")
        ],
        "tool_choice": "required",
        "stop": ["END"],
        "seed": 7,
    },
    "embed": {"input": ["It rains in Bern."]},
}


def request(task: KindTask, arguments: dict[str, Any]) -> JobRequest:
    """A validated request of this kind."""
    return parse(task.kind.request, [], arguments, LIMITS)


def own_fields(task: KindTask) -> list[str]:
    """The content fields of a request, by their callers' names."""
    fields = task.kind.request.model_fields.items()
    return sorted({field.alias or name for name, field in fields} - DELIVERY.keys())


def of(content: Any = None, **changed: Any) -> str:
    """The fingerprint of a request with these arguments changed."""
    content = {"prompt": "p"} if content is None else content
    arguments: dict[str, Any] = {
        "kind": "generate",
        "template_version": 1,
        "model": "m",
        "revision": "sha256:1",
        "content": content,
        "scope": None,
    }
    return fingerprint(**{**arguments, **changed})


KINDS: list[KindTask] = [getattr(tasks, name) for name in tasks.__all__]
EACH_FIELD = [(task, field) for task in KINDS for field in own_fields(task)]

each_kind = pytest.mark.parametrize("task", KINDS, ids=lambda task: task.kind.name)
each_field = pytest.mark.parametrize(
    ("task", "field"), EACH_FIELD, ids=[f"{task.kind.name}-{field}" for task, field in EACH_FIELD]
)
#: A slow machine is not a failure.
in_any_time = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


# --- requests ---------------------------------------------------------------------------------


@each_kind
def test_content_is_every_field_but_the_delivery(task: KindTask) -> None:
    """A new field counts as content and is mutated below."""
    assert sorted(request(task, SAMPLES[task.kind.name]).content()) == own_fields(task)
    assert sorted(FIELDS[task.kind.name]) == own_fields(task), "say in FIELDS how a field changes"


@each_field
@in_any_time
@given(data=st.data())
def test_another_value_of_any_field_is_another_fingerprint(
    task: KindTask, field: str, data: st.DataObject
) -> None:
    """If a field were left out, a caller could get the answer to another question."""
    arguments = data.draw(calls(task))
    other = data.draw(FIELDS[task.kind.name][field][1](arguments[field]))
    one, two = request(task, arguments), request(task, {**arguments, field: other})
    assume(one != two)
    assert of(one.content()) != of(two.content())


@each_kind
@in_any_time
@given(data=st.data())
def test_another_spelling_of_a_request_has_the_same_fingerprint(
    task: KindTask, data: st.DataObject
) -> None:
    """Key order, 1 for 1.0, 1.0 for 1 and a trip over the wire change nothing."""
    arguments = data.draw(calls(task))
    # Budgets are strictly integers: 5.0 tokens are refused.
    free = {name: value for name, value in arguments.items() if not isinstance(value, int)}
    one, two = request(task, arguments), request(task, {**arguments, **data.draw(rewritten(free))})
    wire = json.dumps(two.model_dump(mode="json", by_alias=True, exclude_unset=True))
    assert of(one.content()) == of(two.content())
    assert of(one.content()) == of(request(task, json.loads(wire)).content())


@each_kind
@pytest.mark.parametrize("option", DELIVERY)
def test_delivery_does_not_count(task: KindTask, option: str) -> None:
    """These options do not change the answer; model and scope are arguments of their own."""
    sample = SAMPLES[task.kind.name]
    sent = request(task, {**sample, option: DELIVERY[option]})
    assert sent.content() == request(task, sample).content()


@each_kind
def test_a_default_counts_the_same_given_or_left_out(task: KindTask) -> None:
    """A call without `max_tokens` and a call with 500 ask the same question."""
    optional = {
        name: field.get_default(call_default_factory=True, validated_data={})
        for name, field in task.kind.request.model_fields.items()
        if name not in DELIVERY and not field.is_required()
    }
    sample = SAMPLES[task.kind.name]
    needed = {name: value for name, value in sample.items() if name not in optional}
    content = request(task, needed).content()
    assert content == request(task, {**needed, **optional}).content()
    assert sorted(content) == own_fields(task)


def test_a_function_means_the_same_in_each_usual_form() -> None:
    """The forms are OpenAI's wrapping, a plain function, and parameters with or without type."""
    bare = {"properties": {"count": {"minimum": 1}}}
    typed = {"properties": {"count": {"minimum": 1.0}}, "type": "object"}
    plain = {"name": "function", "description": "", "parameters": bare}
    openai = {"type": "function", "function": {"strict": True, "parameters": typed}}
    forms = [bare, typed, {"parameters": bare}, plain, {"function": plain}, openai]
    requests = [
        request(tasks.extract_parameters, {"user_message": "u", "function_schema": form})
        for form in forms
    ]
    assert len({of(request.content()) for request in requests}) == 1


# --- any content ------------------------------------------------------------------------------


@in_any_time
@given(content=OBJECT, data=st.data())
def test_fingerprints_are_equal_exactly_when_contents_are(
    content: dict[str, Any], data: st.DataObject
) -> None:
    """Unchecked data follow the rule of `same`."""
    other = data.draw(altered_json(content).filter(lambda value: isinstance(value, dict)))
    assert (of(content) == of(other)) == same(content, other)


@in_any_time
@given(content=OBJECT, data=st.data())
def test_key_order_and_the_spelling_of_a_number_do_not_count(
    content: dict[str, Any], data: st.DataObject
) -> None:
    """This holds at every depth."""
    assert of(content) == of(data.draw(rewritten(content)))


@pytest.mark.parametrize("numbers", [[0, 0.0, -0.0], [1000, 1e3], [10**23 - 2**23, 1e23]])
def test_equal_numbers_are_one(numbers: list[Any]) -> None:
    """Exact values count: the float nearest to 10²³ is a little less than that."""
    assert len({of({"x": [number]}) for number in numbers}) == 1


@pytest.mark.parametrize(
    "values",
    [
        [True, 1, "1", "true", [1], [True], {"1": 1}],
        [False, 0, None, "", [], {}, {"": None}],
        [float("nan"), float("inf"), float("-inf"), "NaN", "Infinity", None],
        [2**53 + 1, 2.0**53, 2**53 + 2, 10**23, 1e23],
        ["é", "e\u0301", "É", "é ", " é", "\\u00e9"],
        ["😀", "\ud83d\ude00", "\ud83d", "\ude00", "\\ud83d\\ude00", "?", "\ufffd"],
        [["a", "bc"], ["ab", "c"], ["a,bc"], ['a","bc'], [["a"], "bc"]],
    ],
    ids=["true", "nothing", "no number", "large", "accents", "half characters", "neighbours"],
)
def test_values_that_look_alike_differ(values: list[Any]) -> None:
    """They differ in a field of the request and deep in a schema."""
    assert len({of({"x": value}) for value in values}) == len(values)
    assert len({of({"x": {"y": [0, value]}}) for value in values}) == len(values)


# --- the arguments of fingerprint() -----------------------------------------------------------

#: Values of each argument, all different.
ARGUMENTS: dict[str, list[Any]] = {
    "kind": ["generate", "summarize", "", "Generate", "generate "],
    "template_version": [1, 2, 11],
    "model": ["m", "m ", "M", "m:latest", ""],
    "revision": ["sha256:1", "sha256:2", "sha256:1 num_ctx=4096", ""],
    "content": [{"prompt": "p"}, {"prompt": "q"}, {"context": "p"}, {"prompt": None}, {}],
    "scope": [None, "", "a", "b", "null", "None"],
}
#: Places where text may stand.
WORDS = ["kind", "model", "revision", "scope", "prompt", "system_prompt"]


@pytest.mark.parametrize("argument", list(inspect.signature(fingerprint).parameters))
def test_every_argument_counts(argument: str) -> None:
    """No scope, an empty scope and a named scope are three tenants."""
    values = ARGUMENTS[argument]
    assert len({of(**{argument: value}) for value in values}) == len(values)


@pytest.mark.parametrize(("first", "second"), list(permutations(WORDS, 2)))
def test_a_text_cannot_move_from_one_field_to_another(first: str, second: str) -> None:
    """The boundary between two fields counts, even with JSON's punctuation in the text."""
    for text in ("abc", 'a","b', '","","', "\\\\\\", '",null,{"', "1,1"):
        seen = set()
        for cut in range(len(text) + 1):
            fields = {first: text[:cut], second: text[cut:]}
            content = {name: fields.pop(name) for name in list(fields) if "prompt" in name}
            seen.add(of(content, **fields))
        assert len(seen) == len(text) + 1


@pytest.mark.parametrize("text", ["x", "ü" * 200_000], ids=["short", "long"])
def test_a_fingerprint_is_the_sha_256_of_one_json_document(text: str) -> None:
    """Another process, Python version or language would write the same."""
    document = f'["generate",1,"m","sha256:1",null,{{"a":[1,0.5],"z":"{text}"}}]'
    assert of({"z": text, "a": [1.0, 0.5]}) == hashlib.sha256(document.encode()).hexdigest()


# --- kinds ------------------------------------------------------------------------------------


def test_only_free_text_may_be_cut() -> None:
    """Text at its caller's own budget is a whole answer: a summary ends on a whole sentence."""
    free = ["chat", "generate", "summarize"]
    assert [task.kind.name for task in KINDS if task.kind.cut_is_answer] == free
