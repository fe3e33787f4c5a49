"""Settings of stages come from a file and from flags; an invalid one is named with advice."""

from pathlib import Path

import pytest

from pipelines.pipeline import stage_resources
from pipelines.resources import ResourceError, read_overrides


def test_flags_override_the_file(tmp_path: Path) -> None:
    config = tmp_path / "scan.toml"
    config.write_text("[segment]\nmost = 8\ngpus = 0.5\nbatch = 16\n[read]\nseconds = 30\n")
    overrides = read_overrides(str(config), ["segment.batch=4", "classify.least=2"])
    pools = stage_resources(16, 4, 100, overrides)
    segment = pools["segment"]
    assert (segment.least, segment.most, segment.gpus, segment.batch) == (4, 8, 0.5, 4)
    assert pools["read"].seconds == 30
    assert (pools["classify"].least, pools["classify"].most) == (2, 4)


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("segment=3", "write STAGE.SETTING=VALUE"),
        ("segmnt.batch=3", "no stage 'segmnt'; use one of read, segment, classify, write"),
        ("segment.size=3", "segment has no setting 'size'; use one of least, most"),
        ("segment.batch=2.5", "segment.batch = '2.5'; give a whole number"),
        ("segment.gpus=many", "segment.gpus = 'many'; give a number"),
    ],
)
def test_invalid_flags_are_refused(flag: str, message: str) -> None:
    with pytest.raises(ResourceError, match=message):
        read_overrides(None, [flag])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch": 0}, "batch = 0; give a whole number from 1"),
        ({"least": 4, "most": 2}, "least = 4 workers is above most = 2"),
        ({"gpus": -1.0}, "give shares from 0"),
        ({"seconds": 0.0}, "give a time above 0"),
    ],
)
def test_invalid_values_are_refused(settings: dict[str, float], message: str) -> None:
    with pytest.raises(ResourceError, match=message):
        stage_resources(2, 0, 10, {"segment": settings})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[segment\n", "cannot be read as TOML"),
        ("batch = 3", "batch is not a table"),
        ("[segment]\nbatch = true", "segment.batch = True; give a whole number"),
        ("[segmnt]\nbatch = 3", "no stage 'segmnt'"),
    ],
)
def test_invalid_files_are_refused(tmp_path: Path, text: str, message: str) -> None:
    config = tmp_path / "scan.toml"
    config.write_text(text)
    with pytest.raises(ResourceError, match=message) as error:
        read_overrides(str(config))
    assert str(config) in str(error.value)
    with pytest.raises(ResourceError, match="cannot be read"):
        read_overrides(str(tmp_path / "none.toml"))
