"""The pages hold together: links lead somewhere, and what a page names is there in the code."""

import ast
import inspect
import re
from collections.abc import Iterator
from dataclasses import fields
from functools import cache
from pathlib import Path

import click
import pytest
from prometheus_client import Counter, Gauge

from local_llm_service.producers.cli import cli
from local_llm_service.worker import errors, metrics
from local_llm_service.worker.key_prefix import DEFAULT_PREFIX
from local_llm_service.worker.store.keys import QUEUES, Keys
from local_llm_service.worker.store.scripts import DIRECTORY, script_text
from local_llm_service.worker.store.states import JobRecord, JobState

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
#: The changelog may name what only past versions had.
CURRENT = [page for page in PAGES if page.name != "CHANGELOG.md"]
DOCS = ROOT / "docs"
#: The folders of the product.
ROOMS = ("producers", "tasks", "testing", "worker")
SCRIPTS = {file.stem for file in DIRECTORY.glob("*.lua")}

LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
CODE = re.compile(r"`([^`\n]+)`")
FILE = re.compile(r"[\w./<>-]+\.(py|lua|txt|toml|yml|json)")
NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
#: A path from the root, also inside a command; not one in another package, as celery/worker/….
PATH = re.compile(
    r"(?<![\w/.-])"
    r"(?:benchmarks|deploy|docs|evals|examples|producers|src|tasks|testing|tests|worker)/[\w./<>-]*"
)

all_pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
current_pages = pytest.mark.parametrize("page", CURRENT, ids=lambda page: page.name)


def prose(page: Path) -> str:
    """A page without its code blocks."""
    return re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.M | re.S)


def anchors(page: Path) -> set[str]:
    """What can be linked to in a page: its headings as GitHub names them, and explicit anchors."""
    text = prose(page)
    headings = re.findall(r"^#+ (.+)$", text, re.M)
    slugs = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    return slugs | set(re.findall(r'<a id="([^"]+)">', text))


def links(page: Path) -> list[str]:
    """The links of a page that stay in the repository."""
    return [link for link in LINK.findall(prose(page)) if not link.startswith(("http:", "https:"))]


def rows(page: Path, *columns: str) -> list[dict[str, str]]:
    """The rows of all tables of a page that have these columns: heading → cell."""
    found = []
    for table in re.findall(r"(?:^\|.*\|\n)+", prose(page), re.M):
        head, _, *body = [
            [cell.strip() for cell in line[1:-1].split("|")] for line in table.splitlines()
        ]
        if {*columns} <= {*head}:
            found += [dict(zip(head, cells, strict=True)) for cells in body]
    return found


def named(page: Path, column: str, *others: str) -> list[str]:
    """The code words in one column of the tables that also have the others."""
    return [word for row in rows(page, column, *others) for word in CODE.findall(row[column])]


@cache
def sources() -> list[Path]:
    """The modules of the product and of its tests, and the scripts."""
    folders = (*ROOMS, "tests", "benchmarks", "evals")
    return [
        file
        for folder in folders
        for pattern in ("*.py", "*.lua")
        for file in (ROOT / folder).rglob(pattern)
    ]


def matches(path: str) -> list[Path]:
    """The files or folders that a page means: `tasks/<kind>.py` is each kind's."""
    if path == "tasks/<kind>.py":
        return [ROOT / "tasks" / f"{name}.py" for name in kinds()]
    if "/" in path or (ROOT / path).exists():
        return sorted(ROOT.glob(path.rstrip("./")))
    return [file for file in sources() if file.name == path]


def kinds() -> list[str]:
    """The kinds: modules of `tasks` that register one."""
    return [
        file.stem
        for file in (ROOT / "tasks").glob("*.py")
        if re.search(r"^\w+ = register\($", file.read_text(), re.M)
    ]


@cache
def defined(file: Path) -> set[str]:
    """What a module defines: functions, classes, constants, and methods as `Class.method`."""
    found = set()
    for node in ast.parse(file.read_text()).body:
        found |= _names(node)
        if isinstance(node, ast.ClassDef):
            found |= {f"{node.name}.{name}" for member in node.body for name in _names(member)}
    return found


def _names(node: ast.stmt) -> set[str]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {node.name}
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    return {target.id for target in targets if isinstance(target, ast.Name)}


@all_pages
def test_every_link_leads_somewhere(page: Path) -> None:
    """To a file of the repository, and to a heading or anchor that is in it."""
    broken = []
    for link in links(page):
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


@all_pages
def test_python_in_a_page_is_python(page: Path) -> None:
    """Each block compiles; what it does is tested elsewhere."""
    for block in re.findall(r"^```python\n(.*?)^```$", page.read_text(), re.M | re.S):
        ast.parse(block)


@current_pages
def test_every_path_in_a_page_exists(page: Path) -> None:
    """A file that was renamed is renamed in the pages, too."""
    text = page.read_text()
    paths = {word for word in CODE.findall(prose(page)) if FILE.fullmatch(word)}
    paths |= set(PATH.findall(text))
    assert sorted(path for path in paths if not matches(path)) == []


@current_pages
def test_every_program_in_a_page_exists(page: Path) -> None:
    """`python -m` and `celery -A` name modules, and `make` its targets."""
    text = page.read_text()
    modules = re.findall(r"(?:python -m|celery -A) ([\w.]+)", text)
    files = [ROOT / name.replace(".", "/").replace("local_llm_service/", "") for name in modules]
    missing = [
        str(file)
        for file in files
        if not (file.with_suffix(".py").exists() or (file / "__main__.py").exists())
        and file.name not in ("pip", "venv", "pytest")
    ]
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M))
    missing += set(re.findall(r"(?:^\$ |`)make ([a-z]+)", text, re.M)) - targets
    assert missing == []


@current_pages
def test_every_command_in_a_page_exists(page: Path) -> None:
    """`local-llm X` is a command, `local-llm dead X` too. What follows: test_page_examples.py."""
    for word, more in re.findall(r"local-llm ([a-z]+)(?: ([a-z]+))?", page.read_text()):
        assert word in cli.commands
        group = cli.commands[word]
        assert not isinstance(group, click.Group) or not more or more in group.commands


def test_the_readme_shows_a_call_and_its_answer_within_twenty_lines() -> None:
    """A stranger knows after one look how to ask and what comes back."""
    top = "\n".join((ROOT / "README.md").read_text().splitlines()[:20])
    assert "from local_llm_service import Client" in top
    assert ".result(timeout_seconds=60)" in top
    assert "'The capital of France is Paris.'" in top


def test_every_fault_of_the_stock_worker_has_an_anchor() -> None:
    """Comments in the code cite docs/delivery.md by these: F1, F2, and so on."""
    assert {f"f{number}" for number in range(1, 13)} <= anchors(DOCS / "delivery.md")


def functions_named(page: Path) -> Iterator[tuple[str, str]]:
    """(file, name) from the tables: names stand behind their file in one cell."""
    for row in rows(page):
        for cell in row.values():
            file = ""
            for word in CODE.findall(cell):
                if FILE.fullmatch(word):
                    file = word if word.endswith(".py") else ""
                elif file and NAME.fullmatch(word):
                    yield file, word


def test_the_functions_that_the_architecture_names_are_in_their_files() -> None:
    """A reader who opens the file of a step finds the function."""
    pairs = list(functions_named(DOCS / "architecture.md"))
    assert len(pairs) > 40
    missing = [
        (path, name)
        for path, name in pairs
        if not all(name in defined(file) for file in matches(path))
    ]
    assert missing == []


def test_the_architecture_names_every_module() -> None:
    """A reader finds each file's room; the embedded rooms are named as a whole."""
    page = (DOCS / "architecture.md").read_text()
    named_files = {word.rpartition("/")[2] for word in CODE.findall(page)}
    left_out = [
        str(file.relative_to(ROOT))
        for folder in ROOMS
        for file in (ROOT / folder).rglob("*.py")
        if "embedded" not in file.parts
        and file.name != "__init__.py"
        and file.name not in named_files
    ]
    assert left_out == []


def test_the_glossary_defines_each_word_once_in_order() -> None:
    """One word, one thing."""
    terms = [row["term"].strip("*") for row in rows(DOCS / "architecture.md", "term", "meaning")]
    assert len(terms) > 40
    assert terms == sorted(set(terms))


def test_the_states_are_those_of_status() -> None:
    """Each word of `JobState` has its meaning."""
    assert sorted(named(DOCS / "architecture.md", "state", "meaning")) == sorted(JobState)


def test_the_redis_page_names_every_key() -> None:
    """Each attribute of Keys once, with the key that it stands for."""
    keys, seen = Keys(), []
    for row in rows(DOCS / "redis.md", "key", "in `Keys`"):
        (attribute,) = CODE.findall(row["in `Keys`"])
        seen.append(attribute)
        stem = getattr(keys, attribute)
        shown = [word.partition("<")[0] for word in CODE.findall(row["key"])]
        assert shown == ([f"{stem}{name}" for name in QUEUES] if stem == keys.prefix else [stem])
    attributes = {word.lower() for word, text in keys.constants().items() if isinstance(text, str)}
    assert sorted(seen) == sorted(attributes)


def test_the_redis_page_names_every_field_of_the_job_record() -> None:
    """In the order of the dataclass."""
    assert named(DOCS / "redis.md", "field", "written by") == [
        field.name for field in fields(JobRecord)
    ]


def test_the_redis_page_names_every_script() -> None:
    """One row for each file in worker/store/lua/."""
    assert sorted(named(DOCS / "redis.md", "script", "called by")) == sorted(SCRIPTS)


def test_the_scripts_that_write_a_key_or_field_name_it() -> None:
    """The column "written by" is true as far as a text can tell."""
    wrong = []
    for row in rows(DOCS / "redis.md", "written by"):
        if "field" in row:
            needles = [f"'{name}'" for name in CODE.findall(row["field"])]
        else:
            needles = [f"local {CODE.findall(row['in `Keys`'])[0].upper()} ="]
        for script in CODE.findall(row["written by"]):
            text = script_text(script, DEFAULT_PREFIX)
            wrong += [(script, needle) for needle in needles if needle not in text]
    assert wrong == []


def test_the_calls_page_names_every_error_code() -> None:
    """A caller can look up each code that `.get()` or `--json` shows."""
    codes = {
        error.code
        for _, error in inspect.getmembers(errors, inspect.isclass)
        if issubclass(error, errors.ServiceError)
    }
    assert sorted(named(DOCS / "calls.md", "code", "when")) == sorted(codes)


def test_the_operations_page_names_every_metric_with_its_labels() -> None:
    """As Prometheus shows it: counters end with _total."""
    shown = {
        row["metric"].strip("`"): CODE.findall(row["labels"])
        for row in rows(DOCS / "operations.md", "metric", "labels")
    }
    expected = {}
    for metric in vars(metrics).values():
        if isinstance(metric, Counter | Gauge):
            ending = "_total" if isinstance(metric, Counter) else ""
            expected[f"{metric.describe()[0].name}{ending}"] = [*metric._labelnames]
    assert shown == expected


def test_the_command_line_page_names_every_command_and_option() -> None:
    """What --help shows, the page explains."""
    page = (DOCS / "command-line.md").read_text()
    groups = [one for one in cli.commands.values() if isinstance(one, click.Group)]
    assert {group.name for group in groups} == {"dead", "batch", "keys", "route", "webhooks"}
    commands = [*cli.commands.values(), *(c for group in groups for c in group.commands.values())]
    words = {str(command.name) for command in commands} | {
        option.opts[-1]
        for command in commands
        for option in command.params
        if isinstance(option, click.Option)
    }
    assert sorted(word for word in words if not re.search(rf"(?<![\w-]){word}\b", page)) == []
