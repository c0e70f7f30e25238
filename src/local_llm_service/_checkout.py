"""In a checkout `tasks`, `worker` and `producers` are short names of this package's folders.

The folders keep their place at the top of the repository: `from tasks import summarize`,
`python -m worker` and `celery -A worker.app` work there. Each module exists once, under its full
name; a second copy would have an app, settings and error classes of its own. An installed package
has no short names, because nearly every Celery backend has a `tasks.py`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import InspectLoader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import CodeType, ModuleType
from typing import cast

PACKAGE = "local_llm_service"


class _AliasLoader(InspectLoader):
    """Loads the module of the full name, unchanged."""

    def __init__(self, real: ModuleSpec) -> None:
        self._real = real
        self._kept: ModuleSpec | None = None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = import_module(self._real.name)
        self._kept = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self._kept  # the import system has replaced it by the alias's spec

    def get_code(self, fullname: str) -> CodeType | None:
        """The code that `python -m` runs."""
        return cast(InspectLoader, self._real.loader).get_code(self._real.name)

    def get_source(self, fullname: str) -> str | None:
        return cast(InspectLoader, self._real.loader).get_source(self._real.name)


class _AliasFinder(MetaPathFinder):
    """Finds the modules below a short name."""

    def __init__(self) -> None:
        self.rooms: set[str] = set()

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname.partition(".")[0] not in self.rooms:
            return None
        real = find_spec(f"{PACKAGE}.{fullname}")
        if real is None:
            return None
        spec = ModuleSpec(fullname, _AliasLoader(real), origin=real.origin)
        spec.has_location = real.has_location
        spec.submodule_search_locations = real.submodule_search_locations
        return spec


class _Room(ModuleType):
    """A package whose own names win over its submodules.

    Python binds a submodule that it has loaded to its package, also one that it has loaded by its
    short name: `import tasks.summarize` would put the module in the place of the task.
    """

    def __setattr__(self, name: str, value: object) -> None:
        is_taken = not isinstance(self.__dict__.get(name, value), ModuleType)
        if not (is_taken and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


_FINDER = _AliasFinder()


def alias(room: str) -> None:
    """Make `room`, which is being imported from a checkout, a short name from now on."""
    if _FINDER not in sys.meta_path:
        sys.meta_path.insert(0, _FINDER)
    _FINDER.rooms.add(room)
    package = import_module(f"{PACKAGE}.{room}")
    package.__class__ = _Room
    sys.modules[room] = package
