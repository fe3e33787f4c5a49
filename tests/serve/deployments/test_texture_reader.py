"""Textures are remembered until the catalogue changes."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from mcn.catalog.schema import crystal_table, tile_table
from serve.deployments.messages import LogRequest
from serve.deployments.texture_reader import TextureReader

from ..small_core import WELL, SmallCore, make_small_core


@pytest.fixture(scope="module")
def core(tmp_path_factory: pytest.TempPathFactory) -> SmallCore:
    return make_small_core(tmp_path_factory.mktemp("textures"))


def test_textures_are_named_once_for_each_version_of_the_catalogue(
    core: SmallCore, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def table(*arguments: Any, **options: Any) -> object:
        calls.append(arguments)
        return named(*arguments, **options)

    from mcn.catalog.textures.table import texture_table as named

    monkeypatch.setattr("mcn.catalog.textures.table.texture_table", table)
    reader = TextureReader(core.catalog.uri, 0.0)

    def ask(step: float | None) -> object:
        return asyncio.run(reader.textures(WELL, LogRequest(step)))  # type: ignore[arg-type]

    first = ask(10.0)
    assert isinstance(first, list)
    assert {row["depth_top"] for row in first} == {1200, 1210, 1220}
    assert ask(10.0) == first
    assert len(calls) == 1
    ask(30.0)
    assert len(calls) == 2
    once_more = tile_table([replace(core.tiles[3], depth_m=1300.0)])
    core.catalog.commit(crystal_table(once_more.slice(0, 0), []), once_more)
    assert ask(10.0) == first
    assert len(calls) == 3
