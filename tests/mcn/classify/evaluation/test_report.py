"""The page shows every metric and picture, for any evaluation."""

import json
import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from mcn.classify.classifier import CropClassifier, load_classifier
from mcn.classify.evaluation.evaluate import evaluate_classifier
from mcn.classify.evaluation.report import write_report
from mcn.classify.evaluation.scores import score_with_intervals
from mcn.classify.evaluation.tables import as_text
from mcn.classify.modeling.network import MicroCrystalNet, NetworkSettings
from mcn.cli.main import app
from mcn.crystals import Classified
from mcn.taxonomy import SHAPES, Taxonomy

Draw = Callable[..., Path]

ALL = ["confusion", "precision_recall", "roc", "reliability", "visibility", "embedding", "mistakes"]


class Page(HTMLParser):
    """Text of a page; checks that its linked files exist."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.folder, self.open_tags, self.pictures, self.cells = path.parent, [], [], 0
        self.words = ""
        self.feed(path.read_text(encoding="utf-8"))
        self.close()
        assert self.open_tags == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag not in ("script", "link", "iframe")
        if tag not in ("meta", "img", "br"):
            self.open_tags.append(tag)
        self.cells += tag == "td"
        attributes = dict(attrs)
        for name in ("src", "href"):
            if name in attributes:
                assert (self.folder / str(attributes[name])).is_file()
        if tag == "img":
            assert attributes["alt"]
            self.pictures.append(Path(str(attributes["src"])).stem)

    def handle_endtag(self, tag: str) -> None:
        assert self.open_tags.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += data


def test_the_report_of_a_rendered_core(core: Path, tmp_path: Path) -> None:
    named, out = tmp_path / "a <core> & more", tmp_path / "report"
    shutil.copytree(core, named)
    command = ["evaluate", "classifier", str(named), "--json", "--report", str(out)]
    done = CliRunner().invoke(app, command)
    metrics = json.loads(done.stdout)
    assert json.loads((out / "figures.json").read_text()) == metrics
    assert {"balanced_accuracy", "f1", "macro_f1", "ece", "confidence_ece", "by_visibility",
            "intervals"} <= metrics.keys()  # fmt: skip
    assert {path.name for path in out.iterdir()} == {
        "index.html", "figures.json", *(f"{name}.png" for name in ALL)
    }  # fmt: skip
    for name in ALL:
        with Image.open(out / f"{name}.png") as picture:
            assert len(picture.convert("RGB").getcolors(2**20) or []) > 20
    page = Page(out / "index.html")
    assert page.pictures == ALL
    assert metrics["classifier"] in page.words
    assert "a <core> & more" in page.words
    assert f"{metrics['accuracy']:.3f}" in page.words
    assert all(shape in page.words for shape in SHAPES)


def test_text_without_json(tmp_path: Path, draw_folders: Draw) -> None:
    root = draw_folders(4)
    done = CliRunner().invoke(app, ["evaluate", "classifier", str(root), "--limit", "12"])
    assert done.stdout.startswith(f"{load_classifier().name} on {root}\n")
    assert "{" not in done.stdout
    (row,) = [line for line in done.stdout.splitlines() if line.startswith("crystals")]
    assert row.split() == ["crystals", "12"]


@pytest.mark.parametrize(("each", "shapes"), [(1, SHAPES[:1]), (4, SHAPES[:3])])
def test_few_crystals_and_missing_shapes(
    each: int, shapes: tuple[str, ...], tmp_path: Path, draw_folders: Draw
) -> None:
    root = draw_folders(each, shapes=shapes)
    metrics = evaluate_classifier(root, load_classifier(), report=tmp_path)
    assert json.loads((tmp_path / "figures.json").read_text()) == metrics
    page = Page(tmp_path / "index.html")
    assert {"confusion", "reliability"} <= set(page.pictures)
    assert ("embedding" in page.pictures) == (each > 1)
    assert "spherical" in as_text(metrics)


def test_other_classes_and_a_separate_confidence(tmp_path: Path) -> None:
    rock = Taxonomy({"cubic": "faceted", "an_uncommonly_long_name_of_a_lump": "none"})
    network = MicroCrystalNet(
        NetworkSettings(stem=4, widths=(8, 8, 8), reduced=(4, 4, 4), taxonomy=rock)
    )
    classifier = CropClassifier(network, "tiny@0123456789ab")
    rng = np.random.default_rng(0)
    crops = rng.integers(0, 256, (30, 64, 64), dtype=np.uint8)
    classes = rng.integers(2, size=30)
    probabilities = classifier.classify(crops).probabilities
    named = Classified(probabilities, rng.uniform(size=30).astype(np.float32))
    metrics = {
        "classifier": classifier.name,
        "data": "rocks",
        **score_with_intervals(
            np.arange(30), classes, probabilities, rock.shapes, rock.facet_of, named.confidence
        ),
    }
    (tmp_path / "visibility.png").write_bytes(b"of another report")
    write_report(metrics, classes, named, tmp_path, crops, classifier)
    assert Page(tmp_path / "index.html").pictures == [name for name in ALL if name != "visibility"]
    assert not (tmp_path / "visibility.png").exists()
    assert metrics["facet_accuracy"] == metrics["accuracy"]
    assert metrics["confidence_ece"] != metrics["ece"]
