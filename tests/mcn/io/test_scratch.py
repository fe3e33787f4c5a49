"""The temporary database is limited in memory and removes its files."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from mcn.io.scratch import MEMORY_MIB, scratch_database


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of temporary files, which must be empty at the end."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    yield tmp_path
    assert list(tmp_path.iterdir()) == []


def test_tables_are_on_disk_until_the_end(folder: Path) -> None:
    with scratch_database() as database:
        database.execute("CREATE TABLE listed AS SELECT range AS id FROM range(1000)")
        database.execute("CHECKPOINT")
        assert database.sql("SELECT count(*) FROM listed").fetchall() == [(1000,)]
        assert max(path.stat().st_size for path in folder.rglob("*.duckdb")) > 0


def test_files_are_removed_after_an_error() -> None:
    with contextlib.suppress(KeyError), scratch_database() as database:
        database.execute("CREATE TABLE listed (id INT)")
        raise KeyError


def test_two_databases_are_separate() -> None:
    with scratch_database() as first, scratch_database() as second:
        first.execute("CREATE TABLE listed (id INT)")
        assert second.sql("SELECT * FROM duckdb_tables()").fetchall() == []


def test_data_larger_than_memory_go_to_disk() -> None:
    with scratch_database() as database:
        limit = database.sql("SELECT current_setting('memory_limit')").fetchall()[0][0]
        assert float(limit.removesuffix(" MiB")) == pytest.approx(MEMORY_MIB, abs=0.1)
        database.execute("SET memory_limit = '24MiB'")
        rows = "SELECT hash(range) AS id, repeat('x', 40) AS name FROM range(400_000)"
        database.execute(f"CREATE TABLE listed AS {rows}")
        first = database.sql("SELECT id FROM listed ORDER BY name, id LIMIT 1").fetchall()
        assert first == database.sql("SELECT min(id) FROM listed").fetchall()
