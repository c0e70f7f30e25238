"""`python -m producers.http` is `local-llm serve`."""

from __future__ import annotations

import sys

import click

from local_llm_service.producers.http.command import serve
from local_llm_service.worker.errors import BrokerUnreachable, ServiceError


def main() -> int:
    """Serve, and return the exit code that `local-llm serve` has, too."""
    try:
        return int(serve(standalone_mode=False) or 0)
    except click.ClickException as error:
        click.echo(f"{error.format_message()} See --help.", err=True)
    except ServiceError as error:
        click.echo(f"{error.message}. {error.hint}", err=True)
        return 3 if isinstance(error, BrokerUnreachable) else 2
    return 2


if __name__ == "__main__":
    sys.exit(main())
