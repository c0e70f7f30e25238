"""OpenAI's bodies: what each member becomes, and what is refused. No sockets, no jobs."""

from __future__ import annotations

from typing import Any

import pytest
from openai.types.chat import completion_create_params
from openai.types.completion_create_params import CompletionCreateParamsBase

from local_llm_service.producers.http.asking import Asked
from local_llm_service.producers.http.callers.caller import Caller
from local_llm_service.producers.http.many_texts import parts_of
from local_llm_service.producers.http.openai import chat_request, completions
from local_llm_service.producers.http.openai.chat_request import CHAT, asked_of
from local_llm_service.producers.http.openai.completions import COMPLETION
from local_llm_service.producers.http.openai.dialect import SAY_NOTHING, queued, tier_of
from local_llm_service.worker.errors import InvalidRequest

HI = [{"role": "user", "content": "hi"}]
SCHEMA = {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}}


def arguments(**body: Any) -> dict[str, Any]:
    """What a body of a chat becomes."""
    return chat_request.asked_of({"messages": HI, **body}).arguments


def refused(**body: Any) -> str:
    """Why it is refused."""
    with pytest.raises(InvalidRequest) as failure:
        arguments(**body)
    return failure.value.message


@pytest.mark.parametrize(
    ("params", "dialect"),
    [
        (completion_create_params.CompletionCreateParamsBase, CHAT),
        (CompletionCreateParamsBase, COMPLETION),
    ],
)
def test_each_member_of_the_clients_call_is_decided_on(params: Any, dialect: Any) -> None:
    """A newer client with a new member makes this test fail, and somebody decide."""
    known = {*dialect.taken, *dialect.renamed, *dialect.said, *dialect.refused, *SAY_NOTHING}
    assert params.__annotations__.keys() - known - {"model"} == set()


def test_what_the_kind_knows_is_taken_over() -> None:
    """Null stands for a default. Our own options come by `extra_body`."""
    own = {"priority": "low", "cache": False, "cache_scope": "s", "deadline_seconds": 9}
    assert arguments(model="m", temperature=0, stop="x", seed=None, top_k=3, **own) == {
        "messages": HI,
        "model": "m",
        "temperature": 0,
        "stop": "x",
        "top_k": 3,
        **own,
    }


def test_what_says_nothing_about_the_answer_is_left_out() -> None:
    """Who asks, what is kept, how it is sent; and values that ask for what happens anyway."""
    nothing = {
        "metadata": {"a": "b"},
        "user": "u",
        "store": True,
        "safety_identifier": "s",
        "prompt_cache_key": "k",
        "prediction": {"type": "content", "content": "x"},
        "stream": True,
        "stream_options": {"include_usage": True},
        "n": 1,
        "modalities": ["text"],
        "logit_bias": {},
        "verbosity": "medium",
    }
    assert arguments(**nothing) == {"messages": HI}


@pytest.mark.parametrize(
    ("body", "begins"),
    [
        ({"n": 2}, "n: "),
        ({"n": True}, "n: "),
        ({"n": 1.0}, "n: "),
        ({"logit_bias": {"50256": -100}}, "logit_bias: "),
        ({"audio": {"voice": "a", "format": "wav"}}, "audio: "),
        ({"modalities": ["text", "audio"]}, "modalities: "),
        ({"functions": [{"name": "f"}]}, "functions: "),
        ({"function_call": "auto"}, "function_call: "),
        ({"reasoning_effort": "high"}, "reasoning_effort: "),
        ({"verbosity": "low"}, "verbosity: "),
        ({"web_search_options": {}}, "web_search_options: "),
        ({"moderation": {"model": "m"}}, "moderation: "),
        ({"num_ctx": 4096}, "num_ctx: is no member"),
        ({"task_id": "x"}, "task_id: is no member"),
        ({"allow_cut_json": True}, "allow_cut_json: is no member"),
        ({"a secret: of mine": 1}, "is no member"),
        ({"service_tier": "scale"}, "service_tier: must be one of"),
        ({"service_tier": ["auto"]}, "service_tier: must be one of"),
        ({"service_tier": "flex", "priority": "high"}, "priority: is not what service_tier says"),
        ({"max_tokens": 5, "max_completion_tokens": 6}, "max_tokens: is not what"),
    ],
)
def test_what_would_change_the_answer_is_refused(body: dict[str, Any], begins: str) -> None:
    """The message begins with the member, which a client reads as `param`; no value is in it."""
    assert refused(**body).startswith(begins)


@pytest.mark.parametrize("body", [None, [], "x", 7])
def test_a_body_is_an_object(body: Any) -> None:
    """Anything else is told in words."""
    for read in (chat_request.asked_of, completions.asked_of):
        with pytest.raises(InvalidRequest, match="object"):
            read(body)


def test_the_newer_name_of_the_budget() -> None:
    """Also beside the old one, if both say the same. Errors name the one that was sent."""
    assert arguments(max_completion_tokens=7)["max_tokens"] == 7
    assert arguments(max_completion_tokens=7, max_tokens=7)["max_tokens"] == 7
    named = "^a: b; max_completion_tokens: at most"
    with pytest.raises(InvalidRequest, match=named), CHAT.own_names():
        raise InvalidRequest("a: b; max_tokens: at most 9 tokens")


@pytest.mark.parametrize(
    ("tier", "priority", "said"),
    [
        ("priority", "high", "priority"),
        ("fast", "high", "priority"),
        ("default", "normal", "default"),
        ("auto", "normal", "default"),
        ("flex", "low", "flex"),
    ],
)
def test_a_tier_is_a_queue(tier: str, priority: str, said: str) -> None:
    """The answer says which one it was."""
    asked = asked_of({"messages": HI, "service_tier": tier})
    assert asked.arguments["priority"] == priority
    assert tier_of(asked) == said


def test_without_a_tier_a_call_is_a_normal_one() -> None:
    """Or the most urgent that its key may use."""
    asked = Asked("chat", {})
    assert queued(Caller(), asked).arguments["priority"] == "normal"
    assert queued(Caller(ceiling="low"), asked).arguments["priority"] == "low"
    assert queued(Caller(), Asked("chat", {"priority": "high"})).arguments["priority"] == "high"


def test_json_may_be_cut_in_this_api() -> None:
    """Its clients look at `finish_reason`. A chat without JSON is the same question everywhere."""
    assert arguments(response_format=SCHEMA)["allow_cut_json"] is True
    assert "allow_cut_json" not in arguments(response_format={"type": "text"})
    assert "allow_cut_json" not in arguments()


def test_texts_are_parted_by_number_and_by_characters() -> None:
    """As one job takes them; a text that is too long is alone, and refused there."""
    assert list(parts_of(["aa", "bb", "c", "ddddd", "e"], 4)) == [
        ["aa", "bb"],
        ["c"],
        ["ddddd"],
        ["e"],
    ]
    assert [len(part) for part in parts_of(["a"] * 600, 10_000)] == [256, 256, 88]


def test_a_prompt_is_what_the_user_says() -> None:
    """Each prompt is a call; `logprobs` counts the others, as in the old form."""
    (asked,) = completions.asked_of({"prompt": "Say x", "logprobs": 2, "echo": False, "n": 1})
    assert asked == Asked(
        "chat",
        {
            "messages": [{"role": "user", "content": "Say x"}],
            "logprobs": True,
            "top_logprobs": 2,
        },
    )
    assert len(completions.asked_of({"prompt": ["a", "b"]})) == 2


@pytest.mark.parametrize(
    ("body", "begins"),
    [
        ({}, "prompt: must be a text or"),
        ({"prompt": []}, "prompt: must be a text or"),
        ({"prompt": [1, 2]}, "prompt: must be text"),
        ({"prompt": [[1, 2]]}, "prompt: must be text"),
        ({"prompt": " "}, "prompt: must not be empty"),
        ({"prompt": ["a", ""]}, "prompt.1: must not be empty"),
        ({"prompt": ["a"] * 129}, "prompt: must be a text or 1 to 128 texts"),
        ({"prompt": "a", "logprobs": 6}, "logprobs: must be"),
        ({"prompt": "a", "logprobs": True}, "logprobs: must be"),
        ({"prompt": "a", "suffix": "b"}, "suffix: "),
        ({"prompt": "a", "echo": True}, "echo: "),
        ({"prompt": "a", "best_of": 2}, "best_of: "),
        ({"prompt": "a", "tools": []}, "tools: is no member"),
    ],
)
def test_what_the_old_form_cannot_do_is_refused(body: dict[str, Any], begins: str) -> None:
    """Token arrays, several texts to a prompt, text in between."""
    with pytest.raises(InvalidRequest) as failure:
        completions.asked_of(body)
    assert failure.value.message.startswith(begins)
