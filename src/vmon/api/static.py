"""The web page: the files of vmon/api/page, read once at the start, and nothing else of the disk ever after.

A path is looked up among their names; there is no way from a path to a file that is not one of them.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable

from starlette.requests import Request
from starlette.responses import Response

from vmon.api.problems import Refused

TYPES = {
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "svg": "image/svg+xml",
    "png": "image/png",
    "ico": "image/x-icon",
    "woff2": "font/woff2",
    "json": "application/json",
    "webmanifest": "application/manifest+json",
    "txt": "text/plain; charset=utf-8",
}
INDEX = "index.html"


@dataclass(frozen=True, slots=True)
class PageFile:
    """One file of the page."""

    data: bytes
    media_type: str
    etag: str


def read_page(folder: Traversable | None = None) -> dict[str, PageFile]:
    """Every file of the page by its name; folders below it as NAME/NAME."""
    found: dict[str, PageFile] = {}
    _read_into(found, folder or files("vmon.api") / "page", "")
    return found


def _read_into(found: dict[str, PageFile], folder: Traversable, above: str) -> None:
    if not folder.is_dir():
        return
    for item in folder.iterdir():
        if item.is_dir():
            if not item.name.startswith(("_", ".")):
                _read_into(found, item, f"{above}{item.name}/")
        elif (kind := TYPES.get(item.name.rpartition(".")[2])) is not None:
            data = item.read_bytes()
            etag = f'"{hashlib.sha256(data).hexdigest()[:32]}"'
            found[above + item.name] = PageFile(data, kind, etag)


async def page_file(request: Request) -> Response:
    """One file; 304 where the browser has it already. Asked again each time, so that an update is seen at once."""
    page: dict[str, PageFile] = request.app.state.page
    file = page.get(request.path_params.get("name", "") or INDEX)
    if file is None:
        raise Refused(
            404,
            "NotFound",
            "there is no such page",
            hint="the API is at /api/v1, its description at /openapi.json",
        )
    headers = {"etag": file.etag, "cache-control": "no-cache"}
    if file.etag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(file.data, headers=headers, media_type=file.media_type)
