"""The page of `mcn catalog info`."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any, Final

_WIDE: Final = 200
_KB: Final = 1024.0


def info_page(info: Mapping[str, Any]) -> str:
    """What `mcn.catalog.upkeep.maintenance.info` says, as a page to read."""
    failed = f", {info['tiles_failed']:,} of them failed" if info["tiles_failed"] else ""
    small = info["small_files"]
    cure = f"; `mcn catalog compact` merges {small:,} small ones" if small else ""
    facts = {
        "catalogue": f"{info['catalog']} (format {info['format']})",
        "wells": f"{len(info['wells']):,} (--wells lists them)",
        "depths": _depths(info) or "none yet",
        "tiles": f"{info['tiles']:,}{failed}",
        "crystals": f"{info['crystals']:,}",
        "last scan": info["last_scan"] or "none yet",
        "files": f"{info['files']:,} of {size(info['bytes'])}{cure}",
        "depth bins": f"{info['depth_bin_m']:g} m",
        "version": f"{info['versions']['tiles']} (`mcn catalog history` lists them)",
    }
    lines = [f"{name:<10} {value}" for name, value in facts.items()]
    if info["models"]:
        names = ("segmenter", "classifier", "tiles", "tiles_failed", "crystals", "last_scan")
        lines += ["", "models, of all scans", _table(info["models"], names)]
    return "\n".join(lines)


def wells_page(info: Mapping[str, Any]) -> str:
    """The wells of `mcn.catalog.upkeep.maintenance.info`, one line each."""
    names = ("well", "tiles", "tiles_failed", "crystals", "depth_min_m", "depth_max_m", "last_scan")
    return _table(info["wells"], names)


def size(count: float) -> str:
    """A number of bytes as people say it."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < _KB:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= _KB
    return f"{count:.1f} TiB"


def _depths(info: Mapping[str, Any]) -> str | None:
    low, high = info["depth_min_m"], info["depth_max_m"]
    return None if low is None else f"{low:g} to {high:g} m"


def _table(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> str:
    from rich.console import Console
    from rich.table import Table

    headings = {"depth_min_m": "from m", "depth_max_m": "to m", "tiles_failed": "failed"}
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in names:
        text = name in ("well", "segmenter", "classifier", "last_scan")
        heading = headings.get(name, name.replace("_", " "))
        table.add_column(heading, justify="left" if text else "right", overflow="fold")
    for row in rows:
        table.add_row(*(_shown(row[name]) for name in names))
    page = io.StringIO()
    Console(file=page, width=_WIDE, markup=False).print(table)
    return "\n".join(line.rstrip() for line in page.getvalue().splitlines())


def _shown(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:g}" if isinstance(value, float) else str(value)
