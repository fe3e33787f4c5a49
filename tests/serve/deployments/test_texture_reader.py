"""Textures are remembered until the catalogue changes."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from mcn.catalog.schema import crystal_table, tile_table
from serve.deployments.texture_reader import TextureReader

from ..small_core import WELL, SmallCore, make_small_core


@pytest.fixture(scope="module")
def core(tmp_path_factory: pytest.TempPathFactory) -> SmallCore:
    return make_small_core(tmp_path_factory.mktemp("textures"))


def test_textures_are_named_once_for_each_version_of_the_catalogue(
    core: SmallCore, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def table(*arguments: object) -> object:
        calls.append(arguments)
        return named(*arguments)  # type: ignore[arg-type]

    from mcn.catalog.textures.table import texture_table as named

    monkeypatch.setattr("mcn.catalog.textures.table.texture_table", table)
    reader = TextureReader(core.catalog.uri, 0.0)

    def ask(step: float | None) -> object:
        return asyncio.run(reader.textures(WELL, step, (None, None)))  # type: ignore[arg-type]

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


def test_zones_are_numbered_from_above(core: SmallCore) -> None:
    reader = TextureReader(core.catalog.uri, 0.0)
    zones = asyncio.run(reader.zones(WELL, 10.0, (None, None), None))  # type: ignore[arg-type]
    assert [zone["zone"] for zone in zones] == [*range(1, len(zones) + 1)]  # type: ignore[union-attr]
