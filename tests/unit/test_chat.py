"""`chat`: what other clients' messages, tools and formats become, and how an answer is read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from local_llm_service import tasks
from local_llm_service.tasks import conversation
from local_llm_service.tasks.answer import is_answer, text_of
from local_llm_service.tasks.outcome import do_work
from local_llm_service.tasks.program_run import OneModelRun
from local_llm_service.tasks.request import Limits, parse
from local_llm_service.worker.engine.ollama.grammar import constraints
from local_llm_service.worker.errors import InvalidOutput, InvalidRequest
from local_llm_service.worker.prompt import Completion, Prompt, ToolCall
from tests.doubles.said import Said, first_prompt, read_by

LIMITS = Limits(max_prompt_chars=2000, max_messages=5, max_schema_depth=8, max_output_tokens=999)
HI = [{"role": "user", "content": "hi"}]
CITY = {
    "type": "object",
    "properties": {"city": {"$ref": "#/$defs/Name"}},
    "required": ["city"],
    "$defs": {"Name": {"type": "string", "minLength": 2}},
}
WEATHER = {
    "type": "function",
    "function": {"name": "get_weather", "description": "The weather.", "parameters": CITY},
}
CLOCK = {"type": "function", "function": {"name": "clock"}}
CHOSEN = {"type": "function", "function": {"name": "get_weather"}}
BY_SCHEMA = {"type": "json_schema", "json_schema": {"name": "n", "strict": True, "schema": CITY}}
CALL = {"id": "c1", "type": "function", "function": {"name": "clock", "arguments": '{"zone": 1}'}}


def request(messages: Any = HI, **options: Any) -> Any:
    """A validated call."""
    return parse(tasks.chat.kind.request, [], {"messages": messages, **options}, LIMITS)


def asked(messages: Any = HI, **options: Any) -> Prompt:
    """The prompt that it makes."""
    prompt = first_prompt(tasks.chat.kind, request(messages, **options), LIMITS.max_output_tokens)
    assert isinstance(prompt, Prompt)
    return prompt


def wrote(text: str = "", finish_reason: Any = "stop", **more: Any) -> Completion:
    """What a model writes."""
    return Completion(text, "m", finish_reason, 50, 20, 0, 0, 0, **more)


def called(name: str, arguments: dict[str, Any]) -> tuple[ToolCall, ...]:
    """What a model calls."""
    return ({"function": {"name": name, "arguments": arguments}},)


def read(completion: Completion, **options: Any) -> Mapping[str, Any]:
    """The kind's own fields of the answer."""
    return read_by(tasks.chat.kind, request(**options), completion)


def refused(messages: Any = HI, **options: Any) -> str:
    """Why a call is refused."""
    with pytest.raises(InvalidRequest) as failure:
        request(messages, **options)
    return failure.value.message


# --- messages -------------------------------------------------------------------------------------


def test_messages_of_openais_client_become_ollamas() -> None:
    """Roles, parts, calls with their arguments as text, and results that name a call's id."""
    messages = [
        {"role": "developer", "content": [{"type": "text", "text": part} for part in "ab"]},
        {"role": "user", "content": "what time?"},
        {"role": "assistant", "content": None, "refusal": None, "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "c1", "content": "noon"},
    ]
    assert asked(messages).messages == (
        {"role": "system", "content": "a\nb"},
        {"role": "user", "content": "what time?"},
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [{"function": {"name": "clock", "arguments": {"zone": 1}}}],
        },
        {"role": "tool", "content": "noon", "tool_name": "clock"},
    )


def test_messages_of_ollamas_client_are_taken_as_they_are() -> None:
    """Arguments as an object, results by the function's name."""
    messages = [
        *HI,
        {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": {}}}]},
        {"role": "tool", "tool_name": "f", "content": "1"},
    ]
    sent = asked(messages).messages
    assert sent[1]["tool_calls"] == [{"function": {"name": "f", "arguments": {}}}]
    assert sent[2] == {"role": "tool", "content": "1", "tool_name": "f"}


def test_the_answers_own_message_can_be_sent_back() -> None:
    """So a conversation goes on, as clients do it: append the message, then its result."""
    answer = read(wrote(tool_calls=called("get_weather", {"city": "Bern"})), tools=[WEATHER])
    message = answer["message"]
    result = {"role": "tool", "tool_call_id": message["tool_calls"][0]["id"], "content": "3 C"}
    sent = asked([*HI, message, result], tools=[WEATHER]).messages
    assert sent[2] == {"role": "tool", "content": "3 C", "tool_name": "get_weather"}


def test_ids_of_calls_do_not_make_another_question() -> None:
    """Every client makes up its own ids; the model never sees one."""
    other = {**CALL, "id": "c2"}
    contents = [
        request(
            [
                *HI,
                {"role": "assistant", "tool_calls": [call]},
                {"role": "tool", "tool_call_id": call["id"], "content": "noon"},
            ]
        ).content()
        for call in (CALL, other)
    ]
    assert contents[0] == contents[1]


@pytest.mark.parametrize(
    ("message", "said"),
    [
        (
            {"role": "user", "content": [{"type": "image_url", "image_url": {}}]},
            "0.content: part 0",
        ),
        ({"role": "user", "content": "x", "images": ["abc"]}, "images: this service sends text"),
        ({"role": "user", "content": "x", "name": "Bob"}, "messages.0.name: models are not"),
        ({"role": "user", "content": "x", "mood": "sad"}, "messages.0.mood"),
        ({"role": "robot", "content": "x"}, "messages.0.role"),
        ({"role": "user"}, "content: is missing"),
        ({"role": "user", "content": 7}, "messages.0.content"),
        ({"role": "user", "content": "\ud83d"}, "lone surrogate"),
        ({"role": "user", "content": "x", "tool_calls": [CALL]}, "only the assistant"),
        ({"role": "tool", "tool_call_id": "c1", "content": "x"}, "message 0 is a tool's"),
        (
            {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "[1]"}}]},
            "messages.0.tool_calls.0.function.arguments: must be a JSON object",
        ),
        (
            {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{"}}]},
            "function.arguments: must be a JSON object",
        ),
        (
            {"role": "assistant", "tool_calls": [{"type": "custom", "custom": {}}]},
            "only functions can be called",
        ),
        ("hi", "messages.0"),
    ],
)
def test_what_cannot_be_sent_is_refused_with_its_place(message: Any, said: str) -> None:
    """Never left out in silence: it would change the answer. No words of the caller are quoted."""
    text = refused([message])
    assert said in text
    assert "Bob" not in text
    assert "sad" not in text


@pytest.mark.parametrize(
    ("messages", "said"),
    [
        ([], "at least one message that is not empty"),
        ([{"role": "user", "content": " "}], "at least one message that is not empty"),
        (HI * 6, "at most 5 messages (MAX_MESSAGES), got 6"),
        ("hi", "messages: Input should be a valid list"),
    ],
)
def test_a_conversation_has_bounds(messages: Any, said: str) -> None:
    """The settings' own."""
    assert said in refused(messages)


def test_the_size_counts_messages_tools_and_schemas_together() -> None:
    """Each alone fits; the model gets all of them."""
    long = [{"role": "user", "content": "x" * 1500}]
    wordy = {"type": "function", "function": {"name": "f", "description": "y" * 600}}
    request(long)
    request(tools=[wordy])
    assert "MAX_PROMPT_CHARS" in refused(long, tools=[wordy])
    calls = {
        "role": "assistant",
        "tool_calls": [{"function": {"name": "f", "arguments": {"a": "z" * 600}}}],
    }
    assert refused([*long, calls]).startswith("messages: at most 2000 characters")


def test_arguments_are_counted_before_they_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """A text of 8 MB holds four million values, and nobody else is served while they are made."""
    read: list[Any] = []
    monkeypatch.setattr(conversation.json, "loads", lambda text: read.append(text) or {})
    calls = [{"function": {"name": "f", "arguments": f"{{}}{' ' * 900}"}}] * 3
    message = {"role": "assistant", "tool_calls": calls}
    assert refused([message]).startswith("messages: at most 2000 characters")
    assert read == []
    request([{**message, "tool_calls": calls[:2]}])
    assert len(read) == 2


def test_arguments_that_nest_too_deep_are_refused() -> None:
    """Whatever comes, as a text or as an object, ends in an error of ours."""
    deep = "[" * 990 + "]" * 990
    object_: Any = {}
    for _ in range(50):
        object_ = {"a": object_}
    for arguments in (f'{{"a": {deep}}}', object_):
        message = {
            "role": "assistant",
            "tool_calls": [{"function": {"name": "f", "arguments": arguments}}],
        }
        assert "function.arguments" in refused([message])


def test_an_answer_of_a_chain_is_what_the_user_says() -> None:
    """`chain(generate.s(...), chat.s())`, or a chord of several into one."""
    answer = {"task_id": "1", "kind": "generate", "origin": "computed", "text": "hello"}
    assert asked(answer).messages == ({"role": "user", "content": "hello"},)
    assert asked([answer, answer]).messages == ({"role": "user", "content": "hello\n\nhello"},)


# --- options --------------------------------------------------------------------------------------


def test_options_reach_the_model() -> None:
    """What the caller leaves out is the service's default."""
    prompt = asked(stop="END", max_tokens=7, temperature=0.5, top_p=0.3, presence_penalty=1)
    assert (prompt.stop, prompt.max_tokens) == (("END",), 7)
    sampling = prompt.sampling
    assert (sampling.temperature, sampling.top_p, sampling.presence_penalty) == (0.5, 0.3, 1)
    assert (sampling.top_k, sampling.seed, prompt.top_logprobs) == (40, None, None)
    assert asked(logprobs=True).top_logprobs == 0
    assert asked(logprobs=True, top_logprobs=3).top_logprobs == 3


@pytest.mark.parametrize(
    ("seed", "sent"), [(42, 42), (0, 1), (-1, 2**31 - 1), (2**31, 2), (2**40, 1 + 2**9)]
)
def test_every_seed_is_one_for_ollama(seed: int, sent: int) -> None:
    """It takes 0 for none and -1 for chance, which the caller does not mean."""
    assert asked(seed=seed).sampling.seed == sent
    assert asked(seed=seed, temperature=0).sampling.seed == sent


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"stop": list("abcde")}, "stop: at most 4 texts, got 5"),
        ({"stop": ""}, "stop: each text must have"),
        ({"top_logprobs": 2}, "top_logprobs: needs logprobs=True"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({"temperature": 2.1}, "temperature"),
        ({"n": 2}, "n: Extra inputs"),
        ({"logit_bias": {}}, "logit_bias: Extra inputs"),
        ({"tools": [WEATHER, WEATHER]}, "tools: two functions have one name"),
        ({"tools": [{**CLOCK, "type": "web_search"}]}, "tools.0.type"),
        ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools.0.function.name"),
        (
            {
                "tools": [
                    {"type": "function", "function": {"name": "f", "parameters": {"type": "array"}}}
                ]
            },
            "tools.0.function.parameters: must be of type object",
        ),
        ({"tool_choice": "required"}, "tool_choice: there are no tools"),
        ({"tool_choice": "maybe"}, 'tool_choice: must be "auto"'),
        ({"tools": [CLOCK], "tool_choice": CHOSEN}, "tool_choice: names a function"),
        ({"tools": [CLOCK], "response_format": BY_SCHEMA}, "response_format: cannot be kept"),
        ({"response_format": {"type": "xml"}}, 'response_format: "type" must be'),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema: must be"),
        (
            {"response_format": {"type": "json_object", "schema": {}}},
            'response_format: may hold "type"',
        ),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"schema": {}, "a": 1}}},
            "response_format.json_schema: may hold",
        ),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"schema": {"type": 7}}}},
            "response_format: is not a valid JSON Schema",
        ),
        ({"tools": [CLOCK], "tool_choice": "required", "logprobs": True}, "logprobs: are not"),
    ],
)
def test_what_cannot_be_done_is_refused(options: dict[str, Any], said: str) -> None:
    """A caller never gets an answer to something that was not asked."""
    assert said in refused(**options)


def test_none_stands_for_a_default() -> None:
    """Clients send what their callers did not set as null."""
    nothing = {"tools": None, "tool_choice": None, "stop": None, "response_format": None}
    assert request(**nothing).content() == request().content()
    assert request(response_format={"type": "text"}).content() == request().content()


# --- tools ----------------------------------------------------------------------------------------


def test_tools_are_offered_where_the_model_may_choose() -> None:
    """The engine has the model's own way for that."""
    prompt = asked(tools=[WEATHER, CLOCK])
    assert [tool["function"]["name"] for tool in prompt.tools] == ["get_weather", "clock"]  # type: ignore[index]
    assert (prompt.schema, prompt.messages) == (None, tuple(HI))
    assert asked(tools=[WEATHER], tool_choice="none").tools == ()


def test_calls_that_keep_their_schemas_are_the_answer() -> None:
    """With an id of their own, which a result then names."""
    answer = read(wrote("Let me see", tool_calls=called("clock", {})), tools=[WEATHER, CLOCK])
    (call,) = answer["message"]["tool_calls"]
    assert answer["message"]["content"] == "Let me see"
    assert answer["finish_reason"] == "tool_calls"
    assert (call["type"], call["function"]) == ("function", {"name": "clock", "arguments": {}})
    other = read(wrote(tool_calls=called("clock", {})), tools=[CLOCK])["message"]["tool_calls"][0]
    assert call["id"].startswith("call_")
    assert call["id"] != other["id"]


@pytest.mark.parametrize(
    "calls",
    [
        called("get_weather", {}),
        called("get_weather", {"city": "B"}),
        called("get_wetter", {"city": "Bern"}),
    ],
)
def test_a_call_that_cannot_be_made_is_no_answer(calls: tuple[ToolCall, ...]) -> None:
    """The caller's code would run it."""
    with pytest.raises(InvalidOutput) as failure:
        read(wrote(tool_calls=calls), tools=[WEATHER])
    assert "Bern" not in str(failure.value.args)
    assert "wetter" not in str(failure.value.args)


def test_one_call_at_most_where_the_caller_wants_one() -> None:
    """`parallel_tool_calls=False`, OpenAI's."""
    two = (*called("clock", {}), *called("clock", {"zone": 2}))
    assert len(read(wrote(tool_calls=two), tools=[CLOCK])["message"]["tool_calls"]) == 2
    one = read(wrote(tool_calls=two), tools=[CLOCK], parallel_tool_calls=False)
    assert [call["function"]["arguments"] for call in one["message"]["tool_calls"]] == [{}]


@pytest.mark.parametrize("options", [{"tool_choice": CHOSEN}, {"tool_choice": "required"}])
def test_one_function_that_must_be_called_is_asked_for_by_its_arguments(
    options: dict[str, Any],
) -> None:
    """Any model writes JSON under a grammar, also one that knows no tools."""
    tools = [WEATHER] if options["tool_choice"] == "required" else [CLOCK, WEATHER]
    prompt = asked(tools=tools, **options)
    assert (prompt.schema, prompt.tools, prompt.spoken) == (CITY, (), False)
    assert prompt.messages[-1] == HI[0]
    assert json.dumps(CITY) in prompt.messages[0]["content"]
    answer = read(wrote('{"city": "Bern"}'), tools=tools, **options)
    assert answer["finish_reason"] == "tool_calls"
    (call,) = answer["message"]["tool_calls"]
    assert call["function"] == {"name": "get_weather", "arguments": {"city": "Bern"}}
    assert answer["message"]["content"] == ""


def test_one_of_several_functions_is_asked_for_by_name_and_arguments() -> None:
    """The grammar still resolves each function's own references."""
    options: dict[str, Any] = {"tools": [WEATHER, CLOCK], "tool_choice": "required"}
    prompt = asked(**options)
    assert prompt.schema is not None
    strictest = constraints(prompt.schema, "0.33.0")[0]
    assert strictest == prompt.schema  # nothing has to be left out for Ollama
    text = '{"name": "get_weather", "arguments": {"city": "Bern"}}'
    (call,) = read(wrote(text), **options)["message"]["tool_calls"]
    assert call["function"] == {"name": "get_weather", "arguments": {"city": "Bern"}}
    for wrong in (
        '{"name": "x", "arguments": {}}',
        '{"name": "get_weather", "arguments": {}}',
        "{}",
    ):
        with pytest.raises(InvalidOutput):
            read(wrote(wrong), **options)


def test_a_call_that_was_cut_is_no_answer() -> None:
    """It names the caller's own budget."""
    with pytest.raises(InvalidOutput, match="max_tokens"):
        read(wrote('{"city": "Be', "length"), tools=[WEATHER], tool_choice=CHOSEN)


def test_earlier_calls_are_told_as_text_to_a_model_that_must_call() -> None:
    """Its template may have no words for calls, and would leave them out."""
    messages = [
        {"role": "system", "content": "Be brief."},
        *HI,
        {"role": "assistant", "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "c1", "content": "noon"},
    ]
    sent = asked(messages, tools=[WEATHER], tool_choice="required").messages
    assert [message["role"] for message in sent] == ["system", "user", "assistant", "user"]
    assert sent[0]["content"].startswith("Be brief.\n\nAnswer with the arguments of get_weather")
    assert sent[2]["content"] == '{"name": "clock", "arguments": {"zone": 1}}'
    assert sent[3]["content"] == "Result of clock: noon"


# --- JSON -----------------------------------------------------------------------------------------


def test_a_schema_goes_into_the_prompt_and_the_grammar() -> None:
    """The instruction joins the caller's own system message."""
    messages = [{"role": "system", "content": "Be brief."}, *HI]
    prompt = asked(messages, response_format=BY_SCHEMA)
    assert prompt.schema == CITY
    assert prompt.messages[0]["content"].startswith("Be brief.\n\n")
    assert json.dumps(CITY) in prompt.messages[0]["content"]
    assert asked(response_format={"type": "json_object"}).schema == {"type": "object"}


def test_json_comes_as_the_model_wrote_it() -> None:
    """So that a stream of it and the answer are the same text; only a fence is taken away."""
    text = '{"city": "Bern"}\n\n '
    assert read(wrote(text), response_format=BY_SCHEMA)["message"]["content"] == text
    fenced = '```json\n{"city": "Bern"}\n```'
    content = read(wrote(fenced), response_format=BY_SCHEMA)["message"]["content"]
    assert json.loads(content) == {"city": "Bern"}


def test_cut_json_is_an_answer_where_the_caller_allows_it() -> None:
    """Clients of other APIs look at `finish_reason`. What is whole has to fit all the same."""
    cut = wrote('{"city": "Be', "length")
    allowed = {"response_format": BY_SCHEMA, "allow_cut_json": True}
    answer = read(cut, **allowed)
    assert answer["message"]["content"] == '{"city": "Be'
    assert "finish_reason" not in answer  # it is the completion's: "length"
    with pytest.raises(InvalidOutput):
        read(wrote('{"city": 1}'), **allowed)


@pytest.mark.parametrize(
    "completion", [wrote("Bern"), wrote('{"city": 1}'), wrote('{"city": "Be', "length")]
)
def test_other_text_than_the_json_is_no_answer(completion: Completion) -> None:
    """A cut one is not, either."""
    with pytest.raises(InvalidOutput):
        read(completion, response_format=BY_SCHEMA)


# --- the answer -----------------------------------------------------------------------------------


def answer_of(completion: Completion, **options: Any) -> dict[str, Any]:
    """The whole answer, as it is stored."""
    outcome = do_work(
        tasks.chat, request(**options), OneModelRun(Said(completion)), queued_seconds=None
    )
    assert isinstance(outcome.result, dict)
    assert outcome.work.cacheable
    return outcome.result


def test_text_that_was_cut_at_the_callers_budget_is_an_answer() -> None:
    """As it is for `generate`."""
    answer = answer_of(wrote("half a sent", "length"))
    assert answer["message"] == {"role": "assistant", "content": "half a sent"}
    assert (answer["finish_reason"], answer["logprobs"]) == ("length", None)


def test_an_answer_with_calls_is_stored_with_them() -> None:
    """And `finish_reason` says so."""
    answer = answer_of(wrote(tool_calls=called("clock", {})), tools=[CLOCK])
    assert answer["finish_reason"] == "tool_calls"
    assert answer["message"]["tool_calls"][0]["function"]["name"] == "clock"
    assert tasks.chat.kind.answer.model_validate(answer).finish_reason == "tool_calls"


def test_log_probabilities_come_where_they_were_asked_for() -> None:
    """As the model server writes them."""
    token = {"token": "a", "logprob": -0.5, "bytes": [97], "top_logprobs": []}
    assert answer_of(wrote("a", logprobs=(token,)), logprobs=True)["logprobs"] == [token]
    assert answer_of(wrote("a", logprobs=(token,)))["logprobs"] is None


def test_the_text_of_an_answer_is_what_it_says_or_calls() -> None:
    """For a chain and a stream that comes in one piece; people see its calls, too."""
    said = answer_of(wrote("hello"))
    assert is_answer(said)
    assert text_of(said) == "hello"
    calls = answer_of(wrote(tool_calls=called("clock", {"zone": 1})), tools=[CLOCK])
    assert text_of(calls) == ""
    assert json.loads(text_of(calls, indent=2)) == [{"name": "clock", "arguments": {"zone": 1}}]
