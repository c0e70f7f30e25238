"""The money in Redis: exact under concurrency, repeated calls and deaths, and never lost."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import redis

from local_llm_service.worker.store import presence, savings
from local_llm_service.worker.store.bounds import SPENDING_SECONDS, STEP_SECONDS
from local_llm_service.worker.store.keys import Keys
from local_llm_service.worker.store.outcomes import UNHELD, Claim, Delivery, Settled
from local_llm_service.worker.store.scripts import Scripts
from local_llm_service.worker.store.spending import Booked, Booking, CallEnd, SpendingStore
from local_llm_service.worker.store.states import JobState
from tests.doubles.every_script import MODEL, Site, ending

KEYS = Keys()
ROW = savings.row_of("large:latest", "tenant", "auto")
USD = 10**9
_nonces = (f"nonce{number}" for number in itertools.count())


@pytest.fixture
def site(redis_client: redis.Redis) -> Site:
    """A caller and a worker on an empty Redis."""
    site = Site(redis_client, KEYS.prefix)
    table = json.dumps({"default": MODEL, "models": {MODEL: "1"}})
    presence.publish(site.store, "w", "{}", table)
    return site


def booking(delivery: Delivery, nano_usd: int = 10, *, place: str = "", step: str = "s") -> Booking:
    """A call of a job, or of a group's."""
    task_id = delivery.task_id
    return Booking(task_id, place or task_id, step, next(_nonces), nano_usd, ROW)


def sums(store: SpendingStore) -> tuple[int, int, int]:
    """Reserved, paid, wasted, which are the same for the day and the month of a test."""
    day, month = store.spending()
    assert (day.reserved, day.paid, day.wasted) == (month.reserved, month.paid, month.wasted)
    return day.reserved, day.paid, day.wasted


def entered(client: redis.Redis) -> Counter[str]:
    """What the savings ledger has of ROW."""
    (key,) = client.keys(f"{KEYS.savings}*")
    told = client.hgetall(key)
    mine = f"{told[f'row:{ROW}']}:"
    return Counter({n.removeprefix(mine): int(v) for n, v in told.items() if n.startswith(mine)})


def test_two_hundred_at_once_book_for_ten(site: Site, redis_client: redis.Redis) -> None:
    """Whatever is paid, wasted or free again meanwhile: what is committed fits the budget."""
    for _ in range(200):
        site.ask()
    deliveries = [site.take() for _ in range(200)]
    spending, seen = site.store.spending, list[int]()

    def call(number: int) -> Booked:
        one = booking(deliveries[number], 10)
        booked, _ = spending.book(one, deliveries[number].token, 100, 1000)
        if booked is Booked.BOOKED:
            act: tuple[Callable[[], object], ...] = (
                lambda: spending.buy(one, 10, "E"),
                lambda: spending.end_booking(one, CallEnd.CUT_OFF),
                lambda: None,  # its worker has died
            )
            act[number % 3]()
        seen.append(sum(sums(spending)))
        return booked

    with ThreadPoolExecutor(32) as pool:
        found = Counter(pool.map(call, range(200)))
    assert found == {Booked.BOOKED: 10, Booked.DAY: 190}
    assert max(seen) == sum(sums(spending)) == 100


def test_amounts_beyond_the_exact_numbers_of_lua(site: Site) -> None:
    """Redis adds them as whole numbers; a budget never comes near."""
    site.ask()
    held, large = site.take(), 2**60 + 1
    one = booking(held, large)
    assert site.store.spending.book(one, held.token, 10**15, None) == (Booked.DAY, str(10**15))
    assert site.store.spending.book(one, held.token, None, None)[0] is Booked.BOOKED
    assert sums(site.store.spending) == (large, 0, 0)
    assert site.store.spending.buy(one, large + 1, "E")
    assert sums(site.store.spending) == (0, large + 1, 0)


def test_the_last_nanodollar(site: Site) -> None:
    """A budget may be used up, and not be passed by one."""
    site.ask()
    held, spending = site.take(), site.store.spending
    assert spending.book(booking(held, 10**15 + 1), held.token, 10**15, None)[0] is Booked.DAY
    assert spending.book(booking(held, 10**15), held.token, None, 10**15)[0] is Booked.BOOKED


def test_hidden_tokens_are_paid_as_they_come(site: Site) -> None:
    """Over what was booked, and over the budget; then nothing more is."""
    site.ask()
    held, spending = site.take(), site.store.spending
    one = booking(held, 10)
    spending.book(one, held.token, 15, None)
    assert spending.buy(one, 40, "E")
    assert sums(spending) == (0, 40, 0)
    other = booking(held, 1, step="another")
    assert spending.book(other, held.token, 15, None) == (Booked.DAY, "0")


def test_a_run_that_died_is_wasted_and_repeated_once(site: Site, redis_client: redis.Redis) -> None:
    """Killed between booking and answer, twice: each time the money is spent, then no more is."""
    task_id = site.ask()
    spending, found = site.store.spending, list[Booked]()
    for number in range(3):
        held = site.take()
        found.append(spending.book(booking(held), held.token, None, 100)[0])
        assert sums(spending) == ((10, 0, 10 * number) if number < 2 else (0, 0, 20))
        assert site.jobs.reap(lease_seconds=-1, max_crashes=9) == [task_id]
    assert found == [Booked.BOOKED, Booked.BOOKED, Booked.CUT_OFF]
    assert entered(redis_client) == {"wasted_nano_usd": 20}


def test_a_completion_that_comes_late_is_kept_and_its_money_stays_wasted(site: Site) -> None:
    """A worker that was cut off has it while another one asks again."""
    site.ask()
    first, spending = site.take(), site.store.spending
    before = booking(first)
    spending.book(before, first.token, None, None)
    site.jobs.reap(lease_seconds=-1, max_crashes=9)
    second = site.take()
    now = booking(second)
    assert spending.book(now, second.token, None, None)[0] is Booked.BOOKED
    assert not spending.buy(before, 5, "first")
    assert sums(spending) == (10, 0, 10)
    assert spending.buy(now, 7, "second")
    assert sums(spending) == (0, 7, 10)
    asked = spending.book(booking(second), second.token, 0, 0)
    assert asked == (Booked.BOUGHT, "first"), "whatever the budget is by now"


def test_the_next_leader_of_a_group_finds_what_the_last_one_bought(
    site: Site, redis_client: redis.Redis
) -> None:
    """The work is the same; it goes when all have the answer."""
    spending = site.store.spending
    site.ask("print")
    first = site.start("print", Claim.LEAD)
    one = booking(first, place="print")
    spending.book(one, first.token, None, None)
    spending.buy(one, 5, "E")
    site.ask("print")
    site.start("print", Claim.JOINED)
    cancelled = ending(JobState.CANCELLED, "cancelled", settle_for_caller=True)
    assert site.jobs.settle(first.task_id, first.token, cancelled)[0] is Settled.STORED
    next_one = site.start("print", Claim.LEAD)
    again = booking(next_one, place="print")
    assert spending.book(again, next_one.token, None, None) == (Booked.BOUGHT, "E")
    assert redis_client.ttl(f"{KEYS.paid_steps}print") > STEP_SECONDS - 60
    assert site.jobs.settle(next_one.task_id, next_one.token, ending())[0] is Settled.STORED
    assert not redis_client.exists(f"{KEYS.paid_steps}print")


def test_a_run_that_could_not_ask_for_its_group_finds_what_the_group_bought(site: Site) -> None:
    """And the other way round: Redis was away for a moment, and its place was its task id."""
    spending = site.store.spending
    site.ask("print")
    held = site.start("print", Claim.LEAD)
    for place, other in (("print", held.task_id), (held.task_id, "print")):
        one = booking(held, place=place, step=place)
        spending.book(one, held.token, None, None)
        spending.buy(one, 5, f"bought for {place}")
        again = booking(held, place=other, step=place)
        found = spending.book(again, held.token, None, None)
        assert found == (Booked.BOUGHT, f"bought for {place}")


def test_who_does_not_hold_the_job_books_nothing(site: Site) -> None:
    """Nor does a job that was cancelled."""
    task_id = site.ask()
    held, spending = site.take(), site.store.spending
    assert spending.book(booking(held), "another", None, None)[0] is Booked.LOST
    site.jobs.cancel(task_id)
    assert spending.book(booking(held), held.token, None, None)[0] is Booked.CANCELLED
    assert sums(spending) == (0, 0, 0)
    assert site.fail(task_id, held.token) is Settled.STORED
    assert site.fail(task_id, UNHELD) is not Settled.STORED


def test_a_booking_whose_job_never_came_back_is_wasted_in_the_end(
    site: Site, redis_client: redis.Redis
) -> None:
    """A minute after the deadline of the last who waits, by whoever looks at the money next."""
    spending = site.store.spending
    site.ask("print")
    held = site.start("print", Claim.LEAD)
    one = booking(held, place="print")
    spending.book(one, held.token, None, None)
    name, due = redis_client.zrange(KEYS.bookings_due, 0, 0, withscores=True)[0]
    deadline = float(redis_client.hget(KEYS.job(held.task_id), "deadline_ms"))
    assert due == deadline + 60_000
    redis_client.zadd(KEYS.bookings_due, {name: 1})
    assert sums(spending) == (10, 0, 0), "somebody waits"
    assert redis_client.zscore(KEYS.bookings_due, name) == due
    redis_client.delete(f"{KEYS.waiters}print")
    redis_client.zadd(KEYS.bookings_due, {name: 1})
    assert sums(spending) == (0, 0, 10)
    assert not redis_client.exists(KEYS.bookings, KEYS.bookings_due)
    assert entered(redis_client) == {"wasted_nano_usd": 10}
    assert not spending.buy(one, 5, "E")
    assert sums(spending) == (0, 0, 10)


def test_a_day_ends_and_its_booking_counts_for_it(site: Site, redis_client: redis.Redis) -> None:
    """What was booked before midnight is paid of that day's budget; the new one is whole."""
    site.ask()
    held, spending = site.take(), site.store.spending
    one = booking(held, 10)
    spending.book(one, held.token, 10, None)
    clock = {"last": 4_102_444_800_000}  # 2100-01-01, as if Redis's clock had come so far
    redis_client.hset(KEYS.clock, mapping=clock)
    redis_client.expire(KEYS.clock, 60)
    day, month = spending.spending()
    assert (day.period, month.period) == ("2100-01-01", "2100-01")
    # Its deadline is long over.
    assert (day.committed, redis_client.exists(KEYS.bookings)) == (0, 0)
    (old,) = redis_client.keys(f"{KEYS.spending}*-*-*")
    assert redis_client.hgetall(old) == {"reserved": "0", "wasted": "10"}
    assert SPENDING_SECONDS - 60 < redis_client.ttl(old) <= SPENDING_SECONDS
    other = booking(held, 10, step="another")
    assert spending.book(other, held.token, 10, None)[0] is Booked.BOOKED


@pytest.mark.parametrize("name", ["book", "buy", "end_booking"])
def test_a_call_whose_reply_was_lost_changes_nothing_twice(
    site: Site, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Whatever came of it, a second call says the same of the money."""
    run = Scripts.run

    def twice(self: Scripts, script: str, args: list[object]) -> object:
        first = run(self, script, args)
        return run(self, script, args) if script == name else first

    monkeypatch.setattr(Scripts, "run", twice)
    site = Site(site.store.client, KEYS.prefix)
    site.ask()
    held, spending = site.take(), site.store.spending
    one, other = booking(held, 10), booking(held, 7, step="another")
    for each in (one, other, replace(other, step="free", nonce="n")):
        assert spending.book(each, held.token, 100, 100)[0] is Booked.BOOKED
    spending.buy(one, 9, "E")
    spending.end_booking(other, CallEnd.CUT_OFF)
    spending.end_booking(replace(other, step="free", nonce="n"), CallEnd.FREE)
    assert sums(spending) == (0, 9, 7)
    again = booking(held, 7, step="another")
    assert spending.book(again, held.token, 100, 100)[0] is Booked.BOOKED, "one try was cut off"
    assert spending.book(booking(held), held.token, 0, 0) == (Booked.BOUGHT, "E")


def test_a_full_redis_still_takes_what_was_bought(site: Site, redis_client: redis.Redis) -> None:
    """It refuses to book, so nothing more is sent."""
    site.ask()
    held, spending = site.take(), site.store.spending
    one = booking(held)
    spending.book(one, held.token, None, None)
    redis_client.config_set("maxmemory", "1mb")
    try:
        with pytest.raises(redis.ResponseError, match="OOM"):
            spending.book(booking(held, step="another"), held.token, None, None)
        assert spending.buy(one, 5, "E")
    finally:
        redis_client.config_set("maxmemory", "0")
    assert sums(spending) == (0, 5, 0)
