"""Whether an instance keeps a JSON Schema, by jsonschema-rs: in this process, or in one of its own.

    python -P schema_verdict.py CPU_SECONDS          as a program, which can be killed

It reads `[draft, schema, instance]` as JSON and writes "valid", or "invalid" and then, as JSON,
what `breach` returns. jsonschema-rs holds the interpreter while it works, so a worker does only
work of a few milliseconds (schema_work.py) in its own process.

It imports nothing of this service, as it is also a program. jsonschema-rs is imported where it is
used: a backend that only summarizes never pays for it.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jsonschema_rs import Draft202012Validator

#: Drafts by the address in `$schema`; what names no known one counts as 2020-12.
DRAFTS = {
    "http://json-schema.org/draft-04/schema": "Draft4Validator",
    "http://json-schema.org/draft-06/schema": "Draft6Validator",
    "http://json-schema.org/draft-07/schema": "Draft7Validator",
    "https://json-schema.org/draft/2019-09/schema": "Draft201909Validator",
    "https://json-schema.org/draft/2020-12/schema": "Draft202012Validator",
}
NEWEST = "Draft202012Validator"
#: The oldest drafts, in which nothing beside `$ref` counts.
LEGACY = ("Draft4Validator", "Draft6Validator", "Draft7Validator")

#: Bytes of one compiled regular expression, and steps of one that looks around or back.
_PATTERN_BYTES = 2_000_000
_PATTERN_STEPS = 100_000
#: The longest demand of a keyword that is told on.
_DEMAND_CHARS = 300
#: Bytes of memory of the program.
_MEMORY_BYTES = 2_000_000_000


def validator(draft: str, schema: Any) -> Draft202012Validator:
    """Build the validator of a schema. Raises ValueError if it is not one that can be built.

    `format`, `contentMediaType` and `contentEncoding` say something and demand nothing, in every
    draft.
    """
    import jsonschema_rs

    return getattr(jsonschema_rs, draft)(  # type: ignore[no-any-return]
        schema,
        validate_formats=False,
        retriever=_fetch_nothing,  # by itself it reads http and file addresses
        pattern_options=jsonschema_rs.FancyRegexOptions(
            backtrack_limit=_PATTERN_STEPS, size_limit=_PATTERN_BYTES
        ),
    )


def breach(built: Draft202012Validator, instance: Any) -> tuple[str, str, str]:
    """The first keyword that an instance breaks, what it demands, and where in the instance.

    The demand is JSON, empty where it is long; the place is a JSON Pointer (RFC 6901). It takes up
    to a thousand times as long as `built.is_valid`, and all is empty if nothing is broken.
    """
    import jsonschema_rs

    try:
        built.validate(instance)
    except jsonschema_rs.ValidationError as error:
        steps = (str(step).replace("~", "~0").replace("/", "~1") for step in error.instance_path)
        place = "".join(f"/{step}" for step in steps)
        return str(error.kind.name), _demand(error.kind), place
    return "", "", ""


def _demand(kind: Any) -> str:
    try:
        text = json.dumps(getattr(kind, "value", None), ensure_ascii=False)
    except (TypeError, ValueError):
        return ""  # of alternatives it is the errors of each
    return "" if text == "null" or len(text) > _DEMAND_CHARS else text


def _fetch_nothing(_: str) -> Any:
    raise ValueError("references stay inside the schema")


def _main() -> None:
    """Judge one instance, as a program that ends with its parent or its CPU seconds."""
    import resource

    for limit, most in (
        (resource.RLIMIT_CPU, int(sys.argv[1])),
        (resource.RLIMIT_AS, _MEMORY_BYTES),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(limit, (most, most))
    sys.setrecursionlimit(10_000)
    draft, schema, instance = json.load(sys.stdin)
    built = validator(draft, schema)
    valid = built.is_valid(instance)
    sys.stdout.write("valid\n" if valid else "invalid\n")
    sys.stdout.flush()  # the verdict stands even if finding the keyword takes too long
    if not valid:
        json.dump(breach(built, instance), sys.stdout)


if __name__ == "__main__":
    _main()
