import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ..waiting import DEADLINE_S

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))
RELEASED = BENCHMARKS.parent.parent / "shared" / "data" / "published-mcn"


def test_agreement_follows_the_order_of_outputs() -> None:
    from published_probe import agreement, agreements

    counts = np.array([[1, 1, 8, 0], [0, 6, 2, 2], [10, 0, 0, 0], [0, 0, 0, 5]])
    sorted_names = ("amorphous", "polyhedral", "rhombic", "spherical")
    assert agreement(counts, sorted_names) == pytest.approx((0.8 + 0.6 + 1 + 1) / 4)
    assert agreement(counts, sorted_names[::-1]) == pytest.approx((0.1 + 0.2 + 0 + 0) / 4)
    assert agreements(counts)["best_of_all"]["order"] == sorted_names


def test_standardised_crops_have_zero_mean_on_the_crystal() -> None:
    from published_probe import standardised

    crops = np.zeros((1, 64, 64), np.float32)
    crops[0, 10:30, 5:60] = np.random.default_rng(0).integers(50, 200, (20, 55))
    result = standardised(crops)[0]
    inside = crops[0] > 0
    assert result[inside].mean() == pytest.approx(0, abs=1e-5)
    assert result[inside].std() == pytest.approx(1, abs=1e-5)
    assert not result[~inside].any()


@pytest.mark.long
@pytest.mark.skipif(not RELEASED.is_dir(), reason="../shared, with the weights, is absent")
def test_the_benchmark_prints_one_json_object(tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, BENCHMARKS / "published_probe.py", "--tiles", "2", "--emps", tmp_path],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=True,
    )
    metrics = json.loads(result.stdout)
    everything = metrics["rendered"]["all"]
    counts = everything["confusion_rows_shapes_columns_outputs"].values()
    assert sum(map(sum, counts)) == everything["n"] > 0
    assert metrics["real_particles"] == {}
