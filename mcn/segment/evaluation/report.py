"""Plots of an evaluation: overlays, the worst faults, precision and recall, sizes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mcn.mask import Mask
from mcn.plots import mask_outlines
from mcn.segment.evaluation.faults import PREDICTED_KINDS, TRUE_KINDS
from mcn.segment.evaluation.metrics import EvaluatedImage, diameters, precision_by_recall

_TRUE, _PREDICTED = "#35c2ff", "#ff7a00"


def write_report(
    evaluated: Sequence[EvaluatedImage], metrics: dict[str, Any], out: Path, n: int = 4
) -> None:
    """Write `figures.json`, plots, overlays of the best and worst images, and the largest faults.

    Parameters
    ----------
    evaluated : sequence of EvaluatedImage
        From `mcn.segment.evaluation.metrics.evaluate_images`.
    metrics : dict
        From `mcn.segment.evaluation.metrics.compute_metrics`.
    out : Path
        Folder to write to.
    n : int
        Overlays of each kind.
    """
    out.mkdir(parents=True, exist_ok=True)
    (out / "figures.json").write_text(json.dumps(metrics, indent=2))
    _precision_recall(evaluated).savefig(out / "precision_recall.png")
    _sizes(evaluated).savefig(out / "sizes.png")
    ranked = sorted((image for image in evaluated if image.truth), key=lambda image: image.f1)
    for kind in (*TRUE_KINDS, *PREDICTED_KINDS):
        if kind != "hit" and (crops := _fault_crops(evaluated, kind)):
            _fault_sheet(kind, crops).savefig(out / f"fault_{kind}.png")
    for kind, chosen in (("worst", ranked[:n]), ("best", ranked[::-1][:n])):
        for rank, image in enumerate(chosen, start=1):
            _overlay(image).savefig(out / f"{kind}_{rank}_{image.pair.name}.png")


def _fault_crops(
    evaluated: Sequence[EvaluatedImage], kind: str, n: int = 12
) -> list[tuple[EvaluatedImage, Mask]]:
    """The n largest crystals with a fault of this kind, and their images."""
    crops = []
    for image in evaluated:
        of_true = kind in TRUE_KINDS
        masks = image.truth if of_true else image.predicted
        kinds = image.faults.true if of_true else image.faults.predicted
        crops += [(image, mask) for mask, of in zip(masks, kinds, strict=True) if of == kind]
    return sorted(crops, key=lambda crop: -int(crop[1].pixels.sum()))[:n]


def _fault_sheet(kind: str, crops: Sequence[tuple[EvaluatedImage, Mask]]) -> Figure:
    rows = -(-len(crops) // 4)
    figure = Figure(figsize=(10, 2.6 * rows + 0.5), dpi=100, layout="constrained")
    figure.suptitle(f"{kind}: the largest; blue drawn, orange found")
    for axes in figure.subplots(rows, 4, squeeze=False).ravel():
        axes.set_axis_off()
    for axes, (image, mask) in zip(figure.axes, crops, strict=False):
        height, width = mask.pixels.shape
        margin = 10 + max(height, width) // 4
        axes.imshow(image.pair.read()[0], cmap="gray", vmin=0, vmax=255)
        for masks, colour in ((image.truth, _TRUE), (image.predicted, _PREDICTED)):
            axes.add_collection(LineCollection(_lines(masks), colors=colour, linewidths=1.2))
        axes.set(
            xlim=(mask.x - margin, mask.x + width + margin),
            ylim=(mask.y + height + margin, mask.y - margin),
        )
        axes.set_title(image.pair.name[:28], fontsize=7)
    return figure


def _precision_recall(evaluated: Sequence[EvaluatedImage]) -> Figure:
    precision = precision_by_recall(
        [image.truth for image in evaluated],
        [image.predicted for image in evaluated],
        [image.size for image in evaluated],
    )
    figure = Figure(figsize=(5.5, 4.5), dpi=120, layout="constrained")
    axes = figure.subplots()
    recall = np.linspace(0, 1, precision.shape[1])
    for row, iou in ((0, 0.5), (5, 0.75), (8, 0.9)):
        label = f"IoU {iou:.2f}: AP {precision[row].mean():.3f}"
        axes.plot(recall, precision[row], label=label)
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02))
    axes.legend(loc="lower left", frameon=False)
    return figure


def _sizes(evaluated: Sequence[EvaluatedImage]) -> Figure:
    figure = Figure(figsize=(5.5, 4.5), dpi=120, layout="constrained")
    axes = figure.subplots()
    series = {
        "drawn": (diameters([image.truth for image in evaluated]), _TRUE),
        "found": (diameters([image.predicted for image in evaluated]), _PREDICTED),
    }
    top = max((values.max() for values, _ in series.values() if len(values)), default=100.0)
    bins = np.geomspace(4, max(top, 8), 40).tolist()
    for name, (values, colour) in series.items():
        label = f"{name}: {len(values)}, mean {values.mean() if len(values) else 0:.1f} px"
        axes.hist(values, bins, histtype="step", color=colour, linewidth=1.8, label=label)
    axes.set(xscale="log", xlabel="equivalent diameter (px)", ylabel="crystals")
    axes.legend(frameon=False)
    return figure


def _overlay(image: EvaluatedImage) -> Figure:
    pixels, _ = image.pair.read()
    height, width = image.size
    figure = Figure(figsize=(width / 80, height / 80 + 0.5), dpi=100)
    axes = figure.add_axes((0, 0, 1, height / 80 / (height / 80 + 0.5)))
    axes.imshow(pixels, cmap="gray", vmin=0, vmax=255)
    axes.set_axis_off()
    for masks, colour in ((image.truth, _TRUE), (image.predicted, _PREDICTED)):
        axes.add_collection(LineCollection(_lines(masks), colors=colour, linewidths=1.2))
    figure.legend(
        handles=[
            Line2D([], [], color=_TRUE, label=f"drawn ({len(image.truth)})"),
            Line2D([], [], color=_PREDICTED, label=f"found ({len(image.predicted)})"),
        ],
        title=f"{image.pair.name}: F1 {image.f1:.2f}",
        loc="upper left",
        ncols=2,
        frameon=False,
    )
    return figure


def _lines(masks: Sequence[Mask]) -> list[np.ndarray]:
    return [line for mask in masks for line in mask_outlines(mask)]
