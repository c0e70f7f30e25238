"""How a backend tests what it does with the service: `pytest`, and nothing else has to run."""

from __future__ import annotations

import asyncio

import digests
import pytest

from local_llm_service.testing import LocalLLM
from local_llm_service.worker.errors import BrokerUnreachable, ModelFailed, OllamaBusy

#: More words than a digest may have tokens: a shorter text is its own digest.
ARTICLE = "In the morning it rained, and in the afternoon it rained again. " * 20


def order(article: str = ARTICLE) -> str:
    """Order a digest for which there is room."""
    job_id = digests.order_digest(article)
    assert job_id is not None
    return job_id


def test_a_digest_is_ordered_and_read(local_llm: LocalLLM) -> None:
    """The script says what the model answers, and keeps what it was asked."""
    local_llm.reply("It rained.")
    job_id = order()
    assert digests.digest(job_id) == "It rained."
    assert ARTICLE.strip() in local_llm.prompts[0].text
    (job,) = local_llm.submitted
    assert (job.id, job.kind, job.priority, job.state) == (job_id, "summarize", "low", "succeeded")


def test_the_same_article_is_read_once(local_llm: LocalLLM) -> None:
    """The cache is the service's own. Without a script, the model echoes."""
    assert digests.digest(order()) == digests.digest(order())
    assert len(local_llm.prompts) == 1


def test_a_short_article_is_its_own_digest(local_llm: LocalLLM) -> None:
    """It fits, so the model is not asked."""
    assert digests.digest(order("It rained.")) == "It rained."
    assert local_llm.prompts == []


def test_a_busy_model_is_asked_again(local_llm: LocalLLM) -> None:
    """Retries are the service's, too, with pauses of milliseconds."""
    local_llm.fail(OllamaBusy, times=2).reply("At last.")
    assert digests.digest(order()) == "At last."


def test_a_failure_is_told_with_its_hint(local_llm: LocalLLM) -> None:
    """The reader sees what to do."""
    local_llm.fail(ModelFailed)
    assert digests.digest(order()).startswith("No digest (model_failed): Check the")


def test_a_withdrawn_article_needs_no_digest(local_llm: LocalLLM) -> None:
    """`held` keeps the job running while the test looks."""
    with local_llm.held():
        job_id = order()
        local_llm.wait_until_asked()
        digests.withdraw(job_id)
        assert digests.digest(job_id).startswith("No digest (cancelled)")


@pytest.mark.local_llm(settings={"max_queue_length": 1})
def test_a_full_queue_is_no_error(local_llm: LocalLLM) -> None:
    """Settings of the service, for one test."""
    with local_llm.held():
        assert digests.order_digest(ARTICLE) is not None
        assert digests.order_digest(f"{ARTICLE} Twice.") is None


def test_without_redis_the_order_fails(local_llm: LocalLLM) -> None:
    """As when it is down."""
    with local_llm.redis_away(), pytest.raises(BrokerUnreachable):
        digests.order_digest(ARTICLE)


def test_a_booking_is_read_out_of_a_message(local_llm: LocalLLM) -> None:
    """What the model says is checked against the schema, and against the message."""
    local_llm.reply_json({"guests": 4, "day": "Friday"})
    assert digests.booking("Four of us, Friday") == {"guests": 4, "day": "Friday"}
    local_llm.reply_json({"guests": 4, "day": None}, times=2)  # it is asked twice, and still sure
    assert digests.booking("Some of us") is None


def test_many_articles_at_once(local_llm: LocalLLM) -> None:
    """The client of event loops; a function makes each answer of what was asked."""
    local_llm.reply(
        lambda messages: "Rain." if "rain" in messages[-1]["content"] else "Sun.", times=None
    )
    articles = [ARTICLE, ARTICLE.replace("rained", "was sunny")]
    assert asyncio.run(digests.digests(articles)) == ["Rain.", "Sun."]


def test_a_chain_of_two_steps(local_llm: LocalLLM) -> None:
    """Celery's canvas works; both steps are jobs."""
    local_llm.reply("A first digest.").reply("A second one.")
    assert digests.digest_of_digests(ARTICLE) == "A second one."
    assert [job.kind for job in local_llm.submitted] == ["summarize", "summarize"]
