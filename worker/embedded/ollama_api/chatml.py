"""Turns messages and tools into a prompt by ChatML, and leaves out what does not fit.

The template inside the GGUF file adds a system message of its own. Ollama's does not
(tests/wire/chat_debug_render_only.json), so the prompt is written here.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from local_llm_service.worker.embedded.ollama_api import go_print
from local_llm_service.worker.embedded.ollama_api.chat_request import Message
from local_llm_service.worker.embedded.ollama_api.wire import dumps

SYSTEM = "system"
OPENING = "<|im_start|>assistant\n"

Tokenize = Callable[[str], Awaitable[list[int]]]


def turn(message: Message) -> str:
    """Write one message as the model was trained to read it."""
    return f"<|im_start|>{message.role}\n{message.content}<|im_end|>\n"


def turn_with_calls(message: Message) -> str:
    """Write one message by the template that has tools: calls instead of the content."""
    if not message.tool_calls:
        return turn(message)
    written = ""
    for call in message.tool_calls:
        function = call["function"]
        arguments = dumps(function.get("arguments", {}))
        written += f'{{"name": "{function.get("name", "")}", "parameters": {arguments}}}'
    return f"<|im_start|>{message.role}\n{written}<|im_end|>\n"


def offer(tools: Sequence[dict[str, Any]]) -> str:
    """Write what the model may call, as that template does; "" for nothing."""
    if not tools:
        return ""
    functions = "".join(f"\n{go_print.function(tool)}" for tool in tools)
    return (
        f"<|im_start|>{SYSTEM}\nYou call functions. Functions:{functions}\n"
        'Answer with {"name": ..., "parameters": {...}}<|im_end|>\n'
    )


def render(
    messages: Sequence[Message], opening: str = "", write: Callable[[Message], str] = turn
) -> str:
    """Write the whole prompt from `opening` to the point where the assistant answers."""
    return opening + "".join(write(message) for message in messages) + OPENING


async def fitting(
    messages: Sequence[Message], limit_tokens: int, tokenize: Tokenize
) -> tuple[Message, ...]:
    """Keep the newest messages that fit, and every system message older than they are.

    The last message always stays, so the result may still be too long. Special tokens stand at
    both ends of a turn, so a prompt has as many tokens as its turns have together.
    """
    if len(await tokenize(render(messages))) <= limit_tokens:
        return tuple(messages)
    sizes = [len(await tokenize(turn(message))) for message in messages]
    older_system = sum(s for m, s in zip(messages, sizes, strict=True) if m.role == SYSTEM)
    total = len(await tokenize(OPENING)) + older_system
    first = len(messages) - 1
    for index in range(len(messages) - 1, -1, -1):
        total += 0 if messages[index].role == SYSTEM else sizes[index]
        if total > limit_tokens and index < len(messages) - 1:
            break
        first = index
    kept = tuple(m for m in messages[:first] if m.role == SYSTEM)
    return kept + tuple(messages[first:])


def cut(tokens: Sequence[int], limit_tokens: int, keep_tokens: int) -> list[int]:
    """Cut out the middle: `keep_tokens` at the start and the end stay, about half of the limit.

    Ollama does this to one message that is too long: of 1219 tokens at a limit of 256 it reads
    4 + 126 (tests/wire/ctx_chat_one_long_message_default.json), at a limit of 4 it reads 3.
    """
    keep = min(max(keep_tokens, 0), limit_tokens - 1)
    end = (limit_tokens - keep) // 2
    return [*tokens[:keep], *(tokens[-end:] if end else [])]
