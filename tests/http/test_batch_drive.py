"""One driver of a batch at a time: what a lease allows, and what a tenant may see."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from copy import copy
from pathlib import Path
from typing import Any

import httpx
import pytest

from local_llm_service.producers.async_client import AsyncClient
from local_llm_service.producers.http.batches import drive as drive_module
from local_llm_service.producers.http.batches.disk import Disk
from local_llm_service.producers.http.batches.drive import Drive, Pause
from local_llm_service.producers.http.batches.places import BatchPlaces
from local_llm_service.producers.http.batches.record import BatchStatus, Definition, Progress
from local_llm_service.producers.http.callers.caller import Caller
from local_llm_service.testing import LocalLLM
from tests.conftest import wait_until
from tests.http.batching import CHAT, begin, jsonl, line, run, until_ended
from tests.http.conftest import HttpSite, tell_tenants_by_header

pytestmark = pytest.mark.usefixtures("files_dir")

A = "00000000-0000-4000-8000-000000000000"


@pytest.fixture
def places(files_dir: Path) -> BatchPlaces:
    """A batch of four lines on the disk."""
    disk = Disk(files_dir)
    upload = disk.upload(f"file-{A}")
    upload.write(jsonl(*(line(str(n)) for n in range(4))))
    upload.end()
    batch = Definition(
        id=f"batch_{A}",
        tag="",
        tenant=None,
        endpoint=CHAT,
        completion_window="24h",
        created_at=1,
        expires_at=None,
        input_file_id=f"file-{A}",
        output_file_id=f"file-{A[:-1]}1",
        error_file_id=f"file-{A[:-1]}2",
    )
    found = BatchPlaces(disk, batch)
    assert found.make()
    return found


def drive_of(places: BatchPlaces, token: int, held_seconds: float = 60) -> Drive:
    """A driver with this token."""
    return Drive(
        places,
        token,
        AsyncClient(),
        1_000_000,
        Progress(),
        check_model=lambda _: None,
        digests=dict,
        held_until=time.monotonic() + held_seconds,
    )


def in_a_thread(call: Callable[[], Any]) -> Callable[[], Any]:
    """Begin a call; what is returned waits for its result."""
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(call()))
    thread.start()

    def result() -> Any:
        thread.join(20)
        return found[0]

    return result


def test_without_a_lease_nothing_is_written(local_llm: LocalLLM, places: BatchPlaces) -> None:
    """A driver whose lease may have run out keeps no answer; the next one collects them all."""
    late = drive_of(places, 1)
    with local_llm.held():
        ended = in_a_thread(late.run)
        local_llm.wait_until_asked(1)
        late.held_until = 0.0
    assert ended() == Pause()
    assert places.output.read_bytes() == b""
    next_one = drive_of(places, 2)
    next_one.progress = late.progress
    assert next_one.run() is None
    assert next_one.progress.status is BatchStatus.COMPLETED
    assert len(places.output.read_text().splitlines()) == 4
    assert len(local_llm.prompts) == 4


def test_one_that_comes_back_late_changes_nothing(local_llm: LocalLLM, places: BatchPlaces) -> None:
    """A driver of an older token, or beside another, leaves the files alone."""
    newer = drive_of(places, 5)
    with local_llm.held():
        ended = in_a_thread(newer.run)
        local_llm.wait_until_asked(1)
        beside = drive_of(places, 6)
        beside.progress = newer.progress
        assert beside.run() == Pause(drive_module.IN_USE_SECONDS)
    assert ended() is None
    whole = places.output.read_bytes()
    older = drive_of(places, 4)
    assert older.run() == Pause()
    assert places.output.read_bytes() == whole


def test_a_cancel_reaches_jobs_of_an_earlier_driver(
    local_llm: LocalLLM, places: BatchPlaces
) -> None:
    """What it had sent is cancelled, too: nothing is generated for nobody."""
    earlier = drive_of(places, 1)
    with local_llm.held():
        ended = in_a_thread(earlier.run)
        local_llm.wait_until_asked(1)
        earlier.is_interrupted = True
        assert ended() == Pause()
        later = drive_of(places, 2)
        later.progress, later.is_cancelled = earlier.progress, True
        assert later.run() is None
    assert later.progress.status is BatchStatus.CANCELLED
    assert later.progress.failed == 4
    states = {job.state for job in local_llm.submitted}
    assert states == {"cancelled"}


def test_a_full_disk_holds_a_batch_up(
    local_llm: LocalLLM, places: BatchPlaces, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It waits, says for what, and goes on when there is room; no line is there twice."""

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("local_llm_service.producers.batch.output._write_at", full)
        held_up = drive_of(places, 1)
        assert held_up.run() == Pause(drive_module.TROUBLE_SECONDS)
    assert held_up.progress.waits_for == "files_unavailable"
    assert held_up.progress.status is BatchStatus.IN_PROGRESS
    again = drive_of(places, 2)
    again.progress = held_up.progress
    assert again.run() is None
    assert again.progress.waits_for is None
    assert len(set(places.output.read_text().splitlines())) == 4
    assert len(local_llm.prompts) == 4


def test_a_folder_that_is_away_holds_a_batch_up(places: BatchPlaces, files_dir: Path) -> None:
    """A volume that is not mounted is no reason to fail what is on it."""
    files_dir.rename(files_dir.with_name("away"))
    assert drive_of(places, 1).run() == Pause(drive_module.TROUBLE_SECONDS)


@pytest.fixture
def tenants(http: HttpSite, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Any]]:
    """HTTP clients of tenants, who are told by a header here."""
    tell_tenants_by_header(monkeypatch)
    opened: list[httpx.Client] = []

    def client(name: str) -> Any:
        said = {"x-tenant": name} if name else {}
        made = httpx.Client(base_url=http.url, headers=said, trust_env=False)
        opened.append(made)
        site = copy(http)
        site.client, site.get, site.post, site.delete = made, made.get, made.post, made.delete
        plain = site.openai
        site.openai = lambda **o: plain(default_headers=said, **o)  # type: ignore[method-assign]
        return site

    yield client
    for one in opened:
        one.close()


def test_another_tenant_finds_nothing(
    local_llm: LocalLLM, tenants: Callable[[str], Any], files_dir: Path
) -> None:
    """Ids, lists, folders, jobs and the cache are a tenant's own."""
    mine, theirs, nobody = tenants("one"), tenants("two"), tenants("")
    tag = Caller(tenant="one").tag
    with local_llm.held():
        batch = begin(mine, jsonl(line("a")))
        local_llm.wait_until_asked(1)
        (job,) = local_llm.submitted
    assert job.id.startswith(f"{tag}-")
    assert job.arguments["cache_scope"] == "one"
    batch = until_ended(mine, batch.id)
    assert batch.id.startswith(f"batch_{tag}-")
    assert batch.output_file_id.startswith(f"file-{tag}-")
    files = [batch.input_file_id, batch.output_file_id]
    for other in (theirs, nobody):
        for path in (
            f"/v1/batches/{batch.id}",
            f"/v1/batches/{batch.id}/results",
            *(f"/v1/files/{one}" for one in files),
            *(f"/v1/files/{one}/content" for one in files),
        ):
            assert other.get(path).status_code == 404, path
        for act in ("cancel", "retry"):
            assert other.post(f"/v1/batches/{batch.id}/{act}").status_code == 404
        assert other.delete(f"/v1/files/{files[0]}").status_code == 404
        assert other.get("/v1/files").json()["data"] == []
        assert other.get("/v1/batches").json()["data"] == []
        assert other.get("/v1/batches", params={"after": batch.id}).status_code == 404
        body = {"input_file_id": files[0], "endpoint": CHAT, "completion_window": "24h"}
        assert other.post("/v1/batches", json=body).status_code == 404
    assert len(mine.get("/v1/files").json()["data"]) == 2
    asked = len(local_llm.prompts)
    assert run(theirs, jsonl(line("a"))).request_counts.completed == 1
    assert len(local_llm.prompts) == asked + 1


def test_more_batches_than_one_process_drives(local_llm: LocalLLM, http: HttpSite) -> None:
    """The others wait, and a cancel of one that waits does not."""
    with local_llm.held():
        begun = [begin(http, jsonl(line(f"{n}"))) for n in range(6)]
        client = http.openai()

        def states() -> list[str]:
            return [client.batches.retrieve(one.id).status for one in begun]

        wait_until(lambda: states().count("in_progress") == 4, "four are driven")
        assert states().count("validating") == 2
        for one in begun:  # what is still to be read is the batch's own
            client.files.delete(one.input_file_id)
        last = begun[states().index("validating", 4) if "validating" in states()[4:] else 5]
        client.batches.cancel(last.id)
        assert until_ended(http, last.id).status == "cancelled"
        assert states().count("in_progress") == 4
    ends = {until_ended(http, one.id).status for one in begun}
    assert ends == {"completed", "cancelled"}
