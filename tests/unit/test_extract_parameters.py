"""`extract_parameters`: what the message does not say is missing, and never made up."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from local_llm_service import tasks
from local_llm_service.tasks.request import Limits, parse
from local_llm_service.worker.errors import InvalidOutput, InvalidRequest
from local_llm_service.worker.prompt import Completion, Prompt
from tests.doubles.said import Said

LIMITS = Limits(
    max_prompt_chars=100_000, max_messages=50, max_schema_depth=16, max_output_tokens=999
)
BOOK = {
    "name": "book",
    "description": "Books a table.",
    "parameters": {
        "type": "object",
        "properties": {
            "guests": {"type": "integer", "description": "How many come.", "minimum": 1},
            "name": {"type": "string"},
            "day": {"type": "string", "format": "date"},
            "area": {"enum": ["inside", "garden"], "default": "inside"},
        },
        "required": ["guests", "name"],
    },
}
CANCEL = {"name": "cancel", "parameters": {"properties": {"number": {"type": "integer"}}}}


def wrote(value: Any) -> Completion:
    """A model's text."""
    text = value if isinstance(value, str) else json.dumps(value)
    return Completion(text, "m", "stop", 50, 20, 0, 0, 0)


def request(message: str, schema: Any = BOOK, **more: Any) -> Any:
    """A request."""
    given = {"user_message": message, "function_schema": schema, **more}
    return parse(tasks.extract_parameters.kind.request, [], given, LIMITS)


def extract(
    message: str, *answers: Any, schema: Any = BOOK, **more: Any
) -> tuple[Mapping[str, Any], list[Prompt]]:
    """The answer's fields when the model writes these, and what it was asked."""
    steps = Said(*map(wrote, answers))
    work = tasks.extract_parameters.kind.work
    return work(request(message, schema, **more), steps), steps.prompts


def object_of(**properties: Any) -> dict[str, Any]:
    """A function's schema with these parameters, all required."""
    return {"properties": properties, "required": list(properties)}


# --- what the message says, and what it does not ------------------------------------------------


def test_what_the_message_says_takes_one_step() -> None:
    """Nothing is asked again, and what is optional and not said is not there."""
    given = {"guests": 4, "name": "Ann", "day": None, "area": "garden"}
    found, asked = extract("Garden, for four, name is Ann", given)
    assert len(asked) == 1
    assert found == {
        "parameters": {"guests": 4, "name": "Ann", "area": "garden"},
        "missing": [],
        "ungrounded": [],
        "defaulted": [],
        "guesses": {},
        "function": "book",
        "finish_reason": "stop",
    }


def test_what_the_model_leaves_open_is_missing_and_defaults_are_named() -> None:
    """Null is the word for "not said"; the schema's default is applied."""
    found, asked = extract("For 4", {"guests": 4, "name": None, "day": None, "area": None})
    assert (found["parameters"], found["missing"]) == ({"guests": 4, "area": "inside"}, ["name"])
    assert (found["defaulted"], len(asked)) == (["area"], 1)


def test_a_value_that_was_made_up_is_asked_for_once_more_and_alone() -> None:
    """A better second answer counts."""
    first = {"guests": 4, "name": "John", "day": None, "area": None}
    found, asked = extract("For 4, I am Ann", first, {"name": "Ann"})
    assert (found["parameters"]["name"], found["missing"], found["ungrounded"]) == ("Ann", [], [])
    assert "- name (string)" in asked[1].messages[-1]["content"]
    assert "guests" not in asked[1].messages[-1]["content"]


def test_a_second_answer_says_nothing_of_what_was_settled_by_the_first() -> None:
    """A model without a grammar repeats all; the message's mention is taken once, not twice."""
    both = {"guests": 9, "name": "Ann", "day": None, "area": None}
    found, _ = extract("Ann wants a table", both, both)
    assert found["parameters"] == {"name": "Ann", "area": "inside"}
    assert (found["missing"], found["ungrounded"]) == (["guests"], ["guests"])


@pytest.mark.parametrize(
    ("first", "again", "left_out", "guesses"),
    [
        ({"guests": 4, "name": "John"}, {"name": "John"}, ["name"], {"name": "John"}),
        ({"guests": 9, "name": "Ann"}, {"guests": 7}, ["guests"], {"guests": 7}),
    ],
)
def test_what_the_model_insists_on_is_a_guess(
    first: dict[str, Any], again: Any, left_out: list[str], guesses: Any
) -> None:
    """It is not among the parameters, named twice, and still to be had."""
    found, asked = extract("Ann, 4 people", {"day": None, "area": None, **first}, again)
    assert len(asked) == 2
    assert (found["missing"], found["ungrounded"]) == (left_out, left_out)
    assert found["guesses"] == guesses
    assert not found["parameters"].keys() & guesses.keys()


def test_an_optional_value_that_was_made_up_is_no_parameter() -> None:
    """Its default would stand in its place."""
    first = {"guests": 4, "name": "Ann", "day": "2026-12-01", "area": "inside"}
    found, _ = extract("Ann, 4 people", first, {"day": None})
    assert found["parameters"] == {"guests": 4, "name": "Ann", "area": "inside"}
    assert (found["missing"], found["ungrounded"], found["guesses"]) == ([], [], {})


def test_one_mention_is_the_value_of_one_parameter() -> None:
    """Small models give the number that they see to every parameter; required ones come first."""
    sides = object_of(a={"type": "integer"}, b={"type": "integer"}, c={"type": "integer"})
    found, _ = extract("Sides 3 and 4", {"a": 3, "b": 4, "c": 4}, {"c": 4}, schema=sides)
    assert (found["parameters"], found["missing"]) == ({"a": 3, "b": 4}, ["c"])
    twice, asked = extract("Sides 3, 4 and 4", {"a": 3, "b": 4, "c": 4}, schema=sides)
    assert (twice["missing"], len(asked)) == ([], 1)


def test_elements_of_a_list_that_are_not_said_are_left_out_unless_the_schema_wants_them() -> None:
    """A list keeps what the message has of it."""
    tags = {"type": "array", "items": {"type": "string"}}
    given = {"tags": ["camping", "scenery", "toilets", "scenery"]}
    found, asked = extract("A park with camping and scenery", given, schema=object_of(tags=tags))
    assert found["parameters"] == {"tags": ["camping", "scenery"]}
    assert isinstance(asked[0].schema, dict)
    assert "'maxItems': 6" in str(asked[0].schema), "it has an end: six words"
    three = object_of(tags={**tags, "minItems": 3})
    found, _ = extract("A park with camping and scenery", given, schema=three)
    assert (found["parameters"], found["ungrounded"]) == (given, ["tags"])


def test_an_object_stays_whole_and_is_named() -> None:
    """A part of it may be said, and its own schema may want the rest."""
    budget = {"type": "object", "properties": {"min": {"type": "integer"}}}
    given = {"budget": {"min": 5, "max": 900}}
    found, asked = extract("From 5", given, given, schema=object_of(budget=budget))
    assert (found["parameters"], found["ungrounded"], found["missing"]) == (given, ["budget"], [])
    assert len(asked) == 2


@pytest.mark.parametrize(
    ("message", "answers"),
    [
        ("For 4", [{"guests": 4, "name": None}]),
        ("For 4", [{"guests": 4, "name": "John"}, {"name": "John"}]),
    ],
    ids=["missing", "made up"],
)
def test_strict_fails_for_what_is_not_said_and_names_parameters_alone(
    message: str, answers: list[Any]
) -> None:
    """No value of the message or the model is in the error."""
    answers[0] |= {"day": None, "area": None}
    schema = {"name": "book", "parameters": dict(BOOK["parameters"])}  # type: ignore[call-overload]
    schema["parameters"] |= {"properties": {**schema["parameters"]["properties"], "day": {}}}
    with pytest.raises(InvalidOutput, match="missing: 'name'") as failed:
        extract(message, *answers, schema=schema, strict=True)
    assert "John" not in repr(failed.value)


def test_names_that_the_model_made_are_in_no_error() -> None:
    """Where the schema names no parameters they are words of the message."""
    with pytest.raises(InvalidOutput, match="ungrounded: 1 more") as failed:
        extract("Hi", *[{"ann@example.com": 7}] * 2, schema={"type": "object"}, strict=True)
    assert "ann" not in repr(failed.value)


def test_strict_refuses_a_schema_that_the_grammar_does_not_enforce() -> None:
    """It is refused when it is sent, with the place."""
    odd = object_of(n={"type": "integer", "multipleOf": 5})
    with pytest.raises(InvalidRequest, match=r"^function_schema: .*multipleOf"):
        request("5", odd, strict=True)


def test_a_number_that_was_copied_badly_is_mended() -> None:
    """It is not asked for again; a part of nothing is."""
    found, asked = extract("For $200,000", {"n": 200}, schema=object_of(n={}))
    assert (found["parameters"], len(asked)) == ({"n": 200_000}, 1)
    found, asked = extract("For $200,000", {"n": 7}, {"n": None}, schema=object_of(n={}))
    assert (found["parameters"], len(asked)) == ({}, 2)


# --- schemas of all sorts -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "oneOf": [object_of(n={"type": "integer"}), object_of(m={})]},
        {"properties": {"n": {"type": "integer"}}, "required": ["n"], "minProperties": 1},
        {"properties": {"n": {}}, "required": ["other", "n"]},
        {"type": "object"},
    ],
    ids=["oneOf", "minProperties", "required without schema", "no properties"],
)
def test_what_only_makes_sense_as_a_whole_keeps_its_schema(schema: dict[str, Any]) -> None:
    """Nothing is left out, and what is made up is named after a second try."""
    given = {"n": 7, "other": 3}
    found, asked = extract("Say 3", given, given, schema=schema)
    assert asked[0].schema == {"type": "object", **schema}
    assert (found["parameters"], found["ungrounded"], found["missing"]) == (given, ["n"], [])
    assert "n" in asked[1].messages[-1]["content"].splitlines()[-2]


def test_a_second_try_that_fails_leaves_the_first() -> None:
    """It had kept the schema."""
    schema = {"properties": {"n": {"type": "integer"}}, "required": ["n"], "minProperties": 1}
    found, asked = extract("Say 3", {"n": 7}, *["no"] * 3, schema=schema)
    assert (found["parameters"], found["ungrounded"]) == ({"n": 7}, ["n"])
    assert len(asked) == 4


def test_references_lead_to_where_they_led() -> None:
    """Also into the properties, and back to the whole."""
    schema = {
        "properties": {
            "from": {"$ref": "#/$defs/place"},
            "to": {"$ref": "#/properties/from"},
            "a/b~c%": {"type": "integer"},
        },
        "required": ["from", "to", "a/b~c%"],
        "$defs": {"place": {"type": "string", "minLength": 2}},
    }
    given = {"from": "Bern", "to": None, "a/b~c%": 3}
    found, asked = extract("From Bern, 3", given, schema=schema)
    assert (found["parameters"], found["missing"]) == ({"from": "Bern", "a/b~c%": 3}, ["to"])
    assert isinstance(asked[0].schema, dict)
    with pytest.raises(InvalidOutput, match="minLength"):
        extract("From B, 3", *[{**given, "from": "B"}] * 3, schema=schema)


def test_a_function_without_parameters_needs_no_model() -> None:
    """There is one answer, also where the schema leaves open what it does not name."""
    for more in ({"additionalProperties": False}, {}):
        found, asked = extract("Go", schema={"properties": {}, **more})
        assert (found["parameters"], asked) == ({}, [])
    open_ = {"properties": {}, "additionalProperties": {"type": "integer"}}
    found, asked = extract("Go 3", {"steps": 3}, schema=open_)
    assert (found["parameters"], len(asked)) == ({"steps": 3}, 1)


def test_a_parameter_may_be_null_and_may_have_any_name() -> None:
    """Null counts as said where the function takes it; `class` and `` are names like others."""
    either = {"anyOf": [{"type": "integer"}, {"type": "null"}]}
    schema = {"properties": {"class": either, "": either}, "required": ["class"]}
    found, _ = extract("Go", {"class": None, "": None}, schema=schema)
    assert (found["parameters"], found["missing"]) == ({"class": None}, [])


def test_of_many_optional_parameters_the_model_writes_those_it_likes() -> None:
    """A null for each of 200 would be most of the answer; required ones are still asked for."""
    properties = {f"p{number}": {"type": "integer"} for number in range(200)}
    schema = {"properties": properties, "required": ["p7"]}
    found, asked = extract("3 and 5", {"p7": 3, "p9": 5}, schema=schema)
    assert found["parameters"] == {"p7": 3, "p9": 5}
    assert isinstance(asked[0].schema, dict)
    assert asked[0].schema["required"] == ["p7"]


def test_a_default_that_breaks_its_own_schema_is_not_applied() -> None:
    """Parameters are an instance of the schema."""
    schema = {"properties": {"n": {"type": "integer", "default": "x"}, "m": {"default": 2}}}
    found, _ = extract("Go", {"n": None, "m": None}, schema=schema)
    assert (found["parameters"], found["defaulted"]) == ({"m": 2}, ["m"])
    many = {f"~/{number}": {"type": "integer", "default": "x"} for number in range(30)}
    found, _ = extract("Go", dict.fromkeys(many), schema={"properties": many})
    assert (found["parameters"], found["defaulted"]) == ({}, [])


@pytest.mark.parametrize("form", ["plain", "openai", "parameters"])
def test_a_function_may_have_each_usual_form(form: str) -> None:
    """All mean the same; name and description are in the prompt."""
    parameters = BOOK["parameters"]
    forms = {
        "plain": BOOK,
        "openai": {"type": "function", "function": BOOK},
        "parameters": parameters,
    }
    asked = Said(wrote({"guests": None, "name": None, "day": None, "area": None}))
    tasks.extract_parameters.kind.work(request("Hello", forms[form]), asked)
    said = asked.prompts[0].messages[-1]["content"]
    assert "- guests (" in said
    assert ("book: Books a table." in said) == (form != "parameters")
    assert not asked.prompts[0].spoken


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ({"parameters": {"type": "array"}}, "parameters: must be of type object"),
        ({"parameters": {"type": ["object", "null"]}}, "parameters: must be of type object"),
        ({"name": 5, "parameters": {}}, "name: must be a text"),
        ({"name": "f"}, "parameters: must be a JSON Schema of an object"),
        ([], "the list holds no function"),
        ([BOOK, BOOK], "two functions have one name"),
        ([BOOK, 5], "function 2: must be"),
        ([BOOK] * 129, "at most 128 functions, got 129"),
        (None, "must be"),
    ],
)
def test_what_is_no_function_is_refused(schema: Any, message: str) -> None:
    """Before anything is queued; the error begins with the field."""
    with pytest.raises(InvalidRequest) as refused:
        request("Hello", schema)
    assert refused.value.message.startswith("function_schema")
    assert message in refused.value.message


# --- several functions --------------------------------------------------------------------------


def test_of_several_functions_the_model_chooses_one() -> None:
    """It sees names and descriptions alone, and then one function's parameters."""
    found, asked = extract(
        "Cancel 17", {"function": "cancel"}, {"number": 17}, schema=[BOOK, CANCEL]
    )
    assert (found["function"], found["parameters"]) == ("cancel", {"number": 17})
    assert "guests" not in asked[0].messages[-1]["content"]
    assert "guests" not in asked[1].messages[-1]["content"]


def test_none_of_the_functions_may_fit() -> None:
    """Then there are no parameters, and nothing is missing; strict or not."""
    for strict in (False, True):
        schema = [CANCEL]
        found, _ = extract("Who are you?", {"function": None}, schema=schema, strict=strict)
        assert (found["function"], found["parameters"], found["missing"]) == (None, {}, [])


def test_a_function_that_is_not_there_is_no_choice() -> None:
    """The model is asked again; then it is an error."""
    with pytest.raises(InvalidOutput):
        extract("Hello", *[{"function": "delete"}] * 3, schema=[BOOK, CANCEL])


@pytest.mark.parametrize("number", ["1e999", "9" * 5000, "-1e400"])
def test_a_number_without_end_is_no_parameter(number: str) -> None:
    """It is an error, not a crash."""
    with pytest.raises(InvalidOutput):
        extract("Go", *[f'{{"n": {number}}}'] * 3, schema=object_of(n={"type": "number"}))
