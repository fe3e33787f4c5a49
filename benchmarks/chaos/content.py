"""The tiles of a scan, and all that must be equal in the catalogues of two scans."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
from PIL import Image

from mcn.catalog.active_files import files
from mcn.catalog.query import query, sql
from mcn.catalog.store import Catalog
from mcn.catalog.upkeep.maintenance import verify


def draw_core(root: Path, tiles: int) -> Path:
    """Draw tiles with rectangles, of three wells; a tile is the same in every core."""
    for number in range(tiles):
        rng = np.random.default_rng(number)
        folder = root / f"well={'ABC'[number % 3]}" / f"depth={1000 + number}"
        folder.mkdir(parents=True)
        pixels = rng.integers(20, 40, (120, 160), dtype=np.uint8)
        for y, x, h, w in rng.integers((2, 2, 5, 5), (95, 135, 20, 20), (12, 4)):
            pixels[y : y + h, x : x + w] = 200
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return root


def content(catalog: Path) -> dict[str, Any]:
    """Everything that must be equal: rows as readers see them, and stored rows and files."""
    opened = Catalog.open(catalog)
    visible_rows = query(opened).drop_columns(["scanned_at"]).to_pylist()
    report = verify(opened)
    logged_files = {
        f"{name}/{path}"
        for name in ("tiles", "crystals")
        for version in range(getattr(opened.snapshot(), name).version + 1)
        for path in added(Path(opened.uri, name, "_delta_log", f"{version:020d}.json"))
    }
    stored_files = {str(path.relative_to(catalog)) for path in catalog.rglob("part-*")}
    return {
        "crystals": {row["crystal_id"]: json.dumps(row, sort_keys=True) for row in visible_rows},
        "crystals_seen": len(visible_rows),
        "tiles": sorted(
            (row["uri"], row["status"], row["n_crystals"])
            for row in sql(opened, "SELECT uri, status, n_crystals FROM tiles").to_pylist()
        ),
        "rows": {
            name: sum(files(getattr(opened.snapshot(), name))["num_records"].to_pylist())
            for name in ("tiles", "crystals")
        },
        "problems": [*report.problems, *sorted(stored_files - logged_files)],
        "orphans": report.orphan_crystals,
        "entries": [path.name for path in (catalog / "_scans").glob("*")],
    }


def added(log: Path) -> list[str]:
    """Data files that a log entry adds."""
    actions = [json.loads(line) for line in log.read_text().splitlines()]
    return [unquote(action["add"]["path"]) for action in actions if "add" in action]


def difference(catalogue: dict[str, Any], expected: dict[str, Any]) -> dict[str, Any]:
    """What differs, with the number of missing and extra crystals."""
    differences = {
        name: catalogue[name] if name not in ("crystals", "tiles") else len(catalogue[name])
        for name in expected
        if catalogue[name] != expected[name]
    }
    if catalogue["crystals"] != expected["crystals"]:
        differences["missing"] = len(expected["crystals"].keys() - catalogue["crystals"].keys())
        differences["extra"] = len(catalogue["crystals"].keys() - expected["crystals"].keys())
    return differences
