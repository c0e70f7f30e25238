"""What is wrong with a batch's file is found before its first line runs."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from local_llm_service.producers.batch.lines import Files
from local_llm_service.producers.http.batches import validation
from local_llm_service.producers.http.batches.line_plan import LinePlan
from local_llm_service.producers.http.batches.record import Definition, window_seconds
from local_llm_service.producers.http.batches.validation import Findings, validate
from local_llm_service.worker.errors import InvalidRequest
from tests.http.batching import CHAT, jsonl, line

BATCH = Definition(
    id="batch_1",
    tag="",
    tenant=None,
    endpoint=CHAT,
    completion_window="24h",
    created_at=1,
    expires_at=None,
    input_file_id="file-1",
    output_file_id="file-2",
    error_file_id="file-3",
)


def findings(folder: Path, content: bytes) -> Findings:
    """What is found in a file."""
    path = folder / "in.jsonl"
    path.write_bytes(content)
    found = validate(Files([str(path)], unpacks=False), LinePlan(BATCH, 8_388_608), lambda: True)
    assert found is not None
    return found


BAD: dict[str, tuple[bytes, str, int | None]] = {
    "not JSON": (jsonl(line("a")) + b"\n{oops\n", "invalid_request", 3),
    "no object": (b"[1]\n", "invalid_request", 1),
    "a key twice": (b'{"custom_id":"a","custom_id":"b"}\n', "invalid_request", 1),
    "an id twice": (jsonl(line("a"), line("a")), "duplicate_custom_id", 2),
    "another URL": (jsonl(line("a"), line("b", url="/v1/embeddings")), "unsupported_url", 2),
    "another method": (jsonl({**line("a"), "method": "GET"}), "invalid_request", 1),
    "an unknown member": (jsonl({**line("a"), "more": 1}), "invalid_request", 1),
    "no id": (b'{"method":"POST","url":"/v1/chat/completions","body":{}}\n', "invalid_request", 1),
    "two models": (jsonl(line("a", model="x:1b"), line("b")), "mismatched_model", 2),
    "a stream": (jsonl(line("a", stream=True)), "invalid_request", 1),
    "what the endpoint refuses": (jsonl(line("a", n=3)), "invalid_request", 1),
    "what the kind refuses": (jsonl(line("a", max_tokens=0)), "invalid_request", 1),
    "10 MB": (jsonl(line("a", "x" * 10_000_000)), "too_large", 1),
    "a gzip file": (gzip.compress(jsonl(line("a"))), "invalid_request", 1),
    "no line": (b"\r\n\n", "empty_file", None),
    "nothing": (b"", "empty_file", None),
    "UTF-16": (jsonl(line("a")).decode().encode("utf-16"), "unreadable_file", None),
    "a document": (b'[\n{"a": 1}\n]\n', "unreadable_file", None),
}


@pytest.mark.parametrize("what", BAD)
def test_the_first_wrong_line_is_named(tmp_path: Path, what: str) -> None:
    """Its number is that of the file; neither a word of it nor a path is in the error."""
    content, code, number = BAD[what]
    error = findings(tmp_path, content).errors[0]
    assert (error["code"], error["line"]) == (code, number)
    assert "Say" not in error["message"]
    assert str(tmp_path) not in error["message"]


def test_a_good_file_has_no_errors(tmp_path: Path) -> None:
    """Blank lines, CRLF and a byte-order mark do not count."""
    lines = jsonl(line("a", model="x:1b"), line("b", model="x:1b"))
    content = b"\xef\xbb\xbf" + lines.replace(b"\n", b"\r\n\r\n")
    found = findings(tmp_path, content)
    assert (found.errors, found.total, found.model) == ([], 2, "x:1b")


def test_too_many_lines_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line more than OpenAI takes; nobody reads on."""
    monkeypatch.setattr(validation, "LINES_MOST", 2)
    found = findings(tmp_path, jsonl(*(line(str(n)) for n in range(9))))
    assert [one["code"] for one in found.errors] == ["too_many_lines"]
    assert found.total == 3


def test_nobody_reads_on_after_many_errors(tmp_path: Path) -> None:
    """The list of errors is bounded."""
    assert len(findings(tmp_path, b"x\n" * 1000).errors) == validation.ERRORS_MOST


@pytest.mark.parametrize(
    ("word", "seconds"),
    [("24h", 86_400), ("30m", 1800), ("720h", 2_592_000), ("background", None)],
)
def test_completion_windows(word: str, seconds: int | None) -> None:
    """Beyond OpenAI's 24h, any minutes and hours, and none at all."""
    assert window_seconds(word) == seconds


@pytest.mark.parametrize("word", ["", "24", "0h", "721h", "1d", "-1h", "1.5h", "24h\n", "²h"])
def test_other_windows_are_refused(word: str) -> None:
    """The error says what there is."""
    with pytest.raises(InvalidRequest, match=r"^completion_window: "):
        window_seconds(word)
