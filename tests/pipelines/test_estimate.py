"""Hours and cost follow from given values, and a rate can be measured."""

from pathlib import Path

import pytest

from pipelines.estimate import BUSY, EstimateError, ScanRate, calibrate, estimate
from pipelines.models import ScanModels
from pipelines.scan import ScanSettings


def test_hours_and_cost() -> None:
    result = estimate(36_000_000, ScanRate(10 / BUSY, "as given"), workers=10, price_per_hour=2.5)
    assert result.tiles_per_second == pytest.approx(100)
    assert result.hours == pytest.approx(100)
    assert result.worker_hours == pytest.approx(1000)
    assert result.cost == pytest.approx(2500)
    assert len(result.assumptions) == 5
    assert estimate(10, ScanRate(1.0, "as given")).cost is None


@pytest.mark.parametrize(
    ("tiles", "rate", "workers", "price"),
    [(0, 1.0, 1, None), (1, 0.0, 1, None), (1, float("nan"), 1, None), (1, 1.0, 0, None),
     (1, 1.0, 1, -2.0)],
)  # fmt: skip
def test_invalid_values_are_refused(
    tiles: int, rate: float, workers: int, price: float | None
) -> None:
    with pytest.raises(EstimateError, match="give"):
        estimate(tiles, ScanRate(rate, "as given"), workers, price)


@pytest.mark.long
@pytest.mark.ray
@pytest.mark.usefixtures("ray_session")
def test_a_rate_is_measured_on_some_tiles(core: Path, models: ScanModels) -> None:
    pace, tiles = calibrate(str(core), ScanSettings(), 3, models)
    assert tiles == 8
    assert pace.tiles_per_second > 0
    assert pace.source.startswith("measured here on 3 of 8 tiles, ")
