"""Dependencies are pinned in one way, and configuration is read in one place."""

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from local_llm_service.worker.settings import Settings

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
FILES = [
    *("requirements.txt", "requirements-dev.txt", "requirements-embedded.txt"),
    *("requirements-clients.txt", "requirements-fuzz.txt", "requirements-evals.txt"),
    *(f"tests/matrix/celery-5.{minor}.txt" for minor in (4, 5, 6, 7)),
]
PIN = re.compile(r"^[A-Za-z0-9_-]+(\[[a-z,]+\])?==[0-9][0-9A-Za-z.]*(; .+)?$")

#: Modules that may read the environment: the settings, stand-ins for other servers, and programs
#: that a shell runs.
READERS = ("worker/settings.py", "worker/embedded/", "examples/", "tests/", "benchmarks/", "evals/")


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


def pins(requirements: list[str]) -> dict[str, str]:
    """Name → version of exact pins, without extras (`redis[hiredis]`) and markers."""
    found = (Requirement(line) for line in requirements)
    return {one.name: str(one.specifier).removeprefix("==") for one in found}


DEV = pins(lines("requirements-dev.txt"))


def test_the_extras_pin_the_same_as_the_files() -> None:
    """`pip install local-llm-service[worker,flower,…]` installs the same as `make` and Docker."""
    extras = PROJECT["optional-dependencies"]
    assert set(extras["embedded"]) == set(lines("requirements-embedded.txt"))
    host = {*extras["worker"], *extras["flower"], *extras["batch"], *extras["http"]}
    assert host <= set(lines("requirements.txt"))
    assert set(extras["route"]) <= set(lines("requirements-dev.txt"))
    testing = pins([one for one in extras["testing"] if "==" in one])
    assert testing.items() <= {**pins(lines("requirements.txt")), **DEV}.items()
    clients = {Requirement(line).name for line in PROJECT["dependencies"]}
    others = set(lines("requirements.txt")) - host
    assert {Requirement(line).name for line in others} <= clients, "useless on a worker host"


def test_the_client_takes_the_versions_of_the_worker() -> None:
    """A worker host pins each of the client's dependencies, inside the client's range."""
    pinned = pins(lines("requirements.txt"))
    for dependency in map(Requirement, PROJECT["dependencies"]):
        assert dependency.name in pinned
        assert dependency.specifier.contains(pinned[dependency.name]), dependency.name


def test_the_oldest_set_of_the_matrix_is_every_lower_bound() -> None:
    """A range whose end no test has tried is a guess."""
    oldest = pins(lines("tests/matrix/celery-5.4.txt"))
    for dependency in map(Requirement, PROJECT["dependencies"]):
        (lowest,) = (one.version for one in dependency.specifier if one.operator == ">=")
        assert Version(oldest[dependency.name]) == Version(lowest), dependency.name


def test_the_newest_set_of_the_matrix_is_the_workers() -> None:
    """Both have the same version of each package that both name."""
    newest, worker = pins(lines("tests/matrix/celery-5.7.txt")), pins(lines("requirements.txt"))
    assert {name: newest[name] for name in newest.keys() & worker.keys()} == {
        name: worker[name] for name in newest.keys() & worker.keys()
    }


def test_each_minor_version_of_celery_has_a_set() -> None:
    """The sets cover the client's whole range, and each file's name gives its version."""
    minors = [file.stem for file in sorted((ROOT / "tests" / "matrix").glob("*.txt"))]
    assert minors == ["celery-5.4", "celery-5.5", "celery-5.6", "celery-5.7"]
    for name in minors:
        version = pins(lines(f"tests/matrix/{name}.txt"))["celery"]
        assert f"celery-{version}".startswith(f"{name}.")


def test_compose_passes_every_setting_on() -> None:
    """A variable from a shell or .env reaches the worker; Flower gets KEY_PREFIX for its queues."""
    compose = (ROOT / "docker-compose.yml").read_text()
    _, _, services = compose.partition("\nservices:\n")
    worker, _, flower = services.partition("\n  flower:")
    passed = set(
        re.findall(r"^      - ([A-Z][A-Z0-9_]*)", worker.partition("\n  worker:")[2], re.M)
    )
    assert {name.upper() for name in Settings.model_fields} - passed == set()
    assert "      - KEY_PREFIX\n" in flower


def test_no_container_has_capabilities() -> None:
    """Each service says so itself, or has it from the anchor that all of this package share."""
    compose = (ROOT / "docker-compose.yml").read_text()
    shared, _, services = compose.partition("\nservices:\n")
    for service in re.split(r"\n(?=  \w+:)", services.partition("\nvolumes:\n")[0]):
        said = shared if "<<: *local-llm" in service else service
        assert "cap_drop: [ALL]" in said, service
        assert "no-new-privileges:true" in said, service
        assert "cap_add" not in service


def test_there_is_one_version() -> None:
    """Compose starts the image of this version."""
    image = f"image: {PROJECT['name']}:{PROJECT['version']}\n"
    assert image in (ROOT / "docker-compose.yml").read_text()


@pytest.mark.parametrize("name", FILES)
def test_every_requirement_is_pinned(name: str) -> None:
    """Pins use `==`, so that the tested versions are the ones that run."""
    assert [line for line in lines(name) if not PIN.match(line)] == []
    assert lines(name)


def test_every_file_of_requirements_is_checked() -> None:
    """A new file needs an entry in the list above."""
    found = [*ROOT.glob("requirements*.txt"), *ROOT.glob("tests/matrix/*.txt")]
    assert sorted(file.relative_to(ROOT).as_posix() for file in found) == sorted(FILES)


@pytest.mark.parametrize("name", python_files())
def test_only_the_settings_read_the_environment(name: str) -> None:
    """One file validates, documents and masks all values from outside."""
    assert list(environment_reads(ast.parse((ROOT / name).read_text()))) == []


def test_reading_the_environment_would_be_noticed() -> None:
    """The test above must not pass because its search finds nothing."""
    source = "import os\nfrom os import environ\nos.environ['A']\nos.getenv('A')\n"
    assert sorted(environment_reads(ast.parse(source))) == [2, 3, 4]
