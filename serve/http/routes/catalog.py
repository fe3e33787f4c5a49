"""Routes that read the catalogue by well: wells, tiles, crystals, depth logs."""

from __future__ import annotations

import json
from typing import Annotated, Final, Literal

import orjson
from fastapi import APIRouter, Depends, Query, Request, Response

from mcn.catalog.formats import row_objects
from serve.deployments.messages import ARROW, CSV, GEOJSON, JSON, LAS, PNG, Content
from serve.http.auth import require
from serve.http.caching import content_response
from serve.http.dispatch import CurrentServices
from serve.http.errors import documented
from serve.http.openapi import BINARY, TEXT
from serve.http.responses import negotiate
from serve.http.routes.filters import (
    AsOf,
    Cursor,
    DepthRange,
    Fields,
    FilteredCrystals,
    FilteredIntervals,
    FilteredLog,
    FormOfCrystals,
    Model,
    WellName,
    columns_of,
    cursor_of,
    depths_of,
    public_row,
    read,
    read_cursor,
)
from serve.schemas import (
    CrystalPage,
    LogInterval,
    LogZone,
    TilePage,
    Well,
    Wells,
    WellTextures,
)

PROBLEMS: Final = documented(400, 401, 403, 404, 406, 422, 429, 500, 503)


router = APIRouter(
    prefix="/v1",
    tags=["catalogue"],
    dependencies=[Depends(require("read"))],
    responses=PROBLEMS,
)


@router.get("/wells", summary="All wells", response_model=Wells)
async def wells(request: Request, services: CurrentServices, as_of: AsOf = None) -> Response:
    """Every well with its tiles, crystals, depths and last scan."""
    negotiate(request, JSON)
    rows = row_objects(await read(services, "wells", as_of=as_of))
    return await content_response(request, orjson.dumps({"wells": rows}), JSON)


@router.get(
    "/wells/{well:path}/tiles",
    summary="The tiles of a well",
    response_model=TilePage,
)
async def tiles(
    request: Request,
    services: CurrentServices,
    well: WellName,
    depth: DepthRange = None,
    status: Literal["ok", "failed"] | None = None,
    segmenter: Model = None,
    classifier: Model = None,
    fields: Fields = None,
    limit: Annotated[int, Query(ge=1, le=10_000, description="Rows per page.")] = 100,
    cursor: Cursor = None,
    as_of: AsOf = None,
) -> Response:
    """Tiles in order of depth, page by page; the header Link names the next page."""
    negotiate(request, JSON)
    rows, last = await read(
        services,
        "tiles",
        well,
        depths_of(depth),
        status,
        (segmenter, classifier),
        columns_of(fields),
        limit,
        read_cursor(cursor),
        as_of=as_of,
    )
    body = orjson.dumps([public_row(request, row) for row in rows])
    return await _page(request, "tiles", Content(body, JSON, last))


@router.get(
    "/wells/{well:path}/crystals",
    summary="The crystals of a well",
    response_model=CrystalPage,
    responses={200: {"content": {GEOJSON: TEXT, CSV: TEXT, ARROW: BINARY}}},
)
async def crystals(
    request: Request,
    services: CurrentServices,
    well: WellName,
    filters: FilteredCrystals,
    form: FormOfCrystals,
    depth: DepthRange = None,
    limit: Annotated[int, Query(ge=1, le=100_000, description="Rows per page.")] = 1000,
    cursor: Cursor = None,
    as_of: AsOf = None,
) -> Response:
    """Crystals in order of depth, page by page; the header Link names the next page.

    With `sort`, the first `limit` crystals in the order of a column, without further pages: the
    least certain ones with `sort=confidence`.
    """
    media_type = negotiate(request, JSON, GEOJSON, CSV, ARROW)
    content: Content = await read(
        services,
        "crystals",
        well,
        depths_of(depth),
        form.of(filters.request(), media_type, "rle"),
        limit,
        read_cursor(cursor),
        as_of=as_of,
    )
    return await _page(request, "crystals", content)


@router.get(
    "/wells/{well:path}/log",
    summary="The depth log of a well",
    response_model=list[LogInterval] | list[LogZone],
    responses={200: {"content": {CSV: TEXT, LAS: TEXT, PNG: BINARY}}},
)
async def log(
    request: Request,
    services: CurrentServices,
    well: WellName,
    log_filters: FilteredLog,
    as_of: AsOf = None,
) -> Response:
    """The log as JSON, CSV, LAS 2.0 (`Accept: text/plain`) or a picture (`Accept: image/png`).

    With `zones`, the zones of the log as JSON or CSV, or drawn into the picture.
    """
    asked = log_filters.request()
    offered = (JSON, CSV, PNG) if asked.zones else (JSON, CSV, LAS, PNG)
    media_type = negotiate(request, *offered)
    content: Content = await read(services, "log", well, asked, media_type, as_of=as_of)
    return await content_response(request, content.body, content.media_type)


@router.get(
    "/wells/{well:path}/textures", summary="The textures of a well", response_model=WellTextures
)
async def textures(
    request: Request,
    services: CurrentServices,
    well: WellName,
    filters: FilteredIntervals,
    as_of: AsOf = None,
) -> Response:
    """The texture of each interval of the log by each published scheme, and how sure it is."""
    negotiate(request, JSON)
    rows = await read(services, "textures", well, filters.request(), as_of=as_of)
    return await content_response(request, orjson.dumps({"textures": rows}), JSON)


# After the routes below a well: a well's name may contain slashes.
@router.get("/wells/{well:path}", summary="A well", response_model=Well)
async def one_well(
    request: Request, services: CurrentServices, well: WellName, as_of: AsOf = None
) -> Response:
    """A well with its tiles, crystals, depths, last scan and number of corrections."""
    negotiate(request, JSON)
    row = await read(services, "well", well, as_of=as_of)
    return await content_response(request, orjson.dumps(row), JSON)


async def _page(request: Request, name: str, content: Content) -> Response:
    """A page of rows that are JSON already, or another format, with the link to the next page."""
    next_cursor = None if content.last is None else cursor_of(content.last)
    headers = {}
    if next_cursor is not None:
        link = request.url.include_query_params(cursor=next_cursor)
        headers = {"Link": f'<{link.path}?{link.query}>; rel="next"'}
    body = content.body
    if content.media_type == JSON:
        end = json.dumps(next_cursor).encode()
        body = f'{{"{name}":'.encode() + body.rstrip() + b',"next":' + end + b"}"
    return await content_response(request, body, content.media_type, headers=headers)
