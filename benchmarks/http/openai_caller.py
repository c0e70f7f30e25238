"""The process of many callers with the official client, unmodified."""

from __future__ import annotations

import asyncio
from typing import Any

import openai

from benchmarks.dedupe.child import serve


async def _ask(client: openai.AsyncOpenAI, model: str) -> str:
    try:
        reply = await client.chat.completions.create(
            model=model,
            messages=[{"role": "user", "content": "What do all of us want to know?"}],
            temperature=0,
        )
    except openai.APITimeoutError:
        return "timed out"
    except openai.APIError as error:
        return type(error).__name__
    return "text" if reply.choices[0].message.content else "nothing"


async def _all(url: str, model: str, callers: int, seconds: float) -> list[str]:
    client = openai.AsyncOpenAI(base_url=url, api_key="none", timeout=seconds, max_retries=2)
    async with client:
        return await asyncio.gather(*(_ask(client, model) for _ in range(callers)))


def ask(url: str, model: str, callers: int, seconds: float) -> dict[str, Any]:
    """Let so many callers ask the same at once; returns how many saw what."""
    seen = asyncio.run(_all(url, model, callers, seconds))
    others = sorted(set(seen) - {"text", "timed out"})
    return {"texts": seen.count("text"), "timed_out": seen.count("timed out"), "others": others}


if __name__ == "__main__":
    serve({"ask": ask})
