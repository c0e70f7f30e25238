"""Messages to prompt: the ChatML template, and what is left out when it does not fit.

The template that is inside the GGUF adds a system message of its own; Ollama's does not
(tests/wire/chat_debug_render_only.json), so the prompt is written here.
"""

from collections.abc import Awaitable, Callable, Sequence

from local_llm_service.worker.embedded.ollama_api.chat_request import Message

SYSTEM = "system"
OPENING = "<|im_start|>assistant\n"

Tokenize = Callable[[str], Awaitable[list[int]]]


def turn(message: Message) -> str:
    """One message as the model was trained to read it."""
    return f"<|im_start|>{message.role}\n{message.content}<|im_end|>\n"


def render(messages: Sequence[Message]) -> str:
    """The whole prompt, ready for the assistant's answer."""
    return "".join(turn(message) for message in messages) + OPENING


async def fitting(
    messages: Sequence[Message], limit_tokens: int, tokenize: Tokenize
) -> tuple[Message, ...]:
    """The newest messages that fit, after every system message older than they are.

    The last one always stays, so the result may still be too long. Special tokens stand at
    both ends of a turn, so a prompt has as many tokens as its turns together.
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
    """The first `keep_tokens` and the end, together about half of the limit.

    That is what Ollama makes of one message that is too long: of 1219 tokens at a limit of 256
    it reads 4 + 126 (tests/wire/ctx_chat_one_long_message_default.json), at 4 it reads 3.
    """
    keep = min(max(keep_tokens, 0), limit_tokens - 1)
    end = (limit_tokens - keep) // 2
    return [*tokens[:keep], *(tokens[-end:] if end else [])]
