"""Cores and GPUs of a Ray cluster, for the scan and for the endpoint."""

from __future__ import annotations

from collections.abc import Mapping


def cores_and_gpus(resources: Mapping[str, float]) -> tuple[float, float]:
    """Cores and GPUs among the resources that `ray.cluster_resources()` returns.

    A cluster that reports no cores counts as one core.
    """
    return resources.get("CPU", 1.0), resources.get("GPU", 0.0)
