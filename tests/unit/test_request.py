"""A call is bound, checked against types and limits, and refused without quoting its text."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from local_llm_service.tasks.compress import CompressRequest
from local_llm_service.tasks.extract_parameters import ExtractRequest
from local_llm_service.tasks.generate import GenerateRequest
from local_llm_service.tasks.request import JobRequest, Limits, parse
from local_llm_service.tasks.structured_output import StructuredRequest
from local_llm_service.tasks.summarize import SummarizeRequest
from local_llm_service.worker.errors import InvalidRequest

LIMITS = Limits(max_prompt_chars=1000, max_messages=3, max_schema_depth=5, max_output_tokens=200)
BUDGET = {GenerateRequest: "max_tokens", SummarizeRequest: "max_summary_tokens"}
FUNCTION = {"name": "f", "parameters": {"properties": {}}}
TURN = {"role": "user", "content": "hi"}

#: Valid values of each request's own arguments, in their documented order.
VALID: dict[type[JobRequest], dict[str, Any]] = {
    GenerateRequest: {
        "prompt": "p",
        "system_prompt": "s",
        "max_tokens": 7,
        "temperature": 0.5,
        "model": "m",
    },
    SummarizeRequest: {"context": "c", "max_summary_tokens": 7, "model": "m"},
    CompressRequest: {"messages": [TURN], "target_tokens": 7, "model": "m"},
    ExtractRequest: {"user_message": "u", "function_schema": FUNCTION, "model": "m"},
    StructuredRequest: {"prompt": "p", "schema": {"type": "object"}, "model": "m"},
}

#: An answer of this service, as a chain passes it on.
ANSWER = {"task_id": "1", "kind": "generate", "origin": "computed", "model": "m"}


def refusal(request: type[JobRequest], *args: Any, **kwargs: Any) -> str:
    """The message of a call's refusal; fails if the call is accepted."""
    with pytest.raises(InvalidRequest) as refused:
        parse(request, args, kwargs, LIMITS)
    return refused.value.message


def nested(depth: int) -> dict[str, Any]:
    """Objects `depth` deep."""
    value: dict[str, Any] = {}
    for _ in range(depth - 1):
        value = {"not": value}
    return value


@pytest.mark.parametrize("request_type", VALID)
def test_arguments_are_bound_by_place_in_the_documented_order(
    request_type: type[JobRequest],
) -> None:
    """A call by place and a call by name are the same."""
    named = VALID[request_type]
    by_place = parse(request_type, list(named.values()), {}, LIMITS)
    assert by_place == parse(request_type, [], named, LIMITS)


@pytest.mark.parametrize("request_type", VALID)
def test_one_argument_too_many_is_refused_with_the_list_of_places(
    request_type: type[JobRequest],
) -> None:
    """No argument is silently dropped; options need names."""
    places = [*VALID[request_type].values(), "high"]
    with pytest.raises(InvalidRequest, match="too many positional") as refused:
        parse(request_type, places, {}, LIMITS)
    assert ", ".join(request_type.POSITIONAL) in refused.value.hint


def test_an_argument_given_twice_is_refused_by_name() -> None:
    """An argument may not come both by place and by name, as in Python itself."""
    assert refusal(GenerateRequest, "a", prompt="b").startswith("prompt: given twice")


@pytest.mark.parametrize("request_type", VALID)
def test_an_unknown_argument_is_named(request_type: type[JobRequest]) -> None:
    """A typo must not run a job with the default instead."""
    assert "max_tokenz:" in refusal(request_type, **VALID[request_type], max_tokenz=5)


def test_a_missing_argument_is_named() -> None:
    """Every kind has at least one argument without a default."""
    assert refusal(StructuredRequest, "p") == "schema: Field required"


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("max_tokens", "5"),
        ("max_tokens", 5.0),
        ("max_tokens", True),
        ("temperature", "0.5"),
        ("temperature", float("nan")),
        ("temperature", 2.1),
        ("prompt", 5),
        ("prompt", b"bytes"),
        ("prompt", ["a"]),
        ("prompt", None),
        ("system_prompt", 5),
        ("model", ""),
        ("model", 5),
        ("model", "m" * 201),
        ("priority", "urgent"),
        ("priority", 3),
        ("cache", "yes"),
        ("cache", 1),
        ("cache_scope", ""),
        ("cache_scope", "s" * 201),
        ("deadline_seconds", 0),
        ("deadline_seconds", "60"),
        ("deadline_seconds", float("inf")),
    ],
)
def test_a_wrong_type_or_range_is_refused_by_name(option: str, value: Any) -> None:
    """Types are strict: a number in quotes is not a number."""
    assert refusal(GenerateRequest, **{"prompt": "p", option: value}).startswith(f"{option}: ")


@pytest.mark.parametrize(
    "options",
    [
        {"priority": "low"},
        {"cache": False},
        {"cache_scope": "tenant-1"},
        {"deadline_seconds": 30},
        {"deadline_seconds": 0.5},
        {"model": None, "priority": None, "cache_scope": None, "deadline_seconds": None},
    ],
)
@pytest.mark.parametrize("request_type", VALID)
def test_every_kind_takes_the_common_options(
    request_type: type[JobRequest], options: dict[str, Any]
) -> None:
    """They are `priority`, `cache`, `cache_scope`, `deadline_seconds` and `model`, by name."""
    request = parse(request_type, [], {**VALID[request_type], **options}, LIMITS)
    assert {name: getattr(request, name) for name in options} == options


@pytest.mark.parametrize(
    ("request_type", "arguments", "limit"),
    [
        (GenerateRequest, {"prompt": "x" * 1001}, "1000 characters (MAX_PROMPT_CHARS), got 1001"),
        (SummarizeRequest, {"context": "x" * 1001}, "1000 characters (MAX_PROMPT_CHARS)"),
        (ExtractRequest, {"user_message": "x" * 1001}, "1000 characters (MAX_PROMPT_CHARS)"),
        (
            CompressRequest,
            {"messages": [{"role": "user", "content": "x" * 501}] * 2},
            "1000 characters (MAX_PROMPT_CHARS), got 1002",
        ),
        (CompressRequest, {"messages": [TURN] * 4}, "3 messages (MAX_MESSAGES), got 4"),
        (StructuredRequest, {"schema": {"title": "x" * 1001}}, "(MAX_PROMPT_CHARS)"),
        (StructuredRequest, {"schema": nested(7)}, "5 deep (MAX_SCHEMA_DEPTH)"),
        (ExtractRequest, {"function_schema": {"parameters": nested(7)}}, "5 deep"),
        (GenerateRequest, {"max_tokens": 201}, "200 tokens (MAX_OUTPUT_TOKENS), got 201"),
        (SummarizeRequest, {"max_summary_tokens": 201}, "200 tokens (MAX_OUTPUT_TOKENS)"),
    ],
)
def test_a_limit_is_named_with_its_setting(
    request_type: type[JobRequest], arguments: dict[str, Any], limit: str
) -> None:
    """The caller learns the limit, and the operator learns its variable."""
    message = refusal(request_type, **{**VALID[request_type], **arguments})
    assert limit in message
    assert message.startswith(f"{next(iter(arguments))}: at most") or "nested at most" in message


@pytest.mark.parametrize("request_type", BUDGET)
def test_the_limits_themselves_are_allowed(request_type: type[JobRequest]) -> None:
    """ "At most" includes the limit."""
    text = request_type.POSITIONAL[0]
    arguments = {**VALID[request_type], text: "x" * 1000, BUDGET[request_type]: 200}
    assert getattr(parse(request_type, [], arguments, LIMITS), text) == "x" * 1000


@pytest.mark.parametrize("blank", ["", " ", "\n\t", "\u3000"])
def test_blank_text_is_refused(blank: str) -> None:
    """An empty prompt would only make Ollama load the model."""
    assert refusal(GenerateRequest, blank) == "prompt: must not be empty"


@pytest.mark.parametrize(
    ("messages", "problem"),
    [
        ([], "must hold at least one message"),
        ([{"role": "system", "content": "rules"}], "must hold at least one message"),
        ([{"role": "user", "content": " "}], "must hold at least one message"),
        ([{"role": "robot", "content": "hi"}], "messages.0.role: "),
        ([{"content": "hi"}], "messages.0.role: Field required"),
        ([TURN, {"role": "user"}], "messages.1.content: is missing"),
        ([{"role": "user", "content": 5}], "messages.0.content: "),
        (["hi"], "messages.0: must be a JSON object"),
        ("hi", "messages: "),
    ],
)
def test_a_bad_conversation_is_refused_at_its_place(messages: Any, problem: str) -> None:
    """Each turn needs a known role and a text, and one text must not be blank."""
    assert problem in refusal(CompressRequest, messages)


def test_other_fields_of_a_message_are_dropped() -> None:
    """Histories from other programs carry names, ids and times."""
    turn = {**TURN, "name": "Ann", "id": 7}
    request = parse(CompressRequest, [[turn]], {}, LIMITS)
    assert request.messages[0].model_dump() == TURN


def test_only_some_of_many_problems_are_listed() -> None:
    """The message stays on one line."""
    message = refusal(GenerateRequest, "p", **{f"unknown{number}": 1 for number in range(9)})
    assert message.count("unknown") == 5
    assert message.endswith("and 4 more")


Shape = Callable[[str], tuple[type[JobRequest], dict[str, Any]]]

#: Calls that contain both a fault and a secret.
WRONG: list[Shape] = [
    lambda secret: (GenerateRequest, {"prompt": [secret]}),
    lambda secret: (GenerateRequest, {"prompt": {"x": secret}}),
    lambda secret: (GenerateRequest, {"prompt": secret, "max_tokens": 0}),
    lambda secret: (GenerateRequest, {"prompt": secret * 1000}),
    lambda secret: (GenerateRequest, {"prompt": "p", "max_tokens": secret}),
    lambda secret: (GenerateRequest, {"prompt": "p", "temperature": secret}),
    lambda secret: (GenerateRequest, {"prompt": "p", "priority": secret}),
    lambda secret: (GenerateRequest, {"prompt": "p", "model": secret * 200}),
    lambda secret: (GenerateRequest, {"prompt": "p", "unknown": secret}),
    lambda secret: (SummarizeRequest, {"context": secret, "max_summary_tokens": None}),
    lambda secret: (CompressRequest, {"messages": secret}),
    lambda secret: (CompressRequest, {"messages": [secret]}),
    lambda secret: (CompressRequest, {"messages": [{"role": secret, "content": "hi"}]}),
    lambda secret: (CompressRequest, {"messages": [{"role": "user", "content": [secret]}]}),
    lambda secret: (CompressRequest, {"messages": [{"role": "system", "content": secret}]}),
    lambda secret: (StructuredRequest, {"prompt": secret, "schema": False}),
    lambda secret: (StructuredRequest, {"prompt": "p", "schema": secret}),
    lambda secret: (StructuredRequest, {"prompt": "p", "schema": {"type": secret}}),
    lambda secret: (StructuredRequest, {"prompt": "p", "schema": {"$ref": f"#/{secret}"}}),
    lambda secret: (StructuredRequest, {"prompt": "p", "schema": {"required": secret}}),
    lambda secret: (ExtractRequest, {"user_message": secret, "function_schema": secret}),
    lambda secret: (
        ExtractRequest,
        {"user_message": "u", "function_schema": {"parameters": {"type": secret}}},
    ),
]


@pytest.mark.parametrize("wrong", range(len(WRONG)))
@settings(deadline=None)  # a slow machine is not a failure
@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=20))
def test_a_refusal_quotes_nothing_of_the_call(wrong: int, text: str) -> None:
    """Exceptions travel to logs, to Redis and to other teams' error trackers."""
    secret = f"geheim{text}"
    request_type, arguments = WRONG[wrong](secret)
    with pytest.raises(InvalidRequest) as refused:
        parse(request_type, [], arguments, LIMITS)
    said = [*refused.value.args, str(refused.value)]
    assert not any("geheim" in part for part in said)
    assert refused.value.__cause__ is None
    assert refused.value.__suppress_context__


SURROGATE = "a\ud800b"


@pytest.mark.parametrize("argument", ["model", "cache_scope"])
def test_a_name_with_half_a_character_is_refused(argument: str) -> None:
    """UTF-8 cannot encode a lone surrogate."""
    assert refusal(GenerateRequest, "p", **{argument: SURROGATE}).startswith(f"{argument}: ")


@pytest.mark.parametrize(
    ("request_type", "arguments"),
    [
        (GenerateRequest, {"prompt": SURROGATE}),
        (GenerateRequest, {"prompt": "p", "system_prompt": SURROGATE}),
        (CompressRequest, {"messages": [{"role": "user", "content": SURROGATE}]}),
        (StructuredRequest, {"prompt": "p", "schema": {"const": SURROGATE}}),
        (ExtractRequest, {"user_message": "u", "function_schema": {"parameters": {SURROGATE: 1}}}),
    ],
)
def test_text_with_half_a_character_is_refused(
    request_type: type[JobRequest], arguments: dict[str, Any]
) -> None:
    """UTF-8 cannot encode a lone surrogate, such as half an emoji cut by another language."""
    assert refusal(request_type, **arguments).startswith(f"{list(arguments)[-1]}")


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"text": "hello"}, "hello"),
        ({"summary": "short"}, "short"),
        ({"summary": "-", "messages": [{"role": "user", "content": "short"}]}, "user: short"),
        ({"parameters": {"city": "Zürich"}}, '{"city": "Zürich"}'),
        ({"data": [1, None]}, "[1, null]"),
    ],
)
def test_an_answer_in_a_chain_counts_as_its_text(fields: dict[str, Any], text: str) -> None:
    """`chain(generate.s(...), summarize.s())` passes the whole answer on."""
    assert parse(SummarizeRequest, [{**ANSWER, **fields}], {}, LIMITS).context == text


def test_the_answers_of_a_chord_count_as_paragraphs() -> None:
    """`chord(header)(summarize.s())` passes on a list of answers, in the header's order."""
    answers = [{**ANSWER, "summary": "one"}, {**ANSWER, "text": "two"}]
    assert parse(SummarizeRequest, [answers], {}, LIMITS).context == "one\n\ntwo"


def test_a_dict_that_is_not_an_answer_is_refused() -> None:
    """Only this service's own answers are unpacked."""
    assert refusal(SummarizeRequest, {"text": "hello"}).startswith("context: ")


def test_the_text_of_an_answer_is_checked_like_any_other() -> None:
    """A chain does not bypass the limits."""
    assert "MAX_PROMPT_CHARS" in refusal(SummarizeRequest, {**ANSWER, "text": "x" * 1001})
    assert "must not be empty" in refusal(SummarizeRequest, {**ANSWER, "text": " "})


def test_a_request_cannot_be_changed_after_it_was_checked() -> None:
    """The request is frozen, so the validated call is the one that runs."""
    request = parse(GenerateRequest, ["p"], {}, LIMITS)
    with pytest.raises(ValueError, match="frozen"):
        request.prompt = ""
