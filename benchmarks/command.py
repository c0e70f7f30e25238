"""The command line that the benchmarks share: parts by name, `--short`, and an end on SIGTERM."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable, Sequence
from types import FrameType


def parse(program: str, about: str | None, parts: Sequence[str], short: str) -> argparse.Namespace:
    """The requested `parts`, all when none is named, and `short`; `short` says what that means.

    Exits with 2 for a part that does not exist.
    """
    parser = argparse.ArgumentParser(prog=f"python -m {program}", description=about)
    parser.add_argument("parts", nargs="*", metavar="part", help=f"one of {', '.join(parts)}")
    parser.add_argument("--short", action="store_true", help=short)
    given = parser.parse_args()
    if unknown := set(given.parts) - set(parts):
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    given.parts = given.parts or list(parts)
    return given


def run(main: Callable[[], int]) -> None:
    """Exit with the code of `main`, or with 130 after Ctrl-C or SIGTERM: processes end first."""
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)


def _interrupt(_: int, __: FrameType | None) -> None:
    raise KeyboardInterrupt
