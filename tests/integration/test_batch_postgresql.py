"""`local-llm batch --from-sql` on a real PostgreSQL: its cursor, and answers written back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from local_llm_service import tasks
from local_llm_service.producers.batch.output import NotWritten
from local_llm_service.producers.batch.sql import Rows, Statement, open_database
from local_llm_service.producers.cli import main
from local_llm_service.worker.embedded.processes.worker_process import WorkerProcess
from local_llm_service.worker.errors import InvalidRequest
from tests.doubles.postgresql import PostgresqlProcess

SHARED_WORKER = {"CONCURRENCY": "4"}
TALK = [{"role": "user", "content": "Hi"}]


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresqlProcess]:
    """One server for the file."""
    with PostgresqlProcess() as running:
        yield running


@pytest.fixture
def table(server: PostgresqlProcess) -> Iterator[psycopg.Connection[Any]]:
    """A table of 500 conversations with UUIDs and jsonb, of 1 MB each 100."""
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute("DROP TABLE IF EXISTS talks")
        connection.execute(
            "CREATE TABLE talks (id uuid DEFAULT gen_random_uuid() PRIMARY KEY, number int,"
            " messages jsonb, made timestamptz DEFAULT now(), summary text, answer jsonb)"
        )
        connection.execute(
            "INSERT INTO talks (number, messages) SELECT n, jsonb_build_array(jsonb_build_object("
            "'role', 'user', 'content', 'number ' || n || repeat(' and so on', 1000)))"
            " FROM generate_series(1, 500) n"
        )
        yield connection


def test_rows_come_through_a_cursor_of_the_server(
    server: PostgresqlProcess, table: psycopg.Connection[Any]
) -> None:
    """A table of many gigabytes is never here as a whole."""
    engine = open_database(server.url)
    query = "SELECT id AS custom_id, messages FROM talks WHERE number % 1000 > 0 ORDER BY number"
    lines = Rows(engine, query, None, aside=False).lines()
    first = json.loads(next(lines).text or b"")
    assert first["messages"][0]["content"].startswith("number 1 and so on")
    cursors = table.execute("SELECT query FROM pg_stat_activity WHERE state LIKE 'idle in trans%'")
    assert "FETCH" in str(cursors.fetchall())
    assert len(list(lines)) == 499
    engine.dispose()


def test_a_table_is_compressed_in_place(
    server: PostgresqlProcess, table: psycopg.Connection[Any], shared_worker: WorkerProcess,
    tmp_path: Any,
) -> None:  # fmt: skip
    """While the cursor is open; types of columns are the database's own affair."""
    with pytest.raises(SystemExit) as end:
        main(
            [
                *("batch", "compress", "--from-sql", server.url, "--id-field", "id"),
                *("--query", "SELECT id, messages FROM talks WHERE number <= 100"),
                *("--write-sql", "UPDATE talks SET summary = :summary, answer = :messages "
                  "WHERE id = :custom_id"),
                *("-o", str(tmp_path / "out.jsonl")),
            ]
        )  # fmt: skip
    assert end.value.code == 0
    found = table.execute(
        "SELECT count(*), count(answer -> 0) FROM talks WHERE summary LIKE '%Hello.'"
    )
    assert found.fetchone() == (100, 100)
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 100


def test_a_lost_connection_may_pass_and_a_wrong_statement_may_not(
    server: PostgresqlProcess, table: psycopg.Connection[Any]
) -> None:
    """And no row's text is in what is said of either."""
    engine = open_database(server.url)
    rows = [{"custom_id": "x", "summary": "secret"}]
    insert = Statement(engine, "INSERT INTO talks (summary) VALUES (:summary)", tasks.compress.kind)
    assert insert.pay(rows)
    table.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
        " AND backend_type = 'client backend'"
    )
    assert not insert.pay(rows)
    assert insert.trouble
    assert insert.pay(rows), "a new connection"
    wrong = Statement(engine, "UPDATE talks SET number = :summary", tasks.compress.kind)
    with pytest.raises(NotWritten) as raised:
        wrong.pay(rows)
    assert "22P02" in str(raised.value)
    assert "secret" not in str(raised.value)
    with pytest.raises(InvalidRequest, match="42P01"):
        list(Rows(engine, "SELECT * FROM missing", None, aside=False).lines())
    engine.dispose()


def test_a_server_that_is_away_is_said() -> None:
    """At the first row, before anything is submitted."""
    engine = open_database("postgresql://postgres@127.0.0.1:1/postgres")
    with pytest.raises(InvalidRequest, match="OperationalError"):
        list(Rows(engine, "SELECT 1", None, aside=False).lines())
