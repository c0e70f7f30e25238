"""How a schedule ends: nothing goes wrong any more, healthy workers do all that there is to do."""

from __future__ import annotations

from tests.schedules.actors import Order
from tests.schedules.site import Site
from tests.schedules.worker import Worker

#: A site that still moves after so many rounds never comes to rest.
MOST_ROUNDS = 40


def come_to_rest(site: Site) -> None:
    """Everybody goes on, every model answers, what died is found. No deadline passes.

    Raises AssertionError where that never ends.
    """
    _go_on(site)
    for worker in site.alive:  # a request to stop is heard before a model is done
        site.run(f"heartbeat of {worker.name}", worker.hear, worker)
    _finish_all(site)
    for _ in range(MOST_ROUNDS):
        _pass_time(site)
        if not site.alive:  # what nobody waits for has an end too, once there is a worker
            site.start_worker(2)
        for worker in site.alive[:1]:  # the chores of one are for all
            site.run(f"heartbeat of {worker.name}", worker.all_chores, worker)
        _finish_all(site)
        if not site.seen.waiting:
            return
        if not site.able:
            site.start_worker(2)
        for worker in site.able:
            _fill(site, worker)
        _finish_all(site)
    raise AssertionError(f"never comes to rest: {site.seen.places}")


def let_deadlines_pass(site: Site) -> None:
    """All of them: what no caller waits for has an end too."""
    for job in site.jobs.values():
        site.pass_deadline(job)
    come_to_rest(site)


def _pass_time(site: Site) -> None:
    for worker in site.workers:
        if not worker.alive:
            site.expire_leases(worker)
    site.end_pauses()


def _go_on(site: Site) -> None:
    while ready := site.ready:
        site.go(ready[0], Order.RUN)


def _finish_all(site: Site) -> None:
    _go_on(site)
    while generations := site.open:
        site.end_generation(generations[0], "finish")
        _go_on(site)


def _fill(site: Site, worker: Worker) -> None:
    """It takes until it is full or there is nothing."""
    while worker in site.able:
        before = site.seen.waiting, len(worker.runtime.in_flight)
        site.run(f"slot of {worker.name}", worker.take, worker)
        if (site.seen.waiting, len(worker.runtime.in_flight)) == before:
            return
