import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mcn.segment.sam import build_compact
from mcn.segment.samples import SampleSettings
from mcn.segment.segmenter import SegmenterError, load_compact, load_segmenter, segmenter_name
from mcn.segment.train import Progress, TrainSettings, train_segmenter
from mcn.synthetic.dataset import write_dataset

TINY = TrainSettings(
    steps=6,
    batch=2,
    sample=SampleSettings(size=96, prompts=6),
    epoch=3,
    correction=1.0,
    max_images=1,
    workers=0,
)


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rendered")
    write_dataset(folder / "set", 3, seed=5, height=128, width=128)
    return folder / "set"


def test_a_killed_training_goes_on_where_it_stood(rendered: Path, tmp_path: Path) -> None:
    out = tmp_path / "tiny.safetensors"
    steps: list[int] = []

    class KilledError(Exception):
        pass

    def die_at_four(progress: Progress) -> None:
        steps.append(progress.step)
        if progress.step == 4:
            raise KilledError

    with pytest.raises(KilledError):
        train_segmenter([rendered], out, TINY, build_compact(), die_at_four)
    best = train_segmenter(
        [rendered], out, TINY, build_compact(), lambda progress: steps.append(progress.step)
    )
    assert steps == [1, 2, 3, 4, 4, 5, 6]
    epochs = [json.loads(line) for line in out.with_suffix(".json").read_text().splitlines()]
    assert [epoch["step"] for epoch in epochs] == [3, 6]
    assert best["ap"] == max(epoch["ap"] for epoch in epochs)
    assert not out.with_suffix(".resume.pt").exists()
    load_compact(out)


def test_a_short_training_lowers_the_loss(rendered: Path, tmp_path: Path) -> None:
    losses: list[float] = []
    settings = replace(TINY, steps=24, epoch=100, correction=0.0)
    train_segmenter(
        [rendered],
        tmp_path / "w.safetensors",
        settings,
        build_compact(),
        lambda progress: losses.append(progress.loss),
    )
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])


def test_the_name_tells_the_weights(rendered: Path, tmp_path: Path) -> None:
    out = tmp_path / "mine.safetensors"
    train_segmenter([rendered], out, replace(TINY, steps=1, epoch=1), build_compact())
    name = segmenter_name(str(out))
    assert name.startswith("mine@")
    assert load_segmenter(str(out)).name == name


def test_other_files_are_no_weights(tmp_path: Path) -> None:
    with pytest.raises(SegmenterError, match="no such segmenter"):
        load_segmenter(str(tmp_path / "none.safetensors"))
    (tmp_path / "text.safetensors").write_text("no weights")
    with pytest.raises(SegmenterError, match=r"text\.safetensors: not weights"):
        load_segmenter(str(tmp_path / "text.safetensors"))


def test_outside_pickles_are_never_run(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.touch, (tmp_path / "owned",)  # type: ignore[return-value]

    torch.save({"image_encoder.pos_embed": Evil()}, tmp_path / "evil.pth")
    from mcn.segment.vit import CheckpointError

    with pytest.raises(CheckpointError, match=r"evil\.pth: not a Segment Anything"):
        load_segmenter(str(tmp_path / "evil.pth"))
    assert not (tmp_path / "owned").exists()
