"""`local-llm serve` as processes: several of them, deaths, signals, an address that is taken."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from textwrap import dedent

import httpx
import pytest

from local_llm_service.producers import status
from local_llm_service.producers.http.server import address, listen
from local_llm_service.worker.embedded.processes.http_process import HttpProcess
from local_llm_service.worker.embedded.processes.ports import answers_http, free_port
from local_llm_service.worker.embedded.processes.worker_process import WorkerProcess
from local_llm_service.worker.store.states import JobState
from tests.conftest import wait_until
from tests.doubles.ollama import FakeOllama, Script
from tests.integration.conftest import ROOT, run_python

SERVE = ("-m", "local_llm_service.producers.http")


def children(pid: int) -> set[int]:
    """The pids of a process's children."""
    return set(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))


def runs(pid: int) -> bool:
    """Whether a process is there, and is not only waited for."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except OSError:
        return False


def test_processes_replace_each_other_and_end_together(
    worker: WorkerProcess, ollama: FakeOllama
) -> None:
    """A death takes its own connections only; SIGTERM tells who waits that the job goes on."""
    ollama.respond = lambda _: Script(chunks=("a",) * 200, pause_seconds=0.1)
    server = HttpProcess({"REDIS_URL": os.environ["REDIS_URL"]}, workers=2)
    with server, ThreadPoolExecutor(1) as threads:
        before = wait_until(lambda: children(server.pid), "its processes")
        assert len(before) == 2
        os.kill(min(before), signal.SIGKILL)
        wait_until(lambda: len(children(server.pid) - before) == 1, "another one")
        body = {"prompt": "long"}
        waiting = threads.submit(httpx.post, f"{server.url}/generate", json=body, timeout=30)
        wait_until(lambda: ollama.seen, "it runs")
        left = children(server.pid)
        for pid in left:  # as systemd does, which tells all processes of a service
            os.kill(pid, signal.SIGTERM)
        os.kill(server.pid, signal.SIGTERM)
        reply = waiting.result()
        assert (reply.status_code, reply.json()["code"]) == (503, "shutting_down")
        task_id = reply.json()["detail"].split()[4]
        assert status(task_id) is JobState.RUNNING
        wait_until(lambda: not server.running, "it ends", 10)
        assert server._process is not None
        assert server._process.returncode == 0
        assert not any(map(runs, left))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_and_a_second_one_at_once(
    number: int, worker: WorkerProcess, ollama: FakeOllama
) -> None:
    """130 after Ctrl-C, as in any command, and 0 after what an operator's tools send."""
    ollama.respond = lambda _: Script(first_seconds=30)
    server = HttpProcess({"REDIS_URL": os.environ["REDIS_URL"]}).start()
    process = server._process
    assert process is not None
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(httpx.post, f"{server.url}/generate", json={"prompt": "a"})
        wait_until(lambda: ollama.seen, "it runs")
        process.send_signal(number)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.3)
        process.send_signal(number)
        assert waiting.result().status_code == 503
    assert process.wait(5) == (130 if number == signal.SIGINT else 0)


def test_the_processes_end_with_their_parent(redis_client: object) -> None:
    server = HttpProcess({"REDIS_URL": os.environ["REDIS_URL"]}, workers=2).start()
    left = children(server.pid)
    assert "There is no API key: all on this machine may call it." in server.log_path.read_text()
    server.kill()
    wait_until(lambda: not any(map(runs, left)), "they end", 5)


def test_an_address_that_is_taken_is_a_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = run_python(*SERVE, LOCAL_LLM_PORT=port)
    assert done.returncode == 2
    assert done.stderr.startswith("LOCAL_LLM_BIND, LOCAL_LLM_PORT: cannot listen at 127.0.0.1:")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("host", ["::1", "::"])
def test_ipv6(host: str) -> None:
    """`::` is IPv4's addresses, too."""
    with listen(host, 0) as listening:
        port = listening.getsockname()[1]
        socket.create_connection(("::1", port)).close()
        if host == "::":
            socket.create_connection(("127.0.0.1", port)).close()
    assert address(host, 80) == f"[{host}]:80"


def test_compose_makes_a_key_at_the_first_start(redis_client: object, tmp_path: Path) -> None:
    """And none at the next one; without it nobody gets in."""
    compose = (ROOT / "docker-compose.yml").read_text().partition("\n  http:")[2]
    script = compose.partition("      - |\n")[2].partition("    environment:")[0]
    script = dedent(script).replace("$$", "$").replace("/var/lib/local-llm", str(tmp_path))
    port = free_port()
    environment = {
        **{**os.environ, "LOCAL_LLM_PORT": str(port), "FILES_DIR": str(tmp_path / "files")},
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    shell = ["/bin/sh", "-c"]
    key = tmp_path / "api-key"
    with subprocess.Popen([*shell, script], env=environment) as process:
        wait_until(lambda: answers_http(port, "/health/live"), "it answers", 60)
        made, url = key.read_text().strip(), f"http://127.0.0.1:{port}/models"
        assert httpx.get(url).status_code == 401
        assert httpx.get(url, headers={"X-API-Key": made}).status_code == 200
        process.terminate()
    again = script.replace("exec local-llm serve", "")
    subprocess.run([*shell, again], env=environment, check=True)
    assert key.read_text().strip() == made
    assert key.stat().st_mode & 0o777 == 0o600
