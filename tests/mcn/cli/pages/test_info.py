"""What `mcn catalog info` shows to people, and to programs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from mcn.catalog.schema import Tile, tile_id, tile_table
from mcn.catalog.store import Catalog
from mcn.cli.main import app
from mcn.cli.pages.info import size


def make_tile_row(name: str = "a", well: str = "A", **facts: Any) -> Tile:
    plain: dict[str, Any] = {
        "uri": f"/core/{well}/{name}.tif",
        "depth_m": 1200.0,
        "segmenter": "compact@0123456789ab",
        "classifier": "nsr@0123456789ab",
        "scan_id": "one",
    }
    plain |= facts
    return Tile(tile_id=tile_id(plain["uri"]), well=well, **plain)


def test_the_page_is_to_be_read(tmp_path: Path) -> None:
    catalog = Catalog.create(tmp_path / "c")
    for number in range(3):
        failed = {"status": "failed", "error": "gone"} if number == 2 else {}
        tile = make_tile_row(f"{number}", f"W{number % 2}", depth_m=1000.0 + number, **failed)
        catalog.commit(catalog.crystals_schema.empty_table(), tile_table([tile]))
    shown = CliRunner().invoke(app, ["catalog", "info", catalog.uri], catch_exceptions=False)
    page = shown.stdout
    for part in (
        "wells      2 (--wells lists them)",
        "depths     1000 to 1002 m",
        "tiles      3, 1 of them failed",
        "`mcn catalog compact` merges 2 small ones",
        "version    3 (`mcn catalog history` lists them)",
        "compact@0123456789ab",
    ):
        assert part in page, page
    assert "W1" not in page
    wells = CliRunner().invoke(app, ["catalog", "info", catalog.uri, "--wells"]).stdout
    assert [line.split()[0] for line in wells.splitlines()] == ["well", "W0", "W1"]
    (answer,) = (
        CliRunner().invoke(app, ["catalog", "info", catalog.uri, "--json"]).stdout.splitlines()
    )
    assert [well["well"] for well in json.loads(answer)["wells"]] == ["W0", "W1"]


def test_an_empty_catalogue(tmp_path: Path) -> None:
    catalog = Catalog.create(tmp_path / "c")
    shown = CliRunner().invoke(app, ["catalog", "info", catalog.uri], catch_exceptions=False)
    assert "depths     none yet" in shown.stdout
    assert "models" not in shown.stdout


def test_sizes() -> None:
    assert [size(n) for n in (0, 1023, 1536, 5 * 2**30, 3 * 2**50)] == [
        "0 B",
        "1023 B",
        "1.5 KiB",
        "5.0 GiB",
        "3072.0 TiB",
    ]
