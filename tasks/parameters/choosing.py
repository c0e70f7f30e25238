"""Which of several functions a message asks for."""

from __future__ import annotations

from collections.abc import Sequence

from local_llm_service.tasks.json_answers.asking import ask_json
from local_llm_service.tasks.parameters import prompts
from local_llm_service.tasks.parameters.functions import Function
from local_llm_service.tasks.sampling import SAMPLING
from local_llm_service.tasks.steps.protocol import Steps
from local_llm_service.worker.prompt import JsonSchema, Prompt


def chosen_function(ask: Steps, functions: Sequence[Function], message: str) -> Function | None:
    """The function that the model chooses; None: it says that none fits.

    Raises InvalidOutput if no answer is a choice, and what `ask` raises.
    """
    names: list[object] = [function.name for function in functions]
    schema: JsonSchema = {
        "type": "object",
        "properties": {"function": {"enum": [*names, None]}},
        "required": ["function"],
        "additionalProperties": False,
    }
    prompt = Prompt(
        prompts.choosing(functions, message),
        ask.max_output_tokens,
        SAMPLING["extract_parameters"],
        schema=schema,
        spoken=False,
    )
    name = ask_json(ask, prompt, schema)["function"]
    return next((function for function in functions if function.name == name), None)
