"""What Ollama says of its models, read into values: `/api/show` and `/api/ps`."""

from __future__ import annotations

from typing import Any

from ollama import ProcessResponse

from local_llm_service.worker.fingerprint import full_name
from local_llm_service.worker.prompt import LoadedModel, ModelFacts

#: The members of `details` that every version writes. What else a version adds is left out: all of
#: it goes to Redis every few seconds.
_DETAILS = ("parent_model", "format", "family", "families", "parameter_size", "quantization_level")


def facts_in(shown: Any) -> ModelFacts:
    """Read a reply of `/api/show`; what is missing or of another type is left out."""
    answer = _object(shown)
    info, details = _object(answer.get("model_info")), _object(answer.get("details"))
    architecture = info.get("general.architecture")
    capabilities = answer.get("capabilities")
    return ModelFacts(
        context_tokens=_count(info.get(f"{architecture}.context_length")),
        architecture=architecture if isinstance(architecture, str) else "",
        parameter_count=_count(info.get("general.parameter_count")),
        embedding_length=_count(info.get(f"{architecture}.embedding_length")),
        details={name: details[name] for name in _DETAILS if _may_be_told(details.get(name))},
        capabilities=[one for one in capabilities if isinstance(one, str)]
        if isinstance(capabilities, list)
        else [],
    )


def loaded_in(running: ProcessResponse) -> dict[str, LoadedModel]:
    """The models that `/api/ps` lists, by their full names."""
    return {
        full_name(one.model or one.name or ""): LoadedModel(
            size_bytes=int(one.size or 0),
            vram_bytes=int(one.size_vram or 0),
            context_tokens=_count(one.context_length),
            expires_at=None if one.expires_at is None else one.expires_at.isoformat(),
        )
        for one in running.models
    }


def _may_be_told(detail: Any) -> bool:
    """Whether it is there, and no path: 0.24 names the file on the worker's disk as a parent."""
    is_path = isinstance(detail, str) and (detail.startswith("/") or "\\" in detail)
    return detail is not None and not is_path


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _count(value: Any) -> int | None:
    is_count = isinstance(value, int) and not isinstance(value, bool) and value > 0
    return value if is_count else None
