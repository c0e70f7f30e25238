"""The texts of runs in Redis: who may write one, whom a wish reaches, and what a reader may see."""

from __future__ import annotations

import json
from typing import Any, cast
from uuid import uuid4

import pytest
import redis

from local_llm_service.worker.store import presence
from local_llm_service.worker.store.bounds import TEXT_SECONDS
from local_llm_service.worker.store.keys import Keys
from local_llm_service.worker.store.outcomes import UNHELD, Claim, Delivery, Settled, SettleFor
from local_llm_service.worker.store.states import CacheQuery, JobState, NewJob
from local_llm_service.worker.store.texts import TextAddition, TextLook, Written
from tests.conftest import wait_until
from tests.doubles.every_script import MODEL, QUEUE, Site, ending, message

KEYS = Keys()
PRINT = "same"


class Texts(Site):
    """What a caller, a worker and a reader do, on one store."""

    def __init__(self, client: redis.Redis) -> None:
        super().__init__(cast(Any, client), KEYS.prefix)
        presence.publish(
            self.store, "w", "{}", json.dumps({"default": MODEL, "models": {MODEL: "1"}})
        )
        self.client = client
        self.published = client.pubsub(ignore_subscribe_messages=True)
        self.published.psubscribe(f"{KEYS.prefix}/0.text*")
        self.published.get_message(timeout=5)

    def begin(self, fingerprint: str = PRINT, *, stream: bool = False, cache: bool = True) -> str:
        """Submit a job and put its message."""
        new = NewJob(uuid4().hex, "generate", QUEUE, 60, 0, False, has_new_id=True, stream=stream)
        query = CacheQuery("*", f"{MODEL} 1", fingerprint) if cache else CacheQuery("")
        self.jobs.submit(new, query)
        self.jobs.put(QUEUE, message(new.task_id, llm_submitted=True), new.task_id, 0)
        return new.task_id

    def lead(self, *, stream: bool = False) -> tuple[Delivery, bool]:
        """Take the next message and lead; returns whether its text is wanted."""
        held = self.take()
        claimed = self.single_flight.claim(
            held.task_id, held.token, PRINT, canvas=False, stream=stream
        )
        assert claimed.claim is Claim.LEAD
        return held, claimed.text_wanted

    def write(
        self,
        held: Delivery,
        text: str,
        at: str = "",
        *,
        alone: bool = False,
        complete: bool = False,
    ) -> Written:
        """Add a piece after the text `at`."""
        place = (held.task_id, held.token, "" if alone else PRINT)
        done = len(at.encode()), len(at)
        return self.store.texts.write_text(TextAddition(*place, *done, text.encode(), complete))

    def read(self, task_id: str, run: str = "", from_bytes: int = 0) -> TextLook:
        """Look as a reader."""
        return self.store.drive(self.jobs.moves.read_text(task_id, run, from_bytes))

    def end(self, held: Delivery, error: str = "") -> None:
        """Settle a job that this worker holds."""
        state = JobState.FAILED if error else JobState.SUCCEEDED
        assert self.jobs.settle(held.task_id, held.token, ending(state, error))[0] is Settled.STORED

    def told(self) -> list[tuple[str, str]]:
        """What was published of texts by now."""
        heard: list[tuple[str, str]] = []
        self.client.publish(KEYS.text_channel + "mark", "")
        while True:
            one = self.published.get_message(timeout=5)
            assert one is not None
            name = one["channel"].removeprefix(f"{KEYS.prefix}/0.")
            if name == "text.mark":
                return heard
            heard.append((name, one["data"]))


@pytest.fixture
def texts(redis_client: redis.Redis) -> Texts:
    """A site on an empty Redis."""
    return Texts(redis_client)


# --- writing ----------------------------------------------------------------------------------


def test_an_addition_is_kept_and_told(texts: Texts) -> None:
    """Who has read up to there needs no look; the leader's own readers are told to look once."""
    task_id = texts.begin()
    held, _ = texts.lead()
    assert texts.write(held, "Oncé ") is Written.ADDED
    assert texts.write(held, "𝔞 time", at="Oncé ", complete=True) is Written.ADDED
    look = texts.read(task_id)
    assert (look.text, look.is_complete, look.fingerprint) == ("Oncé 𝔞 time", True, PRINT)
    assert texts.told() == [
        (f"text.{task_id}", "look"),
        (f"text.{PRINT}", f"t{look.run} 0 Oncé "),
        (f"text.{PRINT}", f"t{look.run} 5 𝔞 time"),
    ]
    assert texts.read(task_id, look.run, 6).text == "𝔞 time"


def test_a_text_fades_by_itself(texts: Texts) -> None:
    """TEXT_SECONDS after its last addition, whatever becomes of the job."""
    texts.begin(stream=True)
    held, _ = texts.lead(stream=True)
    texts.write(held, "Once ")
    texts.client.expire(KEYS.text + PRINT, 5)
    texts.write(held, "upon", at="Once ")
    assert TEXT_SECONDS - 5 < cast(int, texts.client.ttl(KEYS.text + PRINT)) <= TEXT_SECONDS
    assert cast(int, texts.client.ttl(KEYS.text_wanted + PRINT)) > 0


def test_an_addition_that_is_sent_again_changes_nothing(texts: Texts) -> None:
    """Its reply was lost, and redis-py sends it again."""
    task_id = texts.begin()
    held, _ = texts.lead()
    for _ in range(2):
        assert texts.write(held, "Once ") is Written.ADDED
    for _ in range(2):
        assert texts.write(held, "upon", at="Once ", complete=True) is Written.ADDED
    assert texts.read(task_id).text == "Once upon"
    assert len(texts.told()) == 3


def test_a_beginning_that_is_gone_is_asked_for(texts: Texts) -> None:
    """Redis was restarted without its last second, or dropped the key."""
    task_id = texts.begin()
    held, _ = texts.lead()
    texts.write(held, "Once ")
    texts.client.delete(KEYS.text + PRINT)
    assert texts.write(held, "upon", at="Once ") is Written.GONE
    assert texts.write(held, "Once upon") is Written.ADDED
    assert texts.read(task_id).text == "Once upon"


def test_whoever_lost_the_job_writes_no_more(texts: Texts) -> None:
    """Its lease ran out: another run may be under way, of the same job or of another."""
    task_id = texts.begin()
    held, _ = texts.lead()
    texts.write(held, "Once ")
    texts.jobs.release(task_id, held.token)
    assert texts.write(held, "upon", at="Once ") is Written.OVER
    again, _ = texts.lead()
    texts.write(again, "There ")
    assert texts.write(held, "upon", at="Once ") is Written.OVER
    assert texts.write(held, "Once upon") is Written.OVER
    assert texts.read(task_id).text == "There "


def test_a_leader_that_is_being_stopped_writes_not_over_the_next_one(texts: Texts) -> None:
    """Both hold their own job; only one leads."""
    first_id = texts.begin()
    first, _ = texts.lead()
    texts.write(first, "Once ")
    texts.jobs.cancel(first_id)
    texts.begin()
    second, _ = texts.lead()
    texts.write(second, "There ")
    assert texts.write(first, "upon", at="Once ") is Written.OVER
    assert texts.read(second.task_id).text == "There "


def test_a_job_that_shares_nothing_has_a_text_of_its_own(texts: Texts) -> None:
    """With cache=False, or where the worker could not claim it."""
    ids = [texts.begin(cache=False) for _ in range(2)]
    for name in ids:
        texts.write(texts.take(), f"of {name}", alone=True)
    assert [texts.read(name).text for name in ids] == [f"of {name}" for name in ids]


# --- wishes -----------------------------------------------------------------------------------


def test_nobody_wants_a_text_unasked(texts: Texts) -> None:
    """Then a worker writes none."""
    texts.begin()
    held, wanted = texts.lead()
    assert not wanted
    texts.end(held)
    assert list(texts.client.scan_iter("*text*")) == []
    assert texts.told() == []


def test_a_wish_of_any_waiter_reaches_the_leader(texts: Texts) -> None:
    """Even of one that still waits in its queue when the leader starts."""
    texts.begin()
    texts.begin(stream=True)
    held, wanted = texts.lead()
    assert wanted
    texts.end(held)
    assert not texts.client.exists(KEYS.text_wanted + PRINT), "all have their answer"


@pytest.mark.parametrize("by_name", [False, True])
def test_a_wish_reaches_a_leader_that_runs(texts: Texts, by_name: bool) -> None:
    """At its put, or, of a job sent by name, when a worker reads its message."""
    leader_id = texts.begin()
    _, wanted = texts.lead()
    assert not wanted
    texts.begin(stream=not by_name)
    if by_name:
        held = texts.take()
        texts.single_flight.claim(held.task_id, held.token, PRINT, canvas=False, stream=True)
    assert ("text_wanted", leader_id) in texts.told()


def test_a_wish_outlives_its_leader(texts: Texts) -> None:
    """The next one writes, too."""
    task_id = texts.begin()
    texts.begin(stream=True)
    held, _ = texts.lead()
    texts.jobs.release(task_id, held.token)
    assert texts.lead()[1]


# --- what counts for a reader -------------------------------------------------------------------


def test_a_job_that_waits_reads_what_its_leader_writes(texts: Texts) -> None:
    """From the start, in the queue or as a follower; not once the leader has gone."""
    leader_id = texts.begin()
    queued_id = texts.begin(stream=True)
    held, _ = texts.lead()
    texts.write(held, "Once ")
    look = texts.read(queued_id)
    assert (look.state, look.text) == ("queued", "Once ")
    texts.start(PRINT, Claim.JOINED)
    assert texts.read(queued_id).text == "Once "
    texts.jobs.release(leader_id, held.token)
    assert texts.read(queued_id).run == ""


def test_an_older_text_of_the_same_question_is_not_shown(texts: Texts) -> None:
    """Its job has ended, and its answer was not cached: this job makes its own."""
    texts.begin()
    held, _ = texts.lead()
    texts.write(held, "Once upon", complete=True)
    texts.end(held, "invalid_output")
    later_id = texts.begin(stream=True)
    assert texts.read(later_id).run == ""
    texts.lead()
    assert texts.read(later_id).run == ""


def test_all_who_get_an_answer_know_its_run(texts: Texts) -> None:
    """So that they can tell whether a text is that of their answer."""
    texts.begin()
    queued_id = texts.begin(stream=True)
    held, _ = texts.lead()
    texts.write(held, "Once upon", complete=True)
    run = texts.read(held.task_id).run
    texts.end(held)
    for task_id in (held.task_id, queued_id):
        look = texts.read(task_id)
        assert (look.has_ended, look.run, look.text) == (True, run, "Once upon")
        assert json.loads(look.result)["result"] == {"text": "Hello."}


def test_a_run_that_wrote_no_text_is_not_named(texts: Texts) -> None:
    """Its readers take the answer."""
    task_id = texts.begin(stream=True)
    held, _ = texts.lead(stream=True)
    texts.write(held, "Once ")
    run = texts.read(task_id).run
    texts.client.delete(KEYS.text + PRINT)
    texts.end(held)
    assert texts.read(task_id, run, 5).run == ""
    record = texts.jobs.record(task_id)
    assert record is not None
    assert record.run is None


def test_a_failure_leaves_what_was_written(texts: Texts) -> None:
    """Whoever reads it to its end is told of the failure then."""
    task_id = texts.begin(stream=True)
    held, _ = texts.lead(stream=True)
    texts.write(held, "Once ")
    texts.end(held, "invalid_output")
    look = texts.read(task_id)
    assert (look.has_ended, look.text, look.is_complete) == (True, "Once ", False)
    assert texts.jobs.replay(task_id, deadline_seconds=60, default_queue=QUEUE)
    assert texts.read(task_id).run == ""


def test_a_caller_that_leaves_keeps_what_it_has(texts: Texts) -> None:
    """The others read on."""
    task_id = texts.begin(stream=True)
    other_id = texts.begin()
    held, _ = texts.lead(stream=True)
    texts.write(held, "Once ")
    left = ending(JobState.CANCELLED, "cancelled")
    own = type(left)(left.state, left.error, SettleFor.CALLER, False, left.result, left.work)
    assert texts.jobs.settle(task_id, UNHELD, own)[0] is Settled.STORED
    assert texts.write(held, "upon", at="Once ") is Written.ADDED
    assert texts.read(task_id).has_ended
    look = texts.read(other_id)
    assert (look.has_ended, look.text) == (False, "Once upon")


def test_what_nobody_knows_is_told_apart(texts: Texts) -> None:
    """No such job; one whose result was forgotten; one that waits."""
    assert texts.read("nobody").is_unknown
    task_id = texts.begin()
    assert not texts.read(task_id).is_unknown
    held, _ = texts.lead()
    texts.end(held)
    assert not texts.read(task_id).is_unknown
    texts.client.delete(KEYS.result(task_id))
    wait_until(lambda: texts.read(task_id).is_unknown, "its result is gone")
