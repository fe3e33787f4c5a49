import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from typer.testing import CliRunner

from mcn.cli.main import app
from mcn.segment import load_segmenter
from mcn.segment.dataset import list_pairs
from mcn.segment.inference.sam_segmenter import SamSegmenter
from mcn.segment.modeling.checkpoints import load_model, sam_like
from mcn.segment.modeling.lora import LowRank, merged_state
from mcn.segment.training.batches import collate
from mcn.segment.training.samples import LabelledImage, SampleSettings, samples
from mcn.segment.training.settings import SegmenterTrainSettings
from mcn.segment.training.trainer import Progress, TrainingError, train_segmenter
from mcn.segment.training.vit import VitTask, decode, drawn_prompts, encode
from mcn.synthetic.dataset import write_dataset

TINY = SegmenterTrainSettings(
    steps=4,
    batch=1,
    sample=SampleSettings(size=96, prompts=4),
    epoch=2,
    correction=0.5,
    max_images=1,
    workers=0,
)


def tiny_sam(seed: int = 0) -> Any:
    """Meta's modules at a size suitable for tests."""
    from functools import partial

    from segment_anything.modeling import (
        ImageEncoderViT,
        MaskDecoder,
        PromptEncoder,
        Sam,
        TwoWayTransformer,
    )

    torch.manual_seed(seed)
    return Sam(
        ImageEncoderViT(
            img_size=128,
            embed_dim=32,
            depth=2,
            num_heads=2,
            mlp_ratio=2,
            out_chans=32,
            norm_layer=partial(torch.nn.LayerNorm, eps=1e-6),
            use_rel_pos=True,
            window_size=4,
            global_attn_indexes=(1,),
        ),
        PromptEncoder(32, (8, 8), (128, 128), 4),
        MaskDecoder(
            transformer_dim=32,
            transformer=TwoWayTransformer(depth=1, embedding_dim=32, num_heads=8, mlp_dim=48),
            iou_head_hidden_dim=16,
        ),
    )


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rendered")
    write_dataset(folder / "set", 3, seed=5, height=128, width=128)
    return folder / "set"


@pytest.fixture(scope="module")
def batch(rendered: Path) -> dict[str, torch.Tensor]:
    drawn = samples(
        [[LabelledImage(*pair.read()) for pair in list_pairs(rendered)]], TINY.sample, seed=1
    )
    return collate([next(drawn)])


def train_on(task: VitTask, batch: dict[str, torch.Tensor], steps: int) -> list[float]:
    """Losses of steps on one batch; every second step corrects by clicks."""
    (group,) = task.parameter_groups(3e-3)
    optimiser = torch.optim.AdamW(group["params"], lr=group["lr"])
    losses = []
    for step in range(steps):
        torch.manual_seed(0)
        loss, parts = task.losses(batch, correct=step % 2 == 1)
        assert parts["mask"] + 2 * parts["iou"] == pytest.approx(loss.item(), rel=1e-5)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("lora", [0, 2])
def test_fine_tuning_lowers_the_loss_and_leaves_the_encoder(
    batch: dict[str, torch.Tensor], lora: int
) -> None:
    sam = tiny_sam()
    before = {name: t.clone() for name, t in sam.image_encoder.state_dict().items()}
    task = VitTask(sam, lora, 0.9)
    adapters = [m for m in sam.modules() if isinstance(m, LowRank)]
    losses = train_on(task, batch, 20)
    assert np.mean(losses[-4:]) < 0.9 * np.mean(losses[:4])
    after = {
        name.replace("parametrizations.weight.original", "weight"): t
        for name, t in sam.image_encoder.state_dict().items()
        if "weight.0." not in name
    }
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], t) for name, t in before.items())
    assert len(adapters) == (2 if lora else 0)
    assert all(adapter.up.abs().max() > 0 for adapter in adapters)


def test_merged_weights_give_the_masks_of_the_adapted_model(batch: dict[str, torch.Tensor]) -> None:
    sam = tiny_sam()
    plain = {name: t.shape for name, t in sam.state_dict().items()}
    task = VitTask(sam, 2, 0.9)
    train_on(task, batch, 3)
    state = merged_state(sam)
    assert {name: t.shape for name, t in state.items()} == plain
    merged = sam_like(state)
    merged.load_state_dict(state)
    pixels = torch.rand(1, 3, 128, 128)
    points, boxes = batch["points"][0], batch["boxes"][0]
    with torch.no_grad():
        embeddings = [encode(model.image_encoder, pixels, False) for model in (sam, merged)]
        assert torch.equal(*embeddings)
        assert not torch.equal(embeddings[0], tiny_sam().image_encoder(pixels))
        for prompts, _ in drawn_prompts(points, boxes, 128 / 96):
            for merged_mask, reference in zip(
                decode(sam, embeddings[0], prompts),
                decode(merged, embeddings[1], prompts),
                strict=True,
            ):
                assert torch.equal(merged_mask, reference)


def test_every_prompt_is_decoded_once_as_a_point_or_a_box(batch: dict[str, torch.Tensor]) -> None:
    points, boxes = batch["points"][0], batch["boxes"][0]
    drawn = list(drawn_prompts(points, boxes, 2.0))
    assert torch.cat([index for _, index in drawn]).sort().values.tolist() == [0, 1, 2, 3]
    for prompts, index in drawn:
        if prompts.boxes is None:
            torch.testing.assert_close(prompts.points, 2 * points[index])
        else:
            assert prompts.points.shape[1] == 0
            torch.testing.assert_close(prompts.boxes, 2 * boxes[index])
        assert not prompts.points.isnan().any()


def test_averaged_weights_share_frozen_parameters() -> None:
    task = VitTask(tiny_sam(), 2, 0.9)
    pairs = list(zip(task.model.parameters(), task.averaged.parameters(), strict=True))
    assert all((a is b) != a.requires_grad for a, b in pairs)
    assert any(a.requires_grad for a, _ in pairs)


@pytest.mark.parametrize("lora", [0, 2])
def test_a_killed_fine_tuning_continues_and_its_weights_load(
    rendered: Path, tmp_path: Path, lora: int
) -> None:
    class KilledError(Exception):
        pass

    out = tmp_path / "tuned.safetensors"
    settings = replace(TINY, lora=lora)
    steps: list[int] = []

    def kill_at_three(progress: Progress) -> None:
        steps.append(progress.step)
        if progress.step == 3:
            raise KilledError

    with pytest.raises(KilledError):
        train_segmenter([rendered], out, settings, tiny_sam(), kill_at_three)
    resume = out.with_suffix(".resume.pt")
    saved = torch.load(resume, weights_only=True)["model"]
    assert not any(name.endswith("norm1.weight") for name in saved if "image_encoder" in name)
    with pytest.raises(TrainingError, match=r"tuned\.resume\.pt: belongs to another training"):
        train_segmenter([rendered], out, replace(settings, lora=3), tiny_sam())
    with pytest.raises(TrainingError, match=r"tuned\.resume\.pt: belongs to another training"):
        train_segmenter([rendered], out, settings, tiny_sam(seed=1))
    train_segmenter(
        [rendered], out, settings, tiny_sam(), lambda progress: steps.append(progress.step)
    )
    assert steps == [1, 2, 3, 3, 4]
    epochs = [json.loads(line) for line in out.with_suffix(".json").read_text().splitlines()]
    assert [epoch["step"] for epoch in epochs] == [2, 4]
    with safe_open(out, "pt") as file:
        assert set(file.keys()) == set(tiny_sam().state_dict())
        assert {file.get_tensor(name).dtype for name in file.keys()} == {torch.float16}  # noqa: SIM118
        assert json.loads(file.metadata()["recipe"])["lora"] == lora
    segmenter = load_segmenter(str(out))
    assert isinstance(segmenter, SamSegmenter)
    assert segmenter.name.startswith("tuned+proposals@")
    assert len(segmenter.segment([np.zeros((40, 60), np.uint8)])) == 1


def test_a_torch_checkpoint_is_recognised_by_its_contents(tmp_path: Path) -> None:
    path = tmp_path / "tiny.safetensors"  # whatever its file name extension
    sam = tiny_sam()
    torch.save(sam.state_dict(), path)
    loaded = load_model(path).state_dict()
    assert all(torch.equal(loaded[name], t) for name, t in sam.state_dict().items())


def test_the_command_fine_tunes_a_checkpoint(rendered: Path, tmp_path: Path) -> None:
    torch.save(tiny_sam().state_dict(), tmp_path / "tiny.pth")
    out = tmp_path / "tuned.safetensors"
    words = ["train", "segmenter", str(rendered), "--out", str(out)]
    tuned = ["--start", str(tmp_path / "tiny.pth"), "--lora", "2", "--steps", "1"]
    result = CliRunner().invoke(app, [*words, *tuned])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["step"] == 1
    assert isinstance(load_segmenter(str(out)), SamSegmenter)
