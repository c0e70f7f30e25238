"""Every setting of the service, read once from the environment and validated.

Nothing else reads the environment. `python -m worker` logs the settings at start with secrets
masked; docs/settings.md lists them all, and a test compares its table with this file.
"""

from __future__ import annotations

import os
import re
from functools import lru_cache
from typing import Annotated, Final, Self

from pydantic import AliasChoices, Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from local_llm_service.worker.addresses import check_ollama_host, check_redis_address
from local_llm_service.worker.errors import InvalidSetting
from local_llm_service.worker.key_prefix import DEFAULT_PREFIX, check_prefix

Seconds = Annotated[float, Field(gt=0)]


class Settings(BaseSettings):
    """One value per environment variable of the same name in capitals."""

    model_config = SettingsConfigDict(
        extra="ignore",
        frozen=True,
        populate_by_name=True,
        protected_namespaces=(),  # pydantic-settings before 2.7 warns of MODEL_NAME
        hide_input_in_errors=True,  # a URL may hold a password
        env_ignore_empty=True,  # docker-compose passes an unset variable as an empty one
    )

    redis_url: str = Field(
        default="redis://127.0.0.1:6379/0", description="Redis for queues, results and job records"
    )
    key_prefix: str = Field(
        default=DEFAULT_PREFIX,
        description="Beginning of every key in Redis: a hash tag in braces, and `:` at its end",
    )
    allow_eviction: bool = Field(
        default=False,
        description="Use a Redis that drops keys, and accepted jobs, when memory runs out",
    )
    callback_broker_url: str | None = Field(
        default=None,
        description="Broker of other apps' tasks in a canvas with ours; default: REDIS_URL",
    )
    callback_result_backend: str | None = Field(
        default=None,
        description="Where other apps look for results; default: CALLBACK_BROKER_URL, if a Redis",
    )
    ollama_host: str = Field(
        default="http://127.0.0.1:11434", description="Ollama beside the worker"
    )
    model_name: str = Field(
        default="llama3.1:8b-instruct-q4_K_M",
        min_length=1,
        description="Model for calls that name none",
    )
    engines_file: str | None = Field(
        default=None, description="File of engines, models and routes; default: OLLAMA_HOST alone"
    )
    model_revision: str | None = Field(
        default=None,
        min_length=1,
        max_length=200,
        description="Stands for the digest of models whose engine tells none; default: not cached",
    )
    router: str = Field(
        default="local_llm_service.tasks.routing.complexity:classify",
        description="`module:function` that tells simple prompts from complex ones",
    )
    router_file: str | None = Field(
        default=None,
        min_length=1,
        description="What `local-llm route fit` wrote, for a fitted ROUTER",
    )
    remote_budget_usd: str | None = Field(
        default=None,
        description="What paid models may cost, e.g. `5/day,100/month`, or `unlimited`",
    )
    ollama_num_parallel: int = Field(
        default=1,
        ge=1,
        le=256,
        description="Requests this Ollama runs at once, as its own setting says",
    )
    ollama_max_loaded_models: int = Field(
        default=0,
        ge=0,
        le=256,
        description="Models this Ollama holds at once, as its own setting says; 0 = unknown",
    )
    concurrency: int = Field(
        default_factory=lambda earlier: earlier.get("ollama_num_parallel", 1),
        ge=1,
        le=256,
        description="Slots of one worker; default: OLLAMA_NUM_PARALLEL",
    )
    num_ctx: int = Field(
        default=8192, ge=256, description="Context window, tokens; one for all kinds"
    )
    max_output_tokens: int = Field(
        default=2048, ge=1, description="Largest answer, tokens; also the cap of JSON answers"
    )
    max_prompt_chars: int = Field(default=400_000, ge=1, description="Largest input, characters")
    max_messages: int = Field(default=1000, ge=1, description="Most messages in one conversation")
    max_schema_depth: int = Field(default=32, ge=1, description="Deepest nesting of a JSON Schema")
    max_queue_length: int = Field(default=10_000, ge=0, description="Jobs per queue; 0 = no limit")
    max_queue_bytes: int = Field(
        default=268_435_456, ge=0, description="Bytes of the jobs per queue; 0 = no limit"
    )
    max_attempts: int = Field(default=3, ge=1, description="Tries of a job on a retryable error")
    retry_base_seconds: Seconds = Field(
        default=0.5, description="First pause between tries; doubles, with jitter, up to 30 s"
    )
    deadline_seconds: Seconds = Field(default=86_400, description="Default deadline of a job")
    model_wait_seconds: Annotated[float, Field(ge=0, le=86_400)] = Field(
        default=60, description="A job for a model that no live worker serves waits this long"
    )
    lease_seconds: Annotated[float, Field(ge=3, le=300)] = Field(
        default=20, description="A worker that renews no lease for this long counts as dead"
    )
    drain_seconds: Annotated[float, Field(ge=0)] = Field(
        default=30,
        description="On SIGTERM, running jobs may go on for this long; then they go back",
    )
    max_crashes: int = Field(
        default=3,
        ge=1,
        validation_alias=AliasChoices("max_crashes", "max_deliveries"),
        description="Workers that may die with a job before it is given up",
    )
    connect_seconds: Seconds = Field(default=5, description="Longest time to connect to Ollama")
    first_token_seconds: Seconds = Field(
        default=300,
        description="Longest wait for the first token, with loading and prompt evaluation",
    )
    next_token_seconds: Seconds = Field(default=60, description="Longest wait between two tokens")
    result_ttl: int = Field(default=86_400, ge=1, description="Seconds that an answer is kept")
    enable_cache: bool = Field(default=True, description="Answer repeated requests from the cache")
    cache_ttl: int = Field(default=3600, ge=1, description="Seconds that a cached answer is kept")
    cache_max_entry_bytes: int = Field(
        default=262_144, ge=0, description="A larger answer is not cached"
    )
    cache_max_bytes: int = Field(
        default=268_435_456,
        ge=0,
        description="Size of all cached answers in Redis; again of vectors, and of kept steps",
    )
    dead_letters_bytes: int = Field(
        default=67_108_864,
        ge=0,
        description="Size of all dead letters in Redis; the oldest go first",
    )
    hit_result_ttl: int = Field(
        default=600, ge=1, description="Seconds that the result of a call answered at once is kept"
    )
    compare_model: str = Field(
        default="gpt-4o",
        min_length=1,
        description="The paid model whose price says what answers would have cost elsewhere",
    )
    prices_file: str | None = Field(
        default=None,
        description="Your own prices of paid models, TOML; they come before those of the package",
    )
    metrics_port: int = Field(
        default=0, ge=0, le=65_535, description="Port of Prometheus metrics on 127.0.0.1; 0 = none"
    )
    local_llm_port: int = Field(
        default=8015, ge=0, le=65_535, description="Port of HTTP; 0 = a free one"
    )
    local_llm_bind: str = Field(
        default="127.0.0.1", min_length=1, description="Address on which HTTP listens; see API keys"
    )
    allow_anonymous: bool = Field(
        default=False, description="HTTP without any API key also listens beyond loopback"
    )
    api_keys_file: str | None = Field(
        default=None, description="File of API keys; default: in Redis"
    )
    streams_per_key: int = Field(
        default=100,
        ge=0,
        description="Open streams of one API key, if it says nothing else; 0 = no limit",
    )
    orphan_seconds: Annotated[float, Field(gt=0, le=86_400)] = Field(
        default=10, description="A job whose HTTP caller has gone is left for this long"
    )
    max_body_bytes: int = Field(
        default=8_388_608, ge=1024, description="Largest body of an HTTP request"
    )
    max_file_bytes: int = Field(default=209_715_200, ge=1024, description="Largest file of a batch")
    files_dir: str = Field(default="files", min_length=1, description="Folder of batches' files")
    cors_origins: str = Field(
        default="",
        description="Web origins that may ask from a browser, separated by commas; `*` = all",
    )
    webhook_secret: str | None = Field(
        default=None, description="Signs webhooks: `whsec_` and base64; several during a rotation"
    )
    webhook_allow: str = Field(
        default="", description="Hosts, addresses and networks that webhooks may go to, by commas"
    )
    allow_model_management: bool = Field(
        default=False,
        description="Ollama's routes that pull, create, copy and delete models are open",
    )
    log_level: str = Field(
        default="INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$", description="Log level"
    )

    @field_validator("key_prefix")
    @classmethod
    def _prefix_keeps_the_rule(cls, prefix: str) -> str:
        return check_prefix(prefix)

    @field_validator("redis_url")
    @classmethod
    def _redis_url_is_one(cls, url: str) -> str:
        return check_redis_address(url)

    @field_validator("callback_broker_url", "callback_result_backend")
    @classmethod
    def _names_a_scheme(cls, url: str | None) -> str | None:
        if url is not None and not re.match(r"^[A-Za-z][\w.+-]*:", url):
            raise ValueError("must be a URL as Celery's setting of this name, redis://host/1")
        return url

    @field_validator("router")
    @classmethod
    def _names_a_function(cls, router: str) -> str:
        if not re.fullmatch(r"[\w.]+:\w+", router):
            raise ValueError("must be package.module:function, a function of one text")
        return router

    @field_validator("ollama_host")
    @classmethod
    def _host_with_scheme(cls, host: str) -> str:
        return check_ollama_host(host)

    @model_validator(mode="after")
    def _answer_fits_context(self) -> Self:
        if self.max_output_tokens >= self.num_ctx:
            raise ValueError("MAX_OUTPUT_TOKENS must be smaller than NUM_CTX")
        return self

    def masked(self) -> dict[str, object]:
        """All values for the log: passwords in URLs replaced by `***`."""
        values = self.model_dump()
        for name in ("redis_url", "callback_broker_url", "callback_result_backend"):
            values[name] = values[name] and _mask(str(values[name]))
        values["ollama_host"] = self.masked_ollama_host
        values["webhook_secret"] = self.webhook_secret and "***"
        return values

    @property
    def callback_broker(self) -> str:
        """The broker of other apps' tasks."""
        return self.callback_broker_url or self.redis_url

    @property
    def callback_backend(self) -> str:
        """The result backend where other apps look."""
        is_redis = self.callback_broker.startswith(("redis:", "rediss:", "sentinel:"))
        return self.callback_result_backend or (
            self.callback_broker if is_redis else self.redis_url
        )

    @property
    def masked_ollama_host(self) -> str:
        """OLLAMA_HOST with any password masked."""
        return _mask(self.ollama_host)


def secret_of(variable: str) -> str | None:
    """The API key in a variable that ENGINES_FILE names; None where it is empty or not set."""
    return os.environ.get(variable, "").strip() or None


def renamed_variables() -> dict[str, str]:
    """Old environment variables that are set and still read, each with its new name."""
    renamed = {"MAX_DELIVERIES": "MAX_CRASHES"}
    given = os.environ.get
    return {old: new for old, new in renamed.items() if given(old) and not given(new)}


def _mask(url: str) -> str:
    without_login = re.sub(r"//[^/]*@", "//***@", url)
    return re.sub(r"([?&](?:username|password)=)[^&]*", r"\1***", without_login)


#: What this process uses instead of its environment, as in a test of a caller's code.
_instead: Settings | None = None


def settings_instead(settings: Settings | None) -> Settings | None:
    """Use these settings from now on (None: the environment); returns those used so before."""
    global _instead
    before, _instead = _instead, settings
    get_settings.cache_clear()
    return before


_IN_PRICES_FILE: Final = (
    "Unset it. Name the model in COMPARE_MODEL (default gpt-4o); for a price of your own, set"
    " PRICES_FILE: docs/savings.md has an example."
)
#: Variables of earlier versions, and what to do now. A price that nobody reads would be trusted.
_GONE: Final = dict.fromkeys(
    ("GPT4_PROMPT_USD", "GPT4_COMPLETION_USD", "GPT4_PRICES_FROM"), _IN_PRICES_FILE
)


@lru_cache(maxsize=1)
def get_settings() -> Settings:
    """Read the environment once per process.

    Raises InvalidSetting, which names each variable that is wrong and shows no value.
    """
    if _instead is not None:
        return _instead
    if gone := [name for name in _GONE if os.environ.get(name)]:
        raise InvalidSetting(f"setting {gone[0]} is no more", _GONE[gone[0]])
    try:
        return Settings()
    except ValidationError as error:
        problems = _problems(error)
    # Outside of `except`: a traceback would show pydantic's error too, with what it was given.
    raise InvalidSetting("; ".join(problems))


def _problems(error: ValidationError) -> list[str]:
    """One text for each variable that is wrong."""
    found = []
    for problem in error.errors(include_input=False, include_url=False, include_context=False):
        if problem["type"] == "default_factory_not_called":
            continue  # its default is made from a variable that is wrong itself
        name = ".".join(str(part) for part in problem["loc"]).upper()
        text = problem["msg"].removeprefix("Value error, ")
        found.append(f"setting {name}: {text}" if name else f"settings: {text}")
    return found
