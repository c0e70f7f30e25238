"""A route over real engines: a scripted Ollama at home and a scripted paid server, one worker.

Each test asks a question of its own, which one of the two, or both, answer by their script.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import redis

from local_llm_service import Client, tasks
from local_llm_service.worker.errors import InvalidRequest
from tests.doubles import openai_errors
from tests.doubles.forked_worker import ForkedWorker
from tests.doubles.ollama import FakeOllama, Script
from tests.doubles.openai_server import OpenAiServer, Reply
from tests.doubles.two_servers import LOCAL, REMOTE, TwoServers, engines_file
from tests.integration.conftest import _beside

SIMPLE = {"chosen": LOCAL, "reason": "simple prompt", "tried": []}
COMPLEX = {"chosen": REMOTE, "reason": "complex prompt", "tried": []}
REFUSAL = "I'm sorry, but I can't help with that."

client = Client()


@pytest.fixture(scope="module")
def shared_house(shared_redis: redis.Redis, tmp_path_factory: Any) -> Iterator[TwoServers]:
    """Both servers and a worker, for all tests that leave them as they are."""
    with FakeOllama() as local, OpenAiServer(models=(REMOTE,)) as remote:
        path = tmp_path_factory.mktemp("fleet") / "engines.json"
        worker = ForkedWorker(
            _beside(
                local,
                {
                    "ENGINES_FILE": engines_file(path, local, remote),
                    "REMOTE_BUDGET_USD": "unlimited",
                    "CONCURRENCY": "4",
                },
            )
        )
        worker.start()
        yield TwoServers(local, remote)
        worker.kill()


@pytest.fixture
def house(shared_house: TwoServers) -> TwoServers:
    """The same."""
    return shared_house


def ask(question: str, model: str = "auto", **options: Any) -> dict[str, Any]:
    """The answer to a `generate`."""
    answer: dict[str, Any] = tasks.generate.delay(question, model=model, **options).get(timeout=30)
    return answer


def test_a_simple_prompt_stays_and_a_complex_one_leaves(house: TwoServers) -> None:
    """Each answer says why, also when it comes out of the cache; the model is that which wrote."""
    simple, hard = house.question(), house.question(long=True)
    for origin in ("computed", "cached"):
        near, far = ask(simple), ask(hard)
        assert (near["origin"], far["origin"]) == (origin, origin)
        assert (near["text"], near["model"], near["route"]) == ("At home.", LOCAL, SIMPLE)
        assert (far["text"], far["model"], far["route"]) == ("Far away.", REMOTE, COMPLEX)
    assert house.asked(simple) == (1, 0)
    assert house.asked(hard) == (0, 1)


def test_a_bad_answer_is_asked_of_the_remote_model(house: TwoServers) -> None:
    """Usage is that of the answer; what the local try has cost is no part of it."""
    question = house.question(Script((REFUSAL,), completion_tokens=7), Reply(("Far away.",)))
    answer = ask(question)
    tried = [{"model": LOCAL, "reason": "refused"}]
    assert answer["route"] == {"chosen": REMOTE, "reason": "local refused", "tried": tried}
    assert answer["usage"]["completion_tokens"] == 1
    assert house.asked(question) == (1, 1)


def test_an_unsure_model_is_asked_for_its_probabilities(house: TwoServers) -> None:
    """Of a route that says how sure it has to be; the answer does not show them."""
    unsure = ({"token": "Hm", "logprob": -3.0, "bytes": None, "top_logprobs": []},)
    question = house.question(Script(("Hm",), logprobs=unsure))
    messages = [{"role": "user", "content": question}]
    answer = tasks.chat.delay(messages, model="sure").get(timeout=30)
    assert answer["route"]["reason"] == "local was unsure"
    assert answer["logprobs"] is None


def test_what_stays_local_gets_no_other_model(house: TwoServers) -> None:
    """By the call, by the kind, and by a name: the last is refused before anything is sent."""
    question = house.question(REFUSAL, long=True)
    kept = ask(question, keep_local=True)
    assert (kept["text"], kept["route"]["reason"]) == (REFUSAL, "keep_local")
    summary = tasks.summarize.delay(f"{question} It is so.", model="auto").get(timeout=30)
    assert summary["route"]["reason"] == "summarize stays local"
    with pytest.raises(InvalidRequest, match="leave the house"):
        ask(question, model=REMOTE, keep_local=True)
    with pytest.raises(InvalidRequest, match="leave the house"):
        tasks.summarize.delay(question, model=REMOTE).get(timeout=30)
    assert house.asked(question)[1] == 0


def test_readers_of_a_stream_see_one_text(house: TwoServers) -> None:
    """Never one that is replaced: a local text comes once it is taken, a remote one at once."""
    taken, replaced = house.question(), house.question(REFUSAL)
    instead = house.question("At home.", Reply.fault(openai_errors.failed()), long=True)
    texts = {taken: "At home.", replaced: "Far away.", instead: "At home."}
    for question, text in texts.items():
        job = client.generate(question, model="auto", stream=True)
        events = list(job.stream())
        assert [one.text for one in events if one.type == "text"] == [text]
        assert "restart" not in [one.type for one in events]


def test_a_remote_model_that_fails_is_replaced_and_that_is_not_kept(house: TwoServers) -> None:
    """The answer is marked; the next identical call tries the remote model again."""
    broken = Reply.fault(openai_errors.failed())
    question = house.question("At home.", broken, long=True)
    for _ in range(2):
        answer = ask(question)
        assert answer["route"]["chosen"] == LOCAL
        assert answer["route"]["reason"].endswith(", so local")
        assert answer["origin"] == "computed"
    assert house.asked(question)[0] == 2


def test_identical_calls_share_one_choice(house: TwoServers) -> None:
    """One of them asks; all get its answer and its route."""
    question = house.question(REFUSAL, Reply(("Far away.",), first_seconds=0.3))
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: ask(question), range(4)))
    assert {one["text"] for one in answers} == {"Far away."}
    assert {one["route"]["reason"] for one in answers} == {"local refused"}
    assert house.asked(question) == (1, 1)


def test_a_kept_prompt_shares_nothing_with_one_that_may_leave(house: TwoServers) -> None:
    """The same words of two callers: each gets what their own call allows."""
    question = house.question(long=True)
    assert ask(question)["text"] == "Far away."
    assert ask(question, keep_local=True)["text"] == "At home."
    assert house.asked(question) == (1, 1)
