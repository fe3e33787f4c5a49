"""Routes that read the catalogue: wells, crystals, depth logs, tiles."""

from __future__ import annotations

import base64
import json
import math
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Path, Query, Request, Response

from mcn.catalog.depths import parse_depth
from mcn.catalog.formats import row_objects
from mcn.catalog.storage import CatalogError
from serve.deployments.messages import ARROW, CSV, JSON, LAS, PNG, Content
from serve.http.auth import require
from serve.http.dispatch import CurrentServices, Services
from serve.http.errors import Problem, documented, sees_paths, without_folders
from serve.http.openapi import BINARY, TEXT
from serve.http.responses import json_response, negotiate
from serve.schemas import CrystalPage, TileRecord, Wells

_PROBLEMS: Final = documented(401, 403, 404, 406, 422, 429, 500, 503)

WellName = Annotated[str, Path(max_length=2000, description="A well, as /v1/wells names it.")]
TileId = Annotated[str, Path(pattern="^[0-9a-f]{32}$", description="The column tile_id.")]
OfWell = Annotated[
    str | None, Query(max_length=2000, description="The tile's well; speeds up the request.")
]
Model = Annotated[
    str | None,
    Query(
        max_length=200,
        description="Rows of this model instead of each tile's latest; its name or a prefix.",
    ),
]

_LOG_RESPONSE: Final = {
    "description": "Shape fractions, sizes and crystal area against depth.",
    "content": {
        JSON: {"schema": {"type": "array", "items": {"type": "object"}}},
        CSV: TEXT,
        LAS: TEXT,
        PNG: BINARY,
    },
}

router = APIRouter(
    prefix="/v1",
    tags=["catalogue"],
    dependencies=[Depends(require("read"))],
    responses=_PROBLEMS,
)


@router.get("/wells", summary="All wells", response_model=Wells)
async def wells(request: Request, services: CurrentServices) -> Response:
    """Every well with its tiles, crystals and depths."""
    negotiate(request, JSON)
    return await json_response({"wells": row_objects(await _read(services, "wells"))})


@router.get(
    "/wells/{well:path}/crystals",
    summary="The crystals of a well",
    response_model=CrystalPage,
    responses={200: {"content": {CSV: TEXT, ARROW: BINARY}}},
)
async def crystals(
    request: Request,
    services: CurrentServices,
    well: WellName,
    depth: Annotated[
        str | None,
        Query(max_length=64, description="Metres or feet: 1200:1250, 1200:, :1250, 4000ft:4100ft."),
    ] = None,
    shape: Annotated[list[str] | None, Query(max_length=64)] = None,
    segmenter: Model = None,
    classifier: Model = None,
    limit: Annotated[int, Query(ge=1, le=100_000, description="Rows per page.")] = 1000,
    cursor: Annotated[
        str | None, Query(max_length=300, description="`next` of the previous page.")
    ] = None,
) -> Response:
    """Crystals in order of depth, page by page; the header Link names the next page."""
    media_type = negotiate(request, JSON, CSV, ARROW)
    content: Content = await _read(
        services,
        "crystals",
        well,
        _depths(depth),
        shape or [],
        (segmenter, classifier),
        limit,
        None if cursor is None else _read_cursor(cursor),
        media_type,
    )
    next_cursor = None if content.last is None else _cursor(content.last)
    headers = {}
    if next_cursor is not None:
        link = request.url.include_query_params(cursor=next_cursor)
        headers = {"Link": f'<{link.path}?{link.query}>; rel="next"'}
    if media_type != JSON:
        return Response(content.body, media_type=media_type, headers=headers)
    # The rows are JSON already.
    end = json.dumps(next_cursor).encode()
    body = b'{"crystals":' + content.body.rstrip() + b',"next":' + end + b"}"
    return Response(body, media_type=JSON, headers=headers)


@router.get(
    "/wells/{well:path}/log",
    summary="The depth log of a well",
    responses={200: _LOG_RESPONSE},
    response_class=Response,
)
async def log(
    request: Request,
    services: CurrentServices,
    well: WellName,
    step: Annotated[
        float | None, Query(gt=0, le=1e5, description="Length of an interval, metres.")
    ] = None,
    segmenter: Model = None,
    classifier: Model = None,
) -> Response:
    """The log as JSON, CSV, LAS 2.0 (`Accept: text/plain`) or a picture (`Accept: image/png`)."""
    media_type = negotiate(request, JSON, CSV, LAS, PNG)
    content: Content = await _read(services, "log", well, step, (segmenter, classifier), media_type)
    return Response(content.body, media_type=content.media_type)


@router.get("/tiles/{tile_id}", summary="The record of a tile", response_model=TileRecord)
async def tile(
    request: Request,
    services: CurrentServices,
    tile_id: TileId,
    well: OfWell = None,
    segmenter: Model = None,
    classifier: Model = None,
) -> Response:
    """One row per pair of models that has scanned the tile, the latest first.

    A token with the scope `admin` gets the whole `uri`, others the file's name.
    """
    negotiate(request, JSON)
    rows = await _read(services, "tile", tile_id, well, (segmenter, classifier))
    if not sees_paths(request):
        for row in rows:
            row["uri"] = row["uri"].rpartition("/")[2]
            row["error"] = row["error"] and without_folders(row["error"])
    return await json_response({"tile_id": tile_id, "rows": rows})


@router.get(
    "/tiles/{tile_id}/image",
    summary="The picture of a tile",
    responses={200: {"content": {PNG: BINARY}, "description": "Grey, 8 bits."}},
    response_class=Response,
)
async def image(
    request: Request, services: CurrentServices, tile_id: TileId, well: OfWell = None
) -> Response:
    """The tile as it was analysed, 8 bits."""
    negotiate(request, PNG)
    content: Content = await _read(services, "image", tile_id, well)
    return Response(content.body, media_type=content.media_type)


async def _read(services: Services, method: str, *arguments: Any) -> Any:
    """Call a method of the catalogue reader."""
    async with services.time_limit():
        with services.stage("query"):
            read = getattr(services.reader, method)
            return await services.call(lambda: read.remote(*arguments))


def _depths(text: str | None) -> tuple[float | None, float | None] | None:
    try:
        return None if text is None else parse_depth(text)
    except CatalogError as error:
        raise Problem(422, str(error)) from None


def _cursor(last: tuple[float, str]) -> str:
    return base64.urlsafe_b64encode(json.dumps(last).encode()).decode()


def _read_cursor(cursor: str) -> tuple[float, str]:
    try:
        depth, crystal = json.loads(base64.b64decode(cursor, altchars=b"-_", validate=True))
        if isinstance(depth, int | float) and math.isfinite(depth) and isinstance(crystal, str):
            return float(depth), crystal
    except (ValueError, TypeError):
        pass
    raise Problem(422, "cursor: not a cursor of this endpoint; use `next` of the previous page")
