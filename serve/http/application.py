"""The ingress: HTTP in, other deployments asked, HTTP out."""

from __future__ import annotations

import logging
import sys
from importlib import metadata, resources
from typing import Any, Final

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.docs import get_swagger_ui_html
from ray import serve
from starlette.exceptions import HTTPException
from starlette.staticfiles import StaticFiles

from serve.http.auth import AccessControl
from serve.http.dispatch import Gate, Services
from serve.http.errors import Problem, ProblemDetails, on_bad_parameters, on_http_error, on_problem
from serve.http.middleware import RequestMiddleware
from serve.http.routes.analysis import analysis_routes
from serve.http.routes.catalog import catalog_routes
from serve.http.routes.system import system_routes
from serve.metrics import ServeMetrics
from serve.settings import ReplicaPlan, Settings

_ABOUT: Final = """
Reads microcrystals out of scanning electron micrographs of rock. Post a picture to `/v1/analyze`
and get its crystals, each with shape, facet definition, sizes and mask; or ask a catalogue of
scanned cores by well and depth. Every error is a problem document (RFC 9457).
"""
_DOCS_POLICY: Final = (
    "default-src 'none'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self'; frame-ancestors 'none'"
)


@serve.ingress()
class Ingress:
    """Answers HTTP requests.

    Parameters
    ----------
    settings : Settings
    pools : ReplicaPlan
    segmenter, classifier, reader : DeploymentHandle
    """

    def __init__(
        self, settings: Settings, pools: ReplicaPlan, segmenter: Any, classifier: Any, reader: Any
    ) -> None:
        import ray

        _log_to_stderr()
        # A node's replicas share their figures; the next cluster begins with new ones.
        metrics = ServeMetrics(ray.get_runtime_context().get_node_id()[:16])
        self._services = Services(
            segmenter,
            classifier,
            reader,
            settings,
            pools,
            metrics,
            analyses=Gate(pools.analyses),
            crops=Gate(
                pools.classifier.most * (pools.classifier.ongoing + pools.classifier.queued)
            ),
        )

    def __serve_build_asgi_app__(self) -> FastAPI:
        return create_app(self._services, AccessControl(self._services.settings))


def create_app(services: Services, access: AccessControl) -> FastAPI:
    """The HTTP application over the other deployments."""
    app = FastAPI(
        title="MicroCrystalNet",
        version=metadata.version("mcn"),
        description=_ABOUT,
        docs_url=None,
        redoc_url=None,
        openapi_url="/openapi.json",
    )
    for routes in (analysis_routes, catalog_routes, system_routes):
        app.include_router(routes(services, access))
    _add_docs(app)
    for kind, handler in (
        (Problem, on_problem),
        (HTTPException, on_http_error),
        (RequestValidationError, on_bad_parameters),
    ):
        app.add_exception_handler(kind, handler)
    app.add_middleware(RequestMiddleware, metrics=services.metrics)
    document = app.openapi()
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    schemas["ProblemDetails"] = ProblemDetails.model_json_schema()
    return app


def _add_docs(app: FastAPI) -> None:
    """A page of the OpenAPI document, whose scripts come from a package, not from elsewhere."""
    folder = resources.files("swagger_ui_bundle") / "vendor"
    (bundle,) = [entry for entry in folder.iterdir() if entry.name.startswith("swagger-ui")]
    app.mount("/docs/static", StaticFiles(directory=str(bundle)), name="docs-static")

    @app.get("/docs", include_in_schema=False)
    async def docs(request: Request) -> Response:
        del request
        page = get_swagger_ui_html(
            openapi_url="/openapi.json",
            title=app.title,
            swagger_js_url="/docs/static/swagger-ui-bundle.js",
            swagger_css_url="/docs/static/swagger-ui.css",
            swagger_favicon_url="/docs/static/favicon-32x32.png",
        )
        page.headers["Content-Security-Policy"] = _DOCS_POLICY
        return page


def _log_to_stderr() -> None:
    """The audit and the errors of this process, a line each, where its log is kept."""
    logger = logging.getLogger("serve")
    if not logger.handlers:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(asctime)s %(name)s %(message)s"))
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        logger.propagate = False
