"""A web page with the metrics of a classifier, their intervals and figures."""

from __future__ import annotations

import json
from html import escape
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from mcn.classify.classifier import CropClassifier
from mcn.classify.evaluation import plots as draw
from mcn.classify.evaluation.tables import (
    Table,
    basis,
    heading,
    key_table,
    shape_table,
    visibility_table,
)
from mcn.crystals import Classified

EMBEDDED = 2000
"""Maximum number of crystals in the t-SNE plot, drawn with a fixed seed."""

_CAPTIONS = {
    "confusion": "Confusion: crystals by true and predicted shape, shaded by the true shape.",
    "precision_recall": "Precision over recall of each shape against the rest.",
    "roc": "True over false positive rate of each shape against the rest.",
    "reliability": "Reliability: on the dashed line, 80 % of the predictions with a "
    "probability of 0.8 are right. Below, the number of crystals by probability.",
    "visibility": "Accuracy by the share of a crystal that its neighbours and the picture's edge "
    "leave visible, with intervals.",
    "embedding": "t-SNE of the network's features: similar crystals are close together. "
    "Coloured by true shape; black rings are misclassified.",
    "mistakes": "The misclassified crystals with the highest confidence: crops as the classifier "
    "sees them, with the confidence.",
}

_PAGE = Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
body { margin: 0 auto; max-width: 70rem; padding: 1rem; color: #30343b; background: #fff;
  font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; line-height: 1.25; }
h2 { font-size: 1.15rem; margin-top: 2rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; overflow-wrap: normal; }
th, td { padding: .3rem .8rem .3rem 0; text-align: right; white-space: nowrap;
  border-bottom: 1px solid #d8dce1; }
th:first-child { text-align: left; }
.pictures { display: grid; gap: 2rem 1.5rem;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 28rem), 1fr)); }
figure { margin: 0; }
img { max-width: 100%; height: auto; }
figcaption { font-size: .9rem; color: #57606a; }
</style>
</head>
<body>
<h1>$title</h1>
<p>$basis</p>
$tables
<h2>Pictures</h2>
<div class="pictures">
$pictures
</div>
<p>All metrics: <a href="figures.json">figures.json</a></p>
</body>
</html>
""")


def write_report(
    metrics: dict[str, Any],
    classes: NDArray[np.int64],
    classified: Classified,
    out: Path,
    crops: NDArray[np.uint8] | None = None,
    classifier: CropClassifier | None = None,
) -> None:
    """Write `index.html`, `figures.json` and a PNG of each picture.

    Parameters
    ----------
    metrics : dict
        From `mcn.classify.evaluation.evaluate.evaluate_classifier` or
        `mcn.classify.evaluation.predictions.evaluate_predictions`.
    classes : (N,) int64 array
        True classes, indices into `metrics["shapes"]`.
    classified : Classified
        Probabilities and confidences of the N crystals.
    out : Path
        Folder to write to.
    crops : (N, 64, 64) uint8 array, optional
        Pictures of the crystals; without them there is no sheet of mistakes.
    classifier : CropClassifier, optional
        Gives the embeddings of the crops; without it there is no t-SNE.
    """
    out.mkdir(parents=True, exist_ok=True)
    (out / "figures.json").write_text(json.dumps(metrics, indent=2))
    pictures = _pictures(metrics, classes, classified, crops, classifier)
    for name in _CAPTIONS:  # pictures of an earlier report do not stay
        (out / f"{name}.png").unlink(missing_ok=True)
    for name, picture in pictures.items():
        picture.savefig(out / f"{name}.png")
    (out / "index.html").write_text(_page(metrics, list(pictures)), encoding="utf-8")


def _pictures(
    metrics: dict[str, Any],
    classes: NDArray[np.int64],
    classified: Classified,
    crops: NDArray[np.uint8] | None,
    classifier: CropClassifier | None,
) -> dict[str, Figure]:
    shapes, probabilities = metrics["shapes"], classified.probabilities
    predicted, largest = probabilities.argmax(axis=1), probabilities.max(axis=1)
    right = predicted == classes
    errors = (metrics["ece"], metrics["confidence_ece"])
    confidence = None if np.array_equal(classified.confidence, largest) else classified.confidence
    pictures = {
        "confusion": draw.confusion_figure(metrics["confusion"], shapes),
        "precision_recall": draw.precision_recall_figure(classes, probabilities, shapes),
        "roc": draw.roc_figure(classes, probabilities, shapes),
        "reliability": draw.reliability_figure(right, largest, confidence, errors),
    }
    if metrics.get("by_visibility"):
        pictures["visibility"] = draw.visibility_figure(metrics["by_visibility"])
    if crops is not None and classifier is not None and len(crops) >= 3:
        rows = np.random.default_rng(0).permutation(len(crops))[:EMBEDDED]
        features = classifier.features_and_logits(crops[rows])[0]
        pictures["embedding"] = draw.embedding_figure(features, classes[rows], right[rows], shapes)
    if crops is not None and not right.all():
        pictures["mistakes"] = draw.mistakes_figure(
            crops, classes, predicted, classified.confidence, shapes
        )
    return pictures


def _page(metrics: dict[str, Any], pictures: list[str]) -> str:
    tables = {
        "Key metrics": key_table(metrics),
        "By shape": shape_table(metrics),
        "By visible share": visibility_table(metrics),
    }
    return _PAGE.substitute(
        title=escape(heading(metrics)),
        basis=escape(basis(metrics)),
        tables="\n".join(_table(title, rows) for title, rows in tables.items() if rows),
        pictures="\n".join(_figure(name) for name in pictures),
    )


def _table(title: str, rows: Table) -> str:
    head, *body = ([escape(cell) for cell in row] for row in rows)
    lines = ["".join(f'<th scope="col">{cell}</th>' for cell in head)]
    lines += [
        f'<th scope="row">{first}</th>' + "".join(f"<td>{cell}</td>" for cell in cells)
        for first, *cells in body
    ]
    inside = "\n".join(f"<tr>{line}</tr>" for line in lines)
    return f'<h2>{escape(title)}</h2>\n<div class="wide"><table>\n{inside}\n</table></div>'


def _figure(name: str) -> str:
    caption = escape(_CAPTIONS[name])
    return (
        f'<figure><a href="{name}.png"><img src="{name}.png" alt="{caption}"></a>\n'
        f"<figcaption>{caption}</figcaption></figure>"
    )
