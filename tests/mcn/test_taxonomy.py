"""Class lists are read from files of this version and of earlier ones."""

from pathlib import Path

import pytest

from mcn.taxonomy import TaxonomyError, read_taxonomy

SHAPES = '[shapes]\nplanar_e = "euhedral"\nnonplanar = "anhedral"\n'


@pytest.mark.parametrize("table", ["aliases", "also"])
def test_aliases_stand_for_shapes(tmp_path: Path, table: str) -> None:
    file = tmp_path / "dolomite.toml"
    file.write_text(f'{SHAPES}[{table}]\nsaddle = "nonplanar"\n')
    taxonomy = read_taxonomy(file)
    assert taxonomy.shapes == ("planar_e", "nonplanar")
    assert taxonomy.index("saddle") == taxonomy.index("nonplanar") == 1
    assert taxonomy.facet_indices == (0, 1)


def test_both_tables_at_once_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "dolomite.toml"
    file.write_text(f'{SHAPES}[aliases]\na = "nonplanar"\n[also]\nb = "nonplanar"\n')
    with pytest.raises(TaxonomyError, match="nothing else"):
        read_taxonomy(file)
