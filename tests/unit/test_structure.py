"""Rules about the code itself: the direction and weight of imports, style and types."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
#: The interpreter's folder, without resolving links, because a venv's python is a link.
BIN = Path(sys.executable).parent

#: Modules that a backend that only sends jobs must not pay for.
HEAVY = (
    "flower",
    "httpx",
    "jsonschema_rs",
    "local_llm_service.worker.embedded",
    "local_llm_service.worker.engine",
    "local_llm_service.worker.settings",
    "ollama",
    "prometheus_client",
    "pydantic_settings",
    "numpy",
    "scipy",
    "semantic_text_splitter",
    "sentencex",
    "sklearn",
    "text_to_num",
    "tornado",
    "xllamacpp",
)
#: Parts of Celery that we derive from; they change with its minor versions.
INTERNAL = ("celery.backends", "celery.bootsteps", "celery.concurrency", "celery.worker")
#: House rules: lines of a module, of a function, of a Lua script.
MODULE_LINES, FUNCTION_LINES, SCRIPT_LINES = 350, 40, 120


def run(*command: str | Path) -> str:
    """Run a tool over the checkout; a failure shows its output."""
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


def modules_after(statement: str) -> set[str]:
    """The modules that a fresh interpreter has loaded after `statement`."""
    code = f"import json, sys; {statement}; print(json.dumps(sorted(sys.modules)))"
    return set(json.loads(run(sys.executable, "-c", code)))


def test_sending_a_job_loads_no_part_of_the_worker() -> None:
    """A web backend imports `tasks`; it needs no HTTP client, no settings and no engine."""
    loaded = modules_after("from tasks import summarize")
    assert "local_llm_service.tasks.summarize" in loaded
    assert [
        name for name in sorted(loaded) if any(f"{name}.".startswith(f"{h}.") for h in HEAVY)
    ] == []


@pytest.mark.parametrize("imported", ["producers", "producers.cli"])
def test_only_http_loads_a_web_server(imported: str) -> None:
    """A backend, and the command line, do not have the extra [http]."""
    loaded = {name.partition(".")[0] for name in modules_after(f"import {imported}")}
    assert not loaded & {"starlette", "uvicorn", "httptools", "uvloop", "multipart", "aiohttp"}


def test_importing_the_tasks_makes_no_app_current() -> None:
    """A backend's own Celery app stays the one that Celery uses by default."""
    code = "import tasks; from celery._state import _tls, default_app as app"
    said = run(sys.executable, "-c", f"{code}; print(app, _tls.current_app)")
    assert said.split() == ["None", "None"]


def test_imports_go_one_way() -> None:
    """Imports go producers → tasks → worker, and only a running worker loads the engine."""
    assert "0 broken" in run(BIN / "lint-imports", "--no-cache")


def sources(pattern: str = "*.py") -> list[Path]:
    """The files of the product and of its evaluation."""
    return [
        file
        for room in ("producers", "tasks", "testing", "worker", "evals")
        for file in (ROOT / room).rglob(pattern)
    ]


def test_only_celery_ext_derives_from_celerys_internals() -> None:
    """The import linter sees other packages only as a whole, so this test reads their modules."""
    found = [
        f"{file.relative_to(ROOT)}: {name}"
        for file in sources()
        if "celery_ext" not in file.parts
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in [getattr(node, "module", None) or node.names[0].name]
        if name.startswith(INTERNAL)
    ]
    assert found == []


def test_rooms_stay_small() -> None:
    """A module, function or script that outgrows its limit contains a second idea."""
    long = [
        f"{file.relative_to(ROOT)}: {lines} lines"
        for pattern, most in (("*.py", MODULE_LINES), ("*.lua", SCRIPT_LINES))
        for file in sources(pattern)
        if (lines := file.read_text().count("\n")) > most
    ]
    for file in sources():
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or 0) - node.lineno + 1
                if lines > FUNCTION_LINES:
                    long.append(f"{file.relative_to(ROOT)}: {node.name} has {lines} lines")
    assert long == []


def test_the_linter_has_nothing_to_say() -> None:
    """Rules and exemptions are in pyproject.toml."""
    run(BIN / "ruff", "check", ".")


def test_the_formatter_has_nothing_to_change() -> None:
    """`ruff format` is the only opinion about layout."""
    run(BIN / "ruff", "format", "--check", ".")


def test_the_types_hold() -> None:
    """mypy, strict."""
    run(BIN / "mypy")


def test_callers_code_has_types() -> None:
    """Both clients know the answer's class, also where a caller's own class is asked for."""
    run(BIN / "mypy", "tests/data/typed_calls.py")


def test_only_a_batch_that_runs_loads_its_parts() -> None:
    """Every command imports its name, none but it the databases and the bar (extra [batch])."""
    loaded = modules_after("import local_llm_service.producers.cli")
    heavy = ("sqlalchemy", "rich", "sqlite3", "local_llm_service.producers.batch")
    assert "local_llm_service.producers.cli.batch" in loaded
    assert [name for name in heavy if name in loaded] == []
