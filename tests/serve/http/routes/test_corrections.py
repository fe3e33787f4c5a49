"""Corrections over HTTP: who, what, and what others had done."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from serve.settings import Settings
from serve.tokens import add_token

from ...small_core import HEIGHT, WELL, WIDTH, SmallCore

SQUARE = {"type": "Polygon", "coordinates": [[[5, 5], [15, 5], [15, 17], [5, 17], [5, 5]]]}


class Lab:
    """Two people who may correct, and one who may only read."""

    def __init__(self, client: TestClient, tokens: dict[str, str], tile_id: str) -> None:
        self.client, self.tokens, self.tile_id = client, tokens, tile_id

    def post(self, action: str, *crystals: dict[str, Any], by: str = "ann", **facts: Any) -> Any:
        body = {"action": action, "tile_id": self.tile_id, "crystals": list(crystals), **facts}
        return self.client.post("/v1/corrections", json=body, headers=self.as_(by))

    def as_(self, by: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.tokens[by]}"}

    def crystals(self, corrected: bool = True) -> list[dict[str, Any]]:
        answer = self.client.get(
            f"/v1/tiles/{self.tile_id}/crystals",
            params={"corrected": corrected},
            headers=self.as_("guest"),
        )
        assert answer.status_code == 200, answer.text
        crystals: list[dict[str, Any]] = answer.json()["crystals"]
        return crystals


@pytest.fixture
def lab(own_core: SmallCore, tmp_path: Path) -> Iterator[Lab]:
    file = tmp_path / "tokens.json"
    tokens = {
        "ann": add_token(file, "ann", ["read", "correct"]),
        "ben": add_token(file, "ben", ["read", "correct"]),
        "guest": add_token(file, "guest", ["read"]),
    }
    with own_core.client(Settings(tokens=str(file)), name="corrections") as client:
        yield Lab(client, tokens, own_core.tiles[0].tile_id)


def test_two_people_correct_one_crystal_at_once(lab: Lab) -> None:
    before = lab.crystals()
    crystal = {"crystal_id": before[0]["crystal_id"], "seen": None}
    first = lab.post("shape", crystal, shape="spherical", note="<b>round</b>")
    assert first.status_code == 201, first.text
    assert first.json()["superseded"] == []
    assert first.json()["crystals"][0]["corrected_by"] == "ann"
    second = lab.post("shape", crystal, shape="amorphous", by="ben").json()
    (replaced,) = second["superseded"]
    assert (replaced["corrected_by"], replaced["shape"], replaced["note"]) == (
        "ann",
        "spherical",
        "<b>round</b>",
    )
    now = lab.crystals()[0]
    assert (now["shape"], now["confidence"], now["corrected_by"]) == ("amorphous", 1.0, "ben")
    assert lab.crystals(corrected=False) == [
        {name: value for name, value in row.items() if not name.startswith("correct")}
        for row in before
    ]
    history = lab.client.get("/v1/corrections", headers=lab.as_("guest")).json()
    assert [row["corrected_by"] for row in history["corrections"]] == ["ben", "ann"]
    assert history["next"] is None
    one = lab.client.get(f"/v1/crystals/{crystal['crystal_id']}", headers=lab.as_("guest")).json()
    assert one["model"]["shape"] == before[0]["shape"]
    assert [row["shape"] for row in one["history"]] == ["spherical", "amorphous"]


def test_delete_undo_and_pages(lab: Lab) -> None:
    crystals = lab.crystals()
    changed = lab.post("delete", *({"crystal_id": row["crystal_id"]} for row in crystals[:3]))
    result = changed.json()
    assert len(result["removed"]) == 3
    assert len(lab.crystals()) == len(crystals) - 3
    undone = lab.client.post(f"/v1/corrections/{result['change_id']}/undo", headers=lab.as_("ben"))
    assert undone.status_code == 201
    assert lab.crystals() == crystals
    page = lab.client.get(
        "/v1/corrections", params={"limit": 4, "well": WELL}, headers=lab.as_("guest")
    ).json()
    assert (len(page["corrections"]), page["next"]) == (4, 4)
    rest = lab.client.get(
        "/v1/corrections",
        params={"limit": 4, "cursor": 4, "by": "ann"},
        headers=lab.as_("guest"),
    ).json()
    assert rest == {"corrections": [], "next": None}
    assert not page["corrections"][3]["in_effect"]
    unknown = lab.client.post(f"/v1/corrections/{'0' * 32}/undo", headers=lab.as_("ben"))
    assert unknown.status_code == 404


def test_outlines_are_polygons_or_codes(lab: Lab) -> None:
    crystals = lab.crystals()
    redrawn = lab.post("redraw", {"crystal_id": crystals[0]["crystal_id"]}, masks=[SQUARE]).json()
    assert redrawn["crystals"][0]["area_px"] == 120
    code = redrawn["corrections"][0]["mask_rle"]
    added = lab.post("add", masks=[code]).json()
    (crystal,) = added["crystals"]
    assert crystal["correction"] == "add"
    assert crystal["shape"]  # the classifier's
    assert crystal["area_px"] == 120
    assert 0 < crystal["confidence"] < 1
    beside = {**SQUARE, "coordinates": [[[x + 12, y] for x, y in SQUARE["coordinates"][0]]]}
    (neighbour,) = lab.post("add", masks=[beside]).json()["crystals"]
    parts = [{"crystal_id": row["crystal_id"]} for row in (crystal, neighbour)]
    merged = lab.post("merge", *parts).json()
    assert len(merged["removed"]) == 2
    assert merged["crystals"][0]["area_px"] == 240


@pytest.mark.parametrize(
    ("facts", "status", "reason"),
    [
        ({"action": "rename"}, 422, "action"),
        ({"action": "delete", "crystals": []}, 422, "0 crystals are named"),
        ({"action": "delete", "crystals": [{"crystal_id": "x"}]}, 422, "no crystal 'x'"),
        ({"action": "add", "masks": [{"type": "Point"}]}, 422, "an outline is not valid"),
        (
            {"action": "add", "masks": [{"size": [1, 1], "counts": "11"}]},
            422,
            f"the tile has [{HEIGHT}, {WIDTH}]",
        ),
        *(
            (
                {"action": "add", "masks": [{"size": [HEIGHT, WIDTH], "counts": counts}]},
                422,
                "counts are not a compressed run-length code",
            )
            for counts in ("P", "zzz", "11", "", "é", 7, [7], None)
        ),
        *(
            ({"action": "add", "masks": [{"size": size, "counts": "11"}]}, 422, "size is")
            for size in (None, "ab", [10**400, 1], [str(HEIGHT), WIDTH])
        ),
        (
            {
                "action": "add",
                "masks": [{"type": "Polygon", "coordinates": [[[10**400, 1], [2, 3], [4, 5]]]}],
            },
            422,
            "not valid",
        ),
        ({"action": "add", "tile_id": "0" * 32, "masks": [SQUARE]}, 404, "no tile"),
        ({"action": "add", "masks": [SQUARE], "note": "x" * 501}, 422, "note"),
        ({"action": "add", "masks": [SQUARE], "surprise": 1}, 422, "surprise"),
    ],
)
def test_impossible_changes_are_refused(
    lab: Lab, facts: dict[str, Any], status: int, reason: str
) -> None:
    body = {"tile_id": lab.tile_id, **facts}
    answer = lab.client.post("/v1/corrections", json=body, headers=lab.as_("ann"))
    assert answer.status_code == status, answer.text
    assert reason in answer.json()["detail"]
    assert "\n" not in answer.json()["detail"]


def test_who_may_correct(lab: Lab) -> None:
    refused = lab.post("delete", {"crystal_id": "x"}, by="guest")
    assert refused.status_code == 403
    assert "lacks the scope correct" in refused.json()["detail"]
    assert lab.client.post("/v1/corrections", json={}).status_code == 401
    session = lab.client.get("/v1/session", headers=lab.as_("guest")).json()
    assert session == {"name": "guest", "scopes": ["read"], "expires": None}
    assert lab.client.get("/v1/session").status_code == 401


def test_corrections_say_how_good_the_models_are(lab: Lab) -> None:
    def evaluation(**query: Any) -> Any:
        return lab.client.get("/v1/evaluation", params=query, headers=lab.as_("guest"))

    nothing = evaluation().json()
    assert (nothing["corrections"], nothing["classifiers"], nothing["segmenters"]) == (0, [], [])
    rows = lab.crystals()
    named = [{"crystal_id": row["crystal_id"], "seen": None} for row in rows[:2]]
    lab.post("shape", *named, shape=rows[0]["shape"])
    lab.post("delete", {"crystal_id": rows[-1]["crystal_id"], "seen": None})
    answer = evaluation(well=WELL)
    assert answer.status_code == 200, answer.text
    known = answer.json()
    assert (known["corrections"], known["crystals"], known["tiles"]) == (3, 3, 1)
    (classifier,) = known["classifiers"]
    assert (classifier["classifier"], classifier["n"]) == (rows[0]["classifier"], 2)
    assert sum(map(sum, classifier["confusion"])) == 2
    (segmenter,) = known["segmenters"]
    assert (segmenter["n"], segmenter["deleted"]) == (len(rows), 1)
    assert segmenter["precision"] == pytest.approx(1 - 1 / len(rows))
    assert segmenter["intervals"]["precision"][0] < segmenter["precision"]
    assert "queue" in known["note"]
    unknown = evaluation(well="nowhere")
    assert unknown.status_code == 404
    assert "nowhere" in unknown.json()["detail"]
