"""`python -m …processes.flower_page`: Flower with a login, without which no button works.

The login is FLOWER_BASIC_AUTH (`user:password`), Flower's own variable; where neither that nor
another way to log in is given, one is made and printed. Flower's options are passed on.
"""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Mapping, Sequence
from typing import Final

LOGIN: Final = "FLOWER_BASIC_AUTH"
#: Flower's other ways to let people in, as options and as variables.
_OTHER_OPTIONS: Final = ("--auth", "--basic_auth", "--basic-auth", "--conf")
_OTHER_VARIABLES: Final = ("FLOWER_AUTH", "FLOWER_CONF", "FLOWER_UNAUTHENTICATED_API")
USER: Final = "operator"


def made_login(arguments: Sequence[str], environment: Mapping[str, str]) -> str | None:
    """A new `user:password`, or None where people can log in already."""
    if any(environment.get(name) for name in (LOGIN, *_OTHER_VARIABLES)):
        return None
    if any(word.startswith(_OTHER_OPTIONS) for word in arguments):
        return None
    return f"{USER}:{secrets.token_urlsafe(12)}"


def main(arguments: list[str]) -> None:
    """Run Flower until it ends."""
    login = made_login(arguments, os.environ)
    if login is not None:
        os.environ[LOGIN] = login
        print(f"Flower's login for this start: {login} (to keep one, set {LOGIN})", flush=True)
    elif not os.environ.get(LOGIN):
        os.environ.pop(LOGIN, None)  # compose passes an unset variable as an empty one
    try:
        import flower.command  # type: ignore[import-untyped]
    except ModuleNotFoundError as error:
        sys.exit(f"{error.name} is not installed: pip install 'local-llm-service[worker,flower]'")
    from celery.bin.celery import celery

    from local_llm_service.worker.app import app

    celery.params[0].default = app
    celery.add_command(flower.command.flower)
    celery.main(args=["flower", *arguments], prog_name="celery")


if __name__ == "__main__":
    main(sys.argv[1:])
