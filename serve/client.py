"""A client of the endpoint in Python: typed, patient where it is told to wait.

with Client("https://crystals.example.org", token) as client:
    analysis = client.analyze("tile.tif")
    print(len(analysis.crystals), analysis.crystals[0].shape)
"""

from __future__ import annotations

import io
import os
import random
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import httpx
import pyarrow as pa

from mcn.errors import McnError
from serve.schemas import Analysis, Batch, Models, Prompted, Shapes, Well, Wells

_ARROW: Final = "application/vnd.apache.arrow.stream"
_LONGEST_WAIT_S: Final = 30.0
_PAGE: Final = 10_000

_Upload = tuple[str, tuple[str, bytes, str]]
"""A file of a form: its field, its name, its bytes and their kind."""


class ClientError(McnError):
    """An answer that is no success.

    Parameters
    ----------
    status : int or None
        HTTP status; None where no answer came.
    request_id : str or None
        To be named to whoever runs the endpoint.
    """

    def __init__(self, message: str, status: int | None, request_id: str | None = None) -> None:
        super().__init__(message)
        self.status, self.request_id = status, request_id


class Client:
    """Asks an endpoint.

    Parameters
    ----------
    url : str
        Such as `http://127.0.0.1:8000`.
    token : str, optional
        Taken from the environment variable `MCN_TOKEN` if not given.
    patience_s : float
        For so long a request is made again where the endpoint says that it is too busy (503) or
        that the token has made too many (429).
    timeout_s : float
        Longest wait for one answer.
    """

    def __init__(
        self,
        url: str,
        token: str | None = None,
        *,
        patience_s: float = 60.0,
        timeout_s: float = 180.0,
    ) -> None:
        token = token or os.environ.get("MCN_TOKEN")
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._patience_s = patience_s
        try:
            self._http = httpx.Client(base_url=url, headers=headers, timeout=timeout_s)
        except (httpx.InvalidURL, ValueError) as error:
            raise ClientError(f"{url}: no address ({error})", None) from error

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
    ) -> Analysis:
        """The crystals of a picture: a path, or the bytes of a TIFF, PNG or JPEG.

        With a path go the sidecars beside it (`mcn.sources.sidecar`).

        Raises
        ------
        ClientError
            Where the endpoint cannot be reached or refuses; its `status` says which.
        """
        asked = _options(pixel_size_um, model, min_confidence, masks)
        told = self._ask("POST", "/v1/analyze", params=asked, files=_picture(image))
        return Analysis.model_validate_json(told.content)

    def overlay(
        self, image: str | os.PathLike[str] | bytes, *, min_confidence: float = 0.0
    ) -> bytes:
        """The outlines of a picture's crystals on it, PNG; errors as `analyze`."""
        asked = _options(None, None, min_confidence, "rle")
        return self._ask(
            "POST",
            "/v1/analyze",
            params=asked,
            files=_picture(image),
            headers={"Accept": "image/png"},
        ).content

    def analyze_batch(self, images: Sequence[str | os.PathLike[str] | bytes]) -> Batch:
        """The crystals of several pictures, each with its result or its problem."""
        names = [None if isinstance(image, bytes) else Path(image).name for image in images]
        # Pictures of one name are told apart by a folder.
        folders = ["" if names.count(name) == 1 else f"{i}/" for i, name in enumerate(names)]
        pictures = zip(images, folders, strict=True)
        files = [file for image, folder in pictures for file in _picture(image, folder)]
        told = self._ask("POST", "/v1/analyze:batch", files=files)
        return Batch.model_validate_json(told.content)

    def segment(self, image: str | os.PathLike[str] | bytes, prompts: dict[str, Any]) -> Prompted:
        """The crystals that clicks and boxes mean: `{"points": [[x, y]], "boxes": …}`."""
        import json

        told = self._ask(
            "POST",
            "/v1/segment",
            files=[_file("image", image)],
            data={"prompts": json.dumps(prompts)},
        )
        return Prompted.model_validate_json(told.content)

    def classify(self, crops: Sequence[str | os.PathLike[str] | bytes]) -> Shapes:
        """The shapes of crops of 64×64 pixels."""
        told = self._ask("POST", "/v1/classify", files=[_file("crop", crop) for crop in crops])
        return Shapes.model_validate_json(told.content)

    def wells(self) -> list[Well]:
        """The wells of the catalogue."""
        return Wells.model_validate_json(self._ask("GET", "/v1/wells").content).wells

    def crystals(
        self,
        well: str,
        depth: str | None = None,
        shapes: Sequence[str] = (),
        segmenter: str | None = None,
        classifier: str | None = None,
    ) -> Iterator[pa.Table]:
        """A well's crystals in order of depth, page by page.

        They are those of the latest models of each tile, unless models are named.
        """
        asked: dict[str, Any] = {"limit": _PAGE, "shape": list(shapes)}
        options = {"depth": depth, "segmenter": segmenter, "classifier": classifier}
        asked |= {name: value for name, value in options.items() if value is not None}
        place: str | None = f"/v1/wells/{_quoted(well)}/crystals"
        params: dict[str, Any] | None = asked
        while place is not None:
            page = self._ask("GET", place, params=params, headers={"Accept": _ARROW})
            with pa.ipc.open_stream(io.BytesIO(page.content)) as reader:
                yield reader.read_all()
            place, params = page.links.get("next", {}).get("url"), None

    def models(self) -> Models:
        """The models at work."""
        return Models.model_validate_json(self._ask("GET", "/v1/models").content)

    def _ask(self, method: str, place: str, **request: Any) -> httpx.Response:
        until = time.monotonic() + self._patience_s
        while True:
            try:
                response = self._http.request(method, place, **request)
            except httpx.HTTPError as error:
                raise ClientError(
                    f"{self._http.base_url}: no answer ({error}); check the address", None
                ) from error
            if response.is_success:
                return response
            wait = _wait_of(response)
            if wait is None or time.monotonic() + wait > until:
                raise _error_of(response)
            time.sleep(wait)


def _wait_of(response: httpx.Response) -> float | None:
    """Seconds to wait before asking again, spread so that not all clients come back at once."""
    told = response.headers.get("retry-after", "")
    if response.status_code not in (429, 503) or not told.isdigit():
        return None
    return min(_LONGEST_WAIT_S, float(told)) * random.uniform(0.5, 1.5)


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


def _options(
    pixel_size_um: float | None, model: str | None, min_confidence: float, masks: str
) -> dict[str, Any]:
    asked: dict[str, Any] = {"min_confidence": min_confidence, "masks": masks}
    if pixel_size_um is not None:
        asked["pixel_size_um"] = pixel_size_um
    if model is not None:
        asked["model"] = model
    return asked


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
        # Linux has names that are no text.
        name = path.name.encode("utf-8", "replace").decode()
        return field, (name, path.read_bytes(), "application/octet-stream")
    except OSError as error:
        raise ClientError(f"{path}: {error.strerror}; check the path", None) from error


def _quoted(text: str) -> str:
    from urllib.parse import quote

    return quote(text, safe="")
