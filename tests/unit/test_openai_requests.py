"""What goes to `/v1/chat/completions`, and what is learned from a server that refuses it."""

import json
from typing import Any

import pytest

from local_llm_service.worker.engine.openai_compatible.address import Address
from local_llm_service.worker.engine.openai_compatible.dialect import (
    EXTRAS,
    Dialect,
    essential,
)
from local_llm_service.worker.engine.openai_compatible.request import chat_body, strictest_form
from local_llm_service.worker.engine.openai_compatible.said import Said
from local_llm_service.worker.errors import InvalidRequest
from local_llm_service.worker.prompt import Message, Prompt, Sampling
from tests.doubles import openai_errors as said

SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}


def prompt(*messages: Message, **more: Any) -> Prompt:
    """A prompt of these messages, or of one word."""
    return Prompt(messages or ({"role": "user", "content": "Hi"},), 50, **more)


def body(asked: Prompt, dialect: Dialect | None = None, form: str | None = None) -> dict[str, Any]:
    """What is sent for it, in the strictest form if no other is said."""
    dialect = dialect or Dialect()
    form = dialect.form_from(strictest_form(asked)) if form is None else form
    return chat_body("large", asked, dialect, most_tokens=50, form=form)


def test_a_request_streams_says_its_bound_and_leaves_no_choice_to_the_server() -> None:
    """vLLM takes what is missing from a file of the model."""
    sent = body(prompt(sampling=Sampling(0.7, 20, 0.8, 0.1, 1.2, 0.3, 0.4, 7)))
    assert sent == {
        "model": "large",
        "messages": [{"role": "user", "content": "Hi"}],
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_tokens": 50,
        "temperature": 0.7,
        "top_p": 0.8,
        "presence_penalty": 0.3,
        "frequency_penalty": 0.4,
        "top_k": 20,
        "min_p": 0.1,
        "repetition_penalty": 1.2,
        "repeat_penalty": 1.2,
        "seed": 7,
    }


def test_a_request_has_what_its_prompt_asks_for_and_nothing_else() -> None:
    """A server may refuse a request for an argument that says nothing."""
    assert (
        not {"tools", "stop", "logprobs", "response_format", "seed"}
        & body(prompt(sampling=Sampling(seed=None))).keys()
    )
    sent = body(prompt(tools=(TOOL,), stop=("\n",), top_logprobs=2, schema=SCHEMA))
    assert (sent["tools"], sent["stop"]) == ([TOOL], ["\n"])
    assert (sent["logprobs"], sent["top_logprobs"]) == (True, 2)
    assert body(prompt(top_logprobs=0))["top_logprobs"] == 1


@pytest.mark.parametrize(
    ("asked", "form", "sent"),
    [
        (
            prompt(schema=SCHEMA),
            "json_schema",
            {"name": "answer", "schema": SCHEMA, "strict": False},
        ),
        (prompt(schema=SCHEMA), "json_object", None),
        (prompt(schema=True), None, None),
    ],
)
def test_json_is_asked_for_as_the_server_takes_it(
    asked: Prompt, form: str | None, sent: object
) -> None:
    """A schema that is no object can only be asked for as some JSON."""
    found = body(asked, form=form)["response_format"]
    assert found.get("json_schema") == sent
    assert found["type"] == ("json_object" if sent is None else "json_schema")


@pytest.mark.parametrize(
    ("asked", "form"),
    [(prompt(schema=SCHEMA), ""), (prompt(schema=SCHEMA, grammar=False), None)],
)
def test_json_may_be_left_to_the_prompt(asked: Prompt, form: str | None) -> None:
    """Where no form is taken, and where a grammar is what killed an engine."""
    assert "response_format" not in body(asked, form=form)


def call(name: str, **arguments: Any) -> Any:
    """A call as our messages have it."""
    return {"function": {"name": name, "arguments": arguments}}


def test_each_result_names_the_call_that_it_answers() -> None:
    """Ours name the function; the same conversation has the same ids each time."""
    messages: list[Message] = [
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "content": "", "tool_calls": [call("a", town="Åre"), call("b")]},
        {"role": "tool", "content": "of b", "tool_name": "b"},
        {"role": "tool", "content": "of a", "tool_name": "a"},
        {"role": "assistant", "content": "So.", "tool_calls": [call("a")]},
        {"role": "tool", "content": "again", "tool_name": "renamed"},
    ]
    sent = body(prompt(*messages))["messages"]
    ids = [one["id"] for turn in sent for one in turn.get("tool_calls", ())]
    assert len(set(ids)) == 3
    assert all(len(one) == 9 and one.isalnum() for one in ids)
    assert [turn.get("tool_call_id") for turn in sent] == [None, None, ids[1], ids[0], None, ids[2]]
    first = sent[1]
    assert first["content"] is None
    assert json.loads(first["tool_calls"][0]["function"]["arguments"]) == {"town": "Åre"}
    assert first["tool_calls"][0]["type"] == "function"
    assert sent[4]["content"] == "So."
    assert body(prompt(*messages))["messages"] == sent


def test_a_result_of_no_call_gets_an_id_of_its_own() -> None:
    """The server says whether it takes that."""
    sent = body(prompt({"role": "tool", "content": "x", "tool_name": "a"}))["messages"]
    assert sent == [{"role": "tool", "content": "x", "tool_call_id": "call00000"}]


def learned(error: said.Error, dialect: Dialect | None = None, **more: Any) -> Dialect | None:
    """What a dialect becomes after a refusal of a request of that dialect."""
    before = dialect or Dialect()
    return before.without(Said.of(*error), body(prompt(**more), before))


@pytest.mark.parametrize(
    "error",
    [
        said.unrecognized("top_k"),
        said.openai(400, "Unrecognized request arguments supplied: min_p, top_k"),
        said.openai(400, "Unknown parameter: 'min_p'.", code="unknown_parameter", param="min_p"),
        said.extra_forbidden("top_k"),
        said.litellm(
            400, "litellm.UnsupportedParamsError: x does not support parameters: ['min_p']"
        ),
        (422, {"detail": [{"type": "extra_forbidden", "loc": ["body", "min_p"], "msg": "no"}]}),
        said.openai(400, "Bad request"),
    ],
)
def test_what_the_api_does_not_have_is_left_out_at_once(error: said.Error) -> None:
    """All four: a server names one at a time, or none. Each refusal costs a round trip."""
    dialect = learned(error)
    assert dialect is not None
    assert dialect.refused == EXTRAS
    assert not EXTRAS & body(prompt(), dialect).keys()


def test_a_refusal_in_unknown_words_teaches_nothing_once_the_server_has_answered() -> None:
    """It was about the prompt, then."""
    assert learned(said.openai(400, "Bad request"), Dialect(is_proven=True)) is None
    assert learned(said.openai(400, "Bad request"), Dialect(refused=EXTRAS)) is None


def test_reasoning_models_take_no_temperature_and_another_bound() -> None:
    """Two refusals, and the rest is sent."""
    dialect = learned(said.unsupported("max_tokens", "max_completion_tokens"))
    assert dialect is not None
    assert dialect.bound == "max_completion_tokens"
    dialect = learned(said.unsupported_value("temperature"), dialect)
    assert dialect is not None
    sent = body(prompt(), dialect)
    assert sent["max_completion_tokens"] == 50
    assert not {"max_tokens", "temperature", "top_p", "presence_penalty"} & sent.keys()
    assert sent["seed"] == 1


@pytest.mark.parametrize(
    ("words", "refused"),
    [
        (
            "litellm.UnsupportedParamsError: ollama_chat does not support parameters: "
            "['presence_penalty'], for model=x. To drop these, set `litellm.drop_params=True`",
            {"presence_penalty"},
        ),
        (
            "litellm.UnsupportedParamsError: anthropic does not support parameters: "
            "['frequency_penalty', 'presence_penalty', 'seed'], for model=x.",
            {"frequency_penalty", "presence_penalty", "seed"},
        ),
        (
            "litellm.UnsupportedParamsError: x does not support parameters: ['reasoning_effort']",
            EXTRAS,
        ),
        (
            "AnthropicException - `temperature` and `top_p` cannot both be specified for this "
            "model. Please use only one.",
            {"top_p"},
        ),
        ("temperature and top_p cannot both be specified for this model.", {"top_p"}),
        (
            "Argument not supported on this model: frequencyPenalty",
            {"frequency_penalty", "presence_penalty"},
        ),
        (
            "gpt-5-nano doesn't support temperature=0.1 while reasoning is active.",
            {"temperature", "top_p", "frequency_penalty", "presence_penalty"},
        ),
    ],
)
def test_what_a_gateway_says_of_the_model_behind_it_is_understood(
    words: str, refused: set[str]
) -> None:
    """And no more is left out than it says: a temperature of 0 is not lost over a penalty."""
    dialect = learned(said.litellm(400, words))
    assert dialect is not None
    assert dialect.refused == refused


@pytest.mark.parametrize(
    "words",
    [
        "max_tokens is too large: 50. This model supports at most 20 completion tokens, whereas "
        "you provided 50.",
        "max_tokens: 50 > 20, which is the maximum allowed number of output tokens",
        "`max_tokens` must be less than or equal to `20`, the maximum value for `max_tokens`",
        "Invalid max_tokens value, the valid range of max_tokens is [1, 20]",
    ],
)
def test_the_longest_answer_of_a_model_is_learned(words: str) -> None:
    """Once: a server that says it again is not understood."""
    error = said.openai(400, words, param="max_tokens")
    dialect = learned(error)
    assert dialect is not None
    assert dialect.most_tokens == 20
    assert learned(error, dialect) is None


@pytest.mark.parametrize(
    "words",
    [
        "Invalid parameter: 'response_format' of type 'json_schema' is not supported.",
        "'response_format.type' must be 'json_object' or 'text'",
        "This response_format type is unavailable now",
    ],
)
def test_a_way_to_ask_for_json_that_a_model_lacks_is_learned(words: str) -> None:
    """A refusal of one schema is not: the next may be taken."""
    dialect = learned(said.openai(400, words, param="response_format"), schema=SCHEMA)
    assert dialect is not None
    assert dialect.form_from("json_schema") == "json_object"
    taught = learned(said.schema_refused(), Dialect(is_proven=True), schema=SCHEMA)
    assert taught is None


def test_a_server_may_take_a_schema_and_no_other_json() -> None:
    """As LM Studio: what it refuses of the one says nothing of the other."""
    words = "'response_format.type' must be 'json_schema' or 'text'"
    dialect = learned(said.openai(400, words), schema=True)
    assert dialect is not None
    assert body(prompt(schema=SCHEMA), dialect)["response_format"]["type"] == "json_schema"
    assert "response_format" not in body(prompt(schema=True), dialect)
    assert dialect.looser("json_schema") == ""


@pytest.mark.parametrize(
    ("error", "more"),
    [
        (said.unsupported("stop"), {"stop": ("x",)}),
        (said.unsupported("tools"), {"tools": (TOOL,)}),
        (
            said.vllm(400, '"auto" tool choice requires --enable-auto-tool-choice to be set'),
            {"tools": (TOOL,)},
        ),
        (
            said.openai(400, "registry.ollama.ai/library/m does not support tools"),
            {"tools": (TOOL,)},
        ),
        (said.openai(404, "No endpoints found that support tool use"), {"tools": (TOOL,)}),
        (said.openai(500, "tools param requires --jinja flag"), {"tools": (TOOL,)}),
        (said.openai(400, "array too long", param="stop"), {"stop": ("x",) * 9}),
        (
            said.litellm(400, "x does not support parameters: ['seed', 'logprobs'], for model=y"),
            {"top_logprobs": 1},
        ),
        (
            said.openai(
                403, "You are not allowed to request logprobs from this model", param="logprobs"
            ),
            {"top_logprobs": 1},
        ),
    ],
)
def test_what_an_answer_depends_on_is_not_left_out(error: said.Error, more: Any) -> None:
    """The caller hears of it, by the argument's name."""
    found = essential(Said.of(*error), body(prompt(**more)), "large", "cloud")
    assert isinstance(found, InvalidRequest)
    assert found.message.startswith(next(iter(more)).removeprefix("top_"))


def test_a_refusal_of_what_was_not_sent_is_about_something_else() -> None:
    """As where an error quotes a prompt that names arguments."""
    assert essential(Said.of(*said.unsupported("stop")), body(prompt()), "large", "x") is None
    proven = Dialect(refused=EXTRAS, is_proven=True)
    assert learned(said.unsupported("top_k"), proven) is None


def test_what_two_calls_learn_at_once_is_kept() -> None:
    """Neither overwrites the other."""
    no_json = frozenset({"json_object"})
    one = Dialect(refused=frozenset({"seed"}), bound="max_completion_tokens")
    other = Dialect(refused=EXTRAS, refused_forms=no_json, is_proven=True)
    both = Dialect(EXTRAS | {"seed"}, "max_completion_tokens", None, no_json, is_proven=True)
    assert one.and_also(other) == other.and_also(one) == both


@pytest.mark.parametrize(
    ("url", "base", "root", "masked", "login"),
    [
        ("http://box:8000", "http://box:8000/v1", "http://box:8000", None, None),
        ("http://box:8000/", "http://box:8000/v1", "http://box:8000", None, None),
        ("http://box/v1/", "http://box/v1", "http://box", None, None),
        ("https://x/openai/v1?key=s", "https://x/openai/v1", "https://x", None, None),
        ("https://me:p%40ss@x/v1", "https://x/v1", "https://x", "https://***@x/v1", "me:p@ss"),
    ],
)
def test_an_address_has_its_parts(
    url: str, base: str, root: str, masked: str | None, login: str | None
) -> None:
    """And shows neither a password nor a key."""
    address = Address.of(url)
    assert (address.base, address.root, address.login) == (base, root, login)
    assert address.masked == (masked or base)
    assert "p@ss" not in repr(address)


def test_only_what_leaves_the_house_takes_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """And not where NO_PROXY names its host."""
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy:3128")
    monkeypatch.setenv("NO_PROXY", "near.example")
    assert (
        str(getattr(Address.of("https://far.example/v1").proxy(), "url", "")) == "http://proxy:3128"
    )
    assert Address.of("https://near.example/v1").proxy() is None
    assert Address.of("http://far.example/v1").proxy() is None
