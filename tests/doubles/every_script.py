"""Stories in which every script moves jobs, for each kind of server that is to run them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any, cast
from uuid import uuid4

import redis

from local_llm_service.worker.store import presence, responses
from local_llm_service.worker.store.api_keys import ApiKey, ApiKeys, Checked, Rate
from local_llm_service.worker.store.attendance import Attendance
from local_llm_service.worker.store.batches import BatchRecord
from local_llm_service.worker.store.idempotency import claim_key
from local_llm_service.worker.store.key_bounds import KeyBounds, Place
from local_llm_service.worker.store.moves import look
from local_llm_service.worker.store.outcomes import (
    UNHELD,
    Claim,
    Delivery,
    Ending,
    ResultTemplate,
    ResultText,
    Settled,
    SettleFor,
    SharedAnswer,
    Work,
)
from local_llm_service.worker.store.overview import overview
from local_llm_service.worker.store.progress import Progress
from local_llm_service.worker.store.savings import row_of
from local_llm_service.worker.store.scripts import DIRECTORY
from local_llm_service.worker.store.spending import Booked, Booking, CallEnd
from local_llm_service.worker.store.states import (
    Admission,
    CacheBounds,
    CacheQuery,
    Cancelling,
    JobState,
    Lifetimes,
    NewJob,
)
from local_llm_service.worker.store.steps import Onward, StepNote
from local_llm_service.worker.store.store import Store
from local_llm_service.worker.store.texts import TextAddition, Written
from local_llm_service.worker.store.webhooks import Event
from tests.conftest import wait_until

QUEUE = "llm.normal"
MODEL = "fake:1b"


class Site:
    """What a caller and a worker do, on one store; each job with a new id."""

    def __init__(self, client: redis.Redis, prefix: str) -> None:
        self.store = Store(client, Lifetimes(60, 60, 60), CacheBounds(60, 10_000, 100_000), prefix)
        self.jobs, self.single_flight = self.store.jobs, self.store.single_flight
        self.called: set[str] = set()
        run = self.store.scripts.run

        def noted_run(name: str, args: Any) -> Any:
            self.called.add(name)
            return run(name, args)

        self.store.scripts.run = noted_run  # type: ignore[method-assign]

    def ask(self, fingerprint: str = "", *, delay: float = 0, canvas: bool = False) -> str:
        """Submit a job and put its message."""
        task_id = uuid4().hex
        new = NewJob(task_id, "generate", QUEUE, 60, 0, canvas, has_new_id=True)
        query = CacheQuery("*", f"{MODEL} 1", fingerprint, '{"result": {', "}}", "2026-01-01")
        admitted = self.jobs.submit(new, query if fingerprint else CacheQuery(""))
        assert admitted.decision is Admission.QUEUE
        self.jobs.put(QUEUE, message(task_id, llm_submitted=True), task_id, delay)
        return task_id

    def take(self) -> Delivery:
        """The next message."""
        found = self.jobs.take([QUEUE], worker="w", may_take_quarantined=True, nonce=uuid4().hex)
        assert found is not None
        return found

    def start(self, fingerprint: str, claim: Claim, *, canvas: bool = False) -> Delivery:
        """Take the next message and claim it."""
        delivery = self.take()
        token, task_id = delivery.token, delivery.task_id
        found, *_ = self.single_flight.claim(task_id, token, fingerprint, canvas=canvas)
        assert found is claim
        return delivery

    def fail(self, task_id: str, token: str) -> Settled:
        """Give a job a failure that becomes a dead letter."""
        return self.jobs.settle(task_id, token, ending(JobState.FAILED, "model_failed"))[0]


def message(task_id: str, **more: bool) -> str:
    """As Celery puts it into a queue, as far as the scripts read it."""
    headers = {"id": task_id, "task": "llm.generate", **more}
    return json.dumps({"headers": headers, "properties": {"delivery_tag": f"tag-{task_id}"}})


def ending(
    state: JobState = JobState.SUCCEEDED, error: str = "", *, settle_for_caller: bool = False
) -> Ending:
    """An answer that is cached, or a failure; of all who wait, or of the caller alone."""
    template = ResultTemplate("ia", ('{"task_id": ', ', "result": {', "}}"))
    text = ResultText('{"result": {', '"text": "Hello."', "}}", template)
    work = Work("computed", 3, 2, 0.1, cacheable=not error)
    settle_for = SettleFor.CALLER if settle_for_caller else SettleFor.EVERYONE
    return Ending(state, error, settle_for, bool(error), text, work)


# --- what each script does ------------------------------------------------------------------


def answer_all(site: Site) -> None:
    """publish, submit, put, take, claim, look, renew, wanted_seconds, settle, followers; a hit."""
    table = json.dumps({"default": MODEL, "models": {MODEL: "1"}})
    presence.publish(site.store, "w", "{}", table)
    ids = [site.ask("print") for _ in range(3)]
    leader = site.start("print", Claim.LEAD)
    followers = [site.start("print", Claim.JOINED).task_id for _ in range(2)]
    assert [leader.task_id, *followers] == ids
    assert [one.state for one in site.store.drive(look(ids[:2]))] == ["running", "joined"]
    assert site.jobs.renew([(leader.task_id, leader.tag, leader.token)]) == ([], [])
    assert site.single_flight.wanted_seconds(leader.task_id) > 0
    settled, answered = site.jobs.settle(leader.task_id, leader.token, ending())
    assert (settled, sorted(answered)) == (Settled.STORED, sorted(followers))
    for task_id in ids:
        stored = site.store.client.get(site.store.keys.result(task_id))
        assert json.loads(cast(str, stored))["result"]["text"] == "Hello."
    new = NewJob(uuid4().hex, "generate", QUEUE, 60, 0, canvas=False, has_new_id=True)
    hit = site.jobs.submit(new, CacheQuery("*", f"{MODEL} 1", "print", "{", "}", "2026-01-01"))
    assert hit.decision is Admission.HIT


def put_back_and_reap(site: Site) -> None:
    """release, wake_deferred, redis_up_seconds, reap, drop."""
    task_id = site.ask(delay=0.001)
    wait_until(lambda: site.jobs.wake_deferred(QUEUE) == 1, "a deferred message is due")
    delivery = site.take()
    assert site.jobs.release(task_id, delivery.token, attempts=1)
    delivery = site.take()
    assert (delivery.task_id, delivery.attempts) == (task_id, 1)
    assert site.jobs.redis_up_seconds(longest_gap_seconds=5) >= 0
    assert site.jobs.reap(lease_seconds=-1, max_crashes=5) == [task_id]
    delivery = site.take()
    assert delivery.crashes == 1
    site.jobs.drop(task_id, delivery.tag, delivery.token)
    assert site.jobs.renew([(task_id, delivery.tag, delivery.token)])[0] == [delivery.token]


def leave_groups(site: Site) -> None:
    """detach, expired, sift, cancel, forget; a handoff for a job in a canvas."""
    site.ask("other")
    leader = site.start("other", Claim.LEAD)
    follower = site.ask("other", canvas=True)
    site.start("other", Claim.JOINED, canvas=True)
    assert site.jobs.cancel(leader.task_id) is Cancelling.SHARED
    assert site.jobs.settle(leader.task_id, leader.token, ending())[0] is Settled.STORED
    delivery = site.take()
    claim, outcome, *_ = site.single_flight.claim(follower, delivery.token, "other", canvas=True)
    assert (claim, type(outcome)) == (Claim.HANDOFF, SharedAnswer)
    site.single_flight.detach(follower, delivery.token)
    assert site.jobs.settle(follower, delivery.token, ending())[0] is Settled.STORED
    assert site.store.endings.expired(10) == (0, [])
    assert site.store.endings.sift([QUEUE]) == 0
    late = site.ask(canvas=True)
    assert site.jobs.cancel(late) is Cancelling.CANVAS
    assert site.store.endings.sift([QUEUE]) == 1
    assert site.take().task_id == late
    forgotten = site.ask()
    site.jobs.forget(forgotten, forgotten)
    assert site.jobs.record(forgotten) is None  # and the next take drops its message


def send_again(site: Site) -> None:
    """collect, note_wishes, cancel, settle by nobody; take_afterwork, end_afterwork; a dead letter,
    overview, drop_letter and replay."""
    task_id = uuid4().hex
    assert site.jobs.collect(
        QUEUE, message(task_id), task_id, "generate", delay_seconds=0, canvas=False
    )
    assert not site.jobs.collect(
        QUEUE, message(task_id), task_id, "generate", delay_seconds=0, canvas=False
    )
    delivery = site.take()
    noted = site.jobs.note_wishes(task_id, delivery.token, deadline_seconds=1, canvas=False)
    assert noted is not None
    assert noted > 1, "its deadline is known since it was collected"
    assert site.fail(task_id, delivery.token) is Settled.STORED
    assert task_id in [entry.task_id for entry in site.store.afterwork.take_afterwork(9)]
    assert site.store.afterwork.take_afterwork(9) == [], "due again in seconds"
    site.store.afterwork.end_afterwork(task_id)
    assert [letter.task_id for letter in site.store.dead_letters.all()] == [task_id]
    seen = site.store.drive(overview())
    assert [(one.task_id, one.error) for one in seen.failures] == [(task_id, "model_failed")]
    assert not site.jobs.drop_letter("another")
    assert site.jobs.replay(task_id, deadline_seconds=60, default_queue=QUEUE)
    assert site.jobs.cancel(task_id) is Cancelling.WAITING
    assert site.fail(task_id, UNHELD) is Settled.STORED


def answer_many(site: Site) -> None:
    """settle of a group that is answered by answer_waiters; mend_backlog."""
    ids = [site.ask("many") for _ in range(102)]
    leader = site.start("many", Claim.LEAD)
    assert site.jobs.settle(leader.task_id, leader.token, ending())[0] is Settled.STORED
    assert all(site.store.client.exists(site.store.keys.result(one)) for one in ids)
    assert site.jobs.open_fan_outs(0) == []
    assert site.jobs.mend_backlog() == 0


def leave_to_others(site: Site) -> None:
    """take that parks, pass_on, unserved, give_up."""
    serves = json.dumps({"default": MODEL, "models": {}, "serves": ["*"], "failing": []})
    presence.publish(site.store, "other", "{}", serves)
    task_id = site.ask()
    delivery = site.take()
    passed = site.jobs.pass_on(task_id, delivery.token, worker="w", model=MODEL)
    assert (passed.done, site.jobs.state(task_id)) == (True, JobState.PARKED)
    assert site.jobs.waiting([QUEUE]) == {QUEUE: 1}
    found = site.jobs.take(
        [QUEUE], worker="w", may_take_quarantined=True, nonce=uuid4().hex, models=["*"]
    )
    assert found is None
    found = site.jobs.take(
        [QUEUE], worker="other", may_take_quarantined=True, nonce=uuid4().hex, models=["*"]
    )
    assert found is not None
    passed = site.jobs.pass_on(task_id, found.token, worker="other", model=MODEL)
    assert (passed.done, passed.failed_by) == (False, ("w", "other"))
    assert site.fail(task_id, found.token) is Settled.STORED
    task_id = site.ask()
    nothing = site.jobs.take(
        [QUEUE], worker="w", may_take_quarantined=True, nonce=uuid4().hex, models=[]
    )
    assert nothing is None
    presence.publish(site.store, "other", "", "")
    assert site.jobs.unserved([QUEUE], wait_seconds=60, most=10) == []
    wait_until(
        lambda: site.jobs.unserved([QUEUE], wait_seconds=0, most=10) == [task_id], "it waited"
    )
    assert site.jobs.give_up(task_id)
    delivery = site.take()
    assert (delivery.task_id, delivery.given_up) == (task_id, True)
    assert site.fail(task_id, delivery.token) is Settled.STORED


def read_along(site: Site) -> None:
    """write_text, read_text."""
    task_id = site.ask("read")
    leader = site.start("read", Claim.LEAD)
    said = (task_id, leader.token, "read")
    texts = site.store.texts
    assert texts.write_text(TextAddition(*said, 0, 0, b"Hel", False)) is Written.ADDED
    assert texts.write_text(TextAddition(*said, 3, 3, b"lo.", True)) is Written.ADDED
    read = site.jobs.moves.read_text
    look = site.store.drive(read(task_id))
    assert (look.text, look.is_complete, look.has_ended) == ("Hello.", True, False)
    assert site.jobs.settle(task_id, leader.token, ending())[0] is Settled.STORED
    assert site.store.drive(read(task_id, look.run, 3)).text == "lo."


def keep_vectors(site: Site) -> None:
    """keep_vectors, and reading several."""
    assert site.store.vectors.keep_vectors({"a": [0.5], "b": [1.0]}) == 2
    assert site.store.vectors.keep_vectors({"a": [0.5]}) == 0
    assert site.store.vectors.known(["b", "c", "a"]) == {"a": [0.5], "b": [1.0]}


def go_step_by_step(site: Site) -> None:
    """note_step: a kept step, a yield to a more urgent queue, and a run that finds what is kept."""
    task_id = site.ask()
    first = site.take()
    note = StepNote(
        *(task_id, first.token, Progress(1, 2, "reading")),
        **{"name": "a", "entry": "A", "kept": 1, "next_name": "a"},
        **{"worker": "w", "models": [MODEL, "*"], "queues": [QUEUE]},
    )
    assert site.store.steps.note_step(note) == (Onward.GO, "A")
    urgent = site.ask()
    assert site.store.steps.note_step(note) == (Onward.YIELD, "")
    assert site.jobs.release(task_id, first.token, yields=True)
    assert site.store.steps.note_step(note) == (Onward.LOST, "")
    again = site.take()
    assert (again.task_id, again.kept_steps) == (task_id, 1)
    for one in (again, site.take()):
        assert site.jobs.settle(one.task_id, one.token, ending())[0] is Settled.STORED
    assert one.task_id == urgent


def know_callers(site: Site) -> None:
    """check_api_key, write_api_key, admit_job, open_stream, keep_streams."""
    drive, keys = site.store.drive, site.store.keys
    api_keys, bounds = ApiKeys(keys), KeyBounds(keys)
    key, text = ApiKey(name="a", tenant="t", rate=Rate(count=1, seconds=60)).with_new_secret(0)
    key_id, record = key.key_id, key.as_text()
    assert drive(api_keys.write_api_key(key_id, "", record))
    assert not drive(api_keys.write_api_key(key_id, "", "{}"))
    assert (drive(api_keys.count()), drive(api_keys.records())) == (1, {key_id: record})
    secret = text.split("_", 2)[2]
    assert drive(api_keys.check_api_key(key_id, "another")) == Checked()
    assert drive(api_keys.check_api_key(key_id, secret)) == Checked(record)
    assert drive(api_keys.check_api_key(key_id, secret)).wait_seconds > 0
    first, second = site.ask(), site.ask()
    assert drive(bounds.admit_job(key_id, first, 1)) == Place(True, is_new=True)
    assert drive(bounds.admit_job(key_id, first, 1)) == Place(True)
    assert drive(bounds.admit_job(key_id, second, 1)) == Place(False)
    assert site.fail(first, UNHELD) is site.fail(second, UNHELD) is Settled.STORED
    assert drive(bounds.admit_job(key_id, second, 1)).is_free
    drive(bounds.forget_job(key_id, second))
    assert [drive(bounds.open_stream(key_id, name, 1)) for name in "aba"] == [True, False, True]
    assert drive(bounds.keep_streams(key_id, ["a"])) == 1
    drive(bounds.close_streams(key_id, ["a"]))
    assert drive(bounds.open_stream(key_id, "b", 1))
    assert drive(api_keys.write_api_key(key_id, record, ""))


def end_orphans(site: Site) -> None:
    """attend, leave_jobs, orphans; a job of which one caller has gone away."""
    drive, attendance = site.store.drive, Attendance(site.store.keys)
    task_id = site.ask()
    assert drive(attendance.attend([task_id, "another"], 60)) == 2
    drive(attendance.end(["another"]))
    assert drive(attendance.orphans(0, 9)) == (0, [])
    assert drive(attendance.leave_jobs([task_id], 0)) == 1
    assert drive(attendance.orphans(0, 9)) == (1, [task_id])
    assert site.fail(task_id, UNHELD) is Settled.STORED


def drive_batches(site: Site) -> None:
    """open_batch, claim_batch, note_batch, cancel_batch, list_batches, each call twice."""
    batches, drive = site.store.batches, site.store.drive
    now = int(time.time() * 1000)
    for name, made in (("batch_a", now), ("batch_b", now + 1)):
        record = BatchRecord(name, "{}", "{}")
        for _ in range(2):  # a reply was lost
            assert drive(batches.open_batch(record, "", f"open {name}", made, "new"))
        assert drive(batches.open_batch(record, "", "another call", made, "new")) is False
    claims = [drive(batches.claim_batch("first", 60_000)) for _ in range(2)]
    assert claims[0] is not None
    assert claims[0] == claims[1]
    assert claims[0].record.batch_id == "batch_a"
    other = drive(batches.claim_batch("second", 60_000))
    assert other is not None
    assert other.record.batch_id == "batch_b"
    assert drive(batches.claim_batch("third", 60_000)) is None
    token = claims[0].token
    assert drive(batches.note_batch("batch_a", token, '{"n":1}', 0)) == (True, None)
    for _ in range(2):
        assert drive(batches.cancel_batch("batch_a", 7))
    again = drive(batches.claim_batch("third", 60_000, cancelled=True))
    assert again is not None
    assert (again.record.cancelling_at, again.record.progress) == (7, '{"n":1}')
    assert again.token > token
    assert drive(batches.note_batch("batch_a", token, "{}", -1)) == (False, None)
    for _ in range(2):
        assert drive(batches.note_batch("batch_a", again.token, "{}", -1)) == (True, 7)
    assert drive(batches.cancel_batch("batch_a", 8)) is False
    assert drive(batches.note_batch("batch_c", 1, "{}", 0)) == (None, None)
    listed = drive(batches.list_batches("", "", 1))
    assert listed is not None
    assert ([one.batch_id for one in listed[0]], listed[1]) == (["batch_b"], True)
    rest = drive(batches.list_batches("", "batch_b", 5))
    assert rest is not None
    assert ([one.batch_id for one in rest[0]], rest[1]) == (["batch_a"], False)
    assert drive(batches.list_batches("", "batch_c", 5)) is None
    ended = BatchRecord("batch_a", "{}", "{}")
    assert drive(batches.open_batch(ended, "", "again", now, "again"))
    assert drive(batches.open_batch(ended, "", "once more", now, "again")) is False


def tell_webhooks(site: Site) -> None:
    """note_webhook, add_webhook, take_webhooks, end_webhook, retry_webhook."""
    webhooks, drive = site.store.webhooks, site.store.drive
    task_id, host = site.ask(), "hooks.example.com"
    url = f"https://{host}/"
    assert not drive(webhooks.note_webhook("another", "job", host, url))
    assert drive(webhooks.note_webhook(task_id, "job", host, url))
    assert site.fail(task_id, site.take().token) is Settled.STORED
    drive(webhooks.add_webhook("batch.completed", "batch_1", host, url))

    def take() -> list[Event]:
        return drive(webhooks.take_webhooks(9, lease_seconds=9, for_one_host=9))

    told, of_batch = sorted(take(), key=lambda event: event.type, reverse=True)
    assert (told.type, told.object_id, told.tries) == ("job.failed", task_id, 1)
    assert (of_batch.type, of_batch.object_id) == ("batch.completed", "batch_1")
    assert drive(webhooks.end_webhook(told, "delivered", "204"))
    assert drive(webhooks.end_webhook(of_batch, "gone", "410"))
    assert take() == []
    assert drive(webhooks.is_gone(url))
    assert drive(webhooks.retry_webhook(of_batch.event_id))
    assert [event.tries for event in take()] == [1]


def tell_responses(site: Site) -> None:
    """number_text, as long as the response is kept; idempotency keys."""
    keys, drive = site.store.keys, site.store.drive
    drive(responses.keep_response(keys, "told", "{}", 60))
    numbers = [drive(responses.number_text("told", run)) for run in ("a", "b", "a", "0")]
    assert numbers == [0, 1, 0, 2]
    assert [drive(responses.told_run(keys, "told", one)) for one in (1, 3)] == ["b", None]
    drive(responses.drop_response(keys, "told"))
    assert drive(responses.response(keys, "told")) is None
    assert drive(responses.number_text("told", "b")) == 0
    assert [drive(claim_key(keys, "told", one, 60)) for one in ("x", "y", "x")] == ["x"] * 3


def spend_money(site: Site) -> None:
    """book, buy, end_booking, spending: a call that is cut off, and what its work buys then."""
    spending, row = site.store.spending, row_of(MODEL, "t", "")
    task_id = site.ask()
    token = site.take().token

    def booking(nonce: str, nano_usd: int = 60) -> Booking:
        return Booking(task_id, task_id, "step", nonce, nano_usd, row)

    for _ in range(2):  # a reply was lost
        assert spending.book(booking("first"), token, 100, None) == (Booked.BOOKED, "")
    assert spending.book(booking("x", 41), "another", 100, None) == (Booked.LOST, "")
    assert spending.end_booking(booking("first"), CallEnd.CUT_OFF)
    assert not spending.end_booking(booking("first"), CallEnd.CUT_OFF)
    assert spending.book(booking("x", 41), token, 100, None) == (Booked.DAY, "40")
    assert spending.book(booking("second", 40), token, 100, None) == (Booked.BOOKED, "")
    assert [spending.buy(booking("second", 40), 30, "E") for _ in range(2)] == [True, True]
    assert spending.book(booking("third"), token, 100, None) == (Booked.BOUGHT, "E")
    day, month = spending.spending()
    assert (day.reserved, day.paid, day.wasted, day.committed) == (0, 30, 60, 90)
    assert (month.period, month.committed) == (day.period[:7], 90)
    assert site.fail(task_id, token) is Settled.STORED


STORIES: tuple[Callable[[Site], None], ...] = (
    answer_all,
    put_back_and_reap,
    leave_groups,
    send_again,
    answer_many,
    leave_to_others,
    read_along,
    keep_vectors,
    go_step_by_step,
    know_callers,
    end_orphans,
    drive_batches,
    tell_webhooks,
    tell_responses,
    spend_money,
)


def play_all(site: Site) -> None:
    """Tell every story; fails where a script did not do what it is for, or was not called."""
    for story in STORIES:
        story(site)
    assert site.called == {file.stem for file in DIRECTORY.glob("*.lua")}
