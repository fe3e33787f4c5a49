from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mcn.mask import encode_rle
from mcn.segment.inference.mask_generator import propose_crystals
from mcn.segment.inference.sam_segmenter import SamSegmenter
from mcn.segment.modeling.checkpoints import (
    CHECKPOINTS,
    CheckpointError,
    fetch_checkpoint,
    load_model,
)
from mcn.segment.modeling.compact_sam import CompactSam
from mcn.segment.modeling.point_decoder import PointDecoder
from mcn.segment.segmenter import weights_path


def small_sam() -> Any:
    """Meta's modules at a size suitable for tests."""
    from segment_anything.modeling import (
        ImageEncoderViT,
        MaskDecoder,
        PromptEncoder,
        Sam,
        TwoWayTransformer,
    )

    torch.manual_seed(0)
    encoder = ImageEncoderViT(
        img_size=128,
        patch_size=16,
        embed_dim=32,
        depth=2,
        num_heads=2,
        out_chans=32,
        norm_layer=partial(torch.nn.LayerNorm, eps=1e-6),
        use_rel_pos=True,
    )
    prompts = PromptEncoder(
        embed_dim=32, image_embedding_size=(8, 8), input_image_size=(128, 128), mask_in_chans=4
    )
    decoder = MaskDecoder(
        transformer_dim=32,
        transformer=TwoWayTransformer(depth=1, embedding_dim=32, num_heads=2, mlp_dim=32),
    )
    return Sam(encoder, prompts, decoder)


@pytest.mark.parametrize("shape", [(90, 140), (300, 200), (1, 1)])
def test_masks_lie_within_the_image(shape: tuple[int, int]) -> None:
    from mcn.segment.inference.candidates import GeneratorSettings

    anything = GeneratorSettings(min_predicted_iou=0.0, min_stability=0.0, min_area_px=1)
    segmenter = SamSegmenter(small_sam(), "small@0", points_per_side=4, settings=anything)
    image = np.random.default_rng(0).integers(0, 255, shape, dtype=np.uint8)
    (masks,) = segmenter.segment([image])
    for mask in masks:
        height, width = mask.pixels.shape
        assert mask.x >= 0
        assert mask.y >= 0
        assert mask.x + width <= shape[1]
        assert mask.y + height <= shape[0]


def test_a_batch_equals_single_images() -> None:
    from mcn.segment.inference.candidates import GeneratorSettings

    anything = GeneratorSettings(min_predicted_iou=-10.0, min_stability=0.0, prompts_per_batch=12)
    segmenter = SamSegmenter(small_sam(), "small@0", points_per_side=4, settings=anything)
    segmenter.decoder = PointDecoder(segmenter.sam, torch.float32)
    images = list(np.random.default_rng(1).integers(0, 255, (3, 60, 90), dtype=np.uint8))
    batch_masks = segmenter.segment(images)
    assert any(batch_masks)
    for image, masks in zip(images, batch_masks, strict=True):
        (single_masks,) = segmenter.segment([image])
        assert encode_rle(masks, 60, 90) == encode_rle(single_masks, 60, 90)


def blobs(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:180, :240]
    image = rng.normal(60, 4, (180, 240))
    for cx, cy in rng.uniform((20, 20), (220, 160), (9, 2)):
        image[np.hypot(x - cx, y - cy) < rng.uniform(8, 20)] += 90
    return image.clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def proposer() -> CompactSam:
    model = load_model(weights_path("compact"))
    assert isinstance(model, CompactSam)
    return model


def test_proposals_are_prompts_and_each_gives_the_same_mask_as_in_a_grid(
    proposer: CompactSam,
) -> None:
    from mcn.segment.inference.candidates import GeneratorSettings

    anything = GeneratorSettings(min_predicted_iou=-10.0, min_stability=0.0)
    anything = replace(anything, max_duplicate_iou=1.0)
    segmenter = SamSegmenter(small_sam(), "small@0", settings=anything, proposer=proposer)
    image = blobs(3)
    points = segmenter.prompts(image)
    proposals = propose_crystals(proposer, image)
    assert torch.equal(points, proposals.points)
    assert 3 < len(points) < 60
    x, y = points.long().unbind(dim=1)
    assert (image[y, x] > 100).mean() > 0.5

    grid = SamSegmenter(segmenter.sam, "small@0", points_per_side=8, settings=anything)
    others = grid.prompts(image)
    assert len(others) == 64
    embedding = segmenter.encode(image[None])
    alone = segmenter.decode(embedding, image.shape, [points])
    together = grid.decode(embedding, image.shape, [torch.cat([others, points])])
    order, joined = (part.scores.argsort(descending=True) for part in (alone, together))
    masks = alone.logits[order] > 0
    assert len(masks) == 3 * len(points)
    joined_masks = together.logits[joined] > 0
    for mask in masks:
        assert (joined_masks == mask).flatten(1).float().mean(dim=1).max() > 0.999


def test_an_image_without_proposals_has_no_masks(proposer: CompactSam) -> None:
    segmenter = SamSegmenter(small_sam(), "small@0", proposer=proposer)
    assert segmenter.segment([np.full((64, 96), 128, np.uint8)]) == [[]]


def test_a_file_with_another_checksum_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cached file with another sha256 is not used, and another one cannot be downloaded."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    folder = tmp_path / "mcn"
    folder.mkdir()
    (folder / CHECKPOINTS["vit_b"].file).write_bytes(b"something else")
    with pytest.raises(CheckpointError, match=r"vit_b: cannot be fetched .* put the file in"):
        fetch_checkpoint("vit_b")
    with pytest.raises(CheckpointError):
        weights_path("vit_b")


def test_masks_of_clicks_match_sams_predictor() -> None:
    from segment_anything import SamPredictor

    sam = small_sam()
    image = np.random.default_rng(2).integers(0, 255, (96, 128), dtype=np.uint8)
    segmenter = SamSegmenter(sam, "small@0")
    predictor = SamPredictor(sam)
    predictor.set_image(np.stack([image] * 3, axis=-1))
    expected, scores, _ = predictor.predict(np.array([[40.0, 50.0]]), np.array([1]))
    (mask,) = segmenter.predict(image, points=[(40, 50)])
    best_mask = expected[scores.argmax()]
    height, width = mask.pixels.shape
    within = best_mask[mask.y : mask.y + height, mask.x : mask.x + width]
    assert mask.predicted_iou == pytest.approx(np.clip(scores.max(), 0, 1), abs=0.02)
    assert np.mean(within[mask.pixels]) > 0.9
    boxed = segmenter.predict(image, boxes=[(20, 20, 60, 60), (0, 0, 128, 96)])
    assert len(boxed) == 2
