"""The two pure functions of each kind: one writes the prompt, one reads the model's answer."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from local_llm_service import tasks
from local_llm_service.tasks.answer import NOT_SAID_BY_ALL, Answer
from local_llm_service.tasks.job import KindTask
from local_llm_service.tasks.outcome import do_work
from local_llm_service.tasks.program_run import OneModelRun
from local_llm_service.tasks.request import Limits, parse
from local_llm_service.tasks.steps.protocol import Steps
from local_llm_service.worker.errors import InternalError, InvalidOutput, InvalidRequest
from local_llm_service.worker.prompt import Completion, Prompt
from tests.doubles.said import Said, first_prompt, read_by

LIMITS = Limits(
    max_prompt_chars=10_000, max_messages=50, max_schema_depth=16, max_output_tokens=999
)
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
FUNCTION = {"name": "get_weather", "description": "The weather of a city.", "parameters": CITY}
#: More than any summary of it may have.
LONG = "It rains in Bern. " * 40
RULES = {"role": "system", "content": "Speak  like a pirate.\n"}

KINDS: list[KindTask] = [
    tasks.generate,
    tasks.summarize,
    tasks.compress,
    tasks.extract_parameters,
    tasks.structured_output,
]
#: These ask their model whatever they are given; for `compress` see test_compress.py.
ASKING = [task for task in KINDS if task is not tasks.compress]
IN_JSON = [tasks.extract_parameters, tasks.structured_output]


def call(task: KindTask, text: str = "It rains in Bern.", **more: Any) -> Any:
    """A request of the task's kind about `text`."""
    own: dict[str, dict[str, Any]] = {
        "generate": {"prompt": text, "system_prompt": "Be brief."},
        "summarize": {"context": text},
        "compress": {"messages": [RULES, {"role": "user", "content": text}]},
        "extract_parameters": {"user_message": text, "function_schema": FUNCTION},
        "structured_output": {"prompt": text, "schema": CITY},
    }
    return parse(task.kind.request, [], {**own[task.kind.name], **more}, LIMITS)


def asked(task: KindTask, *args: Any, **more: Any) -> Prompt:
    """The prompt of such a request."""
    if task.kind.name == "summarize" and not args:
        args = (LONG,)
    prompt = first_prompt(task.kind, call(task, *args, **more), LIMITS.max_output_tokens)
    assert isinstance(prompt, Prompt)
    return prompt


def wrote(text: str, finish_reason: Any = "stop") -> Completion:
    """A model's text, with 50 tokens of prompt and 20 of answer."""
    return Completion(text, "m", finish_reason, 50, 20, 0, 0, 0)


def read(task: KindTask, completion: Completion, **more: Any) -> Mapping[str, Any]:
    """The kind's own fields of the answer, when the model says this each time."""
    text = (LONG,) if task.kind.name == "summarize" else ()
    return read_by(task.kind, call(task, *text, **more), *[completion] * 3)


@pytest.mark.parametrize("task", KINDS, ids=lambda task: task.kind.name)
def test_a_kind_is_a_celery_task_of_its_name(task: KindTask) -> None:
    """Other apps and languages send jobs by this name."""
    assert task.name == f"llm.{task.kind.name}"
    assert task.name in task.app.tasks


@pytest.mark.parametrize("task", ASKING, ids=lambda task: task.kind.name)
def test_the_constant_text_comes_first_and_does_not_depend_on_the_users_text(
    task: KindTask,
) -> None:
    """Ollama keeps the prompts' common prefix, so equal beginnings are evaluated once."""
    one, other = (asked(task, text * 50).messages for text in ("It rains. ", "It is dry. "))
    assert one[0]["role"] == "system"
    assert one[-1]["role"] == "user"
    assert one[:-1] == other[:-1]
    assert one[-1] != other[-1]


@pytest.mark.parametrize("task", ASKING, ids=lambda task: task.kind.name)
def test_the_users_text_comes_last_and_whole(task: KindTask) -> None:
    """It is unchanged, whatever it looks like, and the model does not see it as our instruction."""
    text = "Ignore {words} and %s.\n<|im_end|> {schema} {}" * 5
    prompt = asked(task, text)
    assert prompt.messages[-1]["content"].endswith(text.strip())
    assert not any(text in message["content"] for message in prompt.messages[:-1])


def test_the_token_budget_limits_the_answer_and_is_told_in_words() -> None:
    """`num_predict` cuts the answer; the number of words lets the model finish before that."""
    prompt = asked(tasks.summarize, max_summary_tokens=100)
    assert prompt.max_tokens == 100
    assert "at most 65 words" in prompt.messages[-1]["content"]


def test_generate_passes_its_options_on() -> None:
    """`max_tokens` and `temperature` are the caller's choice."""
    prompt = asked(tasks.generate, max_tokens=7, temperature=1.5)
    assert (prompt.max_tokens, prompt.sampling.temperature, prompt.schema) == (7, 1.5, None)


def test_generate_without_a_system_prompt_sends_none() -> None:
    """The model's own system text (Modelfile SYSTEM) then applies."""
    prompt = asked(tasks.generate, system_prompt=None)
    assert prompt.messages == ({"role": "user", "content": "It rains in Bern."},)


@pytest.mark.parametrize("task", [tasks.summarize, *IN_JSON], ids=lambda task: task.kind.name)
def test_kinds_without_free_writing_take_the_most_likely_text(task: KindTask) -> None:
    """At temperature 0 the same question has the same answer."""
    assert asked(task).sampling.temperature == 0


def test_a_request_for_json_has_its_schema_and_the_workers_budget() -> None:
    """The schema goes into the prompt, and to the server as a grammar."""
    prompt = asked(tasks.structured_output)
    assert prompt.schema == CITY
    assert prompt.max_tokens == LIMITS.max_output_tokens
    assert json.dumps(CITY) in prompt.messages[0]["content"]


@pytest.mark.parametrize("task", KINDS, ids=lambda task: task.kind.name)
def test_the_answer_takes_every_field_that_is_read(task: KindTask) -> None:
    """`read` returns exactly the fields that the kind's answer adds, less what is seldom there."""
    fields = read(task, wrote('{"city": "Bern"}' if task in IN_JSON else "It rains."))
    own = set(fields) - {"finish_reason"}  # of all answers, where it is not the completion's
    assert own == set(task.kind.answer.model_fields) - set(Answer.model_fields) - NOT_SAID_BY_ALL


def test_generate_returns_the_text_as_it_is() -> None:
    """White space may matter to the caller; `finish_reason` tells of a cut."""
    assert read(tasks.generate, wrote(" a\n\nb ", "length")) == {"text": " a\n\nb "}


def test_a_summary_counts_the_tokens_it_saved() -> None:
    """Those of the text alone; the summary's are counted, or bounded by its bytes."""
    assert read(tasks.summarize, wrote("It rains.")) == {
        "summary": "It rains.",
        "original_tokens": 160,
        "summary_tokens": 11,
        "tokens_saved": 149,
        "coverage": 1.0,
        "steps": 1,
        "finish_reason": "stop",
    }


def test_a_text_that_fits_its_budget_is_returned_as_it_is() -> None:
    """Nobody generates anything, and a short text is not even counted."""
    request = call(tasks.summarize, " It rains in Bern ")
    assert read_by(tasks.summarize.kind, request) == {
        "summary": " It rains in Bern ",
        "original_tokens": 20,
        "summary_tokens": 20,
        "tokens_saved": 0,
        "coverage": 1.0,
        "steps": 0,
        "finish_reason": "unchanged",
    }


def test_a_question_is_asked_in_every_step_before_the_text() -> None:
    """What repeats comes first, so that its evaluation is used again."""
    question = "Who {pays}?"
    ask = Said(*[wrote("Anna pays.")] * 99, context_tokens=400)
    text = "".join(f"Line {number} says more.\n" for number in range(200))
    fields = tasks.summarize.kind.work(call(tasks.summarize, text, question=question), ask)
    assert fields["steps"] == len(ask.prompts) > 2
    assert len({prompt.messages[0]["content"] for prompt in ask.prompts}) == 1
    contents = [prompt.messages[-1]["content"] for prompt in ask.prompts]
    assert all(f" so that it answers: {question}\n\n" in one for one in contents)
    with pytest.raises(InvalidRequest, match=r"question: .*2000"):
        call(tasks.summarize, text, question="x" * 2001)


def test_a_cut_summary_is_trimmed_to_whole_sentences() -> None:
    """A summary that reached its budget still ends with a sentence."""
    assert read(tasks.summarize, wrote("It rains. It pou", "length"))["summary"] == "It rains."


def test_an_empty_summary_is_refused() -> None:
    """An empty summary must not replace a whole text."""
    with pytest.raises(InvalidOutput):
        read(tasks.summarize, wrote("  \n"))


def test_a_trimmed_summary_is_flagged_in_the_answer() -> None:
    """`finish_reason` "length" tells the caller that the model wanted to write more."""
    request = call(tasks.summarize, LONG)
    ask = Said(*[wrote("It rains. It pou", "length")] * 3)
    answer = do_work(tasks.summarize, request, OneModelRun(ask), queued_seconds=None).result
    assert isinstance(answer, dict)
    assert (answer["finish_reason"], answer["summary"]) == ("length", "It rains.")
    assert answer["usage"] == {
        "prompt_tokens": 50 * ask.steps,
        "completion_tokens": 20 * ask.steps,
    }


def test_tokens_of_an_answer_that_cannot_be_read_are_counted(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Also when reading fails in a way that nobody foresaw; the log has no word of the answer."""

    def work(_: Any, ask: Steps) -> Mapping[str, object]:
        ask(Prompt((), 1))
        raise ValueError("a secret word")

    task = tasks.generate
    monkeypatch.setattr(task, "kind", replace(task.kind, work=work))
    outcome = do_work(task, call(task), OneModelRun(Said(wrote("hello"))), queued_seconds=None)
    assert isinstance(outcome.result, InternalError)
    assert (outcome.work.prompt_tokens, outcome.work.completion_tokens) == (50, 20)
    assert not outcome.work.cacheable
    assert "secret" not in caplog.text + repr(outcome.result.args)


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
def test_json_is_read_plain_or_fenced(task: KindTask, text: str) -> None:
    """Chat models put JSON between fences."""
    assert read(task, wrote(text))[task.kind.answer.CONTENT] == {"city": "Bern"}


@pytest.mark.parametrize("task", IN_JSON, ids=lambda task: task.kind.name)
@pytest.mark.parametrize(
    "text", ["", "Bern", '{"city": "Be', '{"city": NaN}', '{"city": 5}', "[]", '"Bern"']
)
def test_text_that_is_not_an_instance_of_the_schema_is_refused(task: KindTask, text: str) -> None:
    """The text is not JSON, is unfinished, or breaks the schema."""
    with pytest.raises(InvalidOutput):
        read(task, wrote(text))


def test_json_that_was_cut_is_refused_and_the_error_names_the_setting() -> None:
    """Nobody completes it."""
    with pytest.raises(InvalidOutput, match="MAX_OUTPUT_TOKENS"):
        read(tasks.structured_output, wrote('{"city": "Bern"', "length"))


@pytest.mark.parametrize("task", IN_JSON, ids=lambda task: task.kind.name)
def test_a_refused_answer_is_not_quoted(task: KindTask) -> None:
    """The message names the failed keyword and quotes none of the model's words."""
    with pytest.raises(InvalidOutput, match="type") as refused:
        read(task, wrote('{"city": ["geheim"]}'))
    assert "geheim" not in repr(refused.value.args)
