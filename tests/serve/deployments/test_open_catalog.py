"""Errors of a catalogue become refusals with the right status."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from mcn.catalog.correcting.changes import CorrectionError, NoChangeError
from mcn.catalog.storage import CatalogError, CatalogQueryError, CatalogStorageError
from mcn.errors import McnError
from serve.deployments.iiif import ViewError
from serve.deployments.messages import Refusal
from serve.deployments.open_catalog import NotFoundError, OpenCatalog, in_thread


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (NotFoundError("x"), 404),
        (NoChangeError("x"), 404),
        (ViewError("x"), 400),
        (CorrectionError("x"), 422),
        (CatalogQueryError("x"), 422),
        (CatalogStorageError("x"), 503),
        (CatalogStorageError("x", "damaged"), 500),
        (CatalogError("x"), 500),
        (McnError("x"), 404),
    ],
)
def test_errors_are_refusals(error: Exception, status: int) -> None:
    @in_thread
    def fail(catalog: OpenCatalog) -> None:
        raise error

    refusal = asyncio.run(fail(OpenCatalog(None, 0.0)))  # type: ignore[arg-type]
    assert isinstance(refusal, Refusal)
    assert (refusal.status, refusal.detail) == (status, "x")


def test_an_endpoint_without_a_catalogue_says_so(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="mcn serve --catalog"):
        OpenCatalog(None, 0.0).open()
    with pytest.raises(NotFoundError, match="no crystal catalogue"):
        OpenCatalog(str(tmp_path / "none"), 0.0).open()
