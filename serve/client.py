"""A Python client of the endpoint, with typed results and retries.

with Client("https://crystals.example.org", token) as client:
    analysis = client.analyze("tile.tif")
    print(len(analysis.crystals), analysis.crystals[0].shape)
"""

from __future__ import annotations

import io
import os
import random
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal, Self

import httpx
import pyarrow as pa

from mcn.errors import McnError
from serve.schemas import Analysis, Batch, Job, Models, Prompted, Shapes, Well, Wells

_ARROW: Final = "application/vnd.apache.arrow.stream"
_LOG_TYPES: Final = {
    "csv": "text/csv",
    "json": "application/json",
    "las": "text/plain",
    "png": "image/png",
}
_LONGEST_WAIT_S: Final = 30.0
_PAGE: Final = 10_000
_JOBS: Final = "/v1/jobs"
_POLL_S: Final = 1.0

_TOKEN: Final = re.compile(r"[\x21-\x7e]+")
"""What a header can carry: anything else in a token was added while it was copied."""

_Upload = tuple[str, tuple[str, bytes, str]]
"""A file of a form: its field, its name, its bytes and their kind."""


class ClientError(McnError):
    """An error response, or no response.

    Parameters
    ----------
    status : int or None
        HTTP status; None without a response.
    request_id : str or None
        Id of the request in the endpoint's log.
    """

    def __init__(self, message: str, status: int | None, request_id: str | None = None) -> None:
        super().__init__(message)
        self.status, self.request_id = status, request_id


class Client:
    """Sends requests to an endpoint.

    Parameters
    ----------
    url : str
        Such as `http://127.0.0.1:8000`.
    token : str, optional
        Taken from the environment variable `MCN_TOKEN` if not given; a `ClientError` if a header
        cannot carry it.
    patience_s : float
        Time in which a request is repeated if the endpoint is too busy or a process of it died
        (503), the token has made too many requests (429), or the connection breaks, seconds.
    timeout_s : float
        Longest wait for one response, seconds.
    """

    def __init__(
        self,
        url: str,
        token: str | None = None,
        *,
        patience_s: float = 60.0,
        timeout_s: float = 180.0,
    ) -> None:
        headers = _authorization(token)
        self._patience_s = patience_s
        self._is_known = False
        try:
            self._http = httpx.Client(base_url=url, headers=headers, timeout=timeout_s)
        except (httpx.InvalidURL, ValueError) as error:
            raise ClientError(
                f"{_without_password(url)}: not an address ({error}); "
                "give one such as http://127.0.0.1:8000",
                None,
            ) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._http.close()

    def analyze(
        self,
        image: str | os.PathLike[str] | bytes,
        *,
        pixel_size_um: float | None = None,
        model: str | None = None,
        min_confidence: float = 0.0,
        masks: str = "rle",
        report: Callable[[float], None] = lambda progress: None,
    ) -> Analysis:
        """The crystals of a picture: a path, or the bytes of a TIFF, PNG or JPEG.

        Sidecars beside a path are sent too (`mcn.sources.sidecar`). A picture that is too large
        for one request is sent as a job.

        Parameters
        ----------
        report : callable
            Takes the progress of a job, 0 to 1.

        Raises
        ------
        ClientError
            If the endpoint cannot be reached (`status` None) or refuses the request, or a job
            fails.
        """
        options = _options(pixel_size_um, model, min_confidence, masks)
        files = _picture(image)
        try:
            response = self._request("POST", "/v1/analyze", params=options, files=files)
        except ClientError as error:
            if error.status != 413 or _JOBS not in str(error):
                raise
            response = self._run_job(options, files, report)
        return Analysis.model_validate_json(response.content)

    def overlay(
        self, image: str | os.PathLike[str] | bytes, *, min_confidence: float = 0.0
    ) -> bytes:
        """The outlines of a picture's crystals on it, PNG; errors as `analyze`."""
        options = _options(None, None, min_confidence, "rle")
        return self._request(
            "POST",
            "/v1/analyze",
            params=options,
            files=_picture(image),
            headers={"Accept": "image/png"},
        ).content

    def analyze_batch(self, images: Sequence[str | os.PathLike[str] | bytes]) -> Batch:
        """The crystals of several pictures; each has its own result or problem."""
        names = [None if isinstance(image, bytes) else Path(image).name for image in images]
        # A folder distinguishes pictures of the same name.
        folders = ["" if names.count(name) == 1 else f"{i}/" for i, name in enumerate(names)]
        pictures = zip(images, folders, strict=True)
        files = [file for image, folder in pictures for file in _picture(image, folder)]
        response = self._request("POST", "/v1/analyze:batch", files=files)
        return Batch.model_validate_json(response.content)

    def segment(self, image: str | os.PathLike[str] | bytes, prompts: dict[str, Any]) -> Prompted:
        """The crystals at clicks and in boxes: `{"points": [[x, y]], "boxes": …}`."""
        import json

        response = self._request(
            "POST",
            "/v1/segment",
            files=[_file("image", image)],
            data={"prompts": json.dumps(prompts)},
        )
        return Prompted.model_validate_json(response.content)

    def classify(self, crops: Sequence[str | os.PathLike[str] | bytes]) -> Shapes:
        """The shapes of crops of 64×64 pixels."""
        response = self._request(
            "POST", "/v1/classify", files=[_file("crop", crop) for crop in crops]
        )
        return Shapes.model_validate_json(response.content)

    def wells(self, as_of: str | None = None) -> list[Well]:
        """The wells of the catalogue, as it is or as it was at a version or time."""
        response = self._request("GET", "/v1/wells", params=_given(as_of=as_of))
        return Wells.model_validate_json(response.content).wells

    def crystals(
        self,
        well: str,
        depth: str | None = None,
        shapes: Sequence[str] = (),
        segmenter: str | None = None,
        classifier: str | None = None,
        *,
        corrected: bool = False,
        as_of: str | None = None,
    ) -> Iterator[pa.Table]:
        """A well's crystals in order of depth, page by page.

        Without names of models, those of the latest models of each tile; with `as_of`, of the
        catalogue as it was at a version or time.
        """
        options = _given(depth=depth, segmenter=segmenter, classifier=classifier, as_of=as_of)
        params: dict[str, Any] | None = {
            "limit": _PAGE,
            "shape": list(shapes),
            "corrected": corrected,
            **options,
        }
        path: str | None = f"/v1/wells/{_quoted(well)}/crystals"
        while path is not None:
            page = self._request("GET", path, params=params, headers={"Accept": _ARROW})
            with pa.ipc.open_stream(io.BytesIO(page.content)) as reader:
                yield reader.read_all()
            path, params = page.links.get("next", {}).get("url"), None

    def log(
        self,
        well: str,
        form: Literal["csv", "json", "las", "png"] = "csv",
        step_m: float | None = None,
        segmenter: str | None = None,
        classifier: str | None = None,
        *,
        depth: str | None = None,
        corrected: bool = False,
        as_of: str | None = None,
    ) -> bytes:
        """A well's depth log as a file of one of these forms; others as for `crystals`."""
        options = _given(
            step=step_m, segmenter=segmenter, classifier=classifier, depth=depth, as_of=as_of
        )
        return self._request(
            "GET",
            f"/v1/wells/{_quoted(well)}/log",
            params={**options, "corrected": corrected},
            headers={"Accept": _LOG_TYPES[form]},
        ).content

    def models(self) -> Models:
        """The loaded models."""
        return Models.model_validate_json(self._request("GET", "/v1/models").content)

    def _run_job(
        self, options: dict[str, Any], files: list[_Upload], report: Callable[[float], None]
    ) -> httpx.Response:
        """The result of a job, which is cancelled if the caller is, and forgotten at the end."""
        response = self._request("POST", _JOBS, params=options, files=files)
        job = Job.model_validate_json(response.content)
        try:
            while job.status in ("queued", "running"):
                report(job.progress)
                time.sleep(_POLL_S)
                job = Job.model_validate_json(self._request("GET", job.url).content)
            if job.result is None:
                raise ClientError(f"the job has {job.status}: {job.problem}", None)
            report(1.0)
            return self._request("GET", job.result, params=options)
        finally:
            with suppress(ClientError):
                self._request("DELETE", job.url)

    def _request(self, method: str, path: str, **request: Any) -> httpx.Response:
        """Send a request; repeat it while the endpoint is too busy, restarts or loses a process.

        No request changes anything that lasts, so each may be repeated.
        """
        deadline = time.monotonic() + self._patience_s
        while True:
            try:
                response = self._http.request(method, path, **request)
            except httpx.HTTPError as error:
                wait = self._wait_after(error)
                if wait is None or time.monotonic() + wait > deadline:
                    address = _without_password(str(self._http.base_url))
                    raise ClientError(
                        f"{address}: no response ({error}); check the address", None
                    ) from error
            else:
                self._is_known = True
                if response.is_success:
                    return response
                wait = _wait_of(response)
                if wait is None or time.monotonic() + wait > deadline:
                    raise _error_of(response)
            time.sleep(wait)

    def _wait_after(self, error: httpx.HTTPError) -> float | None:
        """Seconds to wait after a connection broke; None if a repetition would not help.

        An address that has never responded is probably wrong.
        """
        is_broken = isinstance(error, httpx.NetworkError | httpx.RemoteProtocolError)
        is_unknown = isinstance(error, httpx.ConnectError) and not self._is_known
        return random.uniform(0.5, 1.5) if is_broken and not is_unknown else None


def _wait_of(response: httpx.Response) -> float | None:
    """Seconds to wait before a retry, randomised so that clients do not retry all at once."""
    if response.status_code not in (429, 502, 503, 504):
        return None
    retry_after = response.headers.get("retry-after", "")
    if not retry_after.isdigit():
        # A proxy in front of the endpoint names no time.
        return random.uniform(0.5, 1.5) if response.status_code in (502, 504) else None
    return min(_LONGEST_WAIT_S, float(retry_after)) * random.uniform(0.5, 1.5)


def _error_of(response: httpx.Response) -> ClientError:
    request_id = response.headers.get("x-request-id")
    try:
        detail = response.json()["detail"]
    except (ValueError, KeyError, TypeError):
        detail = response.text[:200] or response.reason_phrase
    return ClientError(
        f"{response.status_code} {response.reason_phrase}: {detail} (request {request_id})",
        response.status_code,
        request_id,
    )


def _authorization(token: str | None) -> dict[str, str]:
    """The header with a token, if there is one; a `ClientError` that does not show the token."""
    source = "token" if token else "MCN_TOKEN"
    token = token or os.environ.get("MCN_TOKEN")
    if not token:
        return {}
    if not _TOKEN.fullmatch(token):
        raise ClientError(
            f"{source}: not a token: it has a space, a line end or another character that tokens "
            "do not have; copy it whole, as `mcn token add` printed it",
            None,
        )
    return {"Authorization": f"Bearer {token}"}


def _options(
    pixel_size_um: float | None, model: str | None, min_confidence: float, masks: str
) -> dict[str, Any]:
    options: dict[str, Any] = {"min_confidence": min_confidence, "masks": masks}
    if pixel_size_um is not None:
        options["pixel_size_um"] = pixel_size_um
    if model is not None:
        options["model"] = model
    return options


def _picture(image: str | os.PathLike[str] | bytes, folder: str = "") -> list[_Upload]:
    """A picture and the sidecars beside it, as fields of a form."""
    from mcn.sources.sidecar import find_sidecars

    files = [_file("image", image)]
    if not isinstance(image, bytes):
        sidecars = find_sidecars(os.fspath(image))
        files += [_file("sidecar", uri.removeprefix("file://")) for uri in sidecars]
        files = [(field, (folder + name, data, kind)) for field, (name, data, kind) in files]
    return files


def _file(field: str, image: str | os.PathLike[str] | bytes) -> _Upload:
    if isinstance(image, bytes):
        return field, (field, image, "application/octet-stream")
    path = Path(image)
    try:
        # On Linux a name need not be valid text.
        name = path.name.encode("utf-8", "replace").decode()
        return field, (name, path.read_bytes(), "application/octet-stream")
    except OSError as error:
        raise ClientError(f"{path}: {error.strerror}; check the path", None) from error


def _given(**options: Any) -> dict[str, Any]:
    """The options that have a value."""
    return {name: value for name, value in options.items() if value is not None}


def _quoted(text: str) -> str:
    from urllib.parse import quote

    return quote(text, safe="")


def _without_password(url: str) -> str:
    """An address as messages may show it, without a user's name and password."""
    return re.sub(r"//[^/]*@", "//", url)
