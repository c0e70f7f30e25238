"""The end of a schedule: nothing goes wrong any more, and healthy workers do all the work."""

from __future__ import annotations

from tests.schedules.actors import Order
from tests.schedules.site import Site
from tests.schedules.worker import Worker

#: A site that still moves after so many rounds never comes to rest.
MOST_ROUNDS = 40


def come_to_rest(site: Site) -> None:
    """Let all actors go on and all models answer, and find the dead. No deadline passes.

    Raises AssertionError if that never ends.
    """
    _go_on(site)
    for worker in site.alive:  # hear requests to stop before a model is done
        site.run(f"heartbeat of {worker.name}", worker.hear, worker)
    _finish_all(site)
    for _ in range(MOST_ROUNDS):
        _pass_time(site)
        if not site.alive:  # a job that nobody waits for ends too, once there is a worker
            site.start_worker(2)
        for worker in site.alive[:1]:  # one worker does the chores for all
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
    """Let all deadlines pass, so that jobs without a waiting caller end too."""
    for job in site.jobs.values():
        site.pass_deadline(job)
    come_to_rest(site)


def _pass_time(site: Site) -> None:
    for worker in site.workers:
        if not worker.alive:
            site.expire_leases(worker)
    site.end_pauses()
    for worker in site.alive:  # only what every engine has failed ends for want of a model
        site.lack(worker, False)
    site.end_waits()
    site.end_afterworks_pause()


def _go_on(site: Site) -> None:
    while ready := site.ready:
        site.go(ready[0], Order.RUN)


def _finish_all(site: Site) -> None:
    _go_on(site)
    while generations := site.open:
        site.end_generation(generations[0], "finish")
        _go_on(site)


def _fill(site: Site, worker: Worker) -> None:
    """Let a worker take jobs until it is full or no job is left."""
    while worker in site.able:
        before = site.seen.waiting, len(worker.runtime.in_flight)
        site.run(f"slot of {worker.name}", worker.take, worker)
        if (site.seen.waiting, len(worker.runtime.in_flight)) == before:
            return
