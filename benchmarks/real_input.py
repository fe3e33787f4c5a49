"""The whole pipeline on real micrographs: tiles in an S3 bucket → scan → query → pictures.

Lays out the 366 electron micrographs of EMPS (Yildirim & Cole 2021, MIT licence) as tiles of two
wells in an S3 server on this machine (moto), runs `mcn scan`, the same scan again and
`mcn query`, and draws the crystals of two tiles. Prints one JSON object.

    python benchmarks/real_input.py [--data FOLDER] [--out FOLDER] [--tiles N]
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from time import perf_counter
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data" / "emps-train" / "images"
BUCKET, WELLS, FIRST_M, STEP_M = "emps", ("EMPS-1", "EMPS-2"), 1000.0, 0.5
SOURCE, CATALOG = f"s3://{BUCKET}/core", f"s3://{BUCKET}/catalog"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=DATA, help="folder of images")
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "real_input")
    parser.add_argument("--tiles", type=int, help="maximum number of images")
    options = parser.parse_args()
    images = sorted(path for path in options.data.glob("*") if path.is_file())[: options.tiles]
    if not images:
        parser.exit(1, f"error: {options.data}: has no images; give a folder with --data\n")
    options.out.mkdir(parents=True, exist_ok=True)

    server = serve_s3()
    try:
        depths = upload(images)
        first = mcn("scan", SOURCE, CATALOG, "--json")
        again = mcn("scan", SOURCE, CATALOG, "--json")
        middle = sorted(depths)[len(depths) // 2]
        crystals = mcn("query", CATALOG, "--format", "json")
        depth_range, seconds = timed(
            lambda: mcn(
                *("query", CATALOG, "--well", WELLS[0], "--depth", f"{FIRST_M}:{middle}"),
                *("--format", "json"),
            )
        )
        pictures = draw(options.out)
    finally:
        server.stop()
    print(
        json.dumps(
            {
                "tiles": len(images),
                "scan": first,
                "scan_again": {k: again[k] for k in ("tiles_ok", "tiles_skipped", "seconds")},
                "query": {
                    "well": WELLS[0],
                    "depth_m": [FIRST_M, middle],
                    "crystals": len(depth_range),
                    "seconds": round(seconds, 2),
                },
                "crystals_by_well": Counter(row["well"] for row in crystals),
                "crystals_by_shape": Counter(row["shape"] for row in crystals),
                "tiles_with_crystals": len({row["tile_id"] for row in crystals}),
                "overlays": pictures,
            }
        )
    )


def serve_s3() -> Any:
    """Start an S3 server on this machine and point the environment to it."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    os.environ |= {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    return server


def upload(images: list[Path]) -> list[float]:
    """Put images into the bucket as tiles, the first half in one well; returns the depths."""
    import boto3

    s3 = boto3.client("s3")
    s3.create_bucket(Bucket=BUCKET)
    half = -(-len(images) // 2)
    depths = []
    for number, image in enumerate(images):
        depth = FIRST_M + STEP_M * (number % half)
        key = f"core/well={WELLS[number // half]}/depth={depth}/{image.name}"
        s3.upload_file(str(image), BUCKET, key)
        depths.append(depth)
    return depths


def mcn(*arguments: str) -> Any:
    """Run a command and return its JSON output."""
    command = [str(Path(sys.executable).with_name("mcn")), *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=3600, check=True)
    return json.loads(done.stdout)


def timed(work: Any) -> tuple[Any, float]:
    started = perf_counter()
    return work(), perf_counter() - started


def draw(out: Path) -> list[dict[str, Any]]:
    """Draw overlays of the tile with most crystals and of the median of the tiles with any."""
    from mcn.catalog.query import sql
    from mcn.catalog.store import Catalog
    from mcn.micrograph import read_micrograph
    from mcn.plots import overlay_figure

    tiles = sql(
        Catalog.open(CATALOG),
        "SELECT tile_id, uri, n_crystals FROM tiles WHERE n_crystals > 0 ORDER BY n_crystals, uri",
    ).to_pylist()
    pictures = []
    for kind, tile in (("most", tiles[-1]), ("middle", tiles[len(tiles) // 2])):
        query = f"SELECT * FROM crystals WHERE tile_id = '{tile['tile_id']}' ORDER BY crystal_id"
        crystals = sql(Catalog.open(CATALOG), query)
        path = out / f"{kind}.png"
        title = f"{tile['uri'].removeprefix(SOURCE + '/')}: {len(crystals)} crystals"
        micrograph = read_micrograph(tile["uri"])
        overlay_figure(micrograph.pixels, crystals, micrograph.pixel_size_um, title).savefig(path)
        pictures.append({"picture": str(path), "tile": tile["uri"], "crystals": len(crystals)})
    return pictures


if __name__ == "__main__":
    main()
