"""The vectors of a job's texts: those that some job has had made come out of Redis."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace

import redis

from local_llm_service.worker.prompt import Completion, ToEmbed, Vector
from local_llm_service.worker.store.vectors import Vectors

logger = logging.getLogger(__name__)

#: Asks the engine.
Ask = Callable[[ToEmbed], Completion]

#: What a job has of its engine when it knows all vectors.
_NOTHING_ASKED = Completion("", "", "stop", 0, 0, 0.0, 0.0, 0.0)


def all_vectors(
    texts: ToEmbed, ask: Ask, known: Vectors, name_of: Callable[[str], str] | None
) -> Completion:
    """One vector for each text, each text asked for once and only if it is not known.

    `name_of` names a text's vector; None: nothing is looked up or kept. Redis away: all texts are
    asked for. Raises what `ask` raises.
    """
    different = list(dict.fromkeys(texts.texts))
    names = {} if name_of is None else {text: name_of(text) for text in different}
    found = _looked_up(known, names)
    missing = [text for text in different if text not in found]
    completion = ask(ToEmbed(tuple(missing))) if missing else _NOTHING_ASKED
    made = dict(zip(missing, completion.vectors, strict=True))
    if names and made:
        _keep(known, {names[text]: vector for text, vector in made.items()})
    found |= made
    return replace(completion, vectors=tuple(found[text] for text in texts.texts))


def _looked_up(known: Vectors, names: dict[str, str]) -> dict[str, Vector]:
    if not names:
        return {}
    try:
        by_name = known.known(list(names.values()))
    except redis.RedisError as error:
        logger.warning("no vectors are looked up: %s", type(error).__name__)
        return {}
    return {text: by_name[name] for text, name in names.items() if name in by_name}


def _keep(known: Vectors, made: dict[str, Vector]) -> None:
    try:
        known.keep_vectors(made)
    except redis.RedisError as error:
        logger.warning("no vectors are kept: %s", type(error).__name__)
