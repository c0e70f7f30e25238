"""Our jobs beside the tasks of a backend's own Celery app, which a plain Celery worker runs.

That app's broker and results are in the same Redis and database; what depends on where they are is
also tried with another database and with another Redis.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import redis
from celery import Celery, chain, chord, group

from local_llm_service import tasks
from local_llm_service.worker.app import app as our_app
from local_llm_service.worker.celery_ext.plain_app import plain_app
from local_llm_service.worker.embedded.processes.redis_process import RedisProcess, free_port
from local_llm_service.worker.errors import InvalidRequest
from local_llm_service.worker.lazy_settings import lazy_settings
from local_llm_service.worker.settings import get_settings
from local_llm_service.worker.store.keys import Keys
from tests.conftest import wait_until
from tests.doubles.forked_worker import ForkedWorker
from tests.doubles.ollama import FakeOllama, Script
from tests.doubles.plain_backend import PlainWorker, close, database, make_app, runs

#: Celery leaves sockets of an app that is thrown away, as each case does, to the collector.
pytestmark = pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)

KEYS = Keys()
#: An argument that the kind refuses, in a worker as well.
BAD = {"max_tokens": 0}
SITES = ["same database", "another database", "another Redis"]
_everywhere: set[str] = set()


def everywhere(test: Callable[[Site], None]) -> Callable[[Site], None]:
    """Run a test at each of SITES; the others run at the first."""
    _everywhere.add(test.__name__)
    return test


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Choose the sites of a test."""
    sites = SITES if metafunc.function.__name__ in _everywhere else SITES[:1]
    metafunc.parametrize("site", sites, indirect=True, scope="module")


def echo(body: dict[str, Any]) -> Script:
    """Answer with the user's message, so that a test sees which text arrived."""
    return Script(chunks=(f"<{body['messages'][-1]['content']}>.",))


@dataclass
class Site:
    """A backend's app, with its worker and ours running."""

    app: Celery
    url: str

    def task(self, name: str) -> Any:
        """A task of the backend."""
        return self.app.tasks[f"my.{name}"]

    def runs(self) -> list[list[Any]]:
        """What the backend's worker ran."""
        return runs(os.environ["REDIS_URL"])


def forget_caches() -> None:
    """Let this process read its settings anew."""
    if plain_app.cache_info().currsize:
        close(plain_app())
    for cached in (get_settings, lazy_settings, plain_app):
        cached.cache_clear()


@pytest.fixture(scope="module")
def site(request: pytest.FixtureRequest, redis_process: RedisProcess) -> Iterator[Site]:
    """Both workers; one pair serves all tests of a case."""
    url = redis_process.url
    with redis.Redis.from_url(url) as client:
        client.flushall()
    other = RedisProcess(port=free_port()) if request.param == "another Redis" else None
    settings = {}
    broker = url
    if request.param == "another database":
        broker = database(url, 3)
    if other is not None:
        other.start()
        broker = other.url
    if broker != url:
        settings = {"CALLBACK_BROKER_URL": broker}
    with FakeOllama() as ollama, pytest.MonkeyPatch.context() as environment:
        ollama.respond = echo
        for name, value in settings.items():
            environment.setenv(name, value)
        forget_caches()
        base = {"REDIS_URL": url, "OLLAMA_HOST": ollama.host, "MODEL_NAME": "fake:1b"}
        short = {"RETRY_BASE_SECONDS": "0.05", "MODEL_WAIT_SECONDS": "0.5"}
        ours = ForkedWorker({**base, "CONCURRENCY": "2", **short, **settings})
        theirs = PlainWorker(url, broker, broker)
        try:  # a worker that stays would work on the Redis of all tests that follow
            ours.start()
            theirs.start()
            app = make_app(broker, broker)
            yield Site(app, url)
            close(app)
        finally:
            theirs.kill()
            ours.kill()
    if other is not None:
        other.stop()
    forget_caches()


@everywhere
def test_the_next_step_of_a_chain(site: Site) -> None:
    """It runs in the backend's worker, and its result is where that app looks."""
    result = chain(tasks.generate.s("one"), site.task("store").s()).apply_async()
    assert result.get(timeout=20) == "stored <one>."


@pytest.mark.parametrize("name", ["routed", "own"])
def test_a_route_of_the_app_and_a_queue_of_the_task(site: Site, name: str) -> None:
    """The app's routes hold, though our worker does not know them."""
    result = chain(tasks.generate.s(name), site.task(name).s()).apply_async()
    assert result.get(timeout=20) == f"stored <{name}>."


def test_a_queue_of_the_step(site: Site) -> None:
    """It goes before every route."""
    step = site.task("routed").s().set(queue="special")
    result = chain(tasks.generate.s("special"), step).apply_async()
    assert result.get(timeout=20) == "stored <special>."


def test_a_link(site: Site) -> None:
    """It is called with the answer."""
    link = site.task("store").s().set(task_id="linked")
    tasks.generate.apply_async(("link",), link=link).get(timeout=20)
    assert site.app.AsyncResult("linked").get(timeout=20) == "stored <link>."


def test_an_errback(site: Site) -> None:
    """It is called with the id of the job that failed."""
    errback = site.task("note").s()
    failed = tasks.generate.apply_async(("x",), {"model": "none"}, link_error=errback)
    wait_until(lambda: ["note", failed.id] in site.runs(), "the errback runs")


@everywhere
def test_a_step_after_a_failure(site: Site) -> None:
    """It has the failure as its result, where its own app looks."""
    result = chain(tasks.generate.s("x", model="none"), site.task("store").s()).apply_async()
    with pytest.raises(Exception, match="none"):
        result.get(timeout=20)


@everywhere
def test_the_body_of_a_chord(site: Site) -> None:
    """It gets all answers in order."""
    parts = [tasks.generate.s(f"chord {word}") for word in "ab"]
    result = chord(parts)(site.task("collect").s())
    assert result.get(timeout=20) == ["<chord a>.", "<chord b>."]


def test_the_body_of_a_chord_with_a_failed_part(site: Site) -> None:
    """It fails, where its own app looks."""
    parts = [tasks.generate.s("part"), tasks.generate.s("x", model="none")]
    result = chord(parts)(site.task("collect").s())
    with pytest.raises(Exception, match="none"):
        result.get(timeout=20)


def test_a_group_inside_a_chain(site: Site) -> None:
    """Our worker sends its members, and the step after them waits for all."""
    store = site.task("store")
    flow = chain(tasks.generate.s("g"), group(store.s(), store.s()), site.task("collect").s())
    assert flow.apply_async().get(timeout=20) == ["stored <g>.", "stored <g>."]


def test_a_group_at_the_end_of_a_chain(site: Site) -> None:
    """Nobody waits for it; each member runs."""
    store = site.task("store")
    flow = chain(tasks.generate.s("h"), group(store.s(), store.s()))
    assert flow.apply_async().get(timeout=20) == ["stored <h>."] * 2


def test_a_group_with_both(site: Site) -> None:
    """Each member goes to its own app's queue, whichever comes first."""
    ours, theirs = tasks.generate.s("both"), site.task("store").s("mine")
    for members in ([ours, theirs], [theirs, ours]):
        results = group(members).apply_async().results
        answers = [result.get(timeout=20) for result in results]
        texts = {one["text"] if isinstance(one, dict) else one for one in answers}
        assert texts == {"<both>.", "stored mine"}


@everywhere
def test_a_chord_with_parts_of_both(site: Site) -> None:
    """Both workers count in one place, whichever app sends it."""
    ours, theirs = tasks.generate.s("mixed"), site.task("store").s("mine")
    for parts in ([ours, theirs], [theirs, ours]):
        texts = chord(parts)(site.task("collect").s()).get(timeout=20)
        assert sorted(texts) == ["<mixed>.", "stored mine"]


@everywhere
def test_our_body_for_parts_of_both(site: Site) -> None:
    """Whoever counts the last part sends it to the queue that the signature names."""
    ours, theirs = tasks.generate.s("one"), site.task("ask").s("two")
    for parts in ([ours, theirs], [theirs, ours]):
        answer = chord(parts)(tasks.generate.s()).get(timeout=20)
        assert "<one>." in answer["text"]
        assert "prompt two" in answer["text"]


def test_the_reverse(site: Site) -> None:
    """Their step first: a worker of theirs sends our job."""
    result = chain(site.task("ask").s("one"), tasks.generate.s()).apply_async()
    assert result.get(timeout=20)["text"] == "<prompt one>."


@everywhere
def test_there_and_back(site: Site) -> None:
    """A step of ours between two of theirs, and a chord of ours after one of theirs."""
    store, ask, collect = (site.task(name) for name in ("store", "ask", "collect"))
    flow = chain(ask.s("two"), tasks.generate.s(), store.s())
    assert flow.apply_async().get(timeout=20) == "stored <prompt two>."
    flow = chain(ask.s("3"), group(tasks.generate.s(), tasks.generate.s(max_tokens=9)), collect.s())
    assert flow.apply_async().get(timeout=20) == ["<prompt 3>.", "<prompt 3>."]


@everywhere
def test_a_job_by_name_is_answered_where_its_app_looks(site: Site) -> None:
    """With the app's own `.get()`; a copy with a lifetime."""
    sent = site.app.send_task("llm.generate", ["by name"], queue="llm.normal")
    assert sent.get(timeout=20)["text"] == "<by name>."
    key = site.app.backend.get_key_for_task(sent.id)
    assert 0 < site.app.backend.client.ttl(key) <= 86_400


def test_a_failure_by_name(site: Site) -> None:
    """It is raised by the app's own `.get()`."""
    sent = site.app.send_task("llm.generate", ["x"], BAD, queue="llm.normal")
    with pytest.raises(InvalidRequest, match="max_tokens"):
        sent.get(timeout=20)


@everywhere
def test_a_task_of_theirs_in_our_queue_is_refused_by_its_name(site: Site) -> None:
    """It is never renamed, and its caller is told."""
    sent = site.app.send_task("my.store", ["x"], queue="llm.normal")
    with pytest.raises(InvalidRequest, match="no task of this name"):
        sent.get(timeout=20)
    with redis.Redis.from_url(site.url, decode_responses=True) as client:
        assert client.hget(KEYS.job(sent.id), "kind") == "my.store"


@everywhere
def test_nothing_stays_behind(site: Site) -> None:
    """All afterwork is done, and no list holds a message that nobody reads."""
    with redis.Redis.from_url(site.url, decode_responses=True) as client:
        wait_until(lambda: not client.exists(KEYS.afterwork, KEYS.afterwork_messages), "it is done")
        lists = [key for key in client.scan_iter() if client.type(key) == "list"]
    assert set(lists) <= {KEYS.doorbell, KEYS.end_bell}, lists
    assert our_app.conf.task_default_queue == "llm.normal"
