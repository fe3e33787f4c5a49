"""A log as HTML is one file: nothing is loaded, every value is there, names are text."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path

import pyarrow.csv as csv

from mcn.catalog.depth_log.html import html_page, write_html
from mcn.catalog.depth_log.plot import depth_log_figure
from mcn.catalog.depth_log.table import depth_log
from mcn.catalog.store import Catalog

WELL = "<b>大庆 & خف</b>"


def page(core: Catalog) -> str:
    log = depth_log(core, "A", 50.0)
    header = {"name": "Köln", "latitude": 24.5, "tops": [{"formation": "F<1>", "depth_m": 5.0}]}
    return html_page(log, WELL, depth_log_figure(log, WELL), header)


def test_nothing_is_loaded_from_elsewhere(core: Catalog) -> None:
    text = page(core)
    assert "<script" not in text
    sources = re.findall(r'(?:src|href)="([^"#]*)', text)
    assert all(source.startswith("data:") for source in sources if source)
    assert "@import" not in text
    assert text.count("<svg") == 1


def test_names_are_text_and_what_is_known_is_there(core: Catalog) -> None:
    text = page(core)
    assert "<b>" not in text
    assert "&lt;b&gt;大庆 &amp; خف&lt;/b&gt;" in text
    assert "<dt>Name</dt><dd>Köln</dd><dt>Latitude</dt><dd>24.5°</dd>" in text
    assert "<dt>Top F&lt;1&gt;</dt><dd>5 m</dd>" in text


def test_all_columns_can_be_saved(core: Catalog) -> None:
    (data,) = re.findall(r'href="data:text/csv;base64,([^"]+)"', page(core))
    log = depth_log(core, "A", 50.0)
    assert csv.read_csv(io.BytesIO(base64.b64decode(data))).column_names == log.column_names
    assert page(core).count("<tr") == log.num_rows + 1


def test_the_same_log_gives_the_same_file(core: Catalog, tmp_path: Path) -> None:
    log = depth_log(core, "A", 50.0)
    write_html(log, WELL, depth_log_figure(log, WELL), tmp_path / "a.html")
    assert (tmp_path / "a.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    assert page(core) == page(core)
