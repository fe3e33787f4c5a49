"""A depth log as one HTML file that needs no other: figure, table and the CSV to save."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Mapping
from html import escape
from typing import Any, Final

import pyarrow as pa
from matplotlib.figure import Figure

from mcn.catalog.depth_log.columns import HIGH, LOW
from mcn.catalog.depth_log.table import is_corrected_log, models_of_log, scan_date_of_log
from mcn.catalog.storage import explained_output

_STYLE: Final = """
body { font: 15px/1.45 system-ui, sans-serif; color: #30343b; margin: 2rem auto; max-width: 70rem;
  padding: 0 1rem; }
h1 { font-size: 1.5rem; margin: 0 0 .5rem; }
dl { display: grid; grid-template-columns: max-content auto; gap: .15rem 1rem; margin: 0 0 1rem; }
dt { color: #6b7480; } dd { margin: 0; }
svg { max-width: 100%; height: auto; }
.table { overflow: auto; max-height: 40rem; border: 1px solid #d8dce2; }
table { border-collapse: collapse; font-size: .8rem; font-variant-numeric: tabular-nums; }
th, td { padding: .2rem .6rem; text-align: right; white-space: nowrap; }
thead th { position: sticky; top: 0; background: #f4f6f8; text-align: right; }
tbody tr:nth-child(even) { background: #fafbfc; }
.few td:first-child::after { content: " *"; }
@media print { .table { max-height: none; } a { display: none; } }
"""
_HEADER: Final = {
    "name": "Name",
    "uwi": "UWI",
    "operator": "Operator",
    "latitude": "Latitude",
    "longitude": "Longitude",
    "datum": "Depths from",
}


def write_html(
    log: pa.Table,
    well: str,
    figure: Figure,
    path: str | os.PathLike[str],
    header: Mapping[str, Any] | None = None,
) -> None:
    """Write a depth log as an HTML file (`html_page`)."""
    text = html_page(log, well, figure, header)
    with explained_output(path), open(path, "w", encoding="utf-8") as file:
        file.write(text)


def html_page(
    log: pa.Table, well: str, figure: Figure, header: Mapping[str, Any] | None = None
) -> str:
    """A depth log as one page of HTML: nothing is loaded from elsewhere, and no script runs.

    Parameters
    ----------
    log : pa.Table
        A depth log.
    well : str
    figure : Figure
        Its figure, drawn into the page as SVG.
    header : mapping, optional
        What is known about the well (`mcn.catalog.wells_table.table.well_header`).

    Returns
    -------
    str
        The table has one row per interval, with 95 % intervals beside each value; all columns
        are in the CSV file behind the link.
    """
    title = escape(f"Depth log of well {well}")
    facts = {"Well": well}
    for name, label in _HEADER.items():
        value = (header or {}).get(name)
        if value is not None:
            facts[label] = f"{value:g}°" if isinstance(value, float) else str(value)
    for top in (header or {}).get("tops") or ():
        facts[f"Top {top['formation']}"] = f"{top['depth_m']:g} m"
    facts["Models"] = ", ".join(str(models) for models in models_of_log(log)) or "unknown"
    facts["Last scan"] = scan_date_of_log(log) or "unknown"
    if is_corrected_log(log):
        facts["Crystals"] = "as persons corrected them"
    terms = "".join(
        f"<dt>{escape(label)}</dt><dd>{escape(value)}</dd>" for label, value in facts.items()
    )
    data = base64.b64encode(_csv(log)).decode()
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width">\n<title>{title}</title>\n'
        f"<style>{_STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n<dl>{terms}</dl>\n"
        f"{_svg(figure, title)}\n"
        f'<p><a download="depth-log.csv" href="data:text/csv;base64,{data}">All columns as CSV'
        f"</a>. Values in brackets are 95 % intervals by resampling tiles; * marks intervals of "
        f"fewer than 8 tiles.</p>\n{_table(log)}\n</body>\n</html>\n"
    )


def _svg(figure: Figure, title: str) -> str:
    import matplotlib

    text = io.StringIO()
    # Letters as outlines, so that names look the same where the fonts are not installed.
    with matplotlib.rc_context({"svg.fonttype": "path", "svg.hashsalt": "mcn"}):
        figure.savefig(text, format="svg", metadata={"Date": None})
    svg = text.getvalue()
    return svg[svg.index("<svg") :].replace("<svg", f'<svg role="img" aria-label="{title}"', 1)


def _table(log: pa.Table) -> str:
    names = [name for name in log.column_names if not name.startswith((LOW, HIGH))]
    head = "".join(f"<th>{escape(_heading(name))}</th>" for name in names)
    rows = []
    for row in log.to_pylist():
        cells = "".join(f"<td>{escape(_cell(row, name))}</td>" for name in names)
        rows.append(f"<tr{' class=few' if row.get('few_tiles') else ''}>{cells}</tr>")
    body = "\n".join(rows)
    return (
        f'<div class="table"><table>\n<thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{body}\n</tbody>\n</table></div>"
    )


def _heading(name: str) -> str:
    for unit, shown in (("_um", " (µm)"), ("_phi", " (φ)")):
        if name.endswith(unit):
            name = name.removesuffix(unit) + shown
    return name.replace("_", " ")


def _cell(row: Mapping[str, Any], name: str) -> str:
    value, low, high = row[name], row.get(LOW + name), row.get(HIGH + name)
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not isinstance(value, float):
        return str(value)
    text = f"{value:.10g}" if name.startswith("depth_") else f"{value:.3g}"
    return text if low is None or high is None else f"{text} ({low:.3g}–{high:.3g})"


def _csv(log: pa.Table) -> bytes:
    from pyarrow import csv

    file = io.BytesIO()
    csv.write_csv(log, file)
    return file.getvalue()
