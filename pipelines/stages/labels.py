"""The names of the models and of the scan, which every row of a scan has."""

from __future__ import annotations

from dataclasses import dataclass

from mcn.errors import McnError


@dataclass(frozen=True)
class ScanLabels:
    """Names of the models and of the scan, written to every row."""

    segmenter: str
    classifier: str
    scan_id: str


class ModelError(McnError):
    """A worker loaded another model than the scan asks for."""


def check_model_name(loaded: str, expected: str) -> None:
    """Raise `ModelError` if a worker loaded another model than its rows will name."""
    if loaded != expected:
        raise ModelError(
            f"a worker loaded {loaded}, not {expected}; install the same mcn and the same weights "
            "on all machines"
        )
