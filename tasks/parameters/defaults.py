"""The schema's own defaults for parameters that are not given."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from local_llm_service.tasks.json_schema import breach
from local_llm_service.tasks.parameters.functions import Function
from local_llm_service.tasks.parameters.relaxed import without_required

#: Each default that breaks its own schema costs one more check of all of them.
_MOST_BROKEN: Final = 20


def defaults(function: Function, names: Iterable[str]) -> dict[str, Any]:
    """The default of each named parameter that has one which keeps the schema.

    None at all where too many do not.
    """
    schemas = {name: function.properties[name] for name in names}
    found = {
        name: schema["default"]
        for name, schema in schemas.items()
        if isinstance(schema, dict) and "default" in schema
    }
    whole = without_required(function, function.required)
    for _ in range(_MOST_BROKEN):
        broken = breach(found, whole) if found else None
        if broken is None:
            return found
        name = broken.place.split("/")[1] if "/" in broken.place else ""
        found.pop(name.replace("~1", "/").replace("~0", "~"), None)
    return {}
