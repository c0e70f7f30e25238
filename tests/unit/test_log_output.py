"""What a worker prints and logs never blocks it, and each record is one line."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading

from local_llm_service.worker.log_lines import OneLineRecord, one_line
from local_llm_service.worker.log_output import LogOutput
from tests.conftest import wait_until


def test_a_reader_that_reads_gets_everything_in_order() -> None:
    """Nothing is lost while somebody reads."""
    reader, writer = os.pipe()
    output = LogOutput(writer)
    for number in range(100):
        print(f"line {number}", file=output)
    assert output.drain(10)
    os.close(writer)
    with os.fdopen(reader) as lines:
        assert [line.strip() for line in lines] == [f"line {number}" for number in range(100)]


def test_a_pipe_that_nobody_reads_drops_and_counts() -> None:
    """A write returns although the pipe is full; its loss is said when somebody reads again."""
    reader, writer = os.pipe()
    _fill(writer)
    output = LogOutput(writer, most_bytes=10_000)
    flood = threading.Thread(
        target=lambda: [output.write("x" * 999 + "\n") for _ in range(1000)], daemon=True
    )
    flood.start()
    flood.join(20)
    assert not flood.is_alive(), "a write has blocked"
    assert output.dropped == 990
    assert not output.drain(0.01)
    said = b""
    while b"writes to this log were dropped" not in said:
        said += os.read(reader, 65_536)
    assert output.drain(10)
    os.close(reader)
    output.write("the pipe is closed now\n")
    wait_until(lambda: output.drain(1), "a closed pipe blocks nobody, too")
    os.close(writer)


def _fill(pipe: int) -> None:
    os.set_blocking(pipe, False)
    try:
        while True:
            os.write(pipe, b"x" * 4096)
    except BlockingIOError:
        os.set_blocking(pipe, True)


def test_a_forked_child_writes_by_a_thread_of_its_own() -> None:
    """fork copies a lock as it is and no thread."""
    code = (
        "import os, sys\n"
        "from local_llm_service.worker.log_output import drain_output, unblock_output\n"
        "unblock_output()\n"
        "print('parent'); drain_output()\n"
        "if os.fork() == 0:\n"
        "    print('child'); drain_output(); os._exit(0)\n"
        "os.wait(); print('end')\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert done.stdout.split() == ["parent", "child", "end"], done.stderr


def test_a_record_is_one_line() -> None:
    """A task id with a line break cannot write a line of its own."""
    forged = "id\n2026-01-01 ERROR forged\x1b[2J"
    record = OneLineRecord("name", logging.INFO, "file", 1, "job %s ended", (forged,), None)
    assert record.getMessage() == "job id\\n2026-01-01 ERROR forged\\x1b[2J ended"
    assert one_line("plain text") == "plain text"
    assert one_line("Grüße 你好") == "Grüße 你好"
