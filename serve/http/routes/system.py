"""Routes about the endpoint itself: models, health, figures."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Final

from fastapi import APIRouter, Depends, Request, Response
from starlette.responses import JSONResponse

from serve.deployments.catalog_reader import JSON
from serve.http.auth import AccessControl
from serve.http.dispatch import Services
from serve.http.errors import Problem, documented
from serve.http.responses import accepted, json_answer
from serve.schemas import Health, Models

_READY_S: Final = 5.0


def system_routes(services: Services, access: AccessControl) -> APIRouter:
    """`/v1/models`, `/healthz`, `/readyz`, `/metrics`."""
    router = APIRouter(tags=["endpoint"])
    settings, metrics = services.settings, services.metrics

    @router.get(
        "/v1/models",
        summary="The models at work",
        response_model=Models,
        responses=documented(401, 403, 406, 429, 500, 503),
        dependencies=[Depends(access.allow("read"))],
    )
    async def models(request: Request) -> Response:
        """Their names, the shapes they tell apart, and what a request may be at most."""
        accepted(request, JSON)
        async with services.time_limit():
            segmenter = await services.ask(services.segmenter.about.remote)
            classifier = await services.ask(services.classifier.about.remote)
        return await json_answer(
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

    @router.get("/healthz", summary="Whether this process lives", response_model=Health)
    async def healthz() -> Response:
        """Always `ok`."""
        return JSONResponse({"status": "ok"})

    @router.get(
        "/readyz",
        summary="Whether the models answer",
        response_model=Health,
        responses=documented(503),
    )
    async def readyz() -> Response:
        """`ready` once both models are loaded."""
        try:
            async with asyncio.timeout(_READY_S):
                await services.ask(services.classifier.about.remote)
                await services.ask(services.segmenter.about.remote)
        except TimeoutError:
            # A model with its hands full is as ready as one can be.
            if not services.analyses.inside:
                raise Problem(503, "a model does not answer yet", {"Retry-After": "5"}) from None
        return JSONResponse({"status": "ready"})

    @router.get(
        "/metrics",
        summary="Figures for Prometheus",
        responses={
            200: {"content": {"text/plain": {"schema": {"type": "string"}}}},
            **documented(401, 403, 429, 500, 503),
        },
        response_class=Response,
        dependencies=[Depends(access.allow("admin"))],
    )
    async def figures() -> Response:
        """In Prometheus' text format."""
        # The other figures are wanted most when something does not answer.
        with suppress(Problem, TimeoutError):
            async with asyncio.timeout(_READY_S):
                age = await services.ask(services.reader.age_s.remote)
            if age is not None:
                metrics.catalog_age.set(age)
        body, kind = await asyncio.to_thread(metrics.exposed)
        return Response(body, media_type=kind)

    return router
