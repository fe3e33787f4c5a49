"""How long questions to a catalogue take, beside other programs over the same files, in one run.

Fills a catalogue with wells of equal size, of which all but ten are hard links to those ten
(`large_catalog`), and asks for intervals, a log, the list of wells and shapes over a region. The
bytes of the disk's cache are therefore fewer than in a catalogue that was scanned; the log, the
folders and the files are as many. Prints one JSON object.

    python benchmarks/query.py [--crystals N] [--wells N] [--depth-bin M] [--floor RATIO]

`--floor` is the least number of times that an interval must be faster than DuckDB's over a glob.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import quantiles
from time import perf_counter, process_time
from typing import Any

import duckdb
import fastparquet
import numpy as np
import polars as pl
import pyarrow.compute as pc
from large_catalog import fill, tile_and_crystals, well_name

from mcn.catalog.depth_log.table import depth_log
from mcn.catalog.query import sql
from mcn.catalog.store import Catalog

SPAN_M = 5.0
Place = tuple[str, tuple[float, float]]
FEW = ["crystal_id", "well", "depth_m", "shape", "confidence", "equivalent_diameter_um"]

_COLD = """
import sys, time
begun = time.perf_counter()
from mcn import Catalog
rows = Catalog(sys.argv[1]).crystals([sys.argv[2]], (float(sys.argv[3]), float(sys.argv[4])))
print(time.perf_counter() - begun)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--crystals", type=float, default=1e6)
    parser.add_argument("--wells", type=int, default=50)
    parser.add_argument("--depth-bin", type=float, default=None)
    parser.add_argument("--repeat", type=int, default=40)
    parser.add_argument("--floor", type=float, default=None)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        bins = {} if options.depth_bin is None else {"depth_bin_m": options.depth_bin}
        created = Catalog.create(Path(folder) / "catalog", **bins)
        crystals = fill(created, options.wells, int(options.crystals))
        report = {"crystals": crystals, "wells": options.wells, "depth_bin_m": created.depth_bin_m}
        report |= measure(created.uri, options.wells, options.repeat)
    print(json.dumps(report))
    if options.floor is not None and report["times_duckdb_glob"] < options.floor:
        sys.exit(1)


def measure(uri: str, wells: int, repeat: int) -> dict[str, Any]:
    rng = np.random.default_rng(1)

    def place() -> tuple[str, tuple[float, float]]:
        low = round(float(rng.uniform(1050, 1900)), 1)
        return well_name(int(rng.integers(wells))), (low, low + SPAN_M)

    cold = [
        float(
            subprocess.run(
                [sys.executable, "-c", _COLD, uri, well, *map(str, depth)],
                capture_output=True,
                text=True,
                check=True,
                timeout=600,
            ).stdout
        )
        for well, depth in (place() for _ in range(3))
    ]
    begun = perf_counter()
    catalog = Catalog(uri)
    report: dict[str, Any] = {
        "cold_process_s": [round(seconds, 3) for seconds in cold],
        "open_s": round(perf_counter() - begun, 3),
        "files": catalog.snapshot().crystals.all_files.num_rows,
    }
    places = [place() for _ in range(repeat)]
    log_wells = [well for well, _ in places[: min(10, repeat)]]
    catalog.crystals([places[0][0]], places[0][1])
    report["interval_first_time_of_a_well"] = times(
        [lambda p=p: catalog.crystals([p[0]], p[1], columns=FEW) for p in places]
    )
    report["interval"] = times(
        [lambda p=p: catalog.crystals([p[0]], p[1], columns=FEW) for p in places]
    )
    report["interval_all_columns"] = times(
        [lambda p=p: catalog.crystals([p[0]], p[1], columns="all") for p in places]
    )
    report["log"] = times([lambda w=w: depth_log(catalog, w, 10.0) for w in log_wells])
    report["wells_first"] = times([lambda: catalog.wells()])
    report["wells"] = times([lambda: catalog.wells()] * 5)
    region = [well_name(number) for number in range(min(10, wells))]
    report["shapes_of_ten_wells"] = times([lambda: count_shapes(catalog, region)] * 3)
    names = ", ".join(f"'{name}'" for name in region)
    shapes = f"SELECT shape, count(*) FROM crystals WHERE well IN ({names}) GROUP BY shape"
    report["shapes_of_ten_wells_in_sql"] = times([lambda: sql(catalog, shapes)] * 3)
    report["interval_after_a_commit"] = after_commits(catalog, places[:10])
    report |= others(uri, places)
    report["times_duckdb_glob"] = round(
        report["duckdb_glob"]["p50_ms"] / report["interval"]["p50_ms"], 1
    )
    return report


def count_shapes(catalog: Catalog, wells: list[str]) -> Any:
    return pc.value_counts(catalog.crystals(wells, columns=["shape"])["shape"])


def after_commits(catalog: Catalog, places: list[Place]) -> dict[str, Any]:
    """The first question after another process has committed a tile."""
    other = Catalog(catalog.uri)
    questions = []
    for number, (well, depth) in enumerate(places):

        def ask(number: int = number, well: str = well, depth: tuple[float, float] = depth) -> Any:
            return catalog.crystals([well], depth, columns=FEW)

        questions.append((number, well, depth[0], ask))
    waits = []
    for number, well, depth, ask in questions:
        other.commit(*tile_and_crystals(other, well, number, depth))
        begun = perf_counter()
        ask()
        waits.append(perf_counter() - begun)
    return spread(waits)


def others(uri: str, places: list[Place]) -> dict[str, Any]:
    """The same interval, without the check which rows are the latest, by other programs."""
    glob = f"{uri}/crystals/well=*/**/*.parquet"
    names = ", ".join(FEW)

    def by_duckdb(well: str, depth: tuple[float, float]) -> Any:
        return duckdb.sql(
            f"SELECT {names} FROM read_parquet('{glob}', hive_partitioning = true, "
            "hive_types = {'well': VARCHAR, 'depth_bin': DOUBLE}) "
            f"WHERE well = '{well}' AND depth_m BETWEEN {depth[0]} AND {depth[1]}"
        ).to_arrow_table()

    def by_polars(well: str, depth: tuple[float, float]) -> Any:
        rows = pl.scan_delta(f"{uri}/crystals").filter(
            (pl.col("well") == well) & pl.col("depth_m").is_between(*depth)
        )
        return rows.select(FEW).collect()

    def by_fastparquet(well: str, depth: tuple[float, float]) -> Any:
        paths = sorted(map(str, Path(uri, "crystals", f"well={well}").rglob("*.parquet")))
        columns = [name for name in FEW if name != "well"]
        filters = [("depth_m", ">=", depth[0]), ("depth_m", "<=", depth[1])]
        return fastparquet.ParquetFile(paths, root=f"{uri}/crystals").to_pandas(
            columns=columns, filters=filters, row_filter=True
        )

    answer = {}
    for name, ask in (
        ("duckdb_glob", by_duckdb),
        ("polars_scan_delta", by_polars),
        ("fastparquet_on_the_partition", by_fastparquet),
    ):
        ask(*places[0])
        answer[name] = times([lambda p=p, ask=ask: ask(*p) for p in places[:5]])
    return answer


def times(questions: list[Callable[[], Any]]) -> dict[str, float]:
    seconds, processor = [], process_time()
    for ask in questions:
        begun = perf_counter()
        ask()
        seconds.append(perf_counter() - begun)
    return spread(seconds) | {
        "processor_ms": round(1000 * (process_time() - processor) / len(questions), 2)
    }


def spread(seconds: list[float]) -> dict[str, float]:
    ordered = sorted(seconds)
    cuts = quantiles(ordered, n=20, method="inclusive") if len(ordered) > 1 else ordered * 19
    return {
        "p50_ms": round(1000 * cuts[9], 2),
        "p95_ms": round(1000 * cuts[18], 2),
        "least_ms": round(1000 * ordered[0], 2),
    }


if __name__ == "__main__":
    main()
