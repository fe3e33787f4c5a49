"""Routes about the endpoint itself: models, health, metrics."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Final

from fastapi import APIRouter, Depends, Request, Response
from starlette.responses import JSONResponse

from serve.deployments.messages import JSON
from serve.http.auth import require
from serve.http.dispatch import CurrentServices
from serve.http.errors import Problem, documented
from serve.http.openapi import TEXT
from serve.http.responses import json_response, negotiate
from serve.schemas import Health, Models, Session

_READY_S: Final = 5.0

router = APIRouter(tags=["endpoint"])


@router.get(
    "/v1/models",
    summary="The loaded models",
    response_model=Models,
    responses=documented(400, 401, 403, 406, 429, 500, 503),
    dependencies=[Depends(require("read"))],
)
async def models(request: Request, services: CurrentServices) -> Response:
    """Names of the models, the shapes that they distinguish, and the limits of a request."""
    negotiate(request, JSON)
    async with services.time_limit():
        segmenter = await services.call(services.segmenter.about_segmenter.remote)
        classifier = await services.call(services.classifier.about_classifier.remote)
    settings = services.settings
    return await json_response(
        {
            "segmenter": segmenter.name,
            "segmenter_prompts": segmenter.prompts,
            "classifier": classifier.name,
            "shapes": classifier.shapes,
            "max_megabytes": settings.max_megabytes,
            "max_megapixels": settings.max_megapixels,
            "max_images": settings.max_images,
        }
    )


@router.get(
    "/v1/session",
    summary="Who the token is",
    response_model=Session,
    responses=documented(400, 401, 403, 406, 429, 500, 503),
    dependencies=[Depends(require())],
)
async def session(request: Request) -> Response:
    """Name, scopes and expiry of the token that the request was sent with."""
    negotiate(request, JSON)
    state = request.state
    expires = state.expires and state.expires.isoformat()
    return await json_response({"name": state.token, "scopes": state.scopes, "expires": expires})


@router.get("/healthz", summary="Whether this process is alive", response_model=Health)
async def healthz() -> Response:
    """Always `ok`."""
    return JSONResponse({"status": "ok"})


@router.get(
    "/readyz",
    summary="Whether the models are ready",
    response_model=Health,
    responses=documented(503),
)
async def readyz(services: CurrentServices) -> Response:
    """`ready` once both models are loaded."""
    try:
        async with asyncio.timeout(_READY_S):
            await services.call(services.classifier.about_classifier.remote)
            await services.call(services.segmenter.about_segmenter.remote)
    except TimeoutError:
        # A model that is busy is ready too.
        if not services.analyses.active:
            raise Problem(503, "a model is not ready yet", {"Retry-After": "5"}) from None
    return JSONResponse({"status": "ready"})


@router.get(
    "/metrics",
    # The operation's published id.
    operation_id="figures_metrics_get",
    summary="Metrics for Prometheus",
    responses={
        200: {"content": {"text/plain": TEXT}},
        **documented(400, 401, 403, 429, 500, 503),
    },
    response_class=Response,
    dependencies=[Depends(require("admin"))],
)
async def metrics(services: CurrentServices) -> Response:
    """The metrics in Prometheus' text format."""
    # The other metrics matter most when the reader does not respond.
    with suppress(Problem, TimeoutError):
        async with asyncio.timeout(_READY_S):
            age = await services.call(services.reader.age_s.remote)
        if age is not None:
            services.metrics.catalog_age.set(age)
    body, media_type = await asyncio.to_thread(services.metrics.exposed)
    return Response(body, media_type=media_type)
