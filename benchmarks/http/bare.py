"""The baseline: one FastAPI route that checks a body and returns an answer of the same size."""

from __future__ import annotations

import sys
from typing import Any

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

from benchmarks.clients.storer import ANSWER

app = FastAPI()


class Body(BaseModel):
    """What `/generate` of the first API takes."""

    prompt: str
    system_prompt: str | None = None
    max_tokens: int = 500
    temperature: float = 0.7


@app.get("/health/live")
async def live() -> dict[str, str]:
    """So that the parent sees that it has started."""
    return {"status": "ok"}


@app.post("/generate")
async def generate(body: Body) -> dict[str, Any]:
    """An answer without any work."""
    return {**ANSWER, "task_id": str(len(body.prompt))}


if __name__ == "__main__":
    uvicorn.run(
        app,
        port=int(sys.argv[1]),
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_level="warning",
    )
