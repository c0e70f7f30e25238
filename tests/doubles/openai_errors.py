"""How servers of `/v1/chat/completions` word their errors: status and body, one function each.

Shapes as the servers' own issue trackers show them. A made-up prompt stands in each that quotes
one, so that a test can look for it where no prompt may be.
"""

from __future__ import annotations

from typing import Any

#: What a server may repeat of a request in its error.
QUOTED = "the caller's secret words"
#: A key as OpenAI repeats it in its 401.
QUOTED_KEY = "sk-proj-****************abcd"

Error = tuple[int, Any]


def openai(
    status: int,
    message: str,
    *,
    code: str | None = None,
    kind: str = "invalid_request_error",
    param: str | None = None,
) -> Error:
    """OpenAI's form, which most others have taken over."""
    return status, {"error": {"message": message, "type": kind, "param": param, "code": code}}


def vllm_flat(status: int, message: str, kind: str = "BadRequestError") -> Error:
    """vLLM before 0.11, and SGLang."""
    return status, {
        "object": "error", "message": message, "type": kind, "param": None, "code": status,
    }  # fmt: skip


def vllm(status: int, message: str, kind: str = "BadRequestError") -> Error:
    """vLLM since 0.11: nested, and `code` is a number."""
    return status, {"error": {"message": message, "type": kind, "param": None, "code": status}}


def litellm(status: int, message: str, kind: str | None = None) -> Error:
    """LiteLLM's proxy: the words of the provider behind it in its own, and `code` is a text."""
    return status, {"error": {"message": message, "type": kind, "param": None, "code": str(status)}}


def openai_overflow(tokens: int, room: int) -> Error:
    return openai(
        400,
        f"This model's maximum context length is {room} tokens. However, your messages resulted in "
        f"{tokens} tokens. Please reduce the length of the messages.",
        code="context_length_exceeded",
        param="messages",
    )


def openai_limit_overflow(tokens: int, room: int) -> Error:
    """Of the newer models."""
    return openai(
        400,
        f"Input tokens exceed the configured limit of {room} tokens. Your messages resulted in "
        f"{tokens} tokens. Please reduce the length of the messages.",
        code="context_length_exceeded",
        param="messages",
    )


def vllm_old_overflow(tokens: int, answer: int, room: int) -> Error:
    """It counts the answer's tokens too."""
    return vllm_flat(
        400,
        f"This model's maximum context length is {room} tokens. However, you requested "
        f"{tokens + answer} tokens ({tokens} in the messages, {answer} in the completion). Please "
        "reduce the length of the messages or completion. None",
    )


def vllm_overflow(tokens: int, answer: int, room: int) -> Error:
    return vllm(
        400,
        f"This model's maximum context length is {room} tokens. However, you requested {answer} "
        f"output tokens and your prompt contains at least {tokens} input tokens, for a total of at "
        f"least {tokens + answer} tokens. Please reduce the length of the input prompt or the "
        "number of requested output tokens. (parameter=input_tokens)",
    )


def vllm_answer_overflow(tokens: int, answer: int, room: int) -> Error:
    """The prompt fits, and the answer that was asked for does not fit beside it."""
    return vllm(
        400,
        f"'max_tokens' or 'max_completion_tokens' is too large: {answer}. This model's maximum "
        f"context length is {room} tokens and your request has {tokens} input tokens ({answer} > "
        f"{room} - {tokens}).",
    )


def llama_server_overflow(tokens: int, room: int) -> Error:
    return 400, {
        "error": {
            "code": 400,
            "message": f"request ({tokens} tokens) exceeds the available context size ({room} "
            "tokens), try increasing it",
            "type": "exceed_context_size_error",
            "n_prompt_tokens": tokens,
            "n_ctx": room,
        }
    }


def sglang_overflow(tokens: int, room: int) -> Error:
    return vllm_flat(
        400,
        f"The input ({tokens} tokens) is longer than the model's context length ({room} tokens).",
    )


def sglang_answer_overflow(tokens: int, answer: int, room: int) -> Error:
    return vllm_flat(
        400,
        f"Requested token count exceeds the model's maximum context length of {room} tokens. You "
        f"requested a total of {tokens + answer} tokens: {tokens} tokens from the input messages "
        f"and {answer} tokens for the completion. Please reduce the number of tokens in the input "
        "messages or the completion to fit within the limit.",
    )


def lm_studio_overflow(tokens: int, room: int) -> Error:
    return 400, {
        "error": f"Trying to keep the first {tokens} tokens when context the overflows. However, "
        f"the model is loaded with context length of only {room} tokens, which is not enough. Try "
        "to load the model with a larger context length, or provide a shorter input"
    }


def litellm_overflow(tokens: int, room: int) -> Error:
    """Anthropic's words behind LiteLLM."""
    return litellm(
        400,
        "litellm.BadRequestError: litellm.ContextWindowExceededError: AnthropicError - "
        '{"type":"error","error":{"type":"invalid_request_error","message":"prompt is too long: '
        f'{tokens} tokens > {room} maximum"}}}}\nReceived Model Group=large',
    )


def unsupported(name: str, instead: str | None = None) -> Error:
    """OpenAI's 400 for an argument that the API has and this model does not take."""
    advice = f" Use '{instead}' instead." if instead else ""
    return openai(
        400,
        f"Unsupported parameter: '{name}' is not supported with this model.{advice}",
        code="unsupported_parameter",
        param=name,
    )


def unsupported_value(name: str) -> Error:
    """OpenAI's 400 of the reasoning models, which take a temperature of 1 alone."""
    return openai(
        400,
        f"Unsupported value: '{name}' does not support 0 with this model. Only the default (1) "
        "value is supported.",
        code="unsupported_value",
        param=name,
    )


def unrecognized(name: str) -> Error:
    """OpenAI's 400 for an argument that the API does not have."""
    return openai(400, f"Unrecognized request argument supplied: {name}")


def extra_forbidden(name: str) -> Error:
    """The same of servers that check with pydantic, Mistral's among them: 422."""
    return 422, {
        "object": "error",
        "message": {"detail": [{"type": "extra_forbidden", "loc": ["body", name],
                                "msg": "Extra inputs are not permitted", "input": 40}]},
        "type": "invalid_request_error",
        "param": None,
        "code": None,
    }  # fmt: skip


def wrong_key() -> Error:
    return openai(
        401,
        f"Incorrect API key provided: {QUOTED_KEY}. You can find your API key at "
        "https://platform.openai.com/account/api-keys.",
        code="invalid_api_key",
    )


def model_missing(model: str) -> Error:
    return openai(
        404,
        f"The model `{model}` does not exist or you do not have access to it.",
        code="model_not_found",
    )


def vllm_model_missing(model: str) -> Error:
    return vllm(404, f"The model `{model}` does not exist.", "NotFoundError")


def rate_limited() -> Error:
    return openai(
        429, "Rate limit reached for requests", code="rate_limit_exceeded", kind="requests"
    )


def out_of_quota() -> Error:
    return openai(
        429,
        "You exceeded your current quota, please check your plan and billing details.",
        code="insufficient_quota",
        kind="insufficient_quota",
    )


def schema_refused() -> Error:
    return openai(
        400,
        "Invalid schema for response_format 'answer': In context=('properties', "
        f"'{QUOTED}'), 'pattern' is not permitted.",
        param="response_format",
    )


def vllm_grammar_refused() -> Error:
    return vllm(400, f"The provided JSON schema contains features not supported: {QUOTED}")


def content_filtered() -> Error:
    """Azure's 400 before the first token."""
    return openai(
        400,
        "The response was filtered due to the prompt triggering content management policy.",
        code="content_filter",
        param="prompt",
    )


def failed(status: int = 500) -> Error:
    return openai(
        status,
        "The server had an error while processing your request. Sorry about that!",
        kind="server_error",
    )


def vllm_died() -> Error:
    """vLLM whose engine has died of an earlier prompt, or of this one."""
    return vllm(500, "EngineCore encountered an issue. See stack trace for the root cause.",
                "InternalServerError")  # fmt: skip
