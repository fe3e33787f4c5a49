"""The catalogue as it was, and logs of every kind, over HTTP."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import lasio
import pytest
from PIL import Image
from starlette.testclient import TestClient

from mcn.catalog.depth_log.table import depth_log
from mcn.catalog.formats import row_objects
from mcn.catalog.query import query
from mcn.catalog.reading.versions import history
from mcn.catalog.schema import tile_table
from mcn.catalog.store import Catalog
from mcn.catalog.wells_table.table import import_wells

from ...small_core import WELL, SmallCore

PATH = f"/v1/wells/{quote(WELL, safe='')}"


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> SmallCore:
    """A core whose first tile failed when it was scanned again, as version 2."""
    from ...small_core import make_small_core

    folder = tmp_path_factory.mktemp("grown")
    core = make_small_core(folder)
    failed = dataclasses.replace(core.tiles[0], status="failed", error="gone", n_crystals=0)
    core.catalog.commit(query(core.catalog, limit=0), tile_table([failed]))
    tops = folder / "tops.csv"
    tops.write_text(f'well,formation,depth_m\n"{WELL}",Arab,1205\n"{WELL}",Hith,1215\n')
    import_wells(core.catalog, [str(tops)])
    return core


@pytest.fixture(scope="module")
def client(grown: SmallCore) -> Iterator[TestClient]:
    with grown.client(name="versions") as client:
        yield client


def ask(client: TestClient, path: str, **params: Any) -> Any:
    answer = client.get(path, params=params)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_every_question_can_be_asked_of_a_version(grown: SmallCore, client: TestClient) -> None:
    then, tile = Catalog(grown.catalog.uri, 1), grown.tiles[0].tile_id
    count, now = query(then).num_rows, query(grown.catalog).num_rows
    assert count > now
    for as_of, crystals, failed in ((1, count, 1), (2, now, 2), (None, now, 2)):
        params = {} if as_of is None else {"as_of": as_of}
        (row,) = ask(client, "/v1/wells", **params)["wells"]
        assert (row["crystals"], row["tiles_failed"]) == (crystals, failed)
        assert ask(client, PATH, **params)["crystals"] == crystals
        page = ask(client, f"{PATH}/crystals", limit=5000, **params)
        assert len(page["crystals"]) == crystals
        tiles = ask(client, f"{PATH}/tiles", status="failed", **params)["tiles"]
        assert len(tiles) == failed
        for rows in (
            ask(client, f"{PATH}/log", **params),
            [
                row
                for row in ask(client, f"{PATH}/textures", **params)["textures"]
                if row["scheme"] == "deville_2011"
            ],
        ):
            assert sum(row["n_crystals"] for row in rows) == crystals
        assert ask(client, f"/v1/tiles/{tile}", **params)["rows"][0]["status"] == (
            "ok" if as_of == 1 else "failed"
        )
        of_tile = ask(client, f"/v1/tiles/{tile}/crystals", **params)["crystals"]
        assert len(of_tile) == (count - now if as_of == 1 else 0)
    crystal = query(then, limit=1)["crystal_id"][0].as_py()
    assert ask(client, f"/v1/crystals/{crystal}", as_of=1)["crystal"]["crystal_id"] == crystal
    assert client.get(f"/v1/crystals/{crystal}").status_code == 404
    for picture in ("labels", "overlay"):
        past = client.get(f"/v1/tiles/{tile}/{picture}", params={"as_of": "1"})
        assert Image.open(io.BytesIO(past.content)).getbbox() is not None
    assert ask(client, "/v1/corrections", as_of=1)["corrections"] == []
    link = client.get(f"{PATH}/crystals", params={"as_of": 1, "limit": 5}).links["next"]["url"]
    assert "as_of=1" in link


def test_a_time_with_a_zone_needs_no_escapes(grown: SmallCore, client: TestClient) -> None:
    time = history(grown.catalog)["time"][1].as_py().isoformat()
    assert time.endswith("+00:00")
    then = query(Catalog(grown.catalog.uri, 1)).num_rows
    for text in (time, quote(time)):
        (row,) = client.get(f"/v1/wells?as_of={text}").json()["wells"]
        assert row["crystals"] == then


@pytest.mark.parametrize(
    ("path", "params", "part"),
    [
        ("/v1/wells", {"as_of": "1999-01-01"}, "give a version from 0 to 2"),
        (f"{PATH}/log", {"as_of": "1999-01-01T00:00"}, "give a version from 0 to 2"),
        (f"{PATH}/crystals", {"as_of": "99"}, "give a version from 0 to 2"),
        (f"{PATH}/tiles", {"as_of": "yesterday"}, "is no version and no time"),
        (PATH, {"as_of": ""}, "is no version and no time"),
        (f"{PATH}/log", {"step": "0"}, "a step of 0 m is impossible"),
        (f"{PATH}/log", {"step": "ten"}, "write it as 10 or 10ft"),
        (f"{PATH}/log", {"step": "nan"}, "write it as 10 or 10ft"),
        (f"{PATH}/log", {"depth": "5:1"}, "reversed"),
        (f"{PATH}/log", {"depth": "1:2"}, "at these depths"),
        (f"{PATH}/log", {"formation": "Arb"}, "did you mean 'Arab'"),
        (f"{PATH}/log", {"formation": "Arab", "depth": "1:2"}, "outside these depths"),
        (f"{PATH}/log", {"zone_count": "2"}, "needs zones=true"),
        (f"{PATH}/log", {"zones": "true", "zone_count": "9"}, "give 1 to"),
        (f"{PATH}/log", {"seed": "-1"}, "seed"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    client: TestClient, path: str, params: dict[str, str], part: str
) -> None:
    answer = client.get(path, params=params)
    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    detail = answer.json()["detail"]
    assert part in detail
    assert "\n" not in detail


def test_a_well_that_came_later_was_not_there(client: TestClient) -> None:
    answer = client.get(PATH, params={"as_of": "0"})
    assert answer.status_code == 404
    assert ask(client, "/v1/wells", as_of="0") == {"wells": []}


def test_logs_have_windows_formations_and_feet(grown: SmallCore, client: TestClient) -> None:
    def expected(step: float, depth: Any) -> list[dict[str, Any]]:
        return row_objects(depth_log(grown.catalog, WELL, step, depth=depth))

    window = {"depth": "1205:1225", "step": "20"}
    assert ask(client, f"{PATH}/log", **window) == expected(20.0, (1205.0, 1225.0))
    feet = {"depth": "3950ft:4100ft", "step": "10ft"}
    assert ask(client, f"{PATH}/log", **feet) == expected(3.048, (1203.96, 1249.68))
    (row,) = ask(client, f"{PATH}/log", formation="arab", step=10)
    assert (row["depth_top"], row["n_tiles"]) == (1205.0, 1)
    las = client.get(f"{PATH}/log", params=window, headers={"Accept": "text/plain"})
    assert len(lasio.read(io.StringIO(las.text))["NCRY"]) == 1


def test_zones_are_listed_and_drawn(client: TestClient) -> None:
    params = {"as_of": 1, "step": 10, "zones": True, "zone_count": 1}
    (zone,) = ask(client, f"{PATH}/log", **params)
    assert (zone["zone"], zone["n_tiles"]) == (1, 3)
    picture = client.get(f"{PATH}/log", params=params, headers={"Accept": "image/png"})
    assert Image.open(io.BytesIO(picture.content)).width > 300
    las = client.get(f"{PATH}/log", params=params, headers={"Accept": "text/plain"})
    assert las.status_code == 406


def test_corrected_logs(own_core: SmallCore) -> None:
    with own_core.client(name="corrected-log") as client:
        tile = own_core.tiles[0].tile_id
        crystals = ask(client, f"/v1/tiles/{tile}/crystals")["crystals"]
        body = {
            "action": "delete",
            "tile_id": tile,
            "crystals": [{"crystal_id": row["crystal_id"], "seen": None} for row in crystals[:3]],
        }
        before = own_core.catalog.snapshot().tiles.version
        assert client.post("/v1/corrections", json=body).status_code == 201
        counts = [
            sum(row["n_crystals"] for row in ask(client, f"{PATH}/log", **params))
            for params in ({}, {"corrected": True}, {"corrected": True, "as_of": before})
        ]
    assert counts[0] - counts[1] == 3
    assert counts[1] == counts[2]  # The latest version goes on until the next commit.
