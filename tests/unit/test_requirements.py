"""What is installed is pinned in one way, and what is configured is read in one place."""

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = ["requirements.txt", "requirements-dev.txt", "requirements-embedded.txt"]
PIN = re.compile(r"^[a-z0-9-]+(\[[a-z,]+\])?==[0-9][0-9A-Za-z.]*(; .+)?$")

#: Who may read the environment: the settings, what stands in for other servers, and what is run
#: from a shell.
READERS = ("worker/settings.py", "worker/embedded/", "examples/", "tests/", "benchmarks/")


def lines(name: str) -> list[str]:
    """The requirements in a file, without comments."""
    text = (ROOT / name).read_text()
    return [line for line in text.splitlines() if line.strip() and not line.startswith("#")]


def python_files() -> list[str]:
    """All modules that must not read the environment, relative to the root."""
    found = (file.relative_to(ROOT).as_posix() for file in ROOT.rglob("*.py"))
    return sorted(name for name in found if not name.startswith((".", "build/", *READERS)))


def environment_reads(tree: ast.AST) -> Iterator[int]:
    """The lines that name `os.environ`, `os.getenv` or import them."""
    names = {"environ", "environb", "getenv", "getenvb"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in names:
            yield node.lineno
        if isinstance(node, ast.ImportFrom) and node.module == "os":
            yield from (node.lineno for alias in node.names if alias.name in names)


def test_the_package_depends_on_what_the_service_is_pinned_to() -> None:
    """`pip install .` and `pip install -r requirements.txt` give the same service."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert sorted(project["dependencies"]) == sorted(lines("requirements.txt"))


@pytest.mark.parametrize("name", FILES)
def test_every_requirement_is_pinned(name: str) -> None:
    """With `==`: what was tested is what runs."""
    assert [line for line in lines(name) if not PIN.match(line)] == []
    assert lines(name)


def test_every_file_of_requirements_is_checked() -> None:
    """A new one is added to the list above."""
    assert sorted(file.name for file in ROOT.glob("requirements*.txt")) == sorted(FILES)


@pytest.mark.parametrize("name", python_files())
def test_only_the_settings_read_the_environment(name: str) -> None:
    """One file validates, documents and masks what comes from outside."""
    assert list(environment_reads(ast.parse((ROOT / name).read_text()))) == []


def test_reading_the_environment_would_be_noticed() -> None:
    """The test above must not pass because it looks for nothing."""
    source = "import os\nfrom os import environ\nos.environ['A']\nos.getenv('A')\n"
    assert sorted(environment_reads(ast.parse(source))) == [2, 3, 4]
