"""Looks at all lines of a batch's file before the first one runs: a bad file is rejected whole."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from local_llm_service.producers.batch.lines import Line, Source, digest_of
from local_llm_service.producers.http.batches.line_plan import LinePlan, model_of
from local_llm_service.producers.http.problems import problem_of
from local_llm_service.worker.errors import InvalidRequest, ServiceError

LINES_MOST: Final = 50_000
#: After so many errors nobody reads on.
ERRORS_MOST: Final = 100


@dataclass
class Findings:
    """What a file holds. `errors` are as OpenAI's batch object has them."""

    total: int = 0
    model: str | None = None
    errors: list[dict[str, Any]] = field(default_factory=list)

    def add(self, code: str, message: str, line: int | None = None, param: Any = None) -> None:
        """Note what is wrong; no value of the file's is in it."""
        self.errors.append({"code": code, "line": line, "message": message, "param": param})


def validate(source: Source, plan: LinePlan, is_wanted: Callable[[], bool]) -> Findings | None:
    """Read all lines; None where nobody wants to know any more. It blocks, for seconds."""
    found = Findings()
    seen: set[bytes] = set()
    models: set[str | None] = set()
    try:
        for line in source.lines():
            if not is_wanted():
                return None
            found.total += 1
            if found.total > LINES_MOST:
                found.add("too_many_lines", f"the file has more than {LINES_MOST:,} lines")
                break
            _look(line, plan, found, seen, models)
            if len(found.errors) >= ERRORS_MOST:
                break
    except InvalidRequest as error:  # its message names the file
        found.add("unreadable_file", error.message.rsplit(": ", 1)[-1])
    if found.total == 0 and not found.errors:
        found.add("empty_file", "the file has no lines")
    found.model = next(iter(models), None)
    return found


def _look(
    line: Line, plan: LinePlan, found: Findings, seen: set[bytes], models: set[str | None]
) -> None:
    number = int(line.place.rpartition(":")[2])
    reading = plan.read(line.text)
    error: ServiceError | None = reading.error
    if error is not None:
        problem = problem_of(error)
        found.add(problem.error_object["code"], error.message, number, problem.param)
        return
    digest = digest_of(str(reading.custom_id).encode())
    if digest in seen:
        found.add("duplicate_custom_id", "an earlier line has this custom_id", number, "custom_id")
    seen.add(digest)
    models.add(model_of(reading))
    if len(models) > 1:
        models.discard(model_of(reading))
        found.add("mismatched_model", "all lines have to name the same model", number, "body.model")
