"""`/v1/files`: uploads that go to the disk as they come, and what becomes of them."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from local_llm_service.producers.http.batches import disk
from tests.http.conftest import HttpSite

pytestmark = [
    pytest.mark.usefixtures("files_dir"),
    pytest.mark.local_llm(settings={"max_file_bytes": 100_000}),
]


def left(folder: Path) -> list[str]:
    """The files that are on the disk."""
    return [one.name for one in folder.rglob("*") if one.is_file()]


def test_the_life_of_a_file(http: HttpSite, files_dir: Path) -> None:
    """Created, listed, looked at, read byte by byte as it was, deleted."""
    client = http.openai()
    content = b'{"a": "\xc3\xa9"}\r\n'
    name = "../../etc/pass\u0007wd é.jsonl"
    made = client.files.create(
        file=(name, content),
        purpose="batch",
        expires_after={"anchor": "created_at", "seconds": 3600},
    )
    assert made.id.startswith("file-")
    assert (made.object, made.purpose, made.status) == ("file", "batch", "processed")
    assert (made.bytes, made.expires_at) == (len(content), made.created_at + 3600)
    assert "\u0007" not in made.filename
    assert client.files.retrieve(made.id) == made
    assert client.files.content(made.id).content == content
    assert client.files.list().data == [made]
    assert client.files.list(purpose="batch_output").data == []
    assert all("passwd" not in one for one in left(files_dir))
    for folder in (files_dir, files_dir / "anonymous", files_dir / "anonymous" / "files"):
        assert folder.stat().st_mode & 0o077 == 0
    gone = client.files.delete(made.id)
    assert (gone.id, gone.deleted) == (made.id, True)
    assert left(files_dir) == []
    for call in (client.files.retrieve, client.files.content, client.files.delete):
        with pytest.raises(openai.NotFoundError):
            call(made.id)


def test_pages_of_files(http: HttpSite) -> None:
    """Each file comes once, in both orders."""
    client = http.openai()
    ids = [client.files.create(file=("f", b"x"), purpose="batch").id for _ in range(5)]
    newest = [one.id for one in client.files.list(limit=2)]
    assert sorted(newest) == sorted(ids)
    assert [one.id for one in client.files.list(limit=2, order="asc")] == newest[::-1]
    assert http.get("/v1/files", params={"limit": 0}).status_code == 400
    assert http.get("/v1/files", params={"after": "file-x"}).status_code == 404


def test_a_file_whose_time_is_over_is_gone(
    http: HttpSite, files_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody finds it any more, and the next sweep drops it."""
    client = http.openai()
    made = client.files.create(file=("f", b"x"), purpose="batch")
    monkeypatch.setattr(disk, "time", lambda: made.expires_at + 1)
    assert client.files.list().data == []
    with pytest.raises(openai.NotFoundError):
        client.files.retrieve(made.id)
    disk.Disk(files_dir).sweep()
    assert left(files_dir) == []


def form(*parts: bytes, boundary: bytes = b"edge") -> bytes:
    """A body of multipart/form-data."""
    return b"".join(b"--edge\r\n" + part + b"\r\n" for part in parts) + b"--" + boundary + b"--\r\n"


def part(name: str, content: bytes, more: str = "") -> bytes:
    """One part of it."""
    return f'Content-Disposition: form-data; name="{name}"{more}\r\n\r\n'.encode() + content


PURPOSE, FILE = part("purpose", b"batch"), part("file", b"{}\n", '; filename="f"')
WRONG: dict[str, tuple[bytes, int]] = {
    "no file": (form(PURPOSE), 400),
    "no purpose": (form(FILE), 400),
    "another purpose": (form(part("purpose", b"fine-tune"), FILE), 400),
    "an unknown field": (form(PURPOSE, part("more", b""), FILE), 400),
    "two files": (form(PURPOSE, FILE, FILE), 400),
    "a nameless part": (form(PURPOSE, b"X: y\r\n\r\nz"), 400),
    "no end": (form(PURPOSE, FILE)[:-8], 400),
    "another edge": (form(PURPOSE, FILE, boundary=b"other"), 400),
    "nothing": (b"", 400),
    "JSON": (b'{"purpose": "batch"}', 400),
    "long headers": (form(PURPOSE, b"X: " + b"y" * 70_000 + b"\r\n" + FILE), 400),
    "many parts": (form(*(part(f"p{n}", b"") for n in range(20)), FILE), 400),
    "a long field": (form(part("purpose", b"x" * 5000), FILE), 400),
    "no UTF-8": (form(part("purpose", b"\xff"), FILE), 400),
    "an hour too short": (
        form(PURPOSE, part("expires_after[seconds]", b"3599"), FILE), 400,
    ),
    "too many digits": (
        form(PURPOSE, part("expires_after[seconds]", b"0000003600999"), FILE), 400,
    ),
    "large": (form(PURPOSE, part("file", b"x" * 100_001, '; filename="f"')), 413),
}  # fmt: skip


def test_wrong_uploads_leave_nothing(http: HttpSite, files_dir: Path) -> None:
    """Each gets one clear error, whole or in pieces, and no byte of it stays."""

    def pieces(body: bytes) -> Iterator[bytes]:
        for at in range(0, len(body), 1000):
            yield body[at : at + 1000]

    headers = {"Content-Type": "multipart/form-data; boundary=edge"}
    for what, (body, status) in WRONG.items():
        for sent in (body, pieces(body)):
            reply = http.post("/v1/files", content=sent, headers=headers)
            assert reply.status_code == status, (what, reply.text)
            assert reply.json()["error"]["message"]
        assert left(files_dir) == [], what
    good = http.post("/v1/files", content=pieces(form(FILE, PURPOSE)), headers=headers)
    assert good.json()["bytes"] == 3
    assert http.post("/v1/files", json={"purpose": "batch"}).status_code == 400


def test_a_gigabyte_is_refused_before_it_comes(http: HttpSite, files_dir: Path) -> None:
    """By what its head says."""
    host, port = http.url.removeprefix("http://").split(":")
    head = (
        f"POST /v1/files HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Length: 1000000000\r\n"
        "Content-Type: multipart/form-data; boundary=edge\r\n\r\n"
    )
    with socket.create_connection((host, int(port)), timeout=5) as connection:
        connection.sendall(head.encode())
        assert b" 413 " in connection.recv(1000).partition(b"\r\n")[0]
    assert left(files_dir) == []


def test_a_disk_that_takes_no_more(
    http: HttpSite, files_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """503 says so, no path is shown, and nothing is left."""

    def write(*_: Any) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(disk.os, "write", write)
    with pytest.raises(openai.InternalServerError) as refused:
        http.openai().files.create(file=("f", b"x"), purpose="batch")
    assert (refused.value.status_code, refused.value.code) == (503, "files_unavailable")
    assert str(files_dir) not in str(refused.value)
    assert left(files_dir) == []


def test_a_folder_that_is_none(http: HttpSite, files_dir: Path) -> None:
    """The operator named a file."""
    files_dir.write_text("")
    with pytest.raises(openai.InternalServerError) as refused:
        http.openai().files.create(file=("f", b"x"), purpose="batch")
    assert refused.value.code == "files_unavailable"
    assert http.get("/v1/files").status_code == 503
