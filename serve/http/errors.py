"""Error responses: problem details of RFC 9457."""

from __future__ import annotations

import logging
import re
import uuid
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

MEDIA_TYPE: Final = "application/problem+json"
ID_HEADER: Final = "x-request-id"

logger = logging.getLogger("serve")

_FOLDERS: Final = re.compile(
    r"(?<![\w/.])(?:[a-z][a-z0-9+.]*:/)?/(?!v1/)(?:[^\n'\":;,]|[:;,](?=\S))*/"
)
"""The folders of an absolute path or URI; routes of the endpoint are none.

A colon, semicolon or comma is part of them unless a space follows it.
"""

_ID: Final = re.compile(r"[A-Za-z0-9._-]{8,64}")


class Problem(Exception):  # noqa: N818 (the word of the RFC)
    """An error response.

    Parameters
    ----------
    status : int
        HTTP status.
    detail : str
        One line that names the problem and says what to do.
    headers : mapping of str to str, optional
    reason : str, optional
        Why the request was refused unread, for the metric of refusals.
    names_files : bool
        Whether `detail` may name files of the server. Only a token with the scope `admin` is
        shown their folders.
    """

    def __init__(
        self,
        status: int,
        detail: str,
        headers: Mapping[str, str] | None = None,
        reason: str | None = None,
        names_files: bool = False,
    ) -> None:
        super().__init__(detail)
        self.status, self.detail, self.names_files = status, detail, names_files
        self.headers, self.reason = dict(headers or {}), reason


def too_busy(detail: str, retry_after_s: int) -> Problem:
    """The response of an endpoint at its limit."""
    return Problem(503, detail, {"Retry-After": str(retry_after_s)}, "overload")


def request_id_of(header: str | None) -> str:
    """The id that a client gave its request if it is valid, else a new one."""
    return header if header and _ID.fullmatch(header) else uuid.uuid4().hex


class ProblemDetails(BaseModel):
    """What went wrong (RFC 9457)."""

    type: str = "about:blank"
    title: str = Field(description="The status in words.")
    status: int
    detail: str = Field(description="What is wrong and what to do.")
    request_id: str = Field(description="As in the header X-Request-Id; include it in questions.")


def as_dict(status: int, detail: str, request_id: str) -> dict[str, Any]:
    """A problem as JSON values."""
    return ProblemDetails(
        title=HTTPStatus(status).phrase, status=status, detail=detail, request_id=request_id
    ).model_dump()


def problem_response(
    request: Request, status: int, detail: str, headers: Mapping[str, str] | None = None
) -> Response:
    """A problem as the response to a request."""
    return JSONResponse(
        as_dict(status, detail, request.state.request_id),
        status,
        headers=headers,
        media_type=MEDIA_TYPE,
    )


async def on_problem(request: Request, problem: Exception) -> Response:
    """Handle a `Problem`."""
    assert isinstance(problem, Problem)
    request.state.refused = problem.reason
    detail = problem.detail
    if problem.names_files:
        logger.warning("request %s: %s", request.state.request_id, detail)
        if not sees_paths(request):
            detail = without_folders(detail)
    return problem_response(request, problem.status, detail, problem.headers)


def sees_paths(request: Request) -> bool:
    """Whether the request's token may see where the server keeps its files."""
    return "admin" in getattr(request.state, "scopes", ())


def without_folders(text: str) -> str:
    """A text with the names of files and catalogues in it, but not their folders or buckets."""
    return _FOLDERS.sub("", text)


async def on_http_error(request: Request, error: Exception) -> Response:
    """Handle errors of the framework: unknown paths and methods."""
    assert isinstance(error, HTTPException)
    return problem_response(request, error.status_code, str(error.detail), error.headers)


async def on_invalid_parameters(request: Request, error: Exception) -> Response:
    """Handle parameters that are missing or invalid."""
    assert isinstance(error, RequestValidationError)
    messages = [
        f"{'.'.join(map(str, entry['loc'][1:])) or entry['loc'][0]}: {entry['msg']}"
        for entry in error.errors()
    ]
    return problem_response(request, 422, "; ".join(messages[:5]))


DOCUMENTED: Final[dict[int, str]] = {
    400: "The request cannot be read.",
    401: "No token, or one that is unknown or has expired.",
    403: "The token lacks the scope.",
    404: "Not found.",
    405: "The method is not allowed.",
    406: "None of the accepted media types is available.",
    408: "The body took too long to arrive.",
    409: "It is not there yet, or no longer.",
    413: "The body, or a picture in it, is too large.",
    415: "The type of the body is not supported.",
    422: "Something in the request is not valid.",
    429: "Too many requests with this token; see Retry-After.",
    500: "An internal error, or damaged data.",
    503: "Too busy, a model is being replaced, or storage does not respond; see Retry-After.",
}


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """OpenAPI entries of problems with these statuses."""
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemDetails"}}}
    return {s: {"description": DOCUMENTED[s], "content": content} for s in statuses}
