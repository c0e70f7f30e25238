"""Many who wait for one answer get it a hundred at a time, and nobody is forgotten in between."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
import redis

from local_llm_service.producers import cancel, queues
from local_llm_service.worker.lease.fan_outs import finish_fan_outs
from local_llm_service.worker.store import presence
from local_llm_service.worker.store.keys import Keys
from local_llm_service.worker.store.outcomes import (
    UNHELD,
    Claim,
    Delivery,
    Ending,
    ResultTemplate,
    ResultText,
    Settled,
    SharedAnswer,
)
from local_llm_service.worker.store.states import JobState
from tests.conftest import wait_until
from tests.doubles.every_script import MODEL, QUEUE, Site, ending
from tests.integration.conftest import StartWorker

KEYS = Keys()
MANY = 250
PRINT = "same"


def failure() -> Ending:
    """A failure as the result backend writes it; its message becomes a dead letter."""
    shared = json.dumps({"exc_type": "ModelFailed", "exc_message": ["no"], "exc_module": "errors"})
    template = ResultTemplate("ia", ('{"task_id": ', ', "result": ', "}"))
    text = ResultText('{"result": ', shared, "}", template)
    return replace(ending(JobState.FAILED, "model_failed"), result=text)


class Group(Site):
    """One leader; `followers` of those who wait for it have been taken, the others are queued."""

    def __init__(self, client: redis.Redis, followers: int = 120, canvas: int = 0) -> None:
        super().__init__(client, KEYS.prefix)  # type: ignore[arg-type]
        table = json.dumps({"default": MODEL, "models": {MODEL: "1"}})
        presence.publish(self.store, "w", "{}", table)
        self.client = client
        self.ids = [self.ask(PRINT) for _ in range(MANY + 1)]
        self.leader = self.start(PRINT, Claim.LEAD)
        self.followers = followers
        for place in range(followers):
            self.start(PRINT, Claim.JOINED, canvas=place < canvas)
        self.waiters = [one for one in self.ids if one != self.leader.task_id]
        #: The followers that Flower hears of: those that a script has answered.
        self.told: list[str] = []
        run = self.store.scripts.run

        def noted_run(name: str, args: Any) -> Any:
            reply = run(name, args)
            if name == "answer_waiters":
                self.told += reply[2:]
            return reply

        self.store.scripts.run = noted_run  # type: ignore[method-assign]

    def settle(self, failed: bool = False, die_after: int = 0) -> Settled:
        """End the leader; the settler dies after so many calls of answer_waiters."""
        run, calls = self.store.scripts.run, 0

        def dying_run(name: str, args: Any) -> Any:
            nonlocal calls
            if name == "answer_waiters":
                calls += 1
                if calls > die_after:
                    raise redis.ConnectionError("the settler is dead")
            return run(name, args)

        self.store.scripts.run = dying_run  # type: ignore[method-assign]
        end = failure() if failed else ending()
        done, followers = self.jobs.settle(self.leader.task_id, self.leader.token, end)
        self.store.scripts.run = run  # type: ignore[method-assign]
        assert set(followers) <= set(self.told)
        return done

    def finish(self) -> None:
        """Do the chore of any worker until nothing is left to do."""
        while self.jobs.open_fan_outs(0):
            finish_fan_outs(self.store, idle_seconds=0)

    def answered(self) -> set[str]:
        """The waiters that have a result."""
        return {one for one in self.waiters if self.client.exists(KEYS.result(one))}

    def text(self, task_id: str) -> Any:
        """The result of one of them."""
        return json.loads(str(self.client.get(KEYS.result(task_id))))


def nothing_is_left(client: redis.Redis) -> bool:
    """Whether no key of a group, a fan-out or a backlog remains."""
    prefixes = (KEYS.fan_out.removesuffix(":"), KEYS.waiters, KEYS.followers, KEYS.group)
    left = [key for key in client.scan_iter() if key.startswith((*prefixes, KEYS.backlog))]
    return left == []


@pytest.fixture
def group(redis_client: redis.Redis) -> Group:
    """A group of 250 waiters and their leader."""
    return Group(redis_client)


def test_no_script_answers_more_than_a_hundred(group: Group, redis_client: redis.Redis) -> None:
    """Redis serves others in between; the leader's own result comes first."""
    assert group.settle() is Settled.STORED
    assert group.client.exists(KEYS.result(group.leader.task_id))
    assert group.answered() == set()
    steps = []
    (name,) = group.jobs.open_fan_outs(0)
    left = MANY
    while left:
        before = len(group.answered())
        left, error, _ = group.jobs.answer_waiters(name)
        assert error == ""
        steps.append(len(group.answered()) - before)
    assert steps == [100, 100, 50]
    assert len(group.told) == len(set(group.told)) == group.followers
    assert group.text(group.waiters[7])["result"]["text"] == "Hello."
    assert nothing_is_left(redis_client)


def test_a_settler_answers_everybody(group: Group, redis_client: redis.Redis) -> None:
    """As long as it lives, in one call."""
    assert group.settle(die_after=9) is Settled.STORED
    assert group.answered() == set(group.waiters)
    assert nothing_is_left(redis_client)
    assert group.settle() is Settled.STORED, "the same call again"


@pytest.mark.parametrize("die_after", [0, 1])
def test_a_settler_that_dies_leaves_the_rest_to_a_real_worker(
    redis_client: redis.Redis, start_worker: StartWorker, die_after: int
) -> None:
    """Its heartbeat goes on with what nobody has gone on with for a second."""
    group = Group(redis_client, followers=MANY)
    redis_client.delete(KEYS.worker("w"))  # its presence is none
    group.settle(die_after=die_after)
    assert len(group.answered()) == die_after * 100
    assert group.jobs.open_fan_outs(60) == [], "a settler may still be at it"
    start_worker()
    wait_until(lambda: group.answered() == set(group.waiters), "all have their answer")
    wait_until(lambda: nothing_is_left(redis_client), "the fan-out is over")
    assert {group.text(one)["result"]["text"] for one in group.waiters} == {"Hello."}


def test_a_failure_reaches_all_and_leaves_one_dead_letter(
    group: Group, redis_client: redis.Redis
) -> None:
    """That of the leader."""
    group.settle(failed=True)
    group.finish()
    assert group.answered() == set(group.waiters)
    assert [one.task_id for one in group.store.dead_letters.all()] == [group.leader.task_id]
    assert nothing_is_left(redis_client)


def test_where_the_leader_s_caller_has_left_a_follower_leaves_the_letter(group: Group) -> None:
    """Once, in whatever batch the first follower is."""
    assert cancel(group.leader.task_id) == "cancelled"
    group.settle(failed=True)
    group.finish()
    (letter,) = group.store.dead_letters.all()
    assert letter.task_id in group.told
    assert group.store.dead_letters.request is not None


# --- meanwhile ------------------------------------------------------------------------------


def a_follower(group: Group) -> str:
    """A job whose message is in the open fan-out."""
    (name,) = group.jobs.open_fan_outs(0)
    return str(group.client.hkeys(f"{KEYS.fan_out_followers}{name}")[0])


def test_who_cancels_meanwhile_is_cancelled(group: Group, redis_client: redis.Redis) -> None:
    """And its message is gone at once."""
    group.settle()
    task_id = a_follower(group)
    assert cancel(task_id) == "cancelled"
    group.finish()
    assert group.text(task_id)["result"]["exc_type"] == "Cancelled"
    assert task_id not in group.told
    assert nothing_is_left(redis_client)


def test_who_fails_meanwhile_leaves_its_own_dead_letter(group: Group) -> None:
    """Its deadline passes, for example: the message is found in the fan-out."""
    group.settle()
    task_id = a_follower(group)
    assert group.fail(task_id, UNHELD) is Settled.STORED
    group.finish()
    assert [one.task_id for one in group.store.dead_letters.all()] == [task_id]


@pytest.mark.parametrize("failed", [True, False])
def test_who_is_taken_meanwhile_gets_the_same_outcome(
    group: Group, redis_client: redis.Redis, failed: bool
) -> None:
    """From the cache, or, as a failure is in no cache, from the fan-out."""
    group.settle(failed=failed)
    delivery = group.take()
    claim, outcome, *_ = group.single_flight.claim(
        delivery.task_id, delivery.token, PRINT, canvas=False
    )
    assert claim is (Claim.HANDOFF if failed else Claim.CACHED)
    assert isinstance(outcome, SharedAnswer) is not failed
    end = failure() if failed else ending()
    assert group.jobs.settle(delivery.task_id, delivery.token, end)[0] is Settled.STORED
    group.finish()
    assert group.answered() == set(group.waiters)
    assert nothing_is_left(redis_client)


def test_who_asks_meanwhile_is_not_answered_by_the_past(
    group: Group, redis_client: redis.Redis
) -> None:
    """A failure is that of those who waited for it; a new call leads a group of its own."""
    group.settle(failed=True)
    late = group.ask(PRINT)
    while (delivery := group.take()).task_id != late:  # those before it have the failure
        claim, *_ = group.single_flight.claim(delivery.task_id, delivery.token, PRINT, canvas=False)
        assert claim is Claim.HANDOFF
        group.fail(delivery.task_id, delivery.token)
    assert group.single_flight.claim(late, delivery.token, PRINT, canvas=False)[0] is Claim.LEAD
    group.finish()
    assert not group.client.exists(KEYS.result(late))
    assert group.jobs.settle(late, delivery.token, ending())[0] is Settled.STORED
    assert nothing_is_left(redis_client)


def test_who_is_forgotten_meanwhile_is_no_obstacle(group: Group, redis_client: redis.Redis) -> None:
    """Its caller was told that it was not queued."""
    group.settle()
    task_id = a_follower(group)
    group.jobs.forget(task_id, task_id)
    group.finish()
    assert group.answered() == {one for one in group.waiters if one != task_id}
    assert nothing_is_left(redis_client)


def test_jobs_in_a_canvas_go_back_to_a_worker(redis_client: redis.Redis) -> None:
    """Only with the message in hand can Celery go on with what comes after them."""
    group = Group(redis_client, canvas=3)
    group.settle()
    group.finish()
    assert len(group.answered()) == MANY - 3
    waiting = {queue["name"]: queue["unfinished"] for queue in queues()}
    assert waiting[QUEUE] == 3
    ended: list[Delivery] = []
    for _ in range(3):
        delivery = group.take()
        claim, outcome, *_ = group.single_flight.claim(
            delivery.task_id, delivery.token, PRINT, canvas=True
        )
        assert (claim, type(outcome)) == (Claim.HANDOFF, SharedAnswer)
        group.jobs.settle(delivery.task_id, delivery.token, ending())
        ended.append(delivery)
    assert group.answered() == set(group.waiters)
    assert nothing_is_left(redis_client)
