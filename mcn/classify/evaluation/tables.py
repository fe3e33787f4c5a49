"""The metrics of a classifier as tables of text, for a terminal and for a page."""

from __future__ import annotations

from typing import Any

Table = list[list[str]]
"""Rows of cells; the first row names the columns."""

_SUBSETS = {
    "recognisable": "at least half visible",
    "spoilt_masks": "perturbed masks",
}
_KEY_METRICS = {
    "accuracy": "accuracy",
    "top2_accuracy": "accuracy of the two most probable",
    "balanced_accuracy": "balanced accuracy",
    "facet_accuracy": "facet accuracy",
    "macro_average_precision": "mean AP",
    "macro_roc_auc": "mean ROC AUC",
    "macro_f1": "mean F1",
    "ece": "calibration error",
    "confidence_ece": "… of the confidence",
    "loss": "cross-entropy (nats)",
}


def key_table(metrics: dict[str, Any]) -> Table:
    """One row per metric of all shapes; one column for all crystals, and one per subset."""
    kinds = {"all crystals": metrics} | {
        title: metrics[name] for name, title in _SUBSETS.items() if name in metrics
    }
    rows = [["", *kinds], ["crystals", *(str(kind["n"]) for kind in kinds.values())]]
    for name, title in _KEY_METRICS.items():
        if metrics.get(name) is not None:
            rows.append([title, *(_cell(kind, name) for kind in kinds.values())])
    return rows


def shape_table(metrics: dict[str, Any]) -> Table:
    """One row per shape, numbered in order."""
    return [["shape", "crystals", "AP", "ROC AUC", "F1"]] + [
        [
            f"{number} {shape}",
            str(metrics["n_by_shape"][shape]),
            *(_cell(metrics, name, shape) for name in ("average_precision", "roc_auc", "f1")),
        ]
        for number, shape in enumerate(metrics["shapes"])
    ]


def confusion_table(metrics: dict[str, Any]) -> Table:
    """One row per true shape, one column per predicted shape."""
    shapes = metrics["shapes"]
    return [["true / predicted:", *map(str, range(len(shapes)))]] + [
        [f"{number} {shape}", *map(str, metrics["confusion"][number])]
        for number, shape in enumerate(shapes)
    ]


def visibility_table(metrics: dict[str, Any]) -> Table:
    """One row per bin of the visible share; empty if it is not known."""
    bins = metrics.get("by_visibility") or []
    names = ("accuracy", "facet_accuracy", "macro_average_precision", "macro_roc_auc", "ece")
    titles = ("accuracy", "facet accuracy", "mean AP", "mean ROC AUC", "calibration error")
    rows = [
        [visible_range(part["visible"]), str(part["n"]), *(_cell(part, name) for name in names)]
        for part in bins
    ]
    return [["visible", "crystals", *titles], *rows] if rows else []


def visible_range(ends: list[float]) -> str:
    """The ends of a bin of the visible share."""
    return f"{ends[0] * 100:.0f}–{ends[1] * 100:.0f} %"


def heading(metrics: dict[str, Any]) -> str:
    """The classifier and the data that it was evaluated on."""
    return f"{metrics.get('classifier', 'Predictions')} on {metrics['data']}"


def basis(metrics: dict[str, Any]) -> str:
    """A sentence or two on what was evaluated and how the intervals were computed."""
    intervals = metrics["intervals"]
    matched = metrics.get("matched")
    match_text = (
        ""
        if matched is None
        else f"{metrics['segmenter']} found {matched['n_matched']} of {matched['n_true']} true "
        f"crystals ({100 * matched['recall']:.1f} %) at an IoU of at least 0.5, "
        f"{matched['mean_iou']:.2f} on average; only these are evaluated. "
    )
    return (
        f"{match_text}In brackets: {100 * intervals['level']:.0f} % bootstrap intervals, from "
        f"{intervals['resamples']} resamples of {intervals['units']} {intervals['of']}."
    )


def as_text(metrics: dict[str, Any]) -> str:
    """All tables, for a terminal."""
    tables = (
        key_table(metrics),
        shape_table(metrics),
        confusion_table(metrics),
        visibility_table(metrics),
    )
    blocks = ("\n".join(_aligned(table)) for table in tables if table)
    return "\n\n".join([heading(metrics), *blocks, basis(metrics)])


def _aligned(table: Table) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in table
    ]


def _cell(metrics: dict[str, Any], name: str, shape: str | None = None) -> str:
    """A metric with its interval, as 0.912 [0.894, 0.930]."""
    value, ends = metrics[name], metrics["intervals"].get(name)
    if shape is not None:
        value, ends = value[shape], ends[shape]
    if value is None:
        return "–"
    return f"{value:.3f} [{ends[0]:.3f}, {ends[1]:.3f}]" if ends else f"{value:.4f}"
