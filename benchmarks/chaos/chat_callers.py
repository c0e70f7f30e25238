"""Callers who chat by the official client while all that answers them is killed."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count

import openai

from benchmarks.chaos.prompts import Ask

#: A chat takes so long: long enough to be met by a kill.
CHAT_SECONDS = 1.0
CHUNKS = 20


@dataclass
class ChatCallers:
    """Threads that read one streamed chat after the other: `with ChatCallers(urls) as callers`.

    `ends` counts what became of each: "answer", "error" (the client raised), or "half" (the client
    raised nothing, and the text is not whole).
    """

    urls: Sequence[str]
    threads: int = 2
    ends: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._stop = threading.Event()
        self._numbers = count()
        self._running = [
            threading.Thread(target=self._run, args=(number,), daemon=True)
            for number in range(self.threads)
        ]

    def __enter__(self) -> ChatCallers:
        for thread in self._running:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._running:
            thread.join(60)

    def _run(self, number: int) -> None:
        url = self.urls[number % len(self.urls)]
        with openai.OpenAI(base_url=f"{url}/v1", api_key="none", timeout=60) as client:
            while not self._stop.is_set():
                try:
                    end = self._chat(client, f"chat-{next(self._numbers)}")
                except openai.OpenAIError as error:
                    end = "error"
                    self.errors[str(getattr(error, "code", None) or type(error).__name__)] += 1
                self.ends[end] += 1
                self._stop.wait(0.05)

    def _chat(self, client: openai.OpenAI, name: str) -> str:
        text, finish = "", None
        stream = client.chat.completions.create(
            model="fake:1b",
            messages=[{"role": "user", "content": Ask(name, CHAT_SECONDS).prompt}],
            stream=True,
        )
        with stream:
            for chunk in stream:
                for choice in chunk.choices:
                    text += choice.delta.content or ""
                    finish = choice.finish_reason or finish
        last = f" {CHUNKS - 1}"
        is_whole = text.startswith(f"{name} run ") and text.endswith(last) and finish == "stop"
        return "answer" if is_whole else "half"
