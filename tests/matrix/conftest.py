"""What the files of the matrix share."""

from __future__ import annotations

from collections.abc import Callable
from uuid import uuid4

import pytest


@pytest.fixture
def fresh() -> Callable[[str], str]:
    """Make a word unlike any that was asked before."""
    return lambda word: f"{word} {uuid4().hex[:8]}"
