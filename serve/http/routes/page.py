"""The page, built from `serve/viewer`: static files that need no token."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Final

from fastapi import FastAPI, Request, Response
from starlette.responses import FileResponse, PlainTextResponse
from starlette.staticfiles import StaticFiles

_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "font-src 'self'; connect-src 'self'; worker-src 'self' blob:; manifest-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_NOT_BUILT: Final = (
    "The page was not built; run `make page` where npm can be reached.\n"
    "Everything else works: /docs describes the routes.\n"
)


class _Assets(StaticFiles):
    """Files with a digest in their names, which never change."""

    def file_response(self, *args: object, **kwargs: object) -> Response:
        response = super().file_response(*args, **kwargs)  # type: ignore[arg-type]
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
        return response


def add_page(app: FastAPI, folder: Path | None = None) -> None:
    """Add `/` and `/assets` to the application.

    Parameters
    ----------
    app : FastAPI
    folder : Path, optional
        The built page; by default the package's `serve/viewer/dist`.
    """
    dist = folder or Path(str(resources.files("serve") / "viewer" / "dist"))
    if (dist / "assets").is_dir():
        app.mount("/assets", _Assets(directory=dist / "assets"), name="assets")

    @app.get("/", include_in_schema=False)
    async def page(request: Request) -> Response:
        del request
        if not (dist / "index.html").is_file():
            return PlainTextResponse(_NOT_BUILT)
        headers = {"Cache-Control": "no-cache", "Content-Security-Policy": _POLICY}
        return FileResponse(dist / "index.html", headers=headers)
