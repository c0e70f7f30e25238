"""A Redis that is there and cannot write: workers wait for it, and nothing is lost."""

from __future__ import annotations

from pathlib import Path

import redis

from local_llm_service import tasks
from local_llm_service.worker.embedded.processes.worker_process import WorkerProcess
from tests.conftest import wait_until
from tests.doubles.ollama import FakeOllama


def test_a_worker_outlives_a_redis_whose_disk_fails(
    worker: WorkerProcess, redis_client: redis.Redis, ollama: FakeOllama
) -> None:
    """After a failed snapshot Redis answers MISCONF to every write, also to a worker that waits.

    The worker takes jobs again when the disk is well, without anybody starting it anew.
    """
    before = {name: redis_client.config_get(name)[name] for name in ("dir", "dbfilename", "save")}
    snapshot = Path(before["dir"], before["dbfilename"])
    snapshot.mkdir()  # Redis cannot replace it by a file
    redis_client.config_set("save", "3600 1")
    try:
        redis_client.bgsave()
        refused = "Redis refuses to hand out jobs"
        wait_until(lambda: refused in worker.log_path.read_text(), "the worker sees it")
        assert worker.running
    finally:
        snapshot.rmdir()
        redis_client.bgsave()
        wait_until(
            lambda: redis_client.info("persistence")["rdb_last_bgsave_status"] == "ok",
            "the disk is well again",
        )
        redis_client.config_set("save", before["save"])
        snapshot.unlink()  # else the next start of this Redis reads it
    assert tasks.generate.delay("hi").get(timeout=20)["text"] == "Hello."
    assert worker.running
    assert worker.log_path.read_text().count(refused) == 1
