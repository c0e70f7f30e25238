"""Runs the conformance suite with its long part: `python -m tests.conformance [pytest's options]`.

About three minutes on two cores.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent

if __name__ == "__main__":
    files = [str(FOLDER), str(FOLDER / "long_promises.py")]
    raise SystemExit(pytest.main([*files, "-q", *sys.argv[1:]]))
