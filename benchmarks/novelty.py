"""How well the confidence separates crystals from outliers.

Newly rendered crystals, at least half visible, are compared with outliers in the silhouettes of
crystals: two kinds that were in training (letters, several crystals outlined as one) and others
that were not (stripes, photographs, white noise, and the ground between the particles of real
micrographs, EMPS, Yildirim & Cole 2021). Reports for each kind the area under the ROC curve of
the confidence and of the largest probability. Prints one JSON object.

    python benchmarks/novelty.py [--classifier M] [--tiles N] [--each N] [--emps DIR]
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from mcn.classify import load_classifier
from mcn.classify.data.dataset import render_examples
from mcn.classify.data.outliers import outliers
from mcn.crystals import CROP_SIZE

SHARED = Path(__file__).resolve().parents[1].parent / "shared" / "data"
Crops = NDArray[np.uint8]


def main() -> None:
    from sklearn.metrics import roc_auc_score

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--classifier", default="nsr")
    parser.add_argument("--tiles", type=int, default=60)
    parser.add_argument("--each", type=int, default=500, help="outliers of each kind")
    parser.add_argument("--seed", type=int, default=2718)
    parser.add_argument("--emps", type=Path, default=SHARED / "emps-train")
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    crystals = render_examples(options.tiles, options.seed, copies=0)
    crystals = crystals.take(crystals.visible >= 0.5)
    classifier = load_classifier(options.classifier)
    crystal_results = classifier.classify(crystals.crops)
    right = crystal_results.probabilities.argmax(axis=1) == crystals.classes
    kinds: dict[str, dict[str, Any]] = {}
    for kind, crops in outlier_kinds(crystals.crops, options.each, options.emps, rng):
        outlier_results = classifier.classify(crops)
        is_crystal = np.repeat([1, 0], [len(crystals), len(crops)])
        scores = {
            "confidence": np.concatenate([crystal_results.confidence, outlier_results.confidence]),
            "probability": np.concatenate(
                [
                    crystal_results.probabilities.max(axis=1),
                    outlier_results.probabilities.max(axis=1),
                ]
            ),
        }
        kinds[kind] = {
            "n": len(crops),
            "mean_confidence": round(float(outlier_results.confidence.mean()), 3),
            "share_above_half": round(float(np.mean(outlier_results.confidence > 0.5)), 3),
            **{f"auc_{name}": round(roc_auc_score(is_crystal, s), 3) for name, s in scores.items()},
        }
    print(
        json.dumps(
            {
                "classifier": classifier.name,
                "crystals": len(crystals),
                "accuracy": round(float(right.mean()), 3),
                "mean_confidence": round(float(crystal_results.confidence.mean()), 3),
                "share_above_half": round(float(np.mean(crystal_results.confidence > 0.5)), 3),
                "kinds": kinds,
            }
        )
    )


def outlier_kinds(
    crystals: Crops, count: int, emps: Path, rng: np.random.Generator
) -> Iterator[tuple[str, Crops]]:
    """Names of kinds, and `count` crops of each."""
    in_training = outliers(crystals, 2 * count, rng)
    yield "several outlined as one (met)", in_training[:count]
    yield "letters (met)", in_training[count:]
    silhouettes = crystals[rng.integers(len(crystals), size=count)] > 0
    for kind, fill in (("stripes", stripes), ("white noise", noise), ("photographs", photos)):
        yield kind, np.where(silhouettes, np.maximum(fill(count, rng), 1), 0).astype(np.uint8)
    if emps.is_dir():
        filled = ground(emps, count, rng)
        yield "ground of real micrographs", np.where(silhouettes, np.maximum(filled, 1), 0)


def stripes(count: int, rng: np.random.Generator) -> Crops:
    position = np.arange(CROP_SIZE)
    angle, wave = rng.uniform(0, np.pi, (count, 1, 1)), rng.uniform(3, 12, (count, 1, 1))
    along = np.cos(angle) * position + np.sin(angle) * position[:, None]
    return (127 + 90 * np.sign(np.sin(2 * np.pi * along / wave))).astype(np.uint8)


def noise(count: int, rng: np.random.Generator) -> Crops:
    """White noise, stronger than a detector's."""
    strength = rng.uniform(30, 80, (count, 1, 1))
    level = rng.uniform(40, 200, (count, 1, 1))
    field = level + strength * rng.standard_normal((count, CROP_SIZE, CROP_SIZE))
    return np.clip(field, 0, 255).astype(np.uint8)


def photos(count: int, rng: np.random.Generator) -> Crops:
    """Pieces of the photographs that come with scikit-image."""
    from skimage import data

    pictures = [getattr(data, name)() for name in ("camera", "coins", "text", "page", "moon")]
    return patches(
        [np.asarray(Image.fromarray(picture).convert("L")) for picture in pictures], count, rng
    )


def ground(emps: Path, count: int, rng: np.random.Generator) -> Crops:
    """Pieces of real micrographs without particles."""
    pieces: list[Crops] = []
    names = sorted(path.name for path in (emps / "images").glob("*.png"))
    for name in rng.permutation(names):
        image = np.asarray(Image.open(emps / "images" / name).convert("L"))
        occupied = np.asarray(Image.open(emps / "masks" / name)) > 0
        free = ndimage.minimum_filter(~occupied, CROP_SIZE, mode="constant")
        rows, columns = np.nonzero(free)
        for row in rng.permutation(len(rows))[:4]:
            y, x = rows[row] - CROP_SIZE // 2, columns[row] - CROP_SIZE // 2
            pieces.append(image[y : y + CROP_SIZE, x : x + CROP_SIZE])
        if len(pieces) >= count:
            break
    return np.stack([pieces[i % len(pieces)] for i in range(count)])


def patches(pictures: list[Crops], count: int, rng: np.random.Generator) -> Crops:
    def piece() -> Crops:
        picture = pictures[rng.integers(len(pictures))]
        y, x = (rng.integers(0, side - CROP_SIZE + 1) for side in picture.shape)
        return picture[y : y + CROP_SIZE, x : x + CROP_SIZE]

    return np.stack([piece() for _ in range(count)])


if __name__ == "__main__":
    main()
