r"""llama.cpp's own server with its `/v1`, from the packages of the embedded parts: no double.

    python -m tests.doubles.llama_server CONTEXT_TOKENS SLOTS API_KEY EMBEDS

It prints its address and lives until it is killed.
"""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import Any

import httpx

from local_llm_service.worker.embedded.processes.ports import answers_http
from local_llm_service.worker.embedded.processes.python_process import IMPORT_ROOT, PythonProcess

ROOT = Path(__file__).parents[2]
MODEL = "smollm2-135m-instruct"

#: The model's own template says nothing of tools, and the server then ignores them. This one has
#: the form of calls that llama.cpp reads back out of a text.
TEMPLATE = """{%- if tools %}<|im_start|>system
You call functions:{% for tool in tools %}
{{ tool | tojson }}{% endfor %}
Answer with <tool_call>
{"name": ..., "arguments": {...}}
</tool_call><|im_end|>
{% endif -%}
{%- for message in messages -%}
<|im_start|>{{ message.role }}
{% if message.content %}{{ message.content }}{% endif %}
{%- if message.tool_calls -%}
{%- for tool_call in message.tool_calls -%}
{%- if tool_call.function -%}{%- set tool_call = tool_call.function -%}{%- endif %}
<tool_call>
{"name": "{{ tool_call.name }}", "arguments": {{ tool_call.arguments | tojson }}}
</tool_call>
{%- endfor -%}
{%- endif -%}
<|im_end|>
{% endfor -%}
{%- if add_generation_prompt -%}<|im_start|>assistant
{% endif %}"""
#: What makes a model of this size call a function: it copies.
CALL = """Repeat exactly:
<tool_call>
{"name": "weather", "arguments": {"city": "Oslo"}}
</tool_call>"""


class LlamaServer(PythonProcess):
    """The server as a child process: `with LlamaServer() as server: server.url`.

    `url` ends in `/v1`. Each of `slots` has `context_tokens`. It wants `api_key`, if one is given.
    With `embeds` it gives vectors and no text.
    """

    name = "llama"
    roots = (IMPORT_ROOT, ROOT)

    def __init__(
        self,
        *,
        context_tokens: int = 2048,
        slots: int = 1,
        api_key: str = "",
        embeds: bool = False,
    ) -> None:
        super().__init__({})
        self._arguments = [str(context_tokens), str(slots), api_key, str(int(embeds))]
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}

    @property
    def _address(self) -> str:
        lines = self.log_path.read_text().splitlines() if self.log_path.exists() else []
        # Warnings about schemas come after it.
        return next((line for line in lines if line.startswith("http")), "")

    @property
    def url(self) -> str:
        """The base address of the API that OpenAI's clients speak."""
        return f"{self._address}/v1"

    def command(self) -> list[str]:
        """See ChildProcess.command."""
        return [sys.executable, "-m", "tests.doubles.llama_server", *self._arguments]

    def answers(self) -> bool:
        """See ChildProcess.answers."""
        port = self._address.rpartition(":")[2]
        return bool(port) and answers_http(int(port), "/health")

    def busy_slots(self) -> int:
        """How many answers it computes at this moment, as it says itself."""
        slots = httpx.get(f"{self._address}/slots", headers=self._headers, trust_env=False).json()
        return sum(slot["is_processing"] for slot in slots)


def server_of(context_tokens: int, slots: int, api_key: str, embeds: bool) -> Any:
    """A server that runs in this process, as llama-server does with its defaults."""
    import xllamacpp

    from local_llm_service.worker.embedded.ollama_api import llama_runner

    params = llama_runner.parameters(context_tokens, slots, False, 1, embeds)
    params.model_alias = {MODEL}
    params.chat_template = TEMPLATE
    params.endpoint_slots = params.use_jinja = True
    if api_key:
        params.api_keys = [api_key]
    return xllamacpp.Server(params)


def main() -> None:
    """Serve until killed."""
    context_tokens, slots, api_key, embeds = sys.argv[1:5]
    server = server_of(int(context_tokens), int(slots), api_key, embeds == "1")
    sys.stdout.write(f"{server.listening_address}\n")
    sys.stdout.flush()
    threading.Event().wait()


if __name__ == "__main__":
    main()
