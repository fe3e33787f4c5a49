"""Routes that ask the models: whole pictures, prompts, crops."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import ValidationError

from mcn.mask import encode_rle
from mcn.pixel_limits import MAX_UM, MIN_UM
from serve.deployments.catalog_reader import JSON, PNG
from serve.deployments.messages import AnalysisResult
from serve.http.auth import AccessControl
from serve.http.dispatch import Services
from serve.http.errors import Problem, documented
from serve.http.responses import (
    Masks,
    accepted,
    as_analysis,
    as_overlay,
    heat_picture,
    json_answer,
)
from serve.http.uploads import SIDECAR, UploadedFile, decode, decode_crops, read_parts
from serve.schemas import Analysis, Batch, Explanation, Prompted, Prompts, Shapes

_PROBLEMS: Final = documented(400, 401, 403, 406, 408, 413, 415, 422, 429, 500, 503)
_CROPS_BYTES: Final = 8 * 2**20
_MOST_CROPS: Final = 512

PixelSize = Annotated[
    float | None,
    Query(
        ge=MIN_UM, le=MAX_UM, description="Micrometres a pixel, if known better than by the file."
    ),
]
Model = Annotated[
    str | None,
    Query(max_length=200, description="Segmenter it must be: its name, with or without @hash."),
]
MinConfidence = Annotated[float, Query(ge=0, le=1, description="Leave out less sure crystals.")]
MasksAs = Annotated[Masks, Query(description="How to give masks.")]

_BINARY: Final = {"schema": {"type": "string", "format": "binary"}}


def _form(field: str, many: bool = False, **others: Any) -> dict[str, Any]:
    one = {"type": "string", "format": "binary"}
    properties = {field: {"type": "array", "items": one, "minItems": 1} if many else one, **others}
    if field == "image":
        told = "Texts that the microscope put beside pictures, called as these: a.txt for a.tif."
        properties[SIDECAR] = {"type": "array", "items": one, "description": told}
    return {"schema": {"type": "object", "properties": properties, "required": [field, *others]}}


def _body(form: dict[str, Any], raw: bool = True) -> dict[str, Any]:
    content: dict[str, Any] = {"multipart/form-data": form}
    if raw:
        content |= dict.fromkeys(
            ("image/tiff", "image/png", "image/jpeg", "application/octet-stream"), _BINARY
        )
    return {"requestBody": {"required": True, "content": content}}


def analysis_routes(services: Services, access: AccessControl) -> APIRouter:
    """`/v1/analyze`, `/v1/analyze:batch`, `/v1/segment`, `/v1/classify`, `/v1/explain`."""
    settings, limits = services.settings, services.settings.limits
    router = APIRouter(
        prefix="/v1",
        tags=["models"],
        dependencies=[Depends(access.allow("analyze"))],
        responses=_PROBLEMS,
    )

    async def parts_of(request: Request, field: str, most: int, max_bytes: int) -> Any:
        return await read_parts(request, field, most, max_bytes, settings.upload_seconds)

    async def check(model: str | None) -> None:
        if model is not None:
            here = (await services.ask(services.segmenter.about.remote)).name
            if model not in (here, here.partition("@")[0]):
                raise Problem(422, f"model: {model!r} is not at work here; {here} is")

    async def analyzed(
        part: UploadedFile, pixel_size_um: float | None
    ) -> tuple[Any, AnalysisResult]:
        with services.stage("decode"):
            micrograph = await decode(part, pixel_size_um, limits)
        return micrograph, await services.analyze(micrograph)

    @router.post(
        "/analyze",
        summary="The crystals of a picture",
        response_model=Analysis,
        responses={200: {"content": {PNG: _BINARY}}},
        openapi_extra=_body(_form("image")),
    )
    async def analyze(
        request: Request,
        pixel_size_um: PixelSize = None,
        model: Model = None,
        min_confidence: MinConfidence = 0.0,
        masks: MasksAs = "rle",
    ) -> Response:
        """Find, measure and name the crystals of a TIFF, PNG or JPEG.

        Its bytes are the body, or the field `image` of a form, beside which `sidecar` may hold
        the text that the microscope put beside it. `Accept: image/png` gives the crystals'
        outlines drawn on the picture.
        """
        form = accepted(request, JSON, PNG)
        with services.analyses.entered():
            async with services.time_limit():
                await check(model)
                (part,), _ = await parts_of(request, "image", 1, limits.max_bytes)
                micrograph, found = await analyzed(part, pixel_size_um)
                with services.stage("answer"):
                    if form == PNG:
                        return await as_overlay(part.name, micrograph, found, min_confidence)
                    return await json_answer(
                        await as_analysis(part.name, micrograph, found, min_confidence, masks)
                    )

    @router.post(
        "/analyze:batch",
        summary="The crystals of several pictures",
        response_model=Batch,
        openapi_extra=_body(_form("image", many=True), raw=False),
    )
    async def analyze_batch(
        request: Request,
        pixel_size_um: PixelSize = None,
        model: Model = None,
        min_confidence: MinConfidence = 0.0,
        masks: MasksAs = "rle",
    ) -> Response:
        """Several files of the name `image` in one form; each has its own result or problem.

        Files of the name `sidecar` go with the pictures that are called as they are.
        """
        accepted(request, JSON)
        side_by_side = asyncio.Semaphore(services.pools.segmenter.batch)

        async def one(part: UploadedFile) -> dict[str, Any]:
            async with side_by_side:
                try:
                    micrograph, found = await analyzed(part, pixel_size_um)
                except Problem as problem:
                    told = {"status": problem.status, "detail": problem.detail}
                    return {"image": part.name, **told}
                return await as_analysis(part.name, micrograph, found, min_confidence, masks)

        with services.analyses.entered():
            async with services.time_limit():
                await check(model)
                parts, _ = await parts_of(request, "image", settings.max_images, limits.max_bytes)
                return await json_answer({"images": await asyncio.gather(*map(one, parts))})

    @router.post(
        "/segment",
        summary="The crystals that clicks and boxes mean",
        response_model=Prompted,
        openapi_extra=_body(
            _form(
                "image",
                prompts={
                    "type": "string",
                    "description": "JSON: points, labels, boxes in pixels.",
                    "example": '{"points": [[120, 80]], "labels": [1]}',
                },
            ),
            raw=False,
        ),
    )
    async def segment(request: Request, model: Model = None) -> Response:
        """A form with a file `image` and a field `prompts`, JSON: `points`, `labels`, `boxes`."""
        accepted(request, JSON)
        with services.analyses.entered():
            async with services.time_limit():
                await check(model)
                (part,), fields = await parts_of(request, "image", 1, limits.max_bytes)
                prompts = _prompts(fields)
                micrograph = await decode(part, None, limits)
                pointed = await services.ask(
                    lambda: services.segmenter.predict.remote(
                        micrograph, prompts.points, prompts.labels, prompts.boxes
                    )
                )
        services.note("prompt", pointed.effort)
        rles = encode_rle(pointed.masks, *micrograph.pixels.shape)
        masks = [
            {
                "mask_rle": rle,
                "bbox_x": mask.x,
                "bbox_y": mask.y,
                "bbox_w": mask.pixels.shape[1],
                "bbox_h": mask.pixels.shape[0],
                "area_px": int(mask.pixels.sum()),
                "predicted_iou": float(mask.predicted_iou),
                "stability": float(mask.stability),
            }
            for mask, rle in zip(pointed.masks, rles, strict=True)
        ]
        return await json_answer(
            {
                "image": part.name,
                "pages": micrograph.pages,
                "segmenter": pointed.segmenter,
                "masks": masks,
            }
        )

    @router.post(
        "/classify",
        summary="The shapes of crops",
        response_model=Shapes,
        openapi_extra=_body(_form("crop", many=True), raw=True),
    )
    async def classify(request: Request) -> Response:
        """Pictures of 64×64 pixels, one crystal each on black: files of the name `crop`."""
        accepted(request, JSON)
        with services.crops.entered():
            async with services.time_limit():
                parts, _ = await parts_of(request, "crop", _MOST_CROPS, _CROPS_BYTES)
                crops = await decode_crops(parts)
                named = await services.ask(lambda: services.classifier.classify.remote(crops))
        services.note("classify", named.effort)
        told = []
        for part, p, confidence in zip(parts, named.probabilities, named.confidence, strict=True):
            best = p.index(max(p))
            told.append(
                {
                    "crop": part.name,
                    "shape": named.shapes[best],
                    "facet": named.facets[best],
                    "confidence": confidence,
                    "probabilities": dict(zip(named.shapes, p, strict=True)),
                }
            )
        return await json_answer({"classifier": named.classifier, "crops": told})

    @router.post(
        "/explain",
        summary="Where in a crop the evidence for its shape lies",
        response_model=Explanation,
        responses={200: {"content": {PNG: _BINARY}}},
        openapi_extra=_body(_form("crop")),
    )
    async def explain(
        request: Request,
        shape: Annotated[
            str | None, Query(max_length=40, description="The likeliest if not given.")
        ] = None,
    ) -> Response:
        """Grad-CAM of a crop of 64×64 pixels; `Accept: image/png` gives it in colours."""
        form = accepted(request, JSON, PNG)
        with services.crops.entered():
            async with services.time_limit():
                parts, _ = await parts_of(request, "crop", 1, _CROPS_BYTES)
                (crop,) = await decode_crops(parts)
                heat, told, name, effort = await services.ask(
                    lambda: services.classifier.explain.remote(crop, shape)
                )
        services.note("explain", effort)
        if form == PNG:
            return Response(await asyncio.to_thread(heat_picture, heat), media_type=PNG)
        rows = [[round(value, 4) for value in row] for row in heat.tolist()]
        return await json_answer({"shape": told, "classifier": name, "heat": rows})

    return router


def _prompts(fields: dict[str, str]) -> Prompts:
    if "prompts" not in fields:
        raise Problem(422, 'prompts: the form has no such field; send {"points": [[x, y]]}')
    try:
        return Prompts.model_validate_json(fields["prompts"])
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, ("prompts", *first["loc"])))
        raise Problem(422, f"{place}: {first['msg']}") from None
