"""Routes that analyse whole pictures: `/v1/analyze` and `/v1/analyze:batch`."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Query, Request, Response

from mcn.micrograph import Micrograph
from mcn.pixel_limits import MAX_UM, MIN_UM
from serve.deployments.messages import JSON, PNG, AnalysisResult
from serve.http.auth import require
from serve.http.dispatch import CurrentServices, RequestedSegmenter, Services
from serve.http.errors import Problem, documented
from serve.http.openapi import BINARY, form_schema, request_body
from serve.http.responses import (
    MaskFormat,
    analysis_object,
    json_response,
    negotiate,
    overlay_png,
)
from serve.http.uploads import UploadedFile, decode
from serve.schemas import Analysis, Batch

PROBLEMS: Final = documented(400, 401, 403, 406, 408, 413, 415, 422, 429, 500, 503)
"""Problems of every route that uses a model."""

PixelSize = Annotated[
    float | None,
    Query(ge=MIN_UM, le=MAX_UM, description="Micrometres per pixel, instead of the file's own."),
]
MinConfidence = Annotated[
    float, Query(ge=0, le=1, description="Leave out crystals with a lower confidence.")
]
MasksAs = Annotated[MaskFormat, Query(description="Format of the masks.")]

router = APIRouter(
    prefix="/v1",
    tags=["models"],
    dependencies=[Depends(require("analyze"))],
    responses=PROBLEMS,
)


@router.post(
    "/analyze",
    summary="The crystals of a picture",
    response_model=Analysis,
    responses={200: {"content": {PNG: BINARY}}},
    openapi_extra=request_body(form_schema("image")),
)
async def analyze(
    request: Request,
    services: CurrentServices,
    pixel_size_um: PixelSize = None,
    model: RequestedSegmenter = None,
    min_confidence: MinConfidence = 0.0,
    masks: MasksAs = "rle",
) -> Response:
    """Find, measure and name the crystals of a TIFF, PNG or JPEG.

    The body is the picture, or a form with the picture in the field `image` and optionally
    the microscope's text file in the field `sidecar`. `Accept: image/png` returns the picture
    with the outlines of its crystals.
    """
    media_type = negotiate(request, JSON, PNG)
    await services.check_segmenter(model)
    (file,), _ = await services.receive(request, "image", services.analyses)
    async with services.admit(services.analyses):
        micrograph, result = await _analyze_file(services, file, pixel_size_um)
        with services.stage("answer"):
            if media_type == PNG:
                png = await overlay_png(file.name, micrograph, result, min_confidence)
                # What JSON says in `pages`.
                notes = {"X-Note": micrograph.note} if micrograph.note else {}
                return Response(png, media_type=PNG, headers=notes)
            return await json_response(
                await analysis_object(file.name, micrograph, result, min_confidence, masks)
            )


@router.post(
    "/analyze:batch",
    summary="The crystals of several pictures",
    response_model=Batch,
    openapi_extra=request_body(form_schema("image", many=True), raw=False),
)
async def analyze_batch(
    request: Request,
    services: CurrentServices,
    pixel_size_um: PixelSize = None,
    model: RequestedSegmenter = None,
    min_confidence: MinConfidence = 0.0,
    masks: MasksAs = "rle",
) -> Response:
    """Analyse the files in the field `image` of a form; each has its own result or problem.

    Files in the field `sidecar` belong to the pictures of the same name.
    """
    negotiate(request, JSON)
    concurrency = asyncio.Semaphore(services.plan.segmenter.batch)

    async def analyze_one(file: UploadedFile) -> dict[str, Any]:
        async with concurrency:
            try:
                micrograph, result = await _analyze_file(services, file, pixel_size_um)
            except Problem as problem:
                return {"image": file.name, "status": problem.status, "detail": problem.detail}
            return await analysis_object(file.name, micrograph, result, min_confidence, masks)

    await services.check_segmenter(model)
    files, _ = await services.receive(
        request, "image", services.analyses, services.settings.max_images
    )
    async with services.admit(services.analyses):
        return await json_response({"images": await asyncio.gather(*map(analyze_one, files))})


async def _analyze_file(
    services: Services, file: UploadedFile, pixel_size_um: float | None
) -> tuple[Micrograph, AnalysisResult]:
    with services.stage("decode"):
        micrograph = await decode(file, pixel_size_um, services.settings.limits)
    return micrograph, await services.analyze(micrograph)
