"""The route that says how good the models are on the catalogue's rock."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response

from serve.correction_schemas import Evaluation
from serve.deployments.messages import JSON, Content
from serve.http.auth import require
from serve.http.caching import content_response
from serve.http.dispatch import CurrentServices
from serve.http.responses import negotiate
from serve.http.routes.catalog import PROBLEMS
from serve.http.routes.filters import AsOf, read

router = APIRouter(prefix="/v1", tags=["corrections"])


@router.get(
    "/evaluation",
    summary="How good the models are on this rock",
    response_model=Evaluation,
    responses=PROBLEMS,
    dependencies=[Depends(require("read"))],
)
async def evaluation(
    request: Request,
    services: CurrentServices,
    well: Annotated[list[str] | None, Query(max_length=2000)] = None,
    as_of: AsOf = None,
) -> Response:
    """Metrics of the catalogue's models by what persons corrected, with 95 % intervals.

    Of all wells, or of those named. `note` says what the metrics assume.
    """
    negotiate(request, JSON)
    content: Content = await read(services, "evaluation", well or [], as_of=as_of)
    return await content_response(request, content.body, JSON)
