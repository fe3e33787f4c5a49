import pytest
import torch

from mcn.segment.modeling import image_encoder as encoder
from mcn.segment.modeling.image_encoder import CompactEncoder


def test_every_feature_has_its_stride() -> None:
    features = CompactEncoder(dim=64).eval()(torch.zeros(2, 1, 96, 64))
    assert features.embedding.shape == (2, 64, 12, 8)
    assert features.fine.shape == (2, 16, 24, 16)
    assert features.finest.shape == (2, 8, 48, 32)
    assert features.proposal.shape == (2, 6, 24, 16)


def test_folded_imagenet_weights_give_the_same_output() -> None:
    """A convolution with its batch norm folded in gives the same output as both."""
    model = CompactEncoder()
    generator = torch.Generator().manual_seed(0)
    blocks = [block for stage in model.stages for block in stage.children()]
    state: dict[str, torch.Tensor] = {}

    def invent(name: str, norm: str, shape: torch.Size) -> None:
        state[f"{name}.weight"] = torch.randn(shape, generator=generator)
        for part in ("weight", "bias", "running_mean"):
            state[f"{norm}.{part}"] = torch.randn(shape[0], generator=generator)
        state[f"{norm}.running_var"] = torch.rand(shape[0], generator=generator) + 0.5

    invent("_conv_stem", "_bn0", torch.Size((32, 3, 3, 3)))
    for i, block in enumerate(blocks):
        if i:
            shape = block.get_parameter("expand.0.weight").shape
            invent(f"_blocks.{i}._expand_conv", f"_blocks.{i}._bn0", shape)
        shape = block.get_parameter("depthwise.0.weight").shape
        invent(f"_blocks.{i}._depthwise_conv", f"_blocks.{i}._bn1", shape)
        invent(f"_blocks.{i}._project_conv", f"_blocks.{i}._bn2", block.project.weight.shape)
    model.load_imagenet(state)

    grey = torch.randn(1, 1, 32, 32, generator=generator)
    with torch.no_grad():
        folded = model.stem[0](grey)
        plain = torch.nn.functional.conv2d(
            grey.expand(-1, 3, -1, -1), state["_conv_stem.weight"], stride=2, padding=1
        )
        apart = torch.nn.functional.batch_norm(
            plain,
            state["_bn0.running_mean"],
            state["_bn0.running_var"],
            state["_bn0.weight"],
            state["_bn0.bias"],
            eps=1e-3,
        )
    torch.testing.assert_close(folded, apart, rtol=1e-4, atol=1e-4)


def test_a_block_in_steps_gives_the_same_output(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    model = CompactEncoder(dim=64).eval().requires_grad_(False)
    images = torch.randn(2, 1, 32, 64)
    in_one_step = model(images)
    monkeypatch.setattr(encoder, "_BLOCK_BYTES", 1)
    parts = model(images)
    for name in ("embedding", "fine", "finest", "proposal"):
        torch.testing.assert_close(getattr(parts, name), getattr(in_one_step, name))
    model.train()
    trained = model(images)
    torch.testing.assert_close(trained.embedding, in_one_step.embedding)
