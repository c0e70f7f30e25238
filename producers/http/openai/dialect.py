"""What the request bodies of OpenAI's API have in common. Pure.

Each member of a body is taken over, left out because it says nothing about the answer, or refused
with its name: nothing that would change the answer is ever ignored.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Final

from local_llm_service.producers.http.asking import Asked
from local_llm_service.producers.http.callers.caller import Caller
from local_llm_service.producers.http.reading import as_object
from local_llm_service.producers.http.renaming import in_words_of
from local_llm_service.tasks.request import JobRequest, Priority
from local_llm_service.worker.errors import InvalidRequest

#: Options of every kind that a body may hold beside OpenAI's members (`extra_body` of the client).
OUR_OPTIONS: Final = frozenset(
    {"model", "priority", "cache", "cache_scope", "deadline_seconds", "keep_local"}
)
#: Members that say nothing about the answer: who asks, what is kept of it, how fast it comes.
SAY_NOTHING: Final = frozenset(
    {
        *("metadata", "prediction", "prompt_cache_key", "prompt_cache_options"),
        *("prompt_cache_retention", "safety_identifier", "service_tier", "store", "stream"),
        *("stream_options", "user"),
    }
)
#: Those among them that are texts.
_TEXTS: Final = frozenset(
    {"prompt_cache_key", "prompt_cache_retention", "safety_identifier", "user"}
)
#: OpenAI's tiers as our queues.
TIERS: Final[Mapping[str, Priority]] = {
    "priority": "high",
    "fast": "high",
    "default": "normal",
    "auto": "normal",
    "flex": "low",
}
#: Our queues in OpenAI's words.
_TIER_OF: Final = {"high": "priority", "normal": "default", "low": "flex"}
_NAME = re.compile(r"[\w.-]{1,64}", re.ASCII)


@dataclass(frozen=True)
class Dialect:
    """How one of OpenAI's bodies is read.

    `taken`: members that have the same name and meaning as an argument of the kind. `renamed`:
    members under another name. `said`: by name, values that ask for nothing that is not done
    anyway. `refused`: by name, why all other values are.
    """

    taken: frozenset[str]
    renamed: Mapping[str, str] = field(default_factory=dict)
    said: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)

    def arguments_of(self, body: Any) -> dict[str, Any]:
        """The arguments and options that a body holds; null stands for a default.

        Raises InvalidRequest, which begins with the name of what cannot be done.
        """
        found: dict[str, Any] = {}
        for name, value in as_object(body).items():
            if value is None or self._says_nothing(name, value):
                continue
            if name in SAY_NOTHING:
                _check_type(name, value)
                continue
            if name in self.taken or name in OUR_OPTIONS:
                found.setdefault(name, value)
            elif name in self.renamed:
                ours = self.renamed[name]
                if body.get(ours) not in (None, value):
                    raise InvalidRequest(f"{ours}: is not what {name} says")
                found[ours] = value
            else:
                raise InvalidRequest(*self._why(name))
        return found | _queue(body, found)

    def _says_nothing(self, name: str, value: Any) -> bool:
        return any(type(value) is type(one) and value == one for one in self.said.get(name, ()))

    def _why(self, name: str) -> tuple[str, str]:
        if name in self.refused:
            return f"{name}: {self.refused[name]}", "Leave it out."
        shown = f"{name}: " if _NAME.fullmatch(name) else ""
        return f"{shown}is no member that is known here", "Leave it out, or correct its name."

    def own_names(self) -> AbstractContextManager[None]:
        """Let errors about arguments of the kind name the members that the caller has sent."""
        names = {ours: theirs for theirs, ours in self.renamed.items()}
        return in_words_of(lambda name, path: f"{names.get(name, name)}{path}")


def _check_type(name: str, value: Any) -> None:
    """Raise InvalidRequest for a member that says nothing and yet is no such one."""
    if name == "metadata" and not (
        isinstance(value, dict) and all(isinstance(one, str) for one in value.values())
    ):
        raise InvalidRequest("metadata: must be an object of texts")
    if name in _TEXTS and not isinstance(value, str):
        raise InvalidRequest(f"{name}: must be a text")
    if name == "store" and not isinstance(value, bool):
        raise InvalidRequest("store: must be true or false")


def kind_options(request: type[JobRequest], *without: str) -> frozenset[str]:
    """The names of a kind's own arguments."""
    shared = JobRequest.model_fields.keys()
    return frozenset(request.model_fields.keys() - shared - set(without))


def _queue(body: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, Any]:
    """The priority that `service_tier` chooses."""
    tier = body.get("service_tier")
    if tier is None:
        return {}
    if not isinstance(tier, str) or tier not in TIERS:
        raise InvalidRequest(f"service_tier: must be one of {', '.join(TIERS)}")
    return {"priority": priority_of_tier(tier, found.get("priority"))}


def priority_of_tier(tier: str, named: Any) -> Priority:
    """The queue of one of TIERS. Raises InvalidRequest where the call names another one, too."""
    if named not in (None, TIERS[tier]):
        raise InvalidRequest("priority: is not what service_tier says")
    return TIERS[tier]


def queued(caller: Caller, asked: Asked) -> Asked:
    """The same in the queue "normal" where it names none, as OpenAI's default tier is not its best
    one; in a caller's own queue where that is less urgent."""
    return Asked(asked.kind, {"priority": caller.at_most("normal"), **asked.arguments})


def tier_of(asked: Asked) -> str:
    """The tier of a call's queue, in OpenAI's words."""
    priority = asked.arguments.get("priority", "normal")
    return _TIER_OF.get(priority, "default") if isinstance(priority, str) else "default"


def flag(body: Mapping[str, Any], name: str) -> bool:
    """A member that is true or false; false where it is not there. Raises InvalidRequest."""
    value = body.get(name)
    if not isinstance(value, bool | None):
        raise InvalidRequest(f"{name}: must be true or false")
    return bool(value)


def wants_usage(body: Mapping[str, Any]) -> bool:
    """Whether a stream is to end with its usage. Raises InvalidRequest."""
    options = body.get("stream_options")
    if options is None:
        return False
    if not isinstance(options, dict):
        raise InvalidRequest("stream_options: must be an object")
    for name in options.keys() - {"include_usage", "include_obfuscation"}:
        shown = name if _NAME.fullmatch(name) else "a member"
        raise InvalidRequest(f"stream_options: {shown} is not known here", "Leave it out.")
    if not all(isinstance(one, bool | None) for one in options.values()):
        raise InvalidRequest("stream_options.include_usage: must be true or false")
    return bool(options.get("include_usage"))
