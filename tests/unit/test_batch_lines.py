"""Lines of a batch: files, gzip, stdin, whatever an editor or a download did to them."""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path

import pytest

from local_llm_service.producers.batch import lines as lines_module
from local_llm_service.producers.batch.lines import Files, Line
from local_llm_service.worker.errors import InvalidRequest


def read(*paths: Path) -> list[Line]:
    return list(Files([str(path) for path in paths]).lines())


def file(folder: Path, content: bytes, name: str = "in.jsonl") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def test_lines_are_numbered_without_blank_ones(tmp_path: Path) -> None:
    """The number is the line's for the ledger; the place is where an editor shows it."""
    found = read(file(tmp_path, b'{"a": 1}\n\n  \n{"b": 2}\n'))
    assert [(one.number, one.place.rpartition(":")[2]) for one in found] == [(1, "1"), (2, "4")]
    assert [one.text for one in found] == [b'{"a": 1}', b'{"b": 2}']


def test_the_last_line_needs_no_end(tmp_path: Path) -> None:
    """Many programs write none."""
    assert [one.text for one in read(file(tmp_path, b"1\n2"))] == [b"1", b"2"]


def test_ends_and_byte_order_marks_of_windows_do_not_count(tmp_path: Path) -> None:
    """The digest is that of the content, so a converted file is still the same."""
    here = read(file(tmp_path, b"1\n2\n"))
    there = read(file(tmp_path, b"\xef\xbb\xbf1\r\n2\r\n", "windows.jsonl"))
    assert [(one.text, one.digest) for one in here] == [(one.text, one.digest) for one in there]


def test_gzip_is_known_by_its_first_bytes(tmp_path: Path) -> None:
    """Whatever its name; a byte-order mark may be inside."""
    packed = gzip.compress(b"\xef\xbb\xbf1\n2\n")
    assert [one.text for one in read(file(tmp_path, packed))] == [b"1", b"2"]


def test_numbers_go_on_over_several_files(tmp_path: Path) -> None:
    """A batch may come in parts."""
    found = read(file(tmp_path, b"1\n2\n"), file(tmp_path, b"3\n", "more.jsonl"))
    assert [one.number for one in found] == [1, 2, 3]
    assert found[2].place.endswith("more.jsonl:1")


@pytest.mark.parametrize("cut", [12, -1, -9])
def test_gzip_that_is_cut_off_is_said_after_its_lines(tmp_path: Path, cut: int) -> None:
    """A download that broke off must not count as the whole input."""
    text = b"".join(b'{"n": %d}\n' % n for n in range(1000))
    path = file(tmp_path, gzip.compress(text)[:cut], "in.gz")
    with pytest.raises(InvalidRequest, match="broken as gzip"):
        read(path)


def test_a_huge_line_is_not_read_into_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has a digest as every line, and the line after it is read."""
    monkeypatch.setattr(lines_module, "MOST_LINE_BYTES", 100)
    exact, huge = b"x" * 100, b"y" * 5000
    found = read(file(tmp_path, exact + b"\r\n" + huge + b"\n3\n" + huge))
    assert [one.text for one in found] == [exact, None, b"3", None]
    assert found[0].digest == hashlib.sha256(exact).digest()[:16]
    assert found[1].digest != found[0].digest


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"\xff\xfe1\x00", "UTF-16"), (b"[\n{}]", "one JSON document"), (b"{\n}", "one JSON")],
)
def test_what_is_no_file_of_lines_is_refused_at_once(
    tmp_path: Path, content: bytes, said: str
) -> None:
    """Otherwise every one of its lines would be an error."""
    with pytest.raises(InvalidRequest, match=said):
        read(file(tmp_path, content))


@pytest.mark.parametrize("name", ["missing.jsonl", ".", "a\0b"])
def test_what_cannot_be_read_is_refused_before_the_first_line(tmp_path: Path, name: str) -> None:
    """Also when it is the last of several inputs."""
    with pytest.raises(InvalidRequest) as raised:
        Files([str(file(tmp_path, b"1\n")), str(tmp_path / name)])
    assert raised.value.hint


def test_a_line_knows_which_part_of_the_input_ends_with_it(tmp_path: Path) -> None:
    """By its bytes: nobody knows how many lines there are before they were read."""
    found = read(file(tmp_path, b"11\n22\n"), file(tmp_path, b"333333\n", "more"))
    assert [one.part for one in found] == [3 / 13, 6 / 13, 1.0]
