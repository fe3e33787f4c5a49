"""Routes that ask the catalogue: wells, crystals, depth logs, tiles."""

from __future__ import annotations

import base64
import json
import math
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Path, Query, Request, Response

from mcn.catalog.depths import parse_depth
from mcn.catalog.formats import row_objects
from mcn.catalog.storage import CatalogError
from serve.deployments.catalog_reader import ARROW, CSV, JSON, LAS, PNG, Content
from serve.http.auth import AccessControl
from serve.http.dispatch import Services
from serve.http.errors import Problem, documented
from serve.http.responses import accepted, json_answer, names_of
from serve.schemas import CrystalPage, TileRecord, Wells

_PROBLEMS: Final = documented(401, 403, 404, 406, 422, 429, 500, 503)
_BYTES: Final = {"schema": {"type": "string", "format": "binary"}}
_TEXT: Final = {"schema": {"type": "string"}}

WellName = Annotated[str, Path(max_length=2000, description="A well, as /v1/wells names it.")]
TileId = Annotated[str, Path(pattern="^[0-9a-f]{32}$", description="The column tile_id.")]
OfWell = Annotated[str | None, Query(max_length=2000, description="Its well: faster if given.")]
Model = Annotated[
    str | None,
    Query(
        max_length=200,
        description="Rows of this model, not of the latest of each tile; its name or how it "
        "begins.",
    ),
]


def catalog_routes(services: Services, access: AccessControl) -> APIRouter:
    """`/v1/wells…` and `/v1/tiles…`."""
    router = APIRouter(
        prefix="/v1",
        tags=["catalogue"],
        dependencies=[Depends(access.allow("read"))],
        responses=_PROBLEMS,
    )

    async def ask(question: str, *details: Any) -> Any:
        async with services.time_limit():
            with services.stage("query"):
                method = getattr(services.reader, question)
                return await services.ask(lambda: method.remote(*details))

    @router.get("/wells", summary="The wells there are", response_model=Wells)
    async def wells(request: Request) -> Response:
        """Every well with its tiles, crystals and depths."""
        accepted(request, JSON)
        return await json_answer({"wells": row_objects(await ask("wells"))})

    @router.get(
        "/wells/{well:path}/crystals",
        summary="The crystals of a well",
        response_model=CrystalPage,
        responses={200: {"content": {CSV: _TEXT, ARROW: _BYTES}}},
    )
    async def crystals(
        request: Request,
        well: WellName,
        depth: Annotated[
            str | None,
            Query(
                max_length=64, description="Metres or feet: 1200:1250, 1200:, :1250, 4000ft:4100ft."
            ),
        ] = None,
        shape: Annotated[list[str] | None, Query(max_length=64)] = None,
        segmenter: Model = None,
        classifier: Model = None,
        limit: Annotated[int, Query(ge=1, le=100_000, description="Rows a page.")] = 1000,
        cursor: Annotated[
            str | None, Query(max_length=300, description="`next` of the page before.")
        ] = None,
    ) -> Response:
        """Crystals in order of depth, page by page; the header Link names the next page."""
        form = accepted(request, JSON, CSV, ARROW)
        content: Content = await ask(
            "crystals",
            well,
            _depths(depth),
            names_of(shape),
            (segmenter, classifier),
            limit,
            None if cursor is None else _read_cursor(cursor),
            form,
        )
        following = None if content.last is None else _cursor(content.last)
        headers = {}
        if following is not None:
            link = request.url.include_query_params(cursor=following)
            headers = {"Link": f'<{link.path}?{link.query}>; rel="next"'}
        if form != JSON:
            return Response(content.body, media_type=form, headers=headers)
        told = json.dumps(following).encode()
        body = b'{"crystals":' + content.body.rstrip() + b',"next":' + told + b"}"
        return Response(body, media_type=JSON, headers=headers)

    @router.get(
        "/wells/{well:path}/log",
        summary="The depth log of a well",
        responses={
            200: {
                "description": "Shape fractions, sizes and crystal area against depth.",
                "content": {
                    JSON: {"schema": {"type": "array", "items": {"type": "object"}}},
                    CSV: _TEXT,
                    LAS: _TEXT,
                    PNG: _BYTES,
                },
            }
        },
        response_class=Response,
    )
    async def log(
        request: Request,
        well: WellName,
        step: Annotated[
            float | None, Query(gt=0, le=1e5, description="Metres an interval.")
        ] = None,
        segmenter: Model = None,
        classifier: Model = None,
    ) -> Response:
        """As JSON, CSV, LAS 2.0 (`Accept: text/plain`) or a picture (`Accept: image/png`)."""
        form = accepted(request, JSON, CSV, LAS, PNG)
        content: Content = await ask("log", well, step, (segmenter, classifier), form)
        return Response(content.body, media_type=content.media_type)

    @router.get("/tiles/{tile_id}", summary="The record of a tile", response_model=TileRecord)
    async def tile(
        request: Request,
        tile_id: TileId,
        well: OfWell = None,
        segmenter: Model = None,
        classifier: Model = None,
    ) -> Response:
        """Its row of each pair of models that has scanned it, the latest first."""
        accepted(request, JSON)
        rows = await ask("tile", tile_id, well, (segmenter, classifier))
        return await json_answer({"tile_id": tile_id, "rows": rows})

    @router.get(
        "/tiles/{tile_id}/image",
        summary="The picture of a tile",
        responses={200: {"content": {PNG: _BYTES}, "description": "Grey, 8 bits."}},
        response_class=Response,
    )
    async def image(request: Request, tile_id: TileId, well: OfWell = None) -> Response:
        """The tile as it was analysed, 8 bits."""
        accepted(request, PNG)
        content: Content = await ask("image", tile_id, well)
        return Response(content.body, media_type=content.media_type)

    return router


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
    raise Problem(422, "cursor: it is none of ours; take `next` of the page before")
