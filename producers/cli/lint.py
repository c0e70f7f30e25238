"""`lint`: what of a schema the engine's grammar does not enforce."""

from __future__ import annotations

import click

from local_llm_service.producers.cli.output import Exit, note, say, show_json
from local_llm_service.producers.cli.reading import read_json
from local_llm_service.producers.schema_lint import lint_schema


@click.command()
@click.argument("schema")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def lint(schema: str, as_json: bool) -> Exit:
    """Name what the engine's grammar does not enforce of the JSON Schema in file SCHEMA.

    The file may hold a function, or a list of functions, as for `extract`. These keywords are
    checked once the model has written its answer. Nothing is asked.
    """
    found = lint_schema(read_json(schema))
    if as_json:
        show_json(found)
        return Exit.ANSWER
    for line in found:
        say(line)
    if not found:
        note("the grammar enforces all of it")
    return Exit.ANSWER
