"""Tests what a backend can import from a checkout, an editable install and a wheel, offline."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from site import getsitepackages

import pytest

ROOT = Path(__file__).parents[2]
#: Those with a short name in a checkout, and all.
SHORT = ("worker", "tasks", "producers")
ROOMS = (*SHORT, "testing")
PACKAGE = "local_llm_service"
PLUGIN = f"{PACKAGE}.testing.plugin"


def run(
    *command: str | Path, cwd: Path, code: int = 0, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run a command that must exit with `code`; its path contains no checkout."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        command,
        cwd=cwd,
        env={**kept, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == code, f"{done.stdout}\n{done.stderr}"
    return done


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the files that the package is built from, with links kept as links."""
    copy = tmp_path_factory.mktemp("checkout")
    for name in (*ROOMS, "src"):
        skipped = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, copy / name, symlinks=True, ignore=skipped)
    for name in ("celeryconfig.py", "pyproject.toml", "README.md", "LICENSE", ".gitignore"):
        shutil.copy(ROOT / name, copy / name)
    return copy


@pytest.fixture(scope="module")
def built(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the sdist."""
    folder = tmp_path_factory.mktemp("dist")
    build = (sys.executable, "-m", "hatchling", "build")
    run(*build, "-t", "wheel", "-t", "sdist", "-d", folder, cwd=checkout)
    return folder


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    """A virtual environment with all packages of this one except this project."""
    run(sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv", cwd=tmp_path)
    # Only the path is added: `.pth` files in it, such as an editable install's, are not read.
    (libraries(tmp_path / "venv") / "parent.pth").write_text("\n".join(getsitepackages()))
    return tmp_path / "venv"


def libraries(environment: Path) -> Path:
    """Its site-packages."""
    (found,) = environment.glob("lib/python*/site-packages")
    return found


def install(environment: Path, *what: str | Path) -> None:
    """Run `pip install` without a network."""
    pip = (sys.executable, "-m", "pip", "--python", environment / "bin" / "python")
    offline = ("--no-index", "--no-deps", "--no-build-isolation", "--disable-pip-version-check")
    run(*pip, "install", *offline, *what, cwd=environment)


def names(wheel: Path) -> set[str]:
    """The files in the wheel."""
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


# --- a checkout -----------------------------------------------------------------------------------

BOTH_WAYS = """
import sys
from importlib import import_module
from pathlib import Path

short_first, rooms = sys.argv[1] == "short", sys.argv[2:]
seen = 0
for file in sorted(file for room in rooms for file in Path(room).rglob("*.py")):
    short = ".".join(file.with_suffix("").parts).removesuffix(".__init__")
    both = [short, f"local_llm_service.{short}"]
    first, second = [import_module(name) for name in (both if short_first else both[::-1])]
    assert first is second is sys.modules[short], short
    assert first.__name__ == f"local_llm_service.{short}", first
    assert Path(first.__file__).resolve() == file.resolve(), first
    seen += 1
# Loading `tasks.summarize` binds no module over the task of that name.
import tasks
import local_llm_service
for name in tasks.__all__:
    task = getattr(tasks, name)
    assert task.name == f"llm.{name}"
    assert getattr(local_llm_service, name) is task
print(seen)
"""


@pytest.mark.parametrize("first", ["short", "full"])
def test_a_modules_short_and_full_names_are_one_module(checkout: Path, first: str) -> None:
    """A second copy would have its own app, settings and error classes."""
    modules = [file for room in SHORT for file in (checkout / room).rglob("*.py")]
    path = str(checkout / "src") if first == "full" else ""
    done = run(sys.executable, "-c", BOTH_WAYS, first, *SHORT, cwd=checkout, PYTHONPATH=path)
    assert int(done.stdout) == len(modules) > 50


def test_the_programs_run_by_their_short_names(checkout: Path) -> None:
    """`python -m producers`, `python -m worker`, deeper modules and `celery -A worker.app` run."""
    away = {"REDIS_URL": "redis://127.0.0.1:1/0"}
    python = (sys.executable, "-m")
    assert "summarize" in run(*python, "producers", "--help", cwd=checkout).stdout
    assert "Redis" in run(*python, "worker", cwd=checkout, code=3, **away).stderr
    assert "CONCURRENCY" in run(*python, "worker", cwd=checkout, code=2, CONCURRENCY="0").stderr
    celery = (*python, "celery", "-A", "worker.app", "report")
    assert "local_llm_service.worker" in run(*celery, cwd=checkout, **away).stdout
    run(*python, "worker.settings", cwd=checkout)


# --- an editable install --------------------------------------------------------------------------


def test_an_editable_install_sees_a_change(environment: Path, checkout: Path) -> None:
    """The install imports the checkout's own files, and provides no short name."""
    before = {file.name for file in libraries(environment).iterdir()}
    install(environment, "--editable", checkout)
    added = {file.name for file in libraries(environment).iterdir()} - before
    (path,) = (name for name in added if name.endswith(".pth"))
    assert {name for name in added - {path} if not name.endswith(".dist-info")} == set()
    (line,) = (libraries(environment) / path).read_text().split()
    assert [file.name for file in Path(line).iterdir()] == [PACKAGE]

    python = (environment / "bin" / "python", "-c")
    look = f"from {PACKAGE}.worker import errors; print(getattr(errors, 'MARK', None))"
    assert run(*python, look, cwd=environment).stdout == "None\n"
    errors = checkout / "worker" / "errors.py"
    text = errors.read_text()
    errors.write_text(f"{text}\nMARK = 'seen'\n")
    try:
        assert run(*python, look, cwd=environment).stdout == "seen\n"
    finally:
        errors.write_text(text)
    for room in ROOMS:
        found = f"from importlib.util import find_spec; print(find_spec({room!r}))"
        assert run(*python, found, cwd=environment).stdout == "None\n", room


# --- a wheel --------------------------------------------------------------------------------------


def test_a_wheel_holds_the_package_and_nothing_else(checkout: Path, built: Path) -> None:
    """It has every module and script of the folders, and the marker of a typed package."""
    (wheel,) = built.glob("*.whl")
    top = {name.partition("/")[0] for name in names(wheel)}
    (metadata,) = top - {PACKAGE}
    assert metadata.endswith(".dist-info")
    source = [file for room in ROOMS for file in (checkout / room).rglob("*") if file.is_file()]
    expected = {f"{PACKAGE}/{file.relative_to(checkout).as_posix()}" for file in source}
    extra = ("__init__.py", "_checkout.py", "celeryconfig.py", "py.typed")
    expected |= {f"{PACKAGE}/{name}" for name in extra}
    assert {name for name in names(wheel) if name.startswith(PACKAGE + "/")} == expected
    assert sum(name.endswith(".lua") for name in expected) >= 10


def test_a_wheel_brings_the_pytest_plugin(built: Path) -> None:
    """Under its module's name: pytest then takes `-p` and `pytest_plugins` of it for the same."""
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        (file,) = (name for name in names(wheel) if name.endswith("/entry_points.txt"))
        _, _, plugins = archive.read(file).decode().partition("[pytest11]\n")
    assert plugins.split() == [PLUGIN, "=", PLUGIN]


def test_a_wheel_from_the_sdist_is_identical(built: Path, tmp_path: Path) -> None:
    """The bytes are equal, because the checkout's links are files in the sdist."""
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    (folder,) = tmp_path.iterdir()
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", cwd=folder)
    (again,), (wheel,) = (folder / "dist").glob("*.whl"), built.glob("*.whl")
    assert again.read_bytes() == wheel.read_bytes()


def test_the_image_is_built_from_the_same_wheel(
    checkout: Path, built: Path, tmp_path: Path
) -> None:
    """The files that .dockerignore admits and the Dockerfile copies suffice; links stay links."""
    let_in = {line[1:] for line in (ROOT / ".dockerignore").read_text().split() if line[0] == "!"}
    copied = re.findall(r"^COPY (?!--)(.+) \./\S*$", (ROOT / "Dockerfile").read_text(), re.M)
    for name in (name for line in copied for name in line.split()):
        assert name in let_in, name
        source = checkout / name if (checkout / name).exists() else ROOT / name
        if source.is_dir():
            shutil.copytree(source, tmp_path / name, symlinks=True)
        else:
            shutil.copy(source, tmp_path / name)
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", cwd=tmp_path)
    (again,), (wheel,) = (tmp_path / "dist").glob("*.whl"), built.glob("*.whl")
    assert names(again) == names(wheel)


RIGHT = """
from local_llm_service import Client

summary: str = Client().summarize("text", priority="low").result(5).summary
"""

WRONG = """
from local_llm_service import Client, summarise

Client().summarize("text", priority="lowest")
Client().generate("text", max_tokens="many")
Client().generate("text").result().sumary
"""


def test_an_installed_client_is_typed(environment: Path, built: Path) -> None:
    """mypy checks a backend's calls against the wheel: right ones pass, wrong ones do not."""
    (wheel,) = built.glob("*.whl")
    install(environment, wheel)
    (environment / "right.py").write_text(RIGHT)
    (environment / "wrong.py").write_text(WRONG)
    mypy = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--cache-dir=cache"]
    mypy += [f"--python-executable={environment / 'bin' / 'python'}", "--hide-error-context"]
    assert "no issues found in 1 source" in run(*mypy, "right.py", cwd=environment).stdout
    said = run(*mypy, "wrong.py", cwd=environment, code=1).stdout
    found = [(line.split(":")[1], line.rpartition("[")[2]) for line in said.splitlines()[:-1]]
    assert found == [
        ("2", "attr-defined]"),
        ("4", "arg-type]"),
        ("5", "arg-type]"),
        ("6", "attr-defined]"),
    ], said
