"""The typed client sends the options that its caller gave and no others."""

from __future__ import annotations

from typing import Any

import pytest

from local_llm_service import AsyncClient, Client
from local_llm_service.tasks.job import KindTask
from local_llm_service.tasks.submit import Submitted
from local_llm_service.worker.errors import InvalidRequest
from local_llm_service.worker.store.calls import Calls


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The keyword arguments of each call; the calls are not sent."""
    calls: list[dict[str, Any]] = []

    def submission(
        self: object, arguments: dict[str, Any], task_id: str | None, *_: object
    ) -> Calls[Submitted]:
        calls.append(arguments)
        return Submitted(task_id or "1")
        yield

    monkeypatch.setattr(KindTask, "submission", submission)
    return calls


def test_an_option_that_is_not_given_is_not_sent(sent: list[dict[str, Any]]) -> None:
    """Only the kinds' requests define defaults."""
    client = Client()
    client.generate("p")
    client.summarize("c")
    client.compress([{"role": "user", "content": "hi"}])
    client.extract_parameters("m", {"parameters": {}})
    client.structured_output("p", {})
    client.chat([{"role": "user", "content": "hi"}])
    client.embed("t")
    assert sent == [
        {"prompt": "p"},
        {"context": "c"},
        {"messages": [{"role": "user", "content": "hi"}]},
        {"user_message": "m", "function_schema": {"parameters": {}}},
        {"prompt": "p", "schema": {}},
        {"messages": [{"role": "user", "content": "hi"}]},
        {"input": "t"},
    ]


def test_none_counts_as_not_given(sent: list[dict[str, Any]]) -> None:
    """Callers can pass on options that they may not have."""
    Client().generate("p", system_prompt=None, max_tokens=None, temperature=None)
    assert sent == [{"prompt": "p"}]


def test_zero_and_false_are_values(sent: list[dict[str, Any]]) -> None:
    """Temperature 0 and a cache turned off are choices, not omissions."""
    Client().generate("p", temperature=0, cache=False, priority="low")
    assert sent == [{"prompt": "p", "temperature": 0, "cache": False, "priority": "low"}]


@pytest.mark.parametrize("wrong", ["\ud800", "", "a\nb", "x" * 256, None, 7, b"id"])
@pytest.mark.parametrize("client", [Client(), AsyncClient()])
def test_what_is_no_id_is_refused_at_once(client: Client | AsyncClient, wrong: Any) -> None:
    """A wait for it would find nothing, and say that Redis is away."""
    with pytest.raises(InvalidRequest, match="task_id"):
        client.job(wrong)


@pytest.mark.parametrize("wrong", ["5", float("nan"), True, [1]])
def test_a_timeout_that_is_no_number_is_refused(wrong: Any) -> None:
    """With NaN, no time would ever be over."""
    with pytest.raises(InvalidRequest, match="timeout_seconds"):
        Client().job("1").result(wrong)


@pytest.mark.parametrize("wrong", [None, [1], "messages"])
def test_arguments_are_given_by_name(sent: list[dict[str, Any]], wrong: Any) -> None:
    """By the kind's name, all of them."""
    with pytest.raises(InvalidRequest, match="arguments"):
        Client().submit("compress", wrong)
    assert sent == []
