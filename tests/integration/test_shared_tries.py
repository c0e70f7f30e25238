"""The jobs of one single-flight group share their tries, however their steps interleave.

Between its take and its claim a job does not know what the others do.
"""

from __future__ import annotations

import json

import redis

from local_llm_service.worker.store import presence
from local_llm_service.worker.store.keys import Keys
from local_llm_service.worker.store.outcomes import Claim
from tests.doubles.every_script import MODEL, Site

KEYS = Keys()
PRINT = "same"


def site_with(client: redis.Redis, jobs: int) -> Site:
    site = Site(client, KEYS.prefix)
    presence.publish(site.store, "w", "{}", json.dumps({"default": MODEL, "models": {MODEL: "1"}}))
    for _ in range(jobs):
        site.ask(PRINT)
    return site


def test_a_job_that_was_taken_before_another_one_failed_knows_of_that_try(
    redis_client: redis.Redis,
) -> None:
    """Its delivery still says 0: it would ask the model once too often."""
    site = site_with(redis_client, 2)
    first = site.start(PRINT, Claim.LEAD)
    second = site.take()
    assert site.jobs.release(first.task_id, first.token, attempts=1)
    claimed = site.single_flight.claim(second.task_id, second.token, PRINT, canvas=False)
    assert (claimed.claim, claimed.attempts) == (Claim.LEAD, 1)


def test_two_that_ran_side_by_side_have_tried_once(redis_client: redis.Redis) -> None:
    """They could not join while Redis was away; they have a try left, and not one too many."""
    site = site_with(redis_client, 2)
    first = site.start(PRINT, Claim.LEAD)
    second = site.take()
    assert site.jobs.release(first.task_id, first.token, attempts=1)
    assert site.jobs.release(second.task_id, second.token, attempts=1)
    assert [site.take().attempts for _ in range(2)] == [1, 1]
