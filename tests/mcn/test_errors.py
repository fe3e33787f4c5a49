"""Errors keep their message and type on the way from a worker to the user."""

from __future__ import annotations

import pickle
from typing import get_args

import pytest

from mcn.catalog.storage import CatalogError, CatalogStorageError
from mcn.catalog.upkeep.scan_lease import LostScanError
from mcn.errors import McnError, MissingPackageError, QueryError, StorageError, StorageTrouble
from mcn.micrograph import MicrographError
from mcn.sources.path_pattern import SourceError


@pytest.mark.parametrize("trouble", get_args(StorageTrouble))
def test_storage_errors_keep_their_trouble_when_pickled(trouble: StorageTrouble) -> None:
    for kind in (StorageError, CatalogStorageError):
        error = pickle.loads(pickle.dumps(kind("s3://core/a: gone; restore it", trouble)))
        assert type(error) is kind
        assert str(error) == "s3://core/a: gone; restore it"
        assert error.trouble == trouble


def test_a_missing_package_is_named_with_its_install_command() -> None:
    error = MissingPackageError("the endpoint", "fastapi", "serve")
    assert "the endpoint needs the package fastapi" in str(error)
    assert "pip install fastapi" in str(error)
    assert "mcn[serve]" in str(error)
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


@pytest.mark.parametrize(
    "kind", [McnError, QueryError, CatalogError, LostScanError, MicrographError, SourceError]
)
def test_errors_keep_their_type_and_message_when_pickled(kind: type[McnError]) -> None:
    error = pickle.loads(pickle.dumps(kind("a.tif: cut short; copy it again")))
    assert type(error) is kind
    assert str(error) == "a.tif: cut short; copy it again"
