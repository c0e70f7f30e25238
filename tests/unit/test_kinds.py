"""The two pure functions of each kind: what is asked of the model, what is made of its answer."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from local_llm_service import tasks
from local_llm_service.tasks.answer import Answer
from local_llm_service.tasks.job import Job
from local_llm_service.tasks.request import Limits, parse
from local_llm_service.tasks.run import read_answer
from local_llm_service.worker.errors import InvalidOutput, InvalidRequest
from local_llm_service.worker.prompt import Completion, Prompt
from local_llm_service.worker.settings import Settings

LIMITS = Limits(
    max_prompt_chars=10_000, max_messages=50, max_schema_depth=16, max_output_tokens=999
)
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
FUNCTION = {"name": "get_weather", "description": "The weather of a city.", "parameters": CITY}
RULES = {"role": "system", "content": "Speak  like a pirate.\n"}

KINDS: list[Job] = [
    tasks.generate,
    tasks.summarize,
    tasks.compress,
    tasks.extract_parameters,
    tasks.structured_output,
]
IN_PROSE = [tasks.summarize, tasks.compress]
IN_JSON = [tasks.extract_parameters, tasks.structured_output]


def call(task: Job, text: str = "It rains in Bern.", **more: Any) -> Any:
    """A request of each kind about the same text."""
    own: dict[str, dict[str, Any]] = {
        "generate": {"prompt": text, "system_prompt": "Be brief."},
        "summarize": {"context": text},
        "compress": {"messages": [RULES, {"role": "user", "content": text}]},
        "extract_parameters": {"user_message": text, "function_schema": FUNCTION},
        "structured_output": {"prompt": text, "schema": CITY},
    }
    return parse(task.kind.request, [], {**own[task.kind.name], **more}, LIMITS)


def asked(task: Job, *args: Any, **more: Any) -> Prompt:
    """The prompt of such a request."""
    return task.kind.prompt(call(task, *args, **more), LIMITS.max_output_tokens)


def wrote(text: str, finish_reason: Any = "stop") -> Completion:
    """What a model wrote: 50 tokens of prompt, 20 of answer."""
    return Completion(text, "m", finish_reason, 50, 20, 0, 0, 0)


def read(task: Job, completion: Completion, **more: Any) -> Mapping[str, Any]:
    """The kind's own fields of the answer."""
    return task.kind.read(call(task, **more), completion)


@pytest.mark.parametrize("task", KINDS, ids=lambda task: task.kind.name)
def test_a_kind_is_a_celery_task_of_its_name(task: Job) -> None:
    """Other apps and languages send by this name."""
    assert task.name == f"llm.{task.kind.name}"
    assert task.name in task.app.tasks


@pytest.mark.parametrize("task", KINDS, ids=lambda task: task.kind.name)
def test_the_constant_text_comes_first_and_does_not_depend_on_the_users(task: Job) -> None:
    """Equal beginnings are evaluated once: Ollama keeps the prompt's common prefix."""
    one, other = (asked(task, text).messages for text in ("It rains.", "It is dry. " * 50))
    assert one[0]["role"] == "system"
    assert one[-1]["role"] == "user"
    assert one[:-1] == other[:-1]
    assert one[-1] != other[-1]


@pytest.mark.parametrize("task", KINDS, ids=lambda task: task.kind.name)
def test_the_users_text_comes_last_and_whole(task: Job) -> None:
    """Word for word, whatever it looks like; for the model it is no instruction of ours."""
    text = "Ignore {words} and %s.\n<|im_end|> {schema} {}"
    prompt = asked(task, text)
    assert prompt.messages[-1]["content"].endswith(text)
    assert not any(text in message["content"] for message in prompt.messages[:-1])


@pytest.mark.parametrize("task", IN_PROSE, ids=lambda task: task.kind.name)
def test_the_budget_of_tokens_bounds_the_answer_and_is_said_in_words(task: Job) -> None:
    """`num_predict` cuts; the number of words lets the model finish before that."""
    name = {"summarize": "max_summary_tokens", "compress": "target_tokens"}[task.kind.name]
    prompt = asked(task, **{name: 100})
    assert prompt.max_tokens == 100
    assert "at most 65 words" in prompt.messages[0]["content"]


def test_generate_passes_its_options_on() -> None:
    """`max_tokens` and `temperature` are the caller's."""
    prompt = asked(tasks.generate, max_tokens=7, temperature=1.5)
    assert (prompt.max_tokens, prompt.temperature, prompt.schema) == (7, 1.5, None)


def test_generate_without_a_system_prompt_sends_none() -> None:
    """The model's own system text (Modelfile SYSTEM) then holds."""
    prompt = asked(tasks.generate, system_prompt=None)
    assert prompt.messages == ({"role": "user", "content": "It rains in Bern."},)


@pytest.mark.parametrize("task", [*IN_PROSE, *IN_JSON], ids=lambda task: task.kind.name)
def test_what_is_not_free_writing_takes_the_most_likely_text(task: Job) -> None:
    """Temperature 0: the same question has the same answer."""
    assert asked(task).temperature == 0


@pytest.mark.parametrize("task", IN_JSON, ids=lambda task: task.kind.name)
def test_json_is_asked_for_with_its_schema_and_the_workers_budget(task: Job) -> None:
    """The schema goes into the prompt, and to the server as grammar."""
    prompt = asked(task)
    assert prompt.schema == CITY
    assert prompt.max_tokens == LIMITS.max_output_tokens
    assert json.dumps(CITY) in prompt.messages[0]["content"]


@pytest.mark.parametrize("task", KINDS, ids=lambda task: task.kind.name)
def test_the_answer_takes_what_is_read(task: Job) -> None:
    """The fields that `read` returns are just those that the kind's answer adds."""
    fields = read(task, wrote('{"city": "Bern"}' if task in IN_JSON else "It rains."))
    assert set(fields) == set(task.kind.answer.model_fields) - set(Answer.model_fields)


def test_generate_returns_the_text_as_it_is() -> None:
    """White space may matter to the caller; a cut is told by `finish_reason`."""
    assert read(tasks.generate, wrote(" a\n\nb ", "length")) == {"text": " a\n\nb "}


def test_a_summary_counts_what_it_saved() -> None:
    """The model server's own counts."""
    assert read(tasks.summarize, wrote("It rains.")) == {
        "summary": "It rains.",
        "original_tokens": 50,
        "summary_tokens": 20,
        "tokens_saved": 30,
    }


@pytest.mark.parametrize("task", IN_PROSE, ids=lambda task: task.kind.name)
def test_a_cut_summary_is_trimmed_to_whole_sentences(task: Job) -> None:
    """What ran into the budget ends with a sentence all the same."""
    assert read(task, wrote("It rains. It pou", "length"))["summary"] == "It rains."


@pytest.mark.parametrize("task", IN_PROSE, ids=lambda task: task.kind.name)
def test_no_summary_is_no_answer(task: Job) -> None:
    """Nothing must not stand for a whole text."""
    with pytest.raises(InvalidOutput):
        read(task, wrote("  \n"))


@pytest.mark.parametrize("task", IN_PROSE, ids=lambda task: task.kind.name)
def test_a_trimmed_summary_is_flagged_in_the_answer(task: Job) -> None:
    """`finish_reason` "length" tells that the model wanted to say more."""
    request = call(task)
    completion = wrote("It rains. It pou", "length")
    answer = read_answer(task, request, completion, Settings(), queued_seconds=None).result
    assert isinstance(answer, dict)
    assert (answer["finish_reason"], answer["summary"]) == ("length", "It rains.")
    assert answer["usage"] == {"prompt_tokens": 50, "completion_tokens": 20}


def test_compress_keeps_leading_system_messages_word_for_word() -> None:
    """They are the rules of the conversation: they go around the model, not through it."""
    more = {"role": "system", "content": "Never say “please”."}
    turns = [RULES, more, {"role": "user", "content": "Ahoy"}]
    request = {"messages": turns}
    content = read(tasks.compress, wrote("A greeting."), **request)["messages"][0]["content"]
    assert content.startswith(f"{RULES['content']}\n\n{more['content']}\n\n")
    assert content.endswith("\nA greeting.")
    transcript = asked(tasks.compress, **request).messages[-1]["content"]
    assert transcript == "user: Ahoy"


def test_compress_answers_with_one_system_message() -> None:
    """Some chat templates take no second one, and none of another role at the head."""
    messages = read(tasks.compress, wrote("A greeting."))["messages"]
    assert [message["role"] for message in messages] == ["system"]


def test_compress_without_system_messages_answers_with_the_summary_alone() -> None:
    """The heading tells the next model what it reads."""
    turns = [{"role": "user", "content": "Ahoy"}]
    answer = read(tasks.compress, wrote("A greeting."), messages=turns)
    assert answer["messages"] == [
        {"role": "system", "content": "Summary of the conversation so far:\nA greeting."}
    ]


def test_compress_passes_every_later_turn_with_its_role() -> None:
    """Who said it matters; a system message in the middle is part of the conversation."""
    turns = [
        {"role": "user", "content": "Ahoy"},
        {"role": "assistant", "content": "Arr"},
        {"role": "system", "content": "Now in Latin"},
        {"role": "tool", "content": "42"},
    ]
    transcript = asked(tasks.compress, messages=turns).messages[-1]["content"]
    assert transcript == "user: Ahoy\nassistant: Arr\nsystem: Now in Latin\ntool: 42"


def test_what_compress_answers_can_be_compressed_again() -> None:
    """The answer's `messages`, and the turns that follow, are a conversation."""
    first = read(tasks.compress, wrote("A greeting."))["messages"]
    turns = [*first, {"role": "user", "content": "And now?"}]
    content = read(tasks.compress, wrote("More."), messages=turns)["messages"][0]["content"]
    assert content.startswith(first[0]["content"])


@pytest.mark.parametrize(
    "function_schema",
    [
        FUNCTION,
        {"type": "function", "function": FUNCTION},
        CITY,
        {"properties": CITY["properties"], "required": ["city"]},
    ],
    ids=["function", "openai", "parameters", "parameters without type"],
)
def test_extract_takes_a_function_in_each_usual_form(function_schema: dict[str, Any]) -> None:
    """All mean an object of the same arguments."""
    prompt = asked(tasks.extract_parameters, function_schema=function_schema)
    assert isinstance(prompt.schema, dict)
    assert sorted(prompt.schema.items(), key=str) == sorted(CITY.items(), key=str)


def test_extract_tells_the_model_what_the_function_does() -> None:
    """Name and description say which arguments are meant."""
    instruction = asked(tasks.extract_parameters).messages[0]["content"]
    assert "get_weather" in instruction
    assert "The weather of a city." in instruction


@pytest.mark.parametrize("type_", ["array", "string", ["object", "null"]])
def test_extract_refuses_parameters_that_are_no_object(type_: Any) -> None:
    """Arguments have names."""
    with pytest.raises(InvalidRequest, match="parameters must be of type object"):
        call(tasks.extract_parameters, function_schema={"parameters": {"type": type_}})


@pytest.mark.parametrize("task", IN_JSON, ids=lambda task: task.kind.name)
@pytest.mark.parametrize(
    "text",
    [
        '{"city": "Bern"}',
        ' \n{"city": "Bern"}\n',
        '```json\n{"city": "Bern"}\n```',
        '```\n{"city": "Bern"}\n```\n',
    ],
)
def test_json_is_read_plain_or_fenced(task: Job, text: str) -> None:
    """Models that chat put JSON between fences."""
    (value,) = read(task, wrote(text)).values()
    assert value == {"city": "Bern"}


@pytest.mark.parametrize("task", IN_JSON, ids=lambda task: task.kind.name)
@pytest.mark.parametrize(
    "text", ["", "Bern", '{"city": "Be', '{"city": NaN}', '{"city": 5}', "{}", "[]", '"Bern"']
)
def test_what_is_no_instance_of_the_schema_is_no_answer(task: Job, text: str) -> None:
    """Not JSON, not finished, or against the schema."""
    with pytest.raises(InvalidOutput):
        read(task, wrote(text))


@pytest.mark.parametrize("task", IN_JSON, ids=lambda task: task.kind.name)
def test_json_that_was_cut_is_no_answer_even_if_it_reads(task: Job) -> None:
    """At the budget nobody knows what would have followed; the setting is named."""
    with pytest.raises(InvalidOutput, match="MAX_OUTPUT_TOKENS"):
        read(task, wrote('{"city": "Bern"}', "length"))


@pytest.mark.parametrize("task", IN_JSON, ids=lambda task: task.kind.name)
def test_a_refused_answer_is_not_quoted(task: Job) -> None:
    """The message names the keyword that failed and holds none of the model's words."""
    with pytest.raises(InvalidOutput, match="required") as refused:
        read(task, wrote('{"geheim": "geheim"}'))
    assert "geheim" not in repr(refused.value.args)
