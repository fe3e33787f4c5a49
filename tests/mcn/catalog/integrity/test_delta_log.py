"""A truncated or changed Delta log is detected, and the error names the file and the remedy."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from mcn.catalog.data_files import DataFile
from mcn.catalog.integrity import delta_log
from mcn.catalog.query import query
from mcn.catalog.storage import CatalogError
from mcn.catalog.store import Catalog
from mcn.catalog.upkeep.maintenance import info, verify
from mcn.errors import StorageError

REMEDY = "restore it from a backup"


def entry(catalog: Catalog, table: str, version: int) -> Path:
    return Path(catalog.uri, table, "_delta_log", f"{version:020d}.json")


@pytest.mark.parametrize("table", ["crystals", "tiles"])
@pytest.mark.parametrize("version", [0, 4, 8])
@pytest.mark.parametrize("left", [0, 1, 150, -3, "a line", "renamed action"])
def test_a_truncated_log_entry_is_named(pristine, tmp_path, table, version, left) -> None:  # type: ignore[no-untyped-def]
    catalog = Path(shutil.copytree(pristine.uri, tmp_path / "copy"))
    file = catalog / table / "_delta_log" / f"{version:020d}.json"
    data = file.read_bytes()
    if left == "a line":
        file.write_bytes(data.splitlines(keepends=True)[0])
    elif left == "renamed action":
        file.write_bytes(data.replace(b'{"add"', b'{"adx"').replace(b'{"meta', b'{"mexa'))
    else:
        file.write_bytes(data[:left])
    with pytest.raises(StorageError) as raised:
        Catalog.open(catalog)
    assert str(raised.value).startswith(f"{file}: this entry of the log is ")
    assert re.search("is empty;|is cut short or was changed;", str(raised.value))
    assert REMEDY in str(raised.value)
    assert ("delete it" in str(raised.value)) == (version == 8)
    assert raised.value.trouble == "damaged"


def test_a_missing_log_entry_is_named(filled) -> None:  # type: ignore[no-untyped-def]
    file = entry(filled, "tiles", 4)
    file.unlink()
    with pytest.raises(StorageError, match=re.escape(f"{file}: this entry of the log is missing")):
        Catalog(filled.uri)


@pytest.mark.parametrize("left", [0, 300, None])
def test_a_damaged_checkpoint_is_named(filled, left) -> None:  # type: ignore[no-untyped-def]
    rows = query(filled)
    filled.delta_table("tiles").create_checkpoint()
    (file,) = Path(filled.uri, "tiles", "_delta_log").glob("*.checkpoint.parquet")
    hint = file.with_name("_last_checkpoint")
    if left is None:
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:left])
    with pytest.raises(StorageError) as raised:
        Catalog(filled.uri)
    assert str(raised.value).startswith(f"{hint if left is None else file}: ")
    # Deleting, as the message advises, repairs the catalogue.
    assert "delete" in str(raised.value)
    file.unlink(missing_ok=True)
    hint.unlink()
    assert query(Catalog(filled.uri)).equals(rows)


def test_verify_reads_entries_again(filled) -> None:  # type: ignore[no-untyped-def]
    assert verify(filled).ok
    file = entry(filled, "tiles", 5)
    file.write_bytes(b"")
    (problem,) = [problem for problem in verify(filled).problems if "_delta_log" in problem]
    assert problem.startswith(f"tiles/_delta_log/{file.name}: this entry of the log is empty")


def test_a_recreated_catalogue_is_checked_again(filled, make_tile) -> None:  # type: ignore[no-untyped-def]
    assert info(filled)["tiles"] == 8
    shutil.rmtree(filled.uri)
    again = Catalog.create(filled.uri)
    entry(again, "tiles", 0).write_bytes(entry(again, "tiles", 0).read_bytes()[:200])
    with pytest.raises(CatalogError, match="cut short"):
        Catalog.open(filled.uri)


def test_the_seal_covers_all_actions() -> None:
    data_file = DataFile("tiles", "well=A/a.parquet", 5, 1, {"well": "A"}, "{}")
    sealed = [
        delta_log.sealed(actions).custom_metadata["mcn.actions"]
        for actions in (
            [],
            [data_file.added()],
            [data_file.removed()],
            [data_file.added(), data_file.removed()],
        )
    ]
    assert len(set(sealed)) == 4


@pytest.mark.parametrize(
    ("old_text", "new_text"),
    [
        ('"partitionValues":{"well":"A"}', '"partitionValues":{"well":"B"}'),
        ('"partitionValues":', '"partitionValuer":'),
        ('"modificationTime":', '"modificationTile":'),
        ('\\"nullable\\":', '\\"nullabla\\":'),
        ('\\"type\\":\\"double\\"', '\\"type\\":\\"dloble\\"'),
    ],
)
def test_a_changed_log_entry_is_damage(
    filled: Catalog, old_text: str, new_text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Changes that were once read as another well, or reported as unreachable storage."""
    file = next(
        file
        for number in (5, 0)
        if old_text in (file := entry(filled, "tiles", number)).read_text(encoding="utf-8")
    )
    file.write_text(file.read_text(encoding="utf-8").replace(old_text, new_text))
    monkeypatch.setattr(delta_log, "_checked", {})  # As in another process.
    with pytest.raises(StorageError, match="restore") as raised:
        query(Catalog(filled.uri))
    assert str(raised.value).startswith(f"{file.parent}")
    assert raised.value.trouble == "damaged"


def test_a_catalogue_without_one_of_its_tables_is_damage(filled: Catalog) -> None:
    shutil.rmtree(f"{filled.uri}/crystals")
    with pytest.raises(StorageError, match="its table crystals is missing") as raised:
        Catalog.open(filled.uri)
    assert raised.value.trouble == "missing"
