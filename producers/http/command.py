"""`local-llm serve`, also `python -m producers.http`."""

from __future__ import annotations

import signal

import click

from local_llm_service.worker.errors import InvalidRequest
from local_llm_service.worker.lazy_settings import lazy_settings

#: The exit code of a shell's command that Ctrl-C ended.
INTERRUPTED = 130


@click.command()
@click.option("--workers", type=click.IntRange(1, 64), default=1, help="Processes that answer.")
@click.option("--json", "as_json", is_flag=True, help="Errors as JSON.")
def serve(workers: int, as_json: bool) -> int:
    """Answer over HTTP, on LOCAL_LLM_BIND and LOCAL_LLM_PORT, until a signal."""
    try:
        from local_llm_service.producers.http import server
    except ImportError as error:
        if not str(error.name).startswith(("starlette", "uvicorn", "httptools")):
            raise
        raise InvalidRequest(
            f"HTTP needs the package {error.name}", "pip install 'local-llm-service[http]'"
        ) from None
    settings = lazy_settings()
    sock = server.listening(settings)
    host, port = sock.getsockname()[:2]
    click.echo(f"http://{server.address(host, port)}", err=True)
    if warning := server.who_may_call(settings):
        click.echo(warning, err=True)
    told = server.serve(settings, sock, workers)
    return INTERRUPTED if told == signal.SIGINT else 0
