from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from mcn.segment.modeling.checkpoints import WeightsError, load_model, sam_like
from mcn.segment.names import SegmenterError, with_prompts
from mcn.segment.segmenter import load_segmenter, segmenter_name

from ..inference.test_sam_segmenter import small_sam


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SegmenterError, match="no such segmenter"):
        load_segmenter(str(tmp_path / "none.safetensors"))
    (tmp_path / "text.safetensors").write_text("no weights")
    with pytest.raises(WeightsError, match=r"text\.safetensors: not weights of a segmenter.*make"):
        load_segmenter(str(tmp_path / "text.safetensors"))
    save_file({"image_encoder.pos_embed": torch.zeros(1, 8, 8, 32)}, tmp_path / "half.safetensors")
    with pytest.raises(WeightsError, match=r"half\.safetensors: not weights of a segmenter"):
        load_segmenter(str(tmp_path / "half.safetensors"))
    with pytest.raises(WeightsError, match=r"none\.safetensors: no such weights file"):
        load_model(tmp_path / "none.safetensors")


def test_untrusted_pickles_are_never_executed(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.touch, (tmp_path / "owned",)  # type: ignore[return-value]

    torch.save({"image_encoder.pos_embed": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(WeightsError, match=r"evil\.pth: not weights of a segmenter"):
        load_segmenter(str(tmp_path / "evil.pth"))
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("name", ["vit_b", "vit_l", "vit_h"])
def test_the_sizes_of_metas_models_are_read_from_their_tensors(name: str) -> None:
    from segment_anything import sam_model_registry

    with torch.device("meta"):
        reference = sam_model_registry[name]()
        loaded = sam_like(reference.state_dict())
    shapes = {key: t.shape for key, t in reference.state_dict().items()}
    assert {key: t.shape for key, t in loaded.state_dict().items()} == shapes
    assert loaded.image_encoder.img_size == 1024

    def heads_and_windows(sam: Any) -> list[Any]:
        names = ("num_heads", "window_size", "internal_dim", "eps")
        return [
            (key, tuple(getattr(module, name, None) for name in names))
            for key, module in sam.named_modules()
        ]

    assert heads_and_windows(loaded) == heads_and_windows(reference)


@pytest.mark.parametrize(
    ("key", "prefix"),
    [(None, ""), (None, "sam."), ("model_state", "sam."), ("state_dict", "module."), ("model", "")],
)
def test_checkpoints_of_other_programs_are_read(
    tmp_path: Path, key: str | None, prefix: str
) -> None:
    """micro-sam, for one, keeps the model in its training's state, beside a decoder of its own."""
    sam = small_sam()
    state: dict[str, Any] = {prefix + name: tensor for name, tensor in sam.state_dict().items()}
    state = {key: state, "epoch": 3} if key else {**state, "decoder_state": {"w": torch.ones(2)}}
    path = tmp_path / "tuned.pt"
    torch.save(state, path)
    loaded = load_model(path).state_dict()
    assert loaded.keys() == sam.state_dict().keys()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in sam.state_dict().items())
    digest = segmenter_name(str(path)).partition("@")[2]
    assert segmenter_name(str(path)) == f"tuned+proposals@{digest}"
    assert segmenter_name(with_prompts(str(path), "grid")) == f"tuned+grid@{digest}"


def test_what_differs_from_the_layout_is_said(tmp_path: Path) -> None:
    state = small_sam().state_dict()
    del state["mask_decoder.iou_token.weight"]
    save_file(state, tmp_path / "less.safetensors")
    with pytest.raises(WeightsError, match=r"'mask_decoder\.iou_token\.weight' is missing"):
        load_model(tmp_path / "less.safetensors")
    state = small_sam().state_dict()
    del state["image_encoder.neck.0.weight"]
    more = {f"image_encoder.blocks.0.adapter.{i}": torch.ones(2) for i in range(5)}
    more["prompt_encoder.no_mask_embed.weight"] = torch.ones(1, 7)
    save_file(state | more, tmp_path / "other.safetensors")
    with pytest.raises(WeightsError) as raised:
        load_model(tmp_path / "other.safetensors")
    assert "1 tensor missing: image_encoder.neck.0.weight; " in str(raised.value)
    assert "5 tensors unknown: image_encoder.blocks.0.adapter.0, " in str(raised.value)
    assert " and 2 more; " in str(raised.value)
    assert "1 tensor of another shape: prompt_encoder.no_mask" in str(raised.value)


def test_compact_has_prompts_of_its_own() -> None:
    with pytest.raises(SegmenterError, match="leave out 'grid'"):
        load_segmenter(with_prompts("compact", "grid"))
    with pytest.raises(SegmenterError, match="is not one of proposals, grid"):
        with_prompts("vit_b", "points")


def test_checkpoints_in_unlike_wrappings_are_read(tmp_path: Path) -> None:
    state = small_sam().state_dict()
    save_file({f"sam.{name}": t for name, t in state.items()}, tmp_path / "prefix.safetensors")
    torch.save({"net": state}, tmp_path / "net.pt")
    torch.save({"state_dict": {"model": state}, "step": 3}, tmp_path / "twice.pt")
    for name in ("prefix.safetensors", "net.pt", "twice.pt"):
        assert load_model(tmp_path / name).state_dict().keys() == state.keys()


def test_what_is_wrong_with_a_checkpoint_is_said(tmp_path: Path) -> None:
    def message_of(state: dict[str, Any]) -> str:
        torch.save(state, tmp_path / "wrong.pt")
        with pytest.raises(WeightsError) as raised:
            load_model(tmp_path / "wrong.pt")
        return str(raised.value)

    state = small_sam().state_dict()
    without = {name: t for name, t in state.items() if name != "image_encoder.pos_embed"}
    assert "the tensor 'image_encoder.pos_embed' is missing" in message_of(without)
    name = "prompt_encoder.no_mask_embed.weight"
    shape = tuple(state[name].shape)
    assert f"{name} (1, 7) instead of {shape}" in message_of(state | {name: torch.ones(1, 7)})
    broken = state | {name: torch.full(shape, torch.nan)}
    assert f"{name} has values that are not finite" in message_of(broken)
    assert "an object of pathlib" in message_of({"model": state, "folder": tmp_path})


def test_a_file_that_contains_itself_is_refused(tmp_path: Path) -> None:
    state: dict[str, Any] = {}
    state["model"] = state
    torch.save(state, tmp_path / "endless.pt")
    with pytest.raises(WeightsError, match="no tensors by name in it"):
        load_model(tmp_path / "endless.pt")
