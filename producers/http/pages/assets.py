"""The files of the pages, as they lie beside this module: nothing is built, nothing comes from
elsewhere."""

from __future__ import annotations

from functools import cache
from hashlib import blake2b
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

from local_llm_service.worker.errors import NotFound

_DIRECTORY = Path(__file__).parent / "assets"
_TYPES = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}
#: A page loads what comes with it and asks the service that it comes from, and nothing else.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'none'; frame-ancestors 'none'; base-uri 'none'"
)


@cache
def _files() -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in _DIRECTORY.iterdir() if file.suffix in _TYPES}


def asset(request: Request, name: str) -> Response:
    """One file. Raises NotFound."""
    content = _files().get(name)
    if content is None:
        raise NotFound("there is no such file")
    return page(request, content, _TYPES[Path(name).suffix])


def page(request: Request, content: bytes, media_type: str) -> Response:
    """A reply that browsers keep, and ask each time whether it is still the same."""
    tag = f'"{blake2b(content, digest_size=12).hexdigest()}"'
    headers = {"ETag": tag, "Cache-Control": "no-cache", "Content-Security-Policy": POLICY}
    if tag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(content, headers=headers, media_type=media_type)
