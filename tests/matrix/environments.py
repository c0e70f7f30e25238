"""One virtual environment for each set of versions: `pip install` of the wheel, held to the set.

A set is a file of exact pins, everything that pip installs for the client with one minor version of
Celery. The environments stay in .matrix/ until their set, or what the client depends on, changes.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
HOME = ROOT / ".matrix"
#: Test tools, beside the environments: in them is the client and nothing else.
TOOLS = HOME / "tools"
#: Holds a link to `tests/` and nothing else: what tests share can be imported, the checkout cannot.
IMPORTS = HOME / "imports"
DISTRIBUTION = "local-llm-service"


class MatrixError(Exception):
    """An environment cannot be made, or does not hold what its set says."""


@dataclass(frozen=True)
class Environment:
    """One set and its virtual environment."""

    pins: Path

    @property
    def name(self) -> str:
        """As of its set: `celery-5.4`."""
        return self.pins.stem

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return HOME / self.name / "bin" / "python"

    def prepare(self, wheel: Path) -> None:
        """Install `wheel` and what it depends on. Raises MatrixError."""
        stamp = HOME / self.name / "stamp"
        wanted = _digest(self.pins.read_text(), _dependencies(), sys.version)
        if not stamp.exists() or stamp.read_text() != wanted:
            run(sys.executable, "-m", "venv", "--clear", str(HOME / self.name))
            self._pip("install", "--constraint", str(self.pins), str(wheel))
            self._check()
            stamp.write_text(wanted)
        else:
            self._pip("install", "--no-deps", "--force-reinstall", str(wheel))

    def _check(self) -> None:
        """What is installed is what the set says, and everybody's dependencies hold."""
        self._pip("check")
        # A package may write its name with `_` where the index has `-`.
        found = {
            line.replace("_", "-")
            for line in self._pip("freeze", "--exclude", DISTRIBUTION).split()
        }
        lines = [
            line.replace("_", "-")
            for line in self.pins.read_text().splitlines()
            if not line.startswith("#")
        ]
        everywhere = {line for line in lines if ";" not in line}
        unpinned = found - {line.partition(";")[0] for line in lines}
        if unpinned or everywhere - found:
            raise MatrixError(
                f"{self.pins.name}: not pinned {sorted(unpinned)}, "
                f"not installed {sorted(everywhere - found)}"
            )

    def _pip(self, *words: str) -> str:
        return run(str(self.python), "-m", "pip", "--disable-pip-version-check", *words)


def environments() -> list[Environment]:
    """One for each set, the oldest Celery first."""
    return [Environment(file) for file in sorted(HERE.glob("celery-*.txt"))]


def build_wheel() -> Path:
    """The wheel of this checkout."""
    folder = HOME / "dist"
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder), "-c")
    (wheel,) = folder.glob("*.whl")
    return wheel


def prepare_tools() -> None:
    """Install pytest and hypothesis, as requirements-dev.txt pins them; link `tests/`."""
    IMPORTS.mkdir(parents=True, exist_ok=True)
    link = IMPORTS / "tests"
    if not link.is_symlink():
        link.symlink_to(ROOT / "tests")
    lines = (ROOT / "requirements-dev.txt").read_text().splitlines()
    tools = [line for line in lines if line.startswith(("pytest==", "hypothesis=="))]
    stamp, wanted = TOOLS / "stamp", _digest(*tools, sys.version)
    if not stamp.exists() or stamp.read_text() != wanted:
        pip = (sys.executable, "-m", "pip", "--disable-pip-version-check")
        run(*pip, "install", "--upgrade", "--target", str(TOOLS), *tools)
        stamp.write_text(wanted)


def run(*command: str) -> str:
    """Run a command to its end and return its output. Raises MatrixError with it."""
    # Without PYTHONPATH: a checkout on it would be taken for what is installed.
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise MatrixError(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
    return done.stdout


def _dependencies() -> str:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return "\n".join(project["dependencies"])


def _digest(*words: str) -> str:
    return hashlib.sha256("\0".join(words).encode()).hexdigest()
