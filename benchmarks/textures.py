"""What each scheme of textures calls rendered intervals of known make.

Tiles of each make are rendered, their true masks and shapes are measured as a scan does, and the
rules are asked. Prints one JSON object; `--floor` makes it exit 1 if the share of makes that get
the name they were made for is lower.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mcn.analyzer import classify_segmented, segment_micrographs
from mcn.catalog.schema import Tile, crystal_table, tile_id, tile_table
from mcn.catalog.store import Catalog
from mcn.catalog.textures.table import texture_table
from mcn.crystals import Classified
from mcn.mask import Mask, masks_from_labels
from mcn.micrograph import Micrograph
from mcn.synthetic.renderer import TileSettings, render_tile
from mcn.taxonomy import CALCITE, SHAPES

MODELS: Final = {"segmenter": "truth@000000000000", "classifier": "truth@000000000000"}


@dataclass(frozen=True)
class Make:
    """How the tiles of an interval are rendered, and what a geologist would call them.

    Parameters
    ----------
    shape_mix : tuple of 4 floats
        Share of each shape of `SHAPES`.
    diameter_um, porosity, size_spread : float
        As in `TileSettings`.
    expected : dict of str to str
        Scheme → name.
    """

    shape_mix: tuple[float, float, float, float]
    diameter_um: float
    porosity: float
    expected: dict[str, str]
    size_spread: float = 0.3


class TruthModels:
    """A segmenter and a classifier that know the truth of the tiles given to them."""

    name = MODELS["segmenter"]
    taxonomy = CALCITE

    def __init__(self, masks: list[list[Mask]], shapes: list[str]) -> None:
        self.masks, self.shapes = masks, shapes

    def segment(self, images: list[NDArray[np.uint8]]) -> list[list[Mask]]:
        """The true masks."""
        assert len(images) == len(self.masks)
        return self.masks

    def classify(self, crops: NDArray[np.uint8]) -> Classified:
        """The true shapes, all of them sure."""
        numbers = [SHAPES.index(shape) for shape in self.shapes]
        p = np.eye(len(SHAPES), dtype=np.float32)[numbers]
        assert len(p) == len(crops)
        return Classified(p, np.ones(len(p), np.float32))


def _reading_order(mask: Mask) -> tuple[int, ...]:
    return (mask.y, mask.x, *mask.pixels.shape, int(mask.pixels.sum()))


def add_interval(
    catalog: Catalog,
    folder: Path,
    well: str,
    depth_m: float,
    settings: TileSettings,
    tiles: int,
    seed: int,
) -> None:
    """Render tiles a decimetre apart, measure their truth, and commit it."""
    masks: list[list[Mask]] = []
    shapes: list[str] = []
    micrographs, uris = [], []
    for number in range(tiles):
        rendered = render_tile(seed + number, settings)
        found = zip(masks_from_labels(rendered.labels), rendered.shapes, strict=True)
        # In the order of a scan, so that the classifier's crops have these shapes.
        ordered = sorted(found, key=lambda pair: _reading_order(pair[0]))
        masks.append([mask for mask, _ in ordered])
        shapes += [shape for _, shape in ordered]
        path = folder / f"{well}-{depth_m + number / 10:.1f}.png"
        Image.fromarray(rendered.image).save(path)
        uris.append(str(path))
        micrographs.append(
            Micrograph(rendered.image, settings.pixel_size_um, "manifest", str(path))
        )
    models = TruthModels(masks, shapes)
    segmented = segment_micrographs(models, micrographs)
    crystals = classify_segmented(models, segmented)
    rows = tile_table(
        [
            Tile(
                tile_id=tile_id(uri),
                uri=uri,
                well=well,
                depth_m=depth_m + number / 10,
                width=settings.width,
                height=settings.height,
                pixel_size_um=settings.pixel_size_um,
                pixel_size_source="manifest",
                n_crystals=crystals[number].num_rows,
                crystal_area_fraction=segmented[number].area_fraction,
                visible_pore_fraction=segmented[number].visible_pore_fraction,
                scan_id="truth",
                **MODELS,
            )
            for number, uri in enumerate(uris)
        ]
    )
    catalog.commit(crystal_table(rows, crystals, catalog.depth_bin_m), rows)


GRANULAR, FITTED = "granular, euhedral", "fitted, partially"

MAKES: Final = {
    "coarse rhombs, open": Make(
        (0.85, 0.15, 0.0, 0.0), 4.0, 0.30,
        {"kaczmarek_2015": GRANULAR, "deville_2011": "C", "lambert_2006_form": "micro-rhombic"},
    ),
    "fine rhombs, open": Make(
        (0.85, 0.15, 0.0, 0.0), 1.2, 0.30,
        {"kaczmarek_2015": GRANULAR, "deville_2011": "F", "lambert_2006_form": "micro-rhombic"},
    ),
    "coarse polyhedra, open": Make(
        (0.10, 0.90, 0.0, 0.0), 4.0, 0.25,
        {"kaczmarek_2015": GRANULAR, "deville_2011": "C", "lambert_2006_form": "polyhedral"},
    ),
    "fine spheres, open": Make(
        (0.05, 0.05, 0.10, 0.80), 1.2, 0.25,
        {"kaczmarek_2015": "granular, subhedral", "deville_2011": "F",
         "lambert_2006_form": "rounded"},
    ),
    "rhombs, in clusters": Make(
        (0.85, 0.15, 0.0, 0.0), 2.5, 0.60,
        {"kaczmarek_2015": "clustered", "deville_2011": "C", "lambert_2006_form": "micro-rhombic"},
    ),
    "rhombs, tight": Make(
        (0.80, 0.20, 0.0, 0.0), 3.0, 0.02,
        {"kaczmarek_2015": FITTED, "deville_2011": "C", "lambert_2006_form": "micro-rhombic"},
    ),
    "lumps, tight": Make(
        (0.05, 0.05, 0.85, 0.05), 3.0, 0.02,
        {"kaczmarek_2015": FITTED, "deville_2011": "D", "lambert_2006_form": "anhedral"},
    ),
    "lumps, fairly tight": Make(
        (0.05, 0.05, 0.85, 0.05), 3.0, 0.08,
        {"kaczmarek_2015": FITTED, "deville_2011": "D", "lambert_2006_form": "anhedral"},
    ),
}  # fmt: skip


def main() -> int:
    """Render, measure, ask, and print the names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiles", type=int, default=12, help="tiles of each make")
    parser.add_argument("--floor", type=float, help="least share of names as expected")
    parser.add_argument("--keep", type=Path, help="folder for the catalogue and its pictures")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        catalog = Catalog.create(folder / "catalog")
        for number, make in enumerate(MAKES.values()):
            settings = TileSettings(
                height=384,
                width=512,
                pixel_size_um=make.diameter_um / 40,
                diameter_um=make.diameter_um,
                size_spread=make.size_spread,
                shape_mix=make.shape_mix,
                porosity=make.porosity,
            )
            depth = 1000.0 + 10 * number
            add_interval(catalog, folder, "T-1", depth, settings, options.tiles, 100 * number)
        table = texture_table(catalog, "T-1", 10.0).to_pylist()
    result: dict[str, Any] = {"tiles": options.tiles, "makes": {}}
    hits = []
    for number, (name, make) in enumerate(MAKES.items()):
        rows = [row for row in table if row["depth_top"] == 1000.0 + 10 * number]
        called = {row["scheme"]: row for row in rows}
        measures = ("euhedral", "contact", "pores", "spacing", "median_diameter_um")
        result["makes"][name] = {
            "crystals": rows[0]["n_crystals"],
            **{measure: _short(rows[0][measure]) for measure in measures},
            "called": {
                key: [row["texture"], _short(row["probability"])] for key, row in called.items()
            },
        }
        hits += [called[key]["texture"] == wanted for key, wanted in make.expected.items()]
    result["as_expected"] = round(float(np.mean(hits)), 3)
    print(json.dumps(result, ensure_ascii=False))
    return int(options.floor is not None and result["as_expected"] < options.floor)


def _short(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


if __name__ == "__main__":
    raise SystemExit(main())
