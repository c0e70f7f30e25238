"""`python -m tests.fuzz [EXAMPLES] [SEED]`: schemathesis, all checks, over a running service.

The model is a scripted one, so what is tried is HTTP. EXAMPLES are for each operation. Exit code 1:
something failed; 2: the environment in .fuzz/ could not be made.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from local_llm_service.worker.embedded.processes.redis_process import free_port
from tests.conftest import wait_until

ROOT = Path(__file__).parents[2]
HOME = ROOT / ".fuzz"
PINS = ROOT / "requirements-fuzz.txt"
CONFIG = Path(__file__).with_name("schemathesis.toml")
EXAMPLES = "40"


def main(examples: str = EXAMPLES, *seed: str) -> int:
    """See the module."""
    try:
        prepare()
    except subprocess.CalledProcessError as error:
        print(f"{error}\n{error.stderr}", file=sys.stderr)
        return 2
    with running() as (url, key):
        command = [HOME / "bin" / "schemathesis", "--config-file", CONFIG, "run"]
        command += [f"{url}/openapi.json", "--max-examples", examples]
        command += ["--continue-on-failure", "--request-timeout", "30"]
        command += ["--header", f"Authorization: Bearer {key}"]
        command += ["--seed", seed[0]] if seed else []
        done = subprocess.run(command, cwd=HOME, check=False)
        alive = httpx.get(f"{url}/health/live", trust_env=False)
    return int(done.returncode != 0 or alive.status_code != 200)


def prepare() -> None:
    """Install schemathesis, unless it is there."""
    stamp = HOME / "stamp"
    if stamp.exists() and stamp.read_text() == PINS.read_text():
        return
    commands = [
        [sys.executable, "-m", "venv", "--clear", HOME],
        [HOME / "bin" / "pip", "install", "--quiet", "--requirement", PINS],
    ]
    for command in commands:
        subprocess.run(command, check=True, capture_output=True, text=True)
    stamp.write_text(PINS.read_text())


@contextmanager
def running() -> Iterator[tuple[str, str]]:
    """The address of a service in a process of its own, and an API key of it."""
    port = free_port()
    command = [sys.executable, "-m", "tests.fuzz.site", str(port), "fast"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    url = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        try:
            return httpx.get(f"{url}/health/live", trust_env=False).is_success
        except httpx.TransportError:
            return False

    try:
        wait_until(lambda: answers() or process.poll() is not None, "the service answers", 30)
        yield url, process.stdout.readline().strip() if process.stdout else ""
    finally:
        process.terminate()
        process.wait(30)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
