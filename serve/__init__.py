"""The Ray Serve application: HTTP API, tokens and client; the extra `serve` brings its packages."""

from importlib.util import find_spec
from typing import Final

from mcn.errors import MissingPackageError

_NEEDED: Final = (
    ("fastapi", "fastapi"),
    ("fastapi_swagger", "fastapi-swagger"),
    ("httptools", "httptools"),
    ("httpx", "httpx"),
    ("limits", "limits"),
    ("mimeparse", "python-mimeparse"),
    ("orjson", "orjson"),
    ("pydantic", "pydantic"),
    ("python_multipart", "python-multipart"),
    ("redis", "redis"),
    ("uvicorn", "uvicorn"),
)
"""Module and package."""

for _module, _package in _NEEDED:
    if find_spec(_module) is None:
        raise MissingPackageError("the endpoint or its client", _package, "serve")
