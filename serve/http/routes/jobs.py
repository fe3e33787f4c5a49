"""Routes of jobs: pictures that are too large for one request, `/v1/jobs`."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Path, Request, Response

from serve.deployments.messages import CSV, GEOJSON, JSON, JobState, PictureFacts
from serve.http.auth import require
from serve.http.dispatch import CurrentServices, RequestedSegmenter, Services
from serve.http.errors import documented
from serve.http.openapi import TEXT, form_schema, request_body
from serve.http.responses import analysis_object, crystal_file, json_response, negotiate
from serve.http.routes.analysis import PROBLEMS, MasksAs, MinConfidence, PixelSize
from serve.http.uploads import decode
from serve.schemas import Analysis, Job

_OF_A_JOB: Final = {**documented(404), **PROBLEMS}

JobId = Annotated[str, Path(pattern=r"^[\w-]{1,64}$", description="The id of a job.")]

router = APIRouter(prefix="/v1/jobs", tags=["models"], dependencies=[Depends(require("analyze"))])


@router.post(
    "",
    status_code=202,
    summary="Analyse a large picture in the background",
    response_model=Job,
    responses=PROBLEMS,
    openapi_extra=request_body(form_schema("image")),
)
async def submit(
    request: Request,
    services: CurrentServices,
    pixel_size_um: PixelSize = None,
    model: RequestedSegmenter = None,
) -> Response:
    """Start a job with a picture that may be larger than one for `/v1/analyze`.

    The body is as for `/v1/analyze`. Ask `url` for progress, then `result` for the crystals. A
    job is visible to the token that sent it, and forgotten some minutes after its end.
    """
    negotiate(request, JSON)
    await services.check_segmenter(model)
    token, limits = request.state.token, services.settings.jobs.limits
    await _call(services, "check", token)
    (file,), _ = await services.receive(request, "image", services.large, 1, limits.max_bytes)
    async with services.admit(services.large):
        with services.stage("decode"):
            micrograph = await decode(file, pixel_size_um, limits)
        picture = PictureFacts.of(file.name, micrograph)
        state = await _call(services, "submit", token, picture, micrograph)
    response = await _job_response(state)
    response.status_code = 202
    response.headers["Location"] = _url(state)
    response.headers["Retry-After"] = "1"
    return response


@router.get("/{job_id}", summary="How far a job is", response_model=Job, responses=_OF_A_JOB)
async def job(request: Request, services: CurrentServices, job_id: JobId) -> Response:
    """Whether a job is queued, running, done, failed or cancelled, and its progress."""
    negotiate(request, JSON)
    return await _job_response(await _call(services, "state", request.state.token, job_id))


@router.delete(
    "/{job_id}",
    status_code=204,
    summary="Cancel or forget a job",
    response_class=Response,
    responses=_OF_A_JOB,
)
async def cancel(request: Request, services: CurrentServices, job_id: JobId) -> Response:
    """Cancel a job that waits or runs; forget one that has ended."""
    await _call(services, "cancel", request.state.token, job_id)
    return Response(status_code=204)


@router.get(
    "/{job_id}/result",
    summary="The crystals that a job has found",
    response_model=Analysis,
    responses={
        200: {"content": {GEOJSON: TEXT, CSV: TEXT}},
        **documented(409),
        **_OF_A_JOB,
    },
)
async def result(
    request: Request,
    services: CurrentServices,
    job_id: JobId,
    min_confidence: MinConfidence = 0.0,
    masks: MasksAs = "rle",
) -> Response:
    """As `/v1/analyze` answers, or the crystals as GeoJSON or CSV by `Accept`; 409 until then."""
    media_type = negotiate(request, JSON, GEOJSON, CSV)
    picture, analysis = await _call(services, "result", request.state.token, job_id)
    with services.stage("answer"):
        if media_type != JSON:
            return await crystal_file(picture, analysis, min_confidence, media_type)
        return await json_response(await analysis_object(picture, analysis, min_confidence, masks))


async def _call(services: Services, method: str, *arguments: Any) -> Any:
    async with services.time_limit():
        return await services.call(lambda: getattr(services.jobs, method).remote(*arguments))


async def _job_response(state: JobState) -> Response:
    url, picture = _url(state), state.picture
    return await json_response(
        {
            "id": state.id,
            "image": picture.name,
            "status": state.status,
            "progress": round(state.progress, 3),
            "width": picture.width,
            "height": picture.height,
            "problem": state.problem.detail if state.problem else None,
            "url": url,
            "result": f"{url}/result" if state.status == "done" else None,
        }
    )


def _url(state: JobState) -> str:
    return f"/v1/jobs/{state.id}"
