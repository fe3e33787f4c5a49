"""The views hold the latest rows, all rows, and the rows as committed, of the files given."""

from __future__ import annotations

from mcn.catalog.active_files import files
from mcn.catalog.reading.views import count_orphans, open_views
from mcn.catalog.store import Catalog


def test_views_of_the_files_of_one_well(core: Catalog) -> None:
    now = core.snapshot()
    with open_views(core, files(now.tiles, ["A"]), files(now.crystals, ["A"])) as connection:
        counts = {
            view: connection.sql(f"SELECT count(*) FROM {view}").fetchall()[0][0]
            for view in ("tiles", "all_tiles", "tile_rows", "crystals", "all_crystals")
        }
        assert counts == {
            "tiles": 40,
            "all_tiles": 40,
            "tile_rows": 40,
            "crystals": 200,
            "all_crystals": 200,
        }
        assert count_orphans(connection) == 0
    with open_views(core, files(now.tiles, ["C"]), files(now.crystals, ["A"])) as connection:
        assert count_orphans(connection) == 200


def test_a_condition_on_the_well_chooses_the_files_of_both_tables(core: Catalog) -> None:
    now = core.snapshot()
    with open_views(core, files(now.tiles), files(now.crystals)) as connection:
        question = "EXPLAIN SELECT shape, count(*) FROM crystals WHERE well = 'A' GROUP BY shape"
        ((_, plan),) = connection.sql(question).fetchall()
    assert plan.count("\"well\" = 'A'") == 2, plan
