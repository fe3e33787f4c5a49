"""The route that segments what a person points at: `/v1/segment`."""

from __future__ import annotations

from fastapi import APIRouter, Depends, Request, Response
from pydantic import ValidationError

from mcn.catalog.formats import row_objects
from serve.deployments.messages import JSON
from serve.http.auth import require
from serve.http.dispatch import CurrentServices, RequestedSegmenter
from serve.http.errors import Problem
from serve.http.openapi import form_schema, request_body
from serve.http.responses import json_response, negotiate
from serve.http.routes.analysis import PROBLEMS
from serve.http.uploads import decode
from serve.schemas import Prompted, Prompts

router = APIRouter(
    prefix="/v1",
    tags=["models"],
    dependencies=[Depends(require("analyze"))],
    responses=PROBLEMS,
)

_PROMPTS_FIELD = {
    "type": "string",
    "description": "JSON: points, labels, boxes in pixels.",
    "example": '{"points": [[120, 80]], "labels": [1]}',
}


@router.post(
    "/segment",
    summary="The crystals at clicks and in boxes",
    response_model=Prompted,
    openapi_extra=request_body(form_schema("image", prompts=_PROMPTS_FIELD), raw=False),
)
async def segment(
    request: Request, services: CurrentServices, model: RequestedSegmenter = None
) -> Response:
    """A form with a file `image` and a field `prompts`, JSON: `points`, `labels`, `boxes`."""
    negotiate(request, JSON)
    await services.check_segmenter(model)
    (file,), fields = await services.receive(request, "image", services.analyses)
    prompts = _read_prompts(fields)
    async with services.admit(services.analyses):
        micrograph = await decode(file, None, services.settings.limits)
        result = await services.call(
            lambda: services.segmenter.predict.remote(
                micrograph, prompts.points, prompts.labels, prompts.boxes
            )
        )
    services.observe("prompt", result.timing)
    return await json_response(
        {
            "image": file.name,
            "pages": micrograph.pages,
            "segmenter": result.segmenter,
            "masks": row_objects(result.crystals),
        }
    )


def _read_prompts(fields: dict[str, str]) -> Prompts:
    if "prompts" not in fields:
        raise Problem(422, 'prompts: the form has no such field; send {"points": [[x, y]]}')
    try:
        return Prompts.model_validate_json(fields["prompts"])
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(map(str, ("prompts", *first["loc"])))
        raise Problem(422, f"{field}: {first['msg']}") from None
