"""Ollama's API over the kinds: a site's OLLAMA_HOST can point here, and gets the queue.

`options.py` and `bodies.py` say what a request may hold, `asked.py` makes a job of it, `records.py`
writes replies; `completing.py`, `vectors.py`, `models.py` and `management.py` have the endpoints.
"""

from __future__ import annotations

from local_llm_service.producers.http.ollama import completing, management, models, vectors
from local_llm_service.producers.http.ollama.bodies import (
    ChatBody,
    EmbedBody,
    EmbeddingsBody,
    GenerateBody,
    ShowBody,
)
from local_llm_service.producers.http.ollama.schemas import (
    ChatReply,
    EmbeddingsReply,
    EmbedReply,
    GenerateReply,
    LoadedReply,
    ShowReply,
    TagsReply,
    VersionReply,
)
from local_llm_service.producers.http.operations import OLLAMA_TAG, Operation

_MANAGED = {
    ("POST", "/api/pull"): "Pull a model",
    ("POST", "/api/push"): "Push a model",
    ("POST", "/api/create"): "Make a model of another one, or of files",
    ("POST", "/api/copy"): "Give a model a second name",
    ("DELETE", "/api/delete"): "Delete a model",
}

OPERATIONS: tuple[Operation, ...] = (
    Operation(
        "GET",
        "/",
        models.running,
        "Whether something is here, as Ollama says it",
        OLLAMA_TAG,
        answers={200: "text/plain"},
        public=True,
    ),
    Operation(
        "POST",
        "/api/chat",
        completing.chat,
        "The next message of a conversation",
        OLLAMA_TAG,
        body=ChatBody,
        answers={200: (ChatReply, completing.NDJSON)},
    ),
    Operation(
        "POST",
        "/api/generate",
        completing.generate,
        "Text for a prompt",
        OLLAMA_TAG,
        body=GenerateBody,
        answers={200: (GenerateReply, completing.NDJSON)},
    ),
    Operation(
        "POST",
        "/api/embed",
        vectors.embed,
        "Texts as vectors",
        OLLAMA_TAG,
        body=EmbedBody,
        answers={200: EmbedReply},
    ),
    Operation(
        "POST",
        "/api/embeddings",
        vectors.embeddings,
        "The vector of one text, in the older form",
        OLLAMA_TAG,
        body=EmbeddingsBody,
        answers={200: EmbeddingsReply},
    ),
    Operation(
        "GET",
        "/api/tags",
        models.tags,
        "The models that workers have",
        OLLAMA_TAG,
        answers={200: TagsReply},
    ),
    Operation(
        "POST",
        "/api/show",
        models.show,
        "One model",
        OLLAMA_TAG,
        body=ShowBody,
        answers={200: ShowReply},
    ),
    Operation(
        "GET",
        "/api/ps",
        models.ps,
        "The models in memory",
        OLLAMA_TAG,
        answers={200: LoadedReply},
    ),
    Operation(
        "GET",
        "/api/version",
        models.version,
        "The oldest Ollama of all workers",
        OLLAMA_TAG,
        answers={200: VersionReply},
    ),
    *(
        Operation(
            method,
            path,
            management.manage,
            summary,
            OLLAMA_TAG,
            answers={200: ("application/json", completing.NDJSON)},
        )
        for (method, path), summary in _MANAGED.items()
    ),
    *(
        Operation(
            method,
            "/api/blobs/{digest}",
            management.blob,
            summary,
            OLLAMA_TAG,
            answers={status: "application/json"},
            streams_body=True,
        )
        for method, status, summary in (
            ("HEAD", 200, "Whether a part of a model's file is there"),
            ("POST", 201, "Send a part of a model's file"),
        )
    ),
)
