"""What of a schema only our own check of the answer enforces: the engine's grammar does not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from local_llm_service.tasks.json_schema import place_of
from local_llm_service.worker.errors import InvalidOutput
from local_llm_service.worker.prompt import JsonSchema

if TYPE_CHECKING:
    from local_llm_service.worker.engine.ollama.unenforced import Unenforced

#: Keywords that a refusal or a hint names.
_MOST_NAMED = 5


def lint(schema: JsonSchema) -> list[str]:
    """The keywords of a valid schema that Ollama's grammar does not enforce, as "place: keyword".

    They are checked once the model has written its answer, except `format`, which says something
    and demands nothing. Sorted; empty where the grammar alone makes every answer valid.
    """
    return sorted(f"{place_of(one.steps)}: {one.keyword}" for one in _unenforced(schema))


def check_strict(schema: JsonSchema) -> None:
    """Raise ValueError with the keywords that the grammar does not enforce, if there are any."""
    found = lint(schema)
    if found:
        more = f"; and {len(found) - _MOST_NAMED} more" if len(found) > _MOST_NAMED else ""
        raise ValueError(
            "strict=True refuses what Ollama's grammar does not enforce: "
            + "; ".join(found[:_MOST_NAMED])
            + more
        )


def unenforced_hint(schema: JsonSchema) -> str:
    """What to do about an answer that broke a schema; it names keywords, and nobody's words."""
    names = sorted({one.keyword for one in _unenforced(schema)})
    if not names:
        return InvalidOutput.default_hint
    named = ", ".join(names[:_MOST_NAMED]) + (", …" if len(names) > _MOST_NAMED else "")
    return f"{InvalidOutput.default_hint} Ollama's grammar does not enforce: {named}."


def _unenforced(schema: JsonSchema) -> list[Unenforced]:
    # Here, because who sends a job needs nothing of an engine.
    from local_llm_service.worker.engine.ollama.unenforced import unenforced

    return unenforced(schema)
