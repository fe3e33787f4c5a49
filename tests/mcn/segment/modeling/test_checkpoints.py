from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from mcn.segment.modeling.checkpoints import WeightsError, load_model, sam_like
from mcn.segment.segmenter import SegmenterError, load_segmenter


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
