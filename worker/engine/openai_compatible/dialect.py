"""What one server makes of the arguments of a request for one model, learned from its refusals.

A refused request costs nothing at a provider, but time: so what a server does not take is left out
from then on, once it has answered without it. An argument whose absence nobody would notice, as a
seed, goes; one that the answer depends on, as a text to stop at, is an error for the caller.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from local_llm_service.worker.engine.openai_compatible.said import Said
from local_llm_service.worker.errors import InvalidRequest, ServiceError

#: Of these OpenAI's API knows nothing; vLLM, SGLang, llama-server and LM Studio take them.
EXTRAS: Final = frozenset({"top_k", "min_p", "repetition_penalty", "repeat_penalty"})
_PENALTIES: Final = frozenset({"presence_penalty", "frequency_penalty"})
#: What reasoning models do not take.
_CHOICE: Final = frozenset({"temperature", "top_p"}) | _PENALTIES
#: What may be left out, with what goes at once: a server refuses one argument at a time, and hardly
#: one takes half of a group. Many take a temperature and no penalties; so the first group counts.
_DISPENSABLE: Final = (
    EXTRAS, _PENALTIES, _CHOICE, frozenset({"seed"}), frozenset({"stream_options"}),
)  # fmt: skip
#: What the answer depends on, and what to say of a server that does not take it.
_ESSENTIAL: Final = {
    "stop": "stop: model {model!r} of engine {engine!r} takes no such texts to stop at",
    "tools": "tools: model {model!r} of engine {engine!r} cannot choose by itself to call one",
    "logprobs": "logprobs: model {model!r} of engine {engine!r} gives none",
    "top_logprobs": "top_logprobs: model {model!r} of engine {engine!r} gives not so many",
}
#: What may go alone.
_SINGLY: Final = frozenset[str]().union(*_DISPENSABLE) - EXTRAS
#: The ways to ask for JSON, strictest first; "" leaves it to the prompt.
FORMATS: Final = ("json_schema", "json_object", "")
#: What stands before the name of an argument that a server does not take.
_REFUSALS = re.compile(
    r"(?:[Uu]nsupported (?:parameter|value)s?: '|[Uu]nrecognized request arguments? supplied: "
    r"|[Uu]nknown (?:parameter|argument|field)s?: ?['\"`]?|[Uu]nexpected keyword argument '"
    r"|not support (?:the )?parameters?: [\[{]?['\"`]?|[Uu]nsupported_parameter.*?'"
    r"|[Aa]rgument not supported on this model: "
    r"|(?:does not|doesn't) support (?:the )?(?!parameters?:)['\"`]?)(?P<name>[A-Za-z_]+)"
)
#: LiteLLM's list of all arguments that the model behind it does not take.
_LISTED = re.compile(r"not support parameters: \[(?P<names>[^\]]*)\]")
#: Claude's words: one of both is enough, and the temperature is the one that callers give.
_NOT_BOTH = re.compile(r"temperature\W+and\W+top_p\W+cannot both be specified")
#: How a type of error, or a word of it, says that an argument is unknown. OpenAI's o-series: 403.
_UNKNOWN = re.compile(
    r"extra_forbidden|unsupported_|unknown_parameter|[Nn]ot (?:supported|permitted|allowed)"
)
#: A refusal of this way to ask for JSON, whatever the schema.
_FORMAT_TYPE = re.compile(
    r"response_format'?(?: of|\.)? ?type|response_format[`'\"]? is not supported"
)
#: The longest answer of a model, in the words of OpenAI, Anthropic, Groq and DeepSeek.
_ANSWER_LIMIT = re.compile(
    r"supports at most (\d+) completion tokens|max_tokens: \d+ > (\d+)"
    r"|max_tokens`? must be less than or equal to `?(\d+)|range of max_tokens is \[\d+, ?(\d+)\]"
)
#: A model, or its server as it was started, that calls no tools: vLLM, Ollama's `/v1`, OpenRouter,
#: llama-server.
_NO_TOOLS = re.compile(
    r"tool choice requires|not support tools|support tool use|tools param requires"
    r"|[Tt]ool (?:use|calls?|calling)\b.{0,30}not supported"
)


@dataclass(frozen=True, slots=True)
class Dialect:
    """How to ask for one model.

    `refused` are arguments that are left out, `bound` is the name of the one that bounds the
    answer, `most_tokens` the longest answer that the model gives, `refused_forms` are those of
    FORMATS that it does not take at all. `is_proven`: it has answered a request with all others.
    """

    refused: frozenset[str] = frozenset()
    bound: str = "max_tokens"
    most_tokens: int | None = None
    refused_forms: frozenset[str] = frozenset()
    is_proven: bool = False

    def without(self, said: Said, sent: Mapping[str, Any]) -> Dialect | None:
        """The dialect after a refusal of `sent`; None if that was about something else."""
        if names := _listed_names(said) & sent.keys() & _SINGLY:
            return replace(self, refused=self.refused | names)
        name = _refused_name(said)
        if limit := _ANSWER_LIMIT.search(said.words):
            most = int(next(filter(None, limit.groups())))
            return replace(self, most_tokens=most) if self.most_tokens is None else None
        if name == "max_tokens" and self.bound == name and "max_completion_tokens" in said.words:
            return replace(self, bound="max_completion_tokens")
        if "response_format" in sent and _FORMAT_TYPE.search(said.words):
            form = sent["response_format"]["type"]
            return replace(self, refused_forms=self.refused_forms | {form})
        for group in _DISPENSABLE:
            if name in group and name in sent:
                return replace(self, refused=self.refused | group)
        unsure = EXTRAS & sent.keys()
        if unsure and not self.is_proven and said.status in (400, 422):
            return replace(self, refused=self.refused | unsure)
        return None

    def form_from(self, form: str) -> str:
        """This way to ask for JSON, or the next looser one that the server takes."""
        later = FORMATS[FORMATS.index(form) :]
        return next(one for one in later if one not in self.refused_forms)

    def looser(self, form: str) -> str:
        """The next way to ask for JSON after one that failed."""
        return self.form_from(FORMATS[FORMATS.index(form) + 1])

    def and_also(self, other: Dialect) -> Dialect:
        """What both have learned, where another call has learned something meanwhile."""
        return replace(
            self,
            refused=self.refused | other.refused,
            bound=max(self.bound, other.bound, key=len),
            most_tokens=self.most_tokens or other.most_tokens,
            refused_forms=self.refused_forms | other.refused_forms,
            is_proven=self.is_proven or other.is_proven,
        )


def essential(said: Said, sent: Mapping[str, Any], model: str, engine: str) -> ServiceError | None:
    """The caller's error where a server refuses what the answer depends on."""
    names = {_refused_name(said)} | _listed_names(said)
    if said.status not in (400, 403, 422):
        names = set()
    if "tools" in sent and said.status >= 400 and _NO_TOOLS.search(said.words):
        names = {"tools"}
    name = next((one for one in _ESSENTIAL if one in names and one in sent), None)
    if name is None:
        return None
    text = _ESSENTIAL[name].format(model=model, engine=engine)
    return InvalidRequest(text, "Ask without it, or ask another model.")


def _refused_name(said: Said) -> str:
    """The argument that a refusal is about, or nothing."""
    if said.param and (_UNKNOWN.search(said.all) or said.param.split(".")[0] in _ESSENTIAL):
        return said.param.split(".")[0].split("[")[0]
    found = _REFUSALS.search(said.words)
    return "" if found is None else _snake_case(found["name"])


def _listed_names(said: Said) -> frozenset[str]:
    """All arguments that a refusal names as a whole: nothing else of their groups is refused."""
    found = _LISTED.search(said.words)
    names = frozenset(re.findall(r"[a-z_]+", found["names"])) if found else frozenset[str]()
    return names | ({"top_p"} if _NOT_BOTH.search(said.words) else frozenset())


def _snake_case(name: str) -> str:
    """xAI says `frequencyPenalty` of what was sent as `frequency_penalty`."""
    return re.sub(r"(?<=[a-z])[A-Z]", lambda found: f"_{found[0].lower()}", name)
