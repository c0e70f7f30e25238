"""What a caller of Ollama's API can choose beside the body, and what only a model can tell."""

from __future__ import annotations

import re
from typing import Any

from local_llm_service.producers.http.call import Call
from local_llm_service.producers.http.ollama.bodies import Body, Completing
from local_llm_service.producers.http.ollama.models import known
from local_llm_service.producers.http.service import HttpService
from local_llm_service.worker.errors import InvalidRequest
from local_llm_service.worker.store.keys import PRIORITIES

#: What is told of a caller's own names: a header takes no other characters, and no more of them.
_PLAIN = re.compile(r"[A-Za-z0-9_.-]{1,60}")
MOST_NAMES = 20


def choices(call: Call, body: Body) -> dict[str, Any]:
    """Options by headers, as the body's members are Ollama's own but for `keep_local`.

    `X-Priority` chooses the queue; without it a call goes to the normal one, or to the key's
    ceiling below that. `Cache-Control: no-cache` asks for a new answer. Raises InvalidRequest.
    """
    priority = call.header("x-priority")
    if priority is None:
        priority = call.caller.at_most("normal")
    if priority not in PRIORITIES:
        raise InvalidRequest(
            f"X-Priority: must be {', '.join(PRIORITIES)}", "Correct the header, or leave it out."
        )
    wanted = (call.header("cache-control") or "").lower()
    is_fresh = "no-cache" in wanted or "no-store" in wanted
    kept = {"keep_local": True} if body.stays_local else {}
    return {"priority": priority, **kept} | ({"cache": False} if is_fresh else {})


def left_out(body: Body) -> dict[str, str]:
    """The header that names what had no meaning here: a misspelt option is found by it."""
    names = [name for name in body.unknown if _PLAIN.fullmatch(name)]
    return {"X-Local-LLM-Ignored": ", ".join(names[:MOST_NAMES])} if names else {}


async def check(service: HttpService, body: Body) -> None:
    """Refuse what only the model can tell to be wrong. Raises InvalidRequest."""
    await _check_context(service, body.model, body.given.num_ctx)
    if isinstance(body, Completing):
        await _check_thinking(service, body.model, body.think)


async def _check_context(service: HttpService, model: str, num_ctx: int | None) -> None:
    """Refuse a larger context than workers run the model with."""
    if num_ctx is None:
        return
    row = await known(service, model)
    most = None if row is None else row["num_ctx"]
    if most is not None and num_ctx > most:
        raise InvalidRequest(
            f"options.num_ctx: workers run this model with a context of {most} tokens",
            "Leave it out: the whole context is always used, and nothing is cut.",
        )


async def _check_thinking(service: HttpService, model: str, think: object) -> None:
    """Refuse to switch off the thinking of a model that thinks."""
    if think is not False:
        return
    row = await known(service, model)
    facts = (row and row["facts"]) or {}
    if "thinking" in facts.get("capabilities", ()):
        raise InvalidRequest(
            "think: cannot be switched off here, and this model thinks",
            "Leave it out, or name a model that does not think.",
        )
