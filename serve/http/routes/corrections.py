"""Routes that correct crystals, and that say who corrected what."""

from __future__ import annotations

from typing import Annotated, Any, Final

import orjson
from fastapi import APIRouter, Depends, Path, Query, Request, Response
from pydantic import ValidationError

from serve.correction_schemas import ChangeResult, CorrectionPage, Proposal
from serve.deployments.messages import JSON, ChangeRequest, ClassificationResult, Content
from serve.http.auth import require
from serve.http.caching import content_response
from serve.http.dispatch import CurrentServices, Services
from serve.http.errors import Problem, documented
from serve.http.responses import negotiate
from serve.http.routes.catalog import PROBLEMS
from serve.http.routes.filters import AsOf, OfWell, read
from serve.http.uploads import read_body

_MOST_BYTES: Final = 4 * 2**20
_WRITING: Final = documented(400, 401, 403, 404, 406, 408, 413, 422, 429, 500, 503)
_BODY: Final = {
    "requestBody": {
        "required": True,
        "content": {JSON: {"schema": {"$ref": "#/components/schemas/Proposal"}}},
    }
}

router = APIRouter(prefix="/v1/corrections", tags=["corrections"])


@router.post(
    "",
    summary="Correct crystals",
    status_code=201,
    response_model=ChangeResult,
    openapi_extra=_BODY,
    responses=_WRITING,
    dependencies=[Depends(require("correct"))],
)
async def correct(request: Request, services: CurrentServices) -> Response:
    """Name, delete, redraw, merge, split or add crystals of a tile.

    The rows of the models stay as they are. `superseded` lists corrections of the same crystals
    by others that the client had not seen: they are kept, but this one counts.
    """
    negotiate(request, JSON)
    proposal = await _read_proposal(request, services)
    change = ChangeRequest(
        proposal.action,
        proposal.tile_id,
        proposal.well,
        tuple(crystal.crystal_id for crystal in proposal.crystals),
        proposal.shape,
        tuple(proposal.masks),
        proposal.note,
        {
            crystal.crystal_id: crystal.seen
            for crystal in proposal.crystals
            if "seen" in crystal.model_fields_set
        },
        proposal.segmenter,
        proposal.classifier,
    )
    named: dict[str, list[Any]] = {}
    if change.operation == "add" and change.shape is None and change.masks:
        named = await _classify(services, change)
    content: Content = await read(services, "correct", change, request.state.token, named)
    return Response(content.body, 201, media_type=JSON)


@router.post(
    "/{change_id}/undo",
    summary="Undo a change",
    status_code=201,
    response_model=ChangeResult,
    responses=_WRITING,
    dependencies=[Depends(require("correct"))],
)
async def undo(
    request: Request,
    services: CurrentServices,
    change_id: Annotated[str, Path(pattern="^[0-9a-f]{32}$")],
    well: OfWell = None,
) -> Response:
    """Revoke a change by a further row; undoing an undo makes the change again."""
    negotiate(request, JSON)
    content: Content = await read(services, "undo", change_id, request.state.token, well)
    return Response(content.body, 201, media_type=JSON)


@router.get(
    "",
    summary="Who corrected what",
    response_model=CorrectionPage,
    responses=PROBLEMS,
    dependencies=[Depends(require("read"))],
)
async def corrections(
    request: Request,
    services: CurrentServices,
    well: Annotated[list[str] | None, Query(max_length=2000)] = None,
    tile_id: Annotated[str | None, Query(max_length=100)] = None,
    crystal_id: Annotated[str | None, Query(max_length=100)] = None,
    change_id: Annotated[str | None, Query(max_length=100)] = None,
    by: Annotated[str | None, Query(max_length=100, description="Name of a token.")] = None,
    limit: Annotated[int, Query(ge=1, le=10_000, description="Rows per page.")] = 100,
    cursor: Annotated[int, Query(ge=0, description="`next` of the previous page.")] = 0,
    as_of: AsOf = None,
) -> Response:
    """Every correction, the newest first; `in_effect` is false for those that are undone."""
    negotiate(request, JSON)
    wanted = {
        "tile_id": tile_id,
        "crystal_id": crystal_id,
        "change_id": change_id,
        "corrected_by": by,
    }
    matching = {name: value for name, value in wanted.items() if value is not None}
    # One row more says whether there is another page.
    content: Content = await read(
        services, "corrections", well or [], matching, limit + 1, cursor, as_of=as_of
    )
    rows = orjson.loads(content.body)
    following = cursor + limit if len(rows) > limit else None
    body = orjson.dumps({"corrections": rows[:limit], "next": following})
    return await content_response(request, body, JSON)


async def _read_proposal(request: Request, services: Services) -> Proposal:
    with services.bodies.enter(request.state.token) as add:
        body = await read_body(request, _MOST_BYTES, services.settings.upload_seconds, add)
    try:
        return Proposal.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(map(str, first["loc"])) or "body"
        raise Problem(422, f"{field}: {first['msg']}") from None


async def _classify(services: Services, change: ChangeRequest) -> dict[str, list[Any]]:
    """What the classifier says of a change's masks, by the columns of the catalogue."""
    crops = await read(services, "mask_crops", change)
    async with services.admit(services.crops):
        result: ClassificationResult = await services.call(
            lambda: services.classifier.classify.remote(crops)
        )
    best = [p.index(max(p)) for p in result.probabilities]
    return {
        "shape": [result.shapes[index] for index in best],
        "facet": [result.facets[index] for index in best],
        "confidence": list(result.confidence),
        **{
            f"p_{shape}": [p[number] for p in result.probabilities]
            for number, shape in enumerate(result.shapes)
        },
    }
