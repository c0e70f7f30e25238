"""Loads the project's own `celeryconfig.py`, by its place and not by its name.

`celeryconfig` is the name that a backend's own Celery settings usually have; whichever comes first
on the path must not become ours. In a checkout the file is beside this package, in an installed
wheel inside it.
"""

from __future__ import annotations

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

_package = Path(__file__).parent
_file = next(
    file
    for file in (_package / "_celeryconfig.py", _package.parent / "celeryconfig.py")
    if file.is_file()
)
_spec = spec_from_file_location("worker._celeryconfig", _file)
if _spec is None or _spec.loader is None:
    raise ImportError(f"cannot load {_file.name}")
_module = module_from_spec(_spec)
_spec.loader.exec_module(_module)
globals().update(
    {name: value for name, value in vars(_module).items() if name.islower() and name[0] != "_"}
)
