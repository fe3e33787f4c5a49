"""Routes that analyse whole pictures: `/v1/analyze` and `/v1/analyze:batch`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Query, Request, Response

from mcn.micrograph import Micrograph
from mcn.pixel_limits import MAX_UM, MIN_UM
from serve.deployments.messages import GEOJSON, JSON, PNG, AnalysisResult, PictureFacts
from serve.http.auth import require
from serve.http.dispatch import CurrentServices, RequestedSegmenter, Services
from serve.http.errors import Problem, documented
from serve.http.openapi import BINARY, TEXT, form_schema, request_body
from serve.http.responses import (
    MaskFormat,
    analysis_object,
    crystal_file,
    json_response,
    negotiate,
    note_of,
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
    responses={200: {"content": {GEOJSON: TEXT, PNG: BINARY}}},
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
    with the outlines of its crystals, `application/geo+json` a FeatureCollection as QuPath reads
    it. A picture that is too large for one request can be sent to `/v1/jobs`.
    """
    media_type = negotiate(request, JSON, GEOJSON, PNG)
    await services.check_segmenter(model)
    with _jobs_for_large_pictures():
        (file,), _ = await services.receive(request, "image", services.analyses)
    async with services.admit(services.analyses):
        with _jobs_for_large_pictures():
            micrograph, result = await _analyze_file(services, file, pixel_size_um)
        picture = PictureFacts.of(file.name, micrograph)
        with services.stage("answer"):
            if media_type == PNG:
                png = await overlay_png(file.name, micrograph, result, min_confidence)
                return Response(png, media_type=PNG, headers=note_of(picture))
            if media_type == GEOJSON:
                return await crystal_file(picture, result, min_confidence, media_type)
            return await json_response(
                await analysis_object(picture, result, min_confidence, masks)
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
            picture = PictureFacts.of(file.name, micrograph)
            return await analysis_object(picture, result, min_confidence, masks)

    await services.check_segmenter(model)
    files, _ = await services.receive(
        request, "image", services.analyses, services.settings.max_images
    )
    async with services.admit(services.analyses):
        return await json_response({"images": await asyncio.gather(*map(analyze_one, files))})


@contextmanager
def _jobs_for_large_pictures() -> Iterator[None]:
    """Let the problem of a picture that is too large name the route that takes it."""
    try:
        yield
    except Problem as problem:
        if problem.status != 413:
            raise
        detail = f"{problem.detail}, or send it to /v1/jobs"
        raise Problem(413, detail, problem.headers, problem.reason) from None


async def _analyze_file(
    services: Services, file: UploadedFile, pixel_size_um: float | None
) -> tuple[Micrograph, AnalysisResult]:
    with services.stage("decode"):
        micrograph = await decode(file, pixel_size_um, services.settings.limits)
    return micrograph, await services.analyze(micrograph)
