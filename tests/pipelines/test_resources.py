"""Settings of stages come from a file and from flags, and wrong ones say what there is."""

from pathlib import Path

import pytest

from pipelines.pipeline import stage_resources
from pipelines.resources import ResourceError, read_overrides


def test_flags_go_over_the_file(tmp_path: Path) -> None:
    config = tmp_path / "scan.toml"
    config.write_text("[segment]\nmost = 8\ngpus = 0.5\nbatch = 16\n[read]\nseconds = 30\n")
    told = read_overrides(str(config), ["segment.batch=4", "classify.least=2"])
    pools = stage_resources(16, 4, 100, told)
    segment = pools["segment"]
    assert (segment.least, segment.most, segment.gpus, segment.batch) == (4, 8, 0.5, 4)
    assert pools["read"].seconds == 30
    assert (pools["classify"].least, pools["classify"].most) == (2, 4)


@pytest.mark.parametrize("cores", [1, 2, 4, 16, 64])
@pytest.mark.parametrize("gpus", [0, 1, 8])
def test_every_stage_can_run_beside_the_others(cores: int, gpus: int) -> None:
    """Otherwise a stage would wait for ever for what another one holds."""
    pools = stage_resources(max(cores, gpus), gpus, 1000)
    models = [pools["segment"], pools["classify"]]
    assert sum(pool.least * pool.cpus for pool in models) + 0.2 <= max(cores, gpus) + 1e-9
    assert sum(pool.least * pool.gpus for pool in models) <= gpus
    if not gpus:
        assert all(pool.threads == 1 for pool in models), "threads would fight for the cores"


def test_small_scans_write_often_and_large_ones_long_files() -> None:
    assert stage_resources(2, 0, 24)["write"].batch == 8
    assert stage_resources(2, 0, 10_000)["write"].batch == 50
    assert stage_resources(2, 0, 10**7)["write"].batch == 256


@pytest.mark.parametrize(
    ("flag", "says"),
    [
        ("segment=3", "write STAGE.SETTING=VALUE"),
        ("segmnt.batch=3", "no stage 'segmnt'; there are read, segment, classify, write"),
        ("segment.size=3", "segment has no 'size'; there are least, most"),
        ("segment.batch=2.5", "segment.batch = '2.5'; give a whole number"),
        ("segment.gpus=many", "segment.gpus = 'many'; give a number"),
    ],
)
def test_a_wrong_flag(flag: str, says: str) -> None:
    with pytest.raises(ResourceError, match=says):
        read_overrides(None, [flag])


@pytest.mark.parametrize(
    ("told", "says"),
    [
        ({"batch": 0}, "batch = 0; give a whole number from 1"),
        ({"least": 4, "most": 2}, "least = 4 workers is above most = 2"),
        ({"gpus": -1.0}, "give shares from 0"),
        ({"seconds": 0.0}, "give a time above 0"),
    ],
)
def test_a_value_that_cannot_be(told: dict[str, float], says: str) -> None:
    with pytest.raises(ResourceError, match=says):
        stage_resources(2, 0, 10, {"segment": told})


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[segment\n", "cannot be read as TOML"),
        ("batch = 3", "batch stands alone"),
        ("[segment]\nbatch = true", "segment.batch = True; give a whole number"),
        ("[segmnt]\nbatch = 3", "no stage 'segmnt'"),
    ],
)
def test_a_wrong_file(tmp_path: Path, text: str, says: str) -> None:
    config = tmp_path / "scan.toml"
    config.write_text(text)
    with pytest.raises(ResourceError, match=says) as error:
        read_overrides(str(config))
    assert str(config) in str(error.value)
    with pytest.raises(ResourceError, match="cannot be read"):
        read_overrides(str(tmp_path / "none.toml"))
