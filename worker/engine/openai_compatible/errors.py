"""Translates the errors of httpx, aiohttp and of servers of `/v1` into `worker.errors`.

Two tables do it: one by exception type, one by status and wording. Words that no row knows fall to
a class by status and moment, and are counted (unknown_words.py). A server's own words are not
passed on, because they may quote the request or the key.

Whatever is raised before the first byte of an answer says so by its class: nothing was made then,
and nothing has to be paid.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import aiohttp
import httpx
from httpx_sse import SSEError

from local_llm_service.worker import errors
from local_llm_service.worker.engine import unknown_words
from local_llm_service.worker.engine.cut_off import was_cut_off
from local_llm_service.worker.engine.openai_compatible.overflow import Overflow
from local_llm_service.worker.engine.openai_compatible.said import MIDWAY, Said
from local_llm_service.worker.engine.protocol import EngineDied
from local_llm_service.worker.errors import ServiceError

_START = "Start it, or correct its `url` in ENGINES_FILE."
_URL = "Correct the `url` of this engine in ENGINES_FILE: it must lead to `/v1`."
_KEY = "Check the `api_key` of this engine in ENGINES_FILE, and what it may use."
_CERTIFICATE = "Name the authority that has signed it in SSL_CERT_FILE of the worker."
_BILL = "Look into the account at the provider, or ask a local model."
_MODEL = "Name a model that this engine has, or correct its `models` in ENGINES_FILE."
_LOG = "Look into the log of this engine; ask it the same by hand."
_BUSY = "Lower the `slots` of this engine in ENGINES_FILE, or wait."
_BROKEN = "Ask again; where it happens often, look into the log of this engine."


class Refused(Exception):
    """A server's refusal, or the error event in its stream; only the engine sees it."""

    def __init__(self, said: Said, retry_after_seconds: float | None = None) -> None:
        super().__init__()
        self.said, self.retry_after_seconds = said, retry_after_seconds


#: Exception type → what it means before the first byte of an answer. First match wins.
_TRANSPORT: tuple[tuple[type[Exception], type[ServiceError], str, str], ...] = (
    (httpx.ConnectTimeout, errors.OllamaUnreachable, "{engine} does not answer", _START),
    (httpx.ConnectError, errors.OllamaUnreachable, "{engine} is not running", _START),
    (ConnectionError, errors.OllamaUnreachable, "{engine} is not running", _START),
    (httpx.ProxyError, errors.OllamaUnreachable, "the proxy before {engine} does not let through",
     "Check HTTPS_PROXY and NO_PROXY of the worker."),
    (httpx.UnsupportedProtocol, errors.OllamaUnreachable, "{engine} has no URL", _URL),
    (httpx.InvalidURL, errors.OllamaUnreachable, "{engine} has no URL", _URL),
    (SSEError, errors.ModelFailed, "{engine} does not stream its answers", _URL),
    (httpx.TimeoutException, errors.EngineTimeout, "{engine} did not take the request", _LOG),
    # The request was sent: whatever cuts the connection now may have died of it.
    (httpx.TransportError, EngineDied, "the connection to {engine} broke off", _BROKEN),
    (httpx.StreamError, EngineDied, "the connection to {engine} broke off", _BROKEN),
    (httpx.HTTPError, errors.StreamBroken, "the exchange with {engine} failed", _BROKEN),
    # What aiohttp raises and the transport does not turn into an error of httpx.
    (aiohttp.ClientError, EngineDied, "the connection to {engine} broke off", _BROKEN),
    (ValueError, errors.ModelFailed, "{engine} does not speak the API of `/v1`", _URL),
)  # fmt: skip

#: Everything that `translate` knows how to read.
FOREIGN: tuple[type[Exception], ...] = (Refused, *(row[0] for row in _TRANSPORT))

_ANSWERED = "{engine} answered {status} for model {model!r}"
_BUSY_NOW = "{engine} is busy ({status})"
#: A process that runs the model and died under its prompts, in the words of vLLM and SGLang.
_DEATH = r"EngineCore encountered|EngineDeadError|Engine loop is dead|Background loop has errored|"
_DEATH += r"AsyncEngineDead|scheduler.*(?:died|dead)|unexpectedly stopped|process.*exited"

#: (status, pattern in type, code and words) → ours. First match wins; None is any status that
#: begins with it. Codes come before words: words that a caller chose may stand in a message.
_RESPONSES: tuple[tuple[str, str, type[ServiceError], str, str], ...] = (
    ("401", r"", errors.ModelFailed, "{engine} does not take its key", _KEY),
    # LiteLLM without a database looks up there what is not its master key.
    ("400", r"no_db_connection", errors.ModelFailed, "{engine} does not take its key", _KEY),
    ("402", r"", errors.ModelFailed, "the account at {engine} has no credit", _BILL),
    ("429", r"insufficient_quota|billing_hard_limit|exceeded your current quota",
     errors.ModelFailed, "the account at {engine} has no credit", _BILL),
    ("403", r"insufficient_quota|billing", errors.ModelFailed,
     "the account at {engine} has no credit", _BILL),
    ("403", r"", errors.ModelFailed, "{engine} does not let its key do that", _KEY),
    ("40[04]", r"model_not_found|NotFoundError|[Mm]odel .*(?:does not exist|not found)|"
               r"[Ii]nvalid model name|no such model|is not loaded",
     errors.ModelMissing, "{engine} has no model {model!r}", _MODEL),
    ("40[045]", r"(?i)embeddings? .*not support|not support.*embedding|"
                r"not allowed to generate embeddings|does not support embed|"
                 r"Unmapped LLM provider for this endpoint",
     errors.InvalidRequest, "model: {model!r} gives no embeddings",
     "Name a model for embeddings."),
    ("501", r"(?i)embed", errors.InvalidRequest, "model: {model!r} gives no embeddings",
     "Name a model for embeddings."),
    ("40[45]", r"", errors.ModelFailed, "{engine} does not speak the API of `/v1`", _URL),
    ("400", r"content_filter|content_policy|content management policy|ResponsibleAIPolicy|"
            r"invalid_prompt|data_inspection_failed|Content Exists Risk",
     errors.InvalidRequest, "the prompt is held back by the content filter of {engine}",
     "Ask in other words, or ask another model."),
    # In silence its numbers would teach a wrong count: some mean what one minute may bring.
    ("413", r"", errors.ContextOverflow, "the request is larger than {engine} takes",
     "Shorten the input, or ask a model with a larger context."),
    ("429|503|529", r"", errors.OllamaBusy, _BUSY_NOW, _BUSY),
    ("500", _DEATH, EngineDied, "{engine} died while it ran this prompt", _LOG),
    (str(MIDWAY), _DEATH, EngineDied, "{engine} died half-way", _LOG),
    ("502|504|408|52\\d", r"", errors.StreamBroken, "a proxy before {engine} lost it", _BROKEN),
    ("3\\d\\d", r"", errors.ModelFailed, "{engine} leads to another address, which is not followed",
     _URL),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Translator:
    """Speaks of one engine: `engine` names it and its URL without any secret.

    `leaves_the_house`: its server is no process of ours, and dies of nobody's prompt.
    """

    engine: str
    leaves_the_house: bool

    def translate(self, error: Exception, *, model: str) -> ServiceError:
        """Turn a foreign error into one of ours, whose message names the engine and `model`.

        Our own errors come back unchanged; an error that no table knows is an InternalError.
        """
        if isinstance(error, ServiceError):
            return error
        if isinstance(error, Refused):
            return self._refused(error, model)
        if isinstance(error.__cause__, aiohttp.ClientSSLError):
            return errors.OllamaUnreachable(
                f"the certificate of {self.engine} is not one to trust", _CERTIFICATE
            )
        if was_cut_off(error):
            return self._of(EngineDied, f"the connection to {self.engine} broke off", _BROKEN)
        for kind, ours, text, hint in _TRANSPORT:
            if isinstance(error, kind):
                return self._of(ours, text.format(engine=self.engine), hint)
        return errors.InternalError(f"unexpected {type(error).__name__} in the engine")

    def _refused(self, refused: Refused, model: str) -> ServiceError:
        said = refused.said
        overflow = Overflow.of(said)
        if overflow is not None:
            return overflow.error
        named = {"engine": self.engine, "model": model, "status": said.status}
        for status, pattern, ours, text, hint in _RESPONSES:
            if re.fullmatch(status, str(said.status)) and re.search(pattern, said.all):
                error = self._of(ours, text.format(**named), hint)
                if isinstance(error, errors.OllamaBusy):
                    error.retry_after_seconds = refused.retry_after_seconds
                return error
        return self._unknown(said, named)

    def _unknown(self, said: Said, named: dict[str, object]) -> ServiceError:
        midway = said.status == MIDWAY
        unknown_words.note(said.status, midway=midway, engine=self.engine)
        if midway:
            return errors.StreamBroken(f"the answer of {self.engine} broke off half-way", _BROKEN)
        if said.status >= 500 and self.leaves_the_house:
            # A provider's own trouble, which passes; nothing was made, and so nothing is paid.
            return errors.OllamaBusy(_BUSY_NOW.format(**named), _BROKEN)
        return errors.ModelFailed(_ANSWERED.format(**named), _LOG)

    def _of(self, ours: type[ServiceError], message: str, hint: str) -> ServiceError:
        if ours is EngineDied and self.leaves_the_house:
            ours = errors.StreamBroken
        return ours(message, hint)
