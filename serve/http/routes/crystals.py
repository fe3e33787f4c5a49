"""Routes about one crystal: what is known of it, its picture, evidence and similar crystals."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Query, Request, Response

from serve.correction_schemas import CrystalHistory
from serve.deployments.messages import JSON, PNG, Content, CrystalRequest
from serve.http.auth import require
from serve.http.caching import content_response
from serve.http.dispatch import CurrentServices
from serve.http.openapi import BINARY
from serve.http.responses import explanation_response, json_response, negotiate
from serve.http.routes.catalog import PROBLEMS
from serve.http.routes.filters import AsOf, CrystalId, OfWell, read
from serve.schemas import Explanation, SimilarCrystals

_BY_MODEL: Final = [Depends(require("read", "analyze"))]

router = APIRouter(prefix="/v1/crystals", tags=["catalogue"], responses=PROBLEMS)


@router.get(
    "/{crystal_id}",
    summary="A crystal and its corrections",
    response_model=CrystalHistory,
    dependencies=[Depends(require("read"))],
)
async def crystal(
    request: Request,
    services: CurrentServices,
    crystal_id: CrystalId,
    well: OfWell = None,
    as_of: AsOf = None,
) -> Response:
    """A crystal as it is now, as its models found it, and who corrected it."""
    negotiate(request, JSON)
    content: Content = await read(services, "crystal", crystal_id, well, as_of=as_of)
    return await content_response(request, content.body, JSON)


@router.get(
    "/{crystal_id}/crop",
    summary="The picture of a crystal",
    responses={200: {"content": {PNG: BINARY}, "description": "Grey, 8 bits."}},
    response_class=Response,
    dependencies=[Depends(require("read", pictures=True))],
)
async def crop(
    request: Request,
    services: CurrentServices,
    crystal_id: CrystalId,
    well: OfWell = None,
    size: Annotated[int, Query(ge=16, le=1024, description="Width and height, pixels.")] = 128,
    margin: Annotated[
        float, Query(ge=0, le=10, description="Surroundings, as a share of the crystal's size.")
    ] = 0.5,
    masked: Annotated[
        bool, Query(description="The 64×64 pixels that the classifier sees instead.")
    ] = False,
    as_of: AsOf = None,
) -> Response:
    """A crystal in its surroundings."""
    negotiate(request, PNG)
    content: Content = await read(
        services, "crystal_picture", crystal_id, well, size, margin, masked, as_of=as_of
    )
    return await content_response(request, content.body, PNG)


@router.get(
    "/{crystal_id}/heat",
    summary="The evidence for a crystal's shape",
    response_model=Explanation,
    responses={200: {"content": {PNG: BINARY}}},
    dependencies=_BY_MODEL,
)
async def heat(
    request: Request,
    services: CurrentServices,
    crystal_id: CrystalId,
    well: OfWell = None,
    shape: Annotated[
        str | None, Query(max_length=40, description="By default the most probable.")
    ] = None,
    as_of: AsOf = None,
) -> Response:
    """Grad-CAM by the loaded classifier; `Accept: image/png` returns it in colours."""
    media_type = negotiate(request, JSON, PNG)
    crop = await read(services, "crystal_crop", crystal_id, well, as_of=as_of)
    async with services.admit(services.crops):
        result = await services.call(lambda: services.classifier.explain.remote(crop, shape))
    services.observe("explain", result.timing)
    return await explanation_response(result, media_type)


@router.get(
    "/{crystal_id}/similar",
    summary="Crystals that look alike",
    response_model=SimilarCrystals,
    dependencies=_BY_MODEL,
)
async def similar(
    request: Request,
    services: CurrentServices,
    crystal_id: CrystalId,
    well: OfWell = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 12,
    corrected: Annotated[bool, Query(description="Use the values that persons corrected.")] = False,
    as_of: AsOf = None,
) -> Response:
    """The crystals of the same tile that the loaded classifier sees most alike.

    They are chosen by the classifier's embedding from the 2,000 nearest to the crystal's size.
    """
    negotiate(request, JSON)
    asked = CrystalRequest(corrected=corrected)
    rows, crops = await read(services, "crops_like", crystal_id, well, asked, as_of=as_of)
    async with services.admit(services.crops):
        result = await services.call(lambda: services.classifier.similar.remote(crops, 0, limit))
    services.observe("similar", result.timing)
    crystals: list[dict[str, Any]] = [
        {**rows[index], "similarity": round(similarity, 4)}
        for index, similarity in zip(result.indices, result.similarity, strict=True)
    ]
    return await json_response({"classifier": result.classifier, "crystals": crystals})
