"""A worker that keeps no steps and looks for none: `python -m benchmarks.steps.without`."""

from __future__ import annotations

import sys
from typing import Any

from local_llm_service.tasks import worker_steps
from local_llm_service.worker.__main__ import main
from local_llm_service.worker.prompt import Completion, Prompt


class NothingKept:
    """Stands in for tasks.kept_steps.KeptSteps."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def begin(self, prompt: Prompt, *, shared: bool) -> None:
        """No step is known."""

    def done(self, completion: Completion) -> None:
        """Keep nothing."""


if __name__ == "__main__":
    worker_steps.KeptSteps = NothingKept  # type: ignore[attr-defined,assignment,misc]
    sys.exit(main(sys.argv[1:]))
