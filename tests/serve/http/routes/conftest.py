"""The application over a small catalogue, without Ray."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from ...small_core import SmallCore, make_small_core


@pytest.fixture(scope="session")
def read_only_core(tmp_path_factory: pytest.TempPathFactory) -> SmallCore:
    return make_small_core(tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="session")
def core_client(read_only_core: SmallCore) -> Iterator[TestClient]:
    with read_only_core.client() as client:
        yield client


@pytest.fixture
def own_core(tmp_path_factory: pytest.TempPathFactory) -> SmallCore:
    return make_small_core(tmp_path_factory.mktemp("own"))
