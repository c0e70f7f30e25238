r"""The process that holds the model: llama.cpp's own HTTP server on a free loopback port.

    python -m local_llm_service.worker.embedded.ollama_api.llama_runner \
        CONTEXT_TOKENS SLOTS SHIFT THREADS EMBEDS

It is a process of its own because loading holds Python's lock for half a second, because a load
that nobody waits for any more can then be ended, and because Ollama does the same. It prints its
address as one line and lives until its stdin closes.
"""

import os
import sys
from typing import Any

import xllamacpp

from local_llm_service.worker.embedded import smollm2

# llama.cpp notices a closed connection between two batches, so a cancelled prompt may still cost
# the time of one batch. With one thread, larger batches read a prompt no faster (measured).
BATCH_TOKENS = 32
SILENT = -1


def parameters(slot_tokens: int, slots: int, shift: bool, threads: int, embeds: bool) -> Any:
    """Set llama.cpp up for `slots` answers at a time with `slot_tokens` of context each.

    `embeds`: for the vectors of texts, each the mean over its tokens.
    """
    params = xllamacpp.CommonParams()
    params.model.path = str(smollm2.model_path())
    params.n_ctx = slot_tokens * slots
    params.n_parallel = slots
    params.kv_unified = False
    params.ctx_shift = shift
    params.n_batch = params.n_ubatch = max(BATCH_TOKENS, slots)
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    params.n_threads_http = slots + 4  # one for each answer, some to tokenize meanwhile
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.verbosity = SILENT  # its log would hold prompts
    params.cache_ram_mib = 0  # a slot's own prefix is reused; no second cache beside it
    if embeds:
        params.embedding = True
        params.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
        params.n_batch = params.n_ubatch = slot_tokens  # a text has to go in at one go
    params.fit_params = params.warmup = params.ui = params.endpoint_slots = False
    return params


def main() -> None:
    """Serve until stdin closes, which it also does when the parent dies."""
    slot_tokens, slots, shift, threads, embeds = (int(argument) for argument in sys.argv[1:6])
    server = xllamacpp.Server(parameters(slot_tokens, slots, bool(shift), threads, bool(embeds)))
    print(server.listening_address, flush=True)
    sys.stdin.buffer.read()
    os._exit(0)  # without waiting for answers that nobody reads any more


if __name__ == "__main__":
    main()
