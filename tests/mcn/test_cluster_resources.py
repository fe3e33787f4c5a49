"""Cores and GPUs are counted from the resources that Ray reports."""

from __future__ import annotations

import pytest

from mcn.cluster_resources import cores_and_gpus


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        ({"CPU": 16.0, "GPU": 2.0, "memory": 1e11, "node:10.0.0.1": 1.0}, (16.0, 2.0)),
        ({"CPU": 4.0, "object_store_memory": 1e9}, (4.0, 0.0)),
        ({"GPU": 1.0}, (1.0, 1.0)),
        ({}, (1.0, 0.0)),
    ],
)
def test_a_cluster_without_cores_counts_as_one_core(
    resources: dict[str, float], expected: tuple[float, float]
) -> None:
    assert cores_and_gpus(resources) == expected
