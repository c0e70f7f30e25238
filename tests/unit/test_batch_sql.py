"""Lines from SQLite, answers into it; for PostgreSQL see integration/test_batch_postgresql.py."""

from __future__ import annotations

import json
import sqlite3
import uuid
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine

from local_llm_service import tasks
from local_llm_service.producers.batch import sql
from local_llm_service.producers.batch.output import NotWritten
from local_llm_service.producers.batch.sql import Rows, Statement, open_database
from local_llm_service.worker.errors import InvalidRequest

TALK = [{"role": "user", "content": "Hi"}]
KIND = tasks.compress.kind


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """A table of 300 conversations."""
    path = tmp_path / "talks.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE talks (id INTEGER PRIMARY KEY, messages, summary)")
        connection.executemany(
            "INSERT INTO talks (id, messages) VALUES (?, ?)",
            [(n, json.dumps([*TALK, {"role": "user", "content": f"{n}"}])) for n in range(300)],
        )
    connection.close()
    return path


def rows(path: Path, query: str, id_column: str | None = None, aside: bool = False) -> list[Any]:
    engine = open_database(f"sqlite:///{path}")
    try:
        return [
            (line.place, json.loads(line.text or b""))
            for line in Rows(engine, query, id_column, aside=aside).lines()
        ]
    finally:
        engine.dispose()


@pytest.mark.parametrize("aside", [False, True])
def test_rows_are_lines(database: Path, aside: bool) -> None:
    """JSON in a text column is read, columns without a value are left out."""
    found = rows(database, "SELECT id, messages, summary FROM talks ORDER BY id", "id", aside)
    assert len(found) == 300
    assert found[7] == (
        "row 8",
        {"custom_id": 7, "messages": [*TALK, {"role": "user", "content": "7"}]},
    )


def test_a_query_is_sent_as_it_is(database: Path) -> None:
    """A colon or a percent sign in it is no parameter."""
    found = rows(database, "SELECT 'a:b %s' AS custom_id, ':x' AS prompt")
    assert found == [("row 1", {"custom_id": "a:b %s", "prompt": ":x"})]


def test_values_that_are_no_json_become_text(database: Path) -> None:
    """Dates, decimals, UUIDs."""
    key = uuid.uuid4()
    text = Rows(create_engine("sqlite://"), "", None, aside=False)._text(
        {"custom_id": key, "prompt": "hi", "day": date(2026, 11, 28), "cache_scope": None}
    )
    assert json.loads(text) == {"custom_id": str(key), "prompt": "hi", "day": "2026-11-28"}


@pytest.mark.parametrize(
    "query", ["SELECT id FROM talks", "SELECT secret FROM talks", "nonsense secret", "PRAGMA foo"]
)
def test_a_query_that_gives_no_ids_is_refused(database: Path, query: str) -> None:
    """The database's own text is not passed on: it may hold a row."""
    with pytest.raises(InvalidRequest) as raised:
        rows(database, query)
    assert "secret" not in f"{raised.value.message} {raised.value.hint}"
    assert raised.value.hint


@pytest.mark.parametrize(
    "url", ["nonsense", "x://y", "sqlite:////missing/file.db", "mysql+nosuchdriver://h/d"]
)
def test_a_database_that_cannot_be_opened_is_refused(url: str) -> None:
    """A missing SQLite is not made."""
    with pytest.raises(InvalidRequest) as raised:
        open_database(url)
    assert raised.value.hint


def test_without_sqlalchemy_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A producer has it only with [batch]."""
    monkeypatch.setitem(__import__("sys").modules, "sqlalchemy", None)
    with pytest.raises(InvalidRequest) as raised:
        open_database("sqlite://")
    assert "local-llm-service[batch]" in raised.value.hint


def answers(*numbers: int) -> list[dict[str, Any]]:
    return [
        {"custom_id": f"{n}", "task_id": "t", "summary": f"about {n}", "messages": TALK}
        for n in numbers
    ]


UPDATE = "UPDATE talks SET summary = :summary, messages = :messages WHERE id = :custom_id"


def test_answers_are_written_back_as_often_as_asked(database: Path) -> None:
    """A list is written as JSON. The same answer once more changes nothing."""
    engine = open_database(f"sqlite:///{database}")
    statement = Statement(engine, UPDATE, KIND)
    for _ in range(2):
        assert statement.pay(answers(1, 2))
    assert statement.unmatched == 0
    assert statement.pay(answers(5, 1000))
    assert statement.unmatched == 1, "there is no row 1000"
    engine.dispose()
    with sqlite3.connect(database) as connection:
        found = connection.execute("SELECT id, summary, messages FROM talks WHERE id = 2")
        assert found.fetchall() == [(2, "about 2", json.dumps(TALK))]
    connection.close()


def test_a_group_is_one_transaction(database: Path) -> None:
    """Half a group would be written twice or not at all."""
    engine = open_database(f"sqlite:///{database}")
    insert = "INSERT INTO talks (id, summary) VALUES (:custom_id, :summary)"
    with pytest.raises(NotWritten, match="IntegrityError") as raised:
        Statement(engine, insert, KIND).pay(answers(500, 1))
    assert "about" not in str(raised.value)
    engine.dispose()
    with sqlite3.connect(database) as connection:
        assert connection.execute("SELECT count(*) FROM talks").fetchone() == (300,)
    connection.close()


def test_a_busy_database_is_tried_again(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And a missing table is not, which SQLite calls an OperationalError, too."""
    engine = create_engine(f"sqlite:///{database}", connect_args={"timeout": 0})
    statement = Statement(engine, UPDATE, KIND)
    with sqlite3.connect(database) as other:
        other.execute("BEGIN EXCLUSIVE")
        assert not statement.pay(answers(1))
        assert "SQLITE_BUSY" in statement.trouble
        other.rollback()
    other.close()
    assert statement.pay(answers(1))
    assert statement.trouble == ""
    with pytest.raises(NotWritten, match="SQLITE_ERROR"):
        Statement(engine, "UPDATE missing SET a = :summary", KIND).pay(answers(1))
    engine.dispose()


def test_a_name_that_no_answer_has_is_refused_at_once(database: Path) -> None:
    """Not in the morning."""
    engine = create_engine("sqlite://")
    with pytest.raises(InvalidRequest, match="sumary") as raised:
        Statement(engine, "UPDATE talks SET summary = :sumary", KIND)
    assert ":summary" in raised.value.hint


def test_all_errors_that_may_pass_are_known() -> None:
    """A lost connection, whatever its class."""
    from sqlalchemy.exc import DBAPIError, ProgrammingError

    lost = DBAPIError("s", {}, Exception(), connection_invalidated=True)
    assert sql._may_pass(lost)
    assert not sql._may_pass(ProgrammingError("s", {}, Exception()))
