"""The prompt that asks a model again: with what was wrong, and so that it comes out otherwise."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Final

from local_llm_service.tasks.json_answers.flaw import Flaw
from local_llm_service.tasks.json_answers.shortening import lengths, shorter
from local_llm_service.worker.prompt import Message, Prompt, Sampling

#: A longer text is not shown to the model again: its own words weigh more than what is wrong.
MOST_SHOWN_CHARS: Final = 4000

AGAIN = "That answer was refused. {advice} Answer again, with JSON only that keeps the JSON Schema."
CALL_AGAIN = "Refused: {advice} Make the call again."
ANEW = "An earlier answer was refused. {advice} Answer with JSON only that keeps the JSON Schema."
CALL_ANEW = "An earlier call was refused. {advice} Make the call again."
#: With which a model that insists comes to another text.
_LAST_TEMPERATURE: Final = 0.7


def repaired(prompt: Prompt, flaw: Flaw, *, is_last: bool) -> Prompt:
    """The first prompt with what was wrong, and with the answer itself where that may help.

    A small model copies what it has said before. So the last one does not show it, and is not for
    the most likely text. After an answer whose values had no end, what may be long is bounded.
    """
    messages = list(prompt.messages)
    shown = len(flaw.text) + len(json.dumps(flaw.calls)) <= MOST_SHOWN_CHARS
    shown = shown and not is_last and not flaw.is_endless
    if shown and flaw.calls:
        messages.append({"role": "assistant", "content": flaw.text, "tool_calls": list(flaw.calls)})
        told = CALL_AGAIN.format(advice=flaw.advice)
        messages += [
            {"role": "tool", "tool_name": call["function"]["name"], "content": told}
            for call in flaw.calls
        ]
    elif shown and flaw.text and prompt.schema is not None:
        messages.append({"role": "assistant", "content": flaw.text})
        messages.append({"role": "user", "content": AGAIN.format(advice=flaw.advice)})
    else:
        anew = CALL_ANEW if prompt.schema is None else ANEW  # tools are called, and not in JSON
        _add_to_last(messages, anew.format(advice=flaw.advice))
    schema = prompt.schema
    if flaw.has_grown:
        schema = shorter(schema, lengths(flaw.text).quarters())
    sampling = _other(prompt.sampling) if is_last else prompt.sampling
    return replace(prompt, messages=tuple(messages), schema=schema, sampling=sampling)


def _other(sampling: Sampling) -> Sampling:
    seed = None if sampling.seed is None else sampling.seed + 1
    temperature = max(sampling.temperature, _LAST_TEMPERATURE)
    return replace(sampling, temperature=temperature, seed=seed)


def _add_to_last(messages: list[Message], note: str) -> None:
    """Say it in the user's last turn: two of the user in a row are refused by some templates."""
    last = messages[-1]
    if last["role"] == "user":
        messages[-1] = {**last, "content": f"{last['content']}\n\n{note}"}
    else:
        messages.append({"role": "user", "content": note})
