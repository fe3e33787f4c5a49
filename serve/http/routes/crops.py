"""Routes that classify crops of crystals: `/v1/classify` and `/v1/explain`."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Depends, Query, Request, Response

from serve.deployments.messages import JSON, PNG
from serve.http.auth import require
from serve.http.dispatch import CurrentServices
from serve.http.openapi import BINARY, form_schema, request_body
from serve.http.responses import explanation_response, json_response, negotiate
from serve.http.routes.analysis import PROBLEMS
from serve.http.uploads import decode_crops
from serve.schemas import Explanation, Shapes

_MAX_BYTES: Final = 8 * 2**20
_MAX_CROPS: Final = 512

router = APIRouter(
    prefix="/v1",
    tags=["models"],
    dependencies=[Depends(require("analyze"))],
    responses=PROBLEMS,
)


@router.post(
    "/classify",
    summary="The shapes of crops",
    response_model=Shapes,
    openapi_extra=request_body(form_schema("crop", many=True)),
)
async def classify(request: Request, services: CurrentServices) -> Response:
    """Classify pictures of 64×64 pixels in the field `crop`, each one crystal on black."""
    negotiate(request, JSON)
    files, _ = await services.receive(request, "crop", services.crops, _MAX_CROPS, _MAX_BYTES)
    async with services.admit(services.crops):
        crops = await decode_crops(files)
        result = await services.call(lambda: services.classifier.classify.remote(crops))
    services.observe("classify", result.timing)
    rows = []
    for file, p, confidence in zip(files, result.probabilities, result.confidence, strict=True):
        best = p.index(max(p))
        rows.append(
            {
                "crop": file.name,
                "shape": result.shapes[best],
                "facet": result.facets[best],
                "confidence": confidence,
                "probabilities": dict(zip(result.shapes, p, strict=True)),
            }
        )
    return await json_response({"classifier": result.classifier, "crops": rows})


@router.post(
    "/explain",
    summary="The evidence for a shape in a crop",
    response_model=Explanation,
    responses={200: {"content": {PNG: BINARY}}},
    openapi_extra=request_body(form_schema("crop")),
)
async def explain(
    request: Request,
    services: CurrentServices,
    shape: Annotated[
        str | None, Query(max_length=40, description="By default the most probable.")
    ] = None,
) -> Response:
    """Grad-CAM of a crop of 64×64 pixels; `Accept: image/png` returns it in colours."""
    media_type = negotiate(request, JSON, PNG)
    files, _ = await services.receive(request, "crop", services.crops, max_bytes=_MAX_BYTES)
    async with services.admit(services.crops):
        (crop,) = await decode_crops(files)
        result = await services.call(lambda: services.classifier.explain.remote(crop, shape))
    services.observe("explain", result.timing)
    return await explanation_response(result, media_type)
