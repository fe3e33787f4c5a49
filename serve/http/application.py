"""The ingress deployment: the HTTP application in front of the other deployments."""

from __future__ import annotations

import logging
import sys
from importlib import metadata
from typing import Any, Final

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from ray import serve
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware

from serve.correction_schemas import Proposal
from serve.http.auth import AccessControl
from serve.http.dispatch import MOST_LARGE, ConcurrencyLimit, Services, body_room
from serve.http.docs import add_docs
from serve.http.errors import (
    Problem,
    ProblemDetails,
    on_http_error,
    on_invalid_parameters,
    on_problem,
)
from serve.http.head import HeadMiddleware
from serve.http.middleware import RequestMiddleware
from serve.http.node_metrics import export_node_metrics
from serve.http.routes import (
    analysis,
    catalog,
    corrections,
    crops,
    crystals,
    evaluation,
    iiif,
    jobs,
    prompts,
    system,
    tiles,
)
from serve.http.routes.page import add_page
from serve.metrics import ServeMetrics
from serve.settings import ReplicaPlan, Settings

_ABOUT: Final = """
Reads microcrystals out of scanning electron micrographs of rock. Post a picture to `/v1/analyze`
and get its crystals, each with shape, facet definition, sizes and mask; or query a catalogue of
scanned cores by well and depth. Every error is a problem document (RFC 9457).
"""


@serve.ingress()
class Ingress:
    """Handles HTTP requests.

    Parameters
    ----------
    settings : Settings
    plan : ReplicaPlan
    segmenter, classifier, reader, jobs : DeploymentHandle
    """

    def __init__(
        self,
        settings: Settings,
        plan: ReplicaPlan,
        segmenter: Any,
        classifier: Any,
        reader: Any,
        jobs: Any,
    ) -> None:
        import ray

        _log_to_stderr()
        # Replicas of a node share their metrics; another cluster starts from zero.
        metrics = ServeMetrics(ray.get_runtime_context().get_node_id()[:16])
        self._services = Services(
            segmenter,
            classifier,
            reader,
            jobs,
            settings,
            plan,
            metrics,
            analyses=ConcurrencyLimit(plan.analyses),
            crops=ConcurrencyLimit(plan.crops),
            large=ConcurrencyLimit(MOST_LARGE),
            bodies=body_room(settings),
        )

    def __serve_build_asgi_app__(self) -> FastAPI:
        import ray

        access = AccessControl(self._services.settings)
        app = create_app(self._services, access)
        port = self._services.settings.metrics_port
        if port is not None:
            host = ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]
            app.router.lifespan_context = lambda _: export_node_metrics(
                self._services, access, host, port
            )
        return app


def create_app(services: Services, access: AccessControl) -> FastAPI:
    """The HTTP application; its routes find services and access in `app.state`."""
    app = FastAPI(
        title="MicroCrystalNet",
        version=metadata.version("mcn"),
        description=_ABOUT,
        docs_url=None,
        redoc_url=None,
        openapi_url="/openapi.json",
    )
    app.state.services = services
    app.state.access = access
    for routes in (
        *(analysis, jobs, prompts, crops),
        *(tiles, crystals, catalog, iiif),
        *(corrections, evaluation, system),
    ):
        app.include_router(routes.router)
    add_docs(app)
    add_page(app)
    app.add_exception_handler(Problem, on_problem)
    app.add_exception_handler(HTTPException, on_http_error)
    app.add_exception_handler(RequestValidationError, on_invalid_parameters)
    app.add_middleware(HeadMiddleware)
    if services.settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=services.settings.cors_origins,
            allow_methods=["GET", "HEAD", "POST", "DELETE"],
            allow_headers=["Authorization", "Content-Type", "If-None-Match"],
            expose_headers=["ETag", "Link", "Location", "Retry-After", "X-Request-Id"],
            max_age=3600,
        )
    app.add_middleware(RequestMiddleware, metrics=services.metrics)
    document = app.openapi()
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    schemas["ProblemDetails"] = ProblemDetails.model_json_schema()
    proposal = Proposal.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas |= proposal.pop("$defs", {}) | {"Proposal": proposal}
    return app


def _log_to_stderr() -> None:
    """Write the audit and errors to standard error, which Ray stores as the log."""
    logger = logging.getLogger("serve")
    if not logger.handlers:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(asctime)s %(name)s %(message)s"))
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        logger.propagate = False
