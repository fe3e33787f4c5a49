"""The Ray Serve application: HTTP API, tokens and client; the extra `serve` brings its packages."""

from importlib.util import find_spec

from mcn.errors import MissingPackageError

for _module, _package in (
    ("fastapi", "fastapi"),
    ("httpx", "httpx"),
    ("limits", "limits"),
    ("mimeparse", "python-mimeparse"),
    ("orjson", "orjson"),
    ("pydantic", "pydantic"),
    ("python_multipart", "python-multipart"),
    ("swagger_ui_bundle", "swagger-ui-bundle"),
):
    if find_spec(_module) is None:
        raise MissingPackageError("the endpoint or its client", _package, "serve")
