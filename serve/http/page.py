"""The page `/`: the built files of `serve/viewer`, under a strict Content-Security-Policy."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Final

from fastapi import FastAPI, Request, Response
from starlette.responses import FileResponse, PlainTextResponse
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_NOT_BUILT: Final = (
    "The page was not built; everything else works. Run `make page` where npm can be reached, "
    "then start the endpoint again. The routes are described at /docs.\n"
)
_FOREVER: Final = "public, max-age=31536000, immutable"


def add_page(app: FastAPI, built: Path | None = None) -> None:
    """Add `/` and its scripts to the application.

    Parameters
    ----------
    app : FastAPI
    built : Path, optional
        Folder of the built page; by default the installed one. Where it is missing, `/` says so.
    """
    folder = built or Path(str(resources.files("serve") / "viewer" / "dist"))
    index = folder / "index.html"
    if index.exists():
        app.mount("/assets", _Assets(directory=str(folder / "assets")), name="assets")

    @app.api_route("/", methods=["GET", "HEAD"], include_in_schema=False)
    async def page(request: Request) -> Response:
        del request
        if not index.exists():
            return PlainTextResponse(_NOT_BUILT)
        headers = {"Content-Security-Policy": _POLICY, "Cache-Control": "no-cache"}
        return FileResponse(index, media_type="text/html", headers=headers)


class _Assets(StaticFiles):
    """Files whose names carry the hash of their content, so that they never change."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        """The file, to be kept by browsers."""
        response = await super().get_response(path, scope)
        response.headers["Cache-Control"] = _FOREVER
        return response
