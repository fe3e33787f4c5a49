"""What `mcn evaluate segmenter --corrections` prints for people."""

from __future__ import annotations

from typing import Any, Final

_COUNTS: Final = {
    "n": "crystals found",
    "kept": "… kept",
    "deleted": "… deleted",
    "redrawn": "… redrawn",
    "added": "crystals added",
}
_METRICS: Final = {
    "precision": "precision",
    "recall": "recall",
    "f1": "F1",
    "mean_iou": "mean IoU of those redrawn",
}


def segmenter_page(metrics: dict[str, Any]) -> str:
    """The metrics of a segmenter from `mcn.catalog.learning.evaluation`, one a line."""
    intervals = metrics["intervals"]
    lines = [f"{metrics['segmenter']} on {metrics['n_tiles']} judged tiles"]
    lines += [f"{title:28}{metrics[name]:>7,}" for name, title in _COUNTS.items()]
    for name, title in _METRICS.items():
        if metrics[name] is not None:
            low, high = intervals[name]
            lines.append(f"{title:28}{metrics[name]:7.3f} [{low:.3f}, {high:.3f}]")
    lines.append(
        f"In brackets: {100 * intervals['level']:.0f} % bootstrap intervals, from "
        f"{intervals['resamples']} resamples of {intervals['units']} {intervals['of']}."
    )
    return "\n".join(lines)
