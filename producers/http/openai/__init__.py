"""OpenAI's API: bodies become calls of the kinds, answers become OpenAI's objects."""

from __future__ import annotations

from local_llm_service.producers.http.openai import chat, completions, embeddings, models
from local_llm_service.producers.http.operations import Operation

OPERATIONS: tuple[Operation, ...] = (
    chat.OPERATION,
    completions.OPERATION,
    embeddings.OPERATION,
    *models.OPERATIONS,
)
