"""Reads a function's parameters out of a message, and says which of them the message gives."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Final

from local_llm_service.tasks.json_answers.asking import ask_for_json, ask_until
from local_llm_service.tasks.json_answers.flaw import Flaw
from local_llm_service.tasks.json_answers.reading import read_json
from local_llm_service.tasks.json_schema import breach
from local_llm_service.tasks.parameters import prompts
from local_llm_service.tasks.parameters.defaults import defaults
from local_llm_service.tasks.parameters.functions import Function
from local_llm_service.tasks.parameters.relaxed import (
    allows_null,
    asked,
    is_chosen,
    is_open,
    relaxed,
    takes_nothing,
    without_required,
)
from local_llm_service.tasks.parameters.said import Said, Verdict
from local_llm_service.tasks.sampling import SAMPLING
from local_llm_service.tasks.steps.protocol import Steps
from local_llm_service.worker.errors import ContextOverflow, InvalidOutput
from local_llm_service.worker.prompt import Completion, JsonSchema, Message, Prompt

#: Tokens of an answer beside those of its names and of the message's words.
_SPARE_TOKENS: Final = 128
#: What an error says of that budget.
_BUDGET: Final = "more than the message says"


@dataclass(slots=True)
class Found:
    """What was read; see ExtractAnswer."""

    parameters: dict[str, Any] = field(default_factory=dict, repr=False)
    missing: list[str] = field(default_factory=list)
    ungrounded: list[str] = field(default_factory=list)
    defaulted: list[str] = field(default_factory=list)
    guesses: dict[str, Any] = field(default_factory=dict, repr=False)
    #: An answer had been cut, so this is a shorter one.
    is_short: bool = False


def read_parameters(ask: Steps, function: Function, message: str) -> Found:
    """Ask for the parameters, and once again for those that the message does not say.

    Raises InvalidOutput if no answer keeps the schema, and what `ask` raises.
    """
    if is_open(function):
        return _OpenReading(ask, function, message).found()
    if takes_nothing(function):
        return Found()
    return _whole(ask, function, message)


class _OpenReading:
    """The parameters of a function of which each can be left out by itself."""

    def __init__(self, ask: Steps, function: Function, message: str) -> None:
        self._ask, self._function, self._message = ask, function, message
        self._said = Said(message)
        self._result = Found()
        #: Lists as the model wrote them, where something was left out.
        self._lists: dict[str, Any] = {}

    def found(self) -> Found:
        names = asked(self._function)
        first = self._read(names, alone=len(names) == len(self._function.properties))
        if doubted := self._take(first):
            self._look_again(doubted)
        self._fill_in()
        self._keep_schema()
        return self._result

    def _read(self, names: list[str], *, alone: bool) -> dict[str, Any]:
        """What the model writes for these parameters, without those that it says are not said."""
        most = self._said.most_elements
        schema = relaxed(self._function, names, alone=alone, most_elements=most)
        messages = prompts.reading(self._function, names, self._message)
        if not alone:
            messages = prompts.reading(self._function, self._function.properties, self._message)
        prompt = replace(_prompt(self._ask, messages, schema), max_tokens=self._most_tokens(schema))
        kept = ask_until(self._ask, prompt, self._given, self._function.parameters)
        self._result.is_short |= kept.is_short
        return kept.found

    def _most_tokens(self, schema: JsonSchema) -> int:
        """More than names, choices and copied words can take; a model that raves stops there."""
        names, words = json.dumps(schema, ensure_ascii=False), self._message
        most = _SPARE_TOKENS + self._ask.likely_tokens(names) + 2 * self._ask.likely_tokens(words)
        return min(most, self._ask.max_output_tokens)

    def _given(self, completion: Completion) -> dict[str, Any] | Flaw:
        """What the model has written, held to the function's own schema; or what is wrong."""
        found = read_json(completion, {"type": "object"}, _BUDGET)
        if isinstance(found, Flaw):
            return found
        given = {name: one for name, one in found.value.items() if not self._is_nothing(name, one)}
        broken = breach(given, without_required(self._function, self._function.required))
        return given if broken is None else Flaw.of_breach(broken, found.text)

    def _is_nothing(self, name: str, value: Any) -> bool:
        """Null, or an empty text that the model was not given to choose."""
        required = name in self._function.required
        if value is None:
            return not (required and allows_null(self._function, name))
        return value == "" and not is_chosen(self._function.properties.get(name))

    def _take(self, given: Mapping[str, Any]) -> list[str]:
        """Keep what the message says, required parameters first; returns the names of the rest."""
        first = [name for name in self._function.required if name in given]
        doubted = []
        for name in dict.fromkeys([*first, *given]):
            value = given[name]
            if is_chosen(self._function.properties.get(name)):
                self._result.parameters[name] = value
            elif self._said.take(value) is Verdict.SAID:
                self._keep(name, value)
            else:
                doubted.append(name)
        return [name for name in doubted if not self._mend(name, given[name])]

    def _mend(self, name: str, value: Any) -> bool:
        """Keep a value if it is a number copied badly; else it is a guess, until asked again."""
        mended = self._said.mended(value)
        if mended != value and self._said.take(mended) is Verdict.SAID:
            self._keep(name, mended)
            return True
        self._result.guesses[name] = value
        return False

    def _keep(self, name: str, value: Any) -> None:
        kept = self._said.kept(value)
        self._result.parameters[name] = kept
        if kept != value:
            self._lists[name] = value

    def _look_again(self, doubted: list[str]) -> None:
        """Ask for these alone. What the message does not say even then is a guess."""
        self._ask.progress(self._ask.steps, self._ask.steps + 1, "repairing")
        known = [name for name in doubted if name in self._function.properties]
        before, self._result.guesses = self._result.guesses, {}
        try:
            given = self._read(known, alone=True) if known else {}
            # Without a grammar a model also repeats what is said: that mention is taken already.
            again = {name: given[name] for name in known if name in given}
        except InvalidOutput:
            again = before  # the first answer had kept the schema
        for name in self._take(again):
            self._result.ungrounded.append(name)
            guess = self._result.guesses[name]
            if isinstance(guess, dict) or _holds_objects(guess):
                # A part of it may be said, and it cannot be had without the rest.
                self._result.parameters[name] = self._result.guesses.pop(name)

    def _fill_in(self) -> None:
        """Put in defaults, in the schema's order, and name what is missing."""
        result, function = self._result, self._function
        absent = [name for name in function.properties if name not in result.parameters]
        filled_in = defaults(function, absent)
        result.parameters |= filled_in
        result.defaulted = list(filled_in)
        order = dict.fromkeys([*function.properties, *result.parameters])
        result.parameters = {
            name: result.parameters[name] for name in order if name in result.parameters
        }
        result.missing = [name for name in function.required if name not in result.parameters]

    def _keep_schema(self) -> None:
        """Take lists as the model wrote them if the schema wants what was left out of them."""
        schema = without_required(self._function, self._result.missing)
        if self._lists and breach(self._result.parameters, schema) is not None:
            self._result.parameters |= self._lists
            self._result.ungrounded += self._lists
        broken = breach(self._result.parameters, schema)
        if broken is not None:
            raise InvalidOutput(broken.message)


def _whole(ask: Steps, function: Function, message: str) -> Found:
    """Parameters that only make sense together: none is left out, and guesses are named."""
    said, found = Said(message), Found()

    def asked_with(doubted: Iterable[str]) -> tuple[dict[str, Any], list[str]]:
        messages = prompts.reading_by_schema(function, message, doubted)
        prompt = _prompt(ask, messages, function.parameters)
        kept = ask_for_json(ask, prompt, function.parameters)
        found.is_short |= kept.is_short
        given: dict[str, Any] = kept.found.value
        chosen = {name for name in given if is_chosen(function.properties.get(name))}
        unsaid = [name for name in given if name not in chosen and not said.says(given[name])]
        return given, unsaid

    given, ungrounded = asked_with(())
    if ungrounded:
        ask.progress(ask.steps, ask.steps + 1, "repairing")
        # Without another answer there is the first one, which keeps the schema.
        with suppress(InvalidOutput, ContextOverflow):
            again, still = asked_with(ungrounded)
            if len(still) <= len(ungrounded):
                given, ungrounded = again, still
    found.parameters, found.ungrounded = given, ungrounded
    return found


def _prompt(ask: Steps, messages: tuple[Message, ...], schema: JsonSchema) -> Prompt:
    # Not for readers of a stream: what the model writes is checked and filled in before it counts.
    sampling = SAMPLING["extract_parameters"]
    return Prompt(messages, ask.max_output_tokens, sampling, schema=schema, spoken=False)


def _holds_objects(value: Any) -> bool:
    return isinstance(value, list) and any(isinstance(one, dict) for one in value)
