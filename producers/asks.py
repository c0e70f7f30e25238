"""What clients can ask: one method for each kind, declared once for both faces.

`client.py` and `async_client.py` take signature and docstring from here, and submit what a method
returns.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypedDict, TypeVar, Unpack

from local_llm_service.tasks.answer import Answer
from local_llm_service.tasks.chat import ChatAnswer
from local_llm_service.tasks.compress import CompressAnswer
from local_llm_service.tasks.embed import EmbedAnswer
from local_llm_service.tasks.extract_parameters import ExtractAnswer
from local_llm_service.tasks.generate import GenerateAnswer
from local_llm_service.tasks.request import Priority
from local_llm_service.tasks.structured_output import D, StructuredAnswer
from local_llm_service.tasks.summarize import SummarizeAnswer

A = TypeVar("A", bound=Answer)
#: A function's schema, or a Python function.
FunctionGiven = dict[str, Any] | Callable[..., Any]


class Options(TypedDict, total=False):
    """The options of every call beside its own arguments; see `tasks.request.JobRequest`.

    None stands for the default. Of a `task_id` that exists, the existing job comes back.
    """

    model: str | None
    priority: Priority | None
    cache: bool | None
    cache_scope: str | None
    deadline_seconds: float | None
    stream: bool | None
    keep_local: bool | None
    task_id: str | None


class ChatOptions(Options, total=False):
    """What a chat takes beside; see `tasks.chat.ChatRequest`."""

    max_tokens: int | None
    temperature: float | None
    stop: str | list[str] | None
    seed: int | None
    parallel_tool_calls: bool | None
    allow_cut_json: bool | None
    top_p: float | None
    top_k: int | None
    min_p: float | None
    repeat_penalty: float | None
    frequency_penalty: float | None
    presence_penalty: float | None
    logprobs: bool | None
    top_logprobs: int | None


@dataclass(frozen=True)
class Ask(Generic[A]):
    """One call: what is asked of which kind. `answer` is None where only the kind knows it."""

    kind: str
    answer: type[A] | None
    arguments: Mapping[str, Any] = field(repr=False)
    options: Mapping[str, Any]


class Asks:
    """The calls. They are checked when they are submitted."""

    def generate(
        self,
        prompt: str,
        *,
        system_prompt: str | None = None,
        max_tokens: int | None = None,
        temperature: float | None = None,
        context: str | None = None,
        max_context_tokens: int | None = None,
        **options: Unpack[Options],
    ) -> Ask[GenerateAnswer]:
        """Free text for a prompt; with a `context`, an answer from that.

        A context is made short for the prompt where it does not fit, where it has more than
        `max_context_tokens`, and before a model that leaves the house is asked. That is done on
        one's own hardware; the answer's `context` says what it has saved.
        """
        own = {
            "prompt": prompt,
            "system_prompt": system_prompt,
            "max_tokens": max_tokens,
            "temperature": temperature,
            "context": context,
            "max_context_tokens": max_context_tokens,
        }
        return Ask("generate", GenerateAnswer, own, options)

    def summarize(
        self,
        context: str,
        *,
        max_summary_tokens: int | None = None,
        question: str | None = None,
        **options: Unpack[Options],
    ) -> Ask[SummarizeAnswer]:
        """A text in whole sentences within a budget of tokens; with a `question`, what helps to
        answer it."""
        own = {
            "context": context,
            "max_summary_tokens": max_summary_tokens,
            "question": question,
        }
        return Ask("summarize", SummarizeAnswer, own, options)

    def compress(
        self,
        messages: list[dict[str, Any]],
        *,
        target_tokens: int | None = None,
        keep_last: int | None = None,
        keep: list[str] | None = None,
        previous_summary: str | None = None,
        **options: Unpack[Options],
    ) -> Ask[CompressAnswer]:
        """A conversation within a budget of tokens, with what matters word for word.

        The last `keep_last` messages stay as they are where they fit, the texts in `keep` stand in
        the answer in any case. `previous_summary` continues an earlier answer's `summary` with
        the messages that came since.
        """
        own = {
            "messages": messages,
            "target_tokens": target_tokens,
            "keep_last": keep_last,
            "keep": keep,
            "previous_summary": previous_summary,
        }
        return Ask("compress", CompressAnswer, own, options)

    def extract_parameters(
        self,
        user_message: str,
        function_schema: FunctionGiven | list[FunctionGiven],
        *,
        strict: bool | None = None,
        **options: Unpack[Options],
    ) -> Ask[ExtractAnswer]:
        """The arguments of a function call, read out of a user's message. Of several functions one
        is chosen, or none.

        `function_schema` may be a Python function with annotations, whose docstring says more; it
        is not called. Then the answer's `arguments` are values of its types, and `result()` raises
        InvalidOutput if they refuse what the model wrote. A job made again from its id has plain
        JSON. Of a list one function is chosen, or none. With `strict` what the message does not
        say is InvalidOutput.
        """
        own = {
            "user_message": user_message,
            "function_schema": function_schema,
            "strict": strict,
        }
        return Ask("extract_parameters", ExtractAnswer, own, options)

    def structured_output(
        self,
        prompt: str,
        schema: type[D] | dict[str, Any] | bool,
        *,
        strict: bool | None = None,
        **options: Unpack[Options],
    ) -> Ask[StructuredAnswer[D]]:
        """An instance of a JSON Schema, or of a class.

        A class is a pydantic model, a dataclass, a TypedDict, or what else pydantic can make a
        schema of. Then the answer's `data` is an instance of it, and `result()` raises
        InvalidOutput if the class refuses what the model wrote. A job made again from its id has
        plain JSON.
        """
        own = {"prompt": prompt, "schema": schema, "strict": strict}
        return Ask("structured_output", StructuredAnswer, own, options)

    def chat(
        self,
        messages: list[Any],
        *,
        tools: list[dict[str, Any] | Callable[..., Any]] | None = None,
        tool_choice: str | dict[str, Any] | None = None,
        response_format: dict[str, Any] | type[Any] | None = None,
        **options: Unpack[ChatOptions],
    ) -> Ask[ChatAnswer]:
        """The next message of a conversation, or calls of the caller's functions.

        `messages`, `tools`, `tool_choice` and `response_format` are as OpenAI's clients write them.
        A tool may be a Python function with annotations, whose docstring says more; it is not
        called. `response_format` may be a class, as in `structured_output`; the message's content
        is JSON all the same.
        """
        own = {
            "messages": messages,
            "tools": tools,
            "tool_choice": tool_choice,
            "response_format": response_format,
        }
        return Ask("chat", ChatAnswer, own, options)

    def embed(
        self, input: str | list[str], *, dimensions: int | None = None, **options: Unpack[Options]
    ) -> Ask[EmbedAnswer]:
        """Texts as vectors that tell how alike they are."""
        own = {"input": input, "dimensions": dimensions}
        return Ask("embed", EmbedAnswer, own, options)

    def submit(
        self, kind: str, arguments: Mapping[str, Any], **options: Unpack[Options]
    ) -> Ask[Any]:
        """Any kind by its name, as "compress", with its arguments by name."""
        return Ask(kind, None, arguments, options)
