"""The block normalises, reduces and selects features; brightness and contrast are ignored."""

import json

import pytest
import torch
from torch.nn import Conv2d

from mcn.classify.modeling.network import (
    MicroCrystalNet,
    NetworkSettings,
    NormalizedSparseReduction,
    standardise,
)
from mcn.taxonomy import Taxonomy

COINS = Taxonomy({"round": "smooth", "square": "edged"})


def crystals(count: int = 4) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    crops = torch.zeros(count, 1, 64, 64)
    crops[:, :, 10:50, 5:60] = torch.randint(
        40, 120, (count, 1, 40, 55), generator=generator
    ).float()
    return crops


def test_the_block_reduces_feature_maps() -> None:
    block = NormalizedSparseReduction(12, 5)
    assert block(torch.rand(3, 12, 9, 7)).shape == (3, 5, 9, 7)


def test_the_block_ignores_scale_and_offset_of_its_input() -> None:
    block = NormalizedSparseReduction(6, 4)
    features = torch.randn(8, 6, 10, 10)
    assert torch.allclose(block(features), block(features * 50 + 7), atol=1e-3)


def test_a_closed_gate_switches_its_map_off_and_counts_as_sparse() -> None:
    block = NormalizedSparseReduction(6, 4)
    with torch.no_grad():
        block.gates.copy_(torch.tensor([0.0, 1.0, 0.5, 0.0]))
    selected = block(torch.randn(2, 6, 5, 5))
    assert (selected.abs().amax(dim=(0, 2, 3)) > 0).tolist() == [False, True, True, False]
    assert block.sparsity == 0.5


def test_the_penalty_closes_useless_gates_and_keeps_useful_ones() -> None:
    torch.manual_seed(0)
    block = NormalizedSparseReduction(4, 4)
    with torch.no_grad():
        block.reduce.weight.copy_(torch.eye(4)[:, :, None, None])
    block.reduce.requires_grad_(False)
    optimizer = torch.optim.Adam([block.gates], lr=0.05)
    for _ in range(100):
        features = torch.randn(64, 4, 2, 2)
        goal = features[:, 0]
        loss = (block(features).sum(dim=1) - goal).square().mean() + 0.05 * block.gates.sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        block.project()
    assert block.gates[0] > 0.8
    assert (block.gates[1:] == 0).all()


def test_the_network_is_small_and_gives_one_logit_per_class() -> None:
    network = MicroCrystalNet()
    assert sum(weights.numel() for weights in network.parameters()) <= 300_000
    assert network(crystals(3)).shape == (3, 4)
    assert MicroCrystalNet(NetworkSettings(taxonomy=COINS))(crystals(3)).shape == (3, 2)


def test_settings_survive_json() -> None:
    settings = NetworkSettings(stem=8, widths=(8, 9, 10), taxonomy=COINS)
    assert NetworkSettings.from_dict(json.loads(json.dumps(settings.as_dict()))) == settings


@pytest.mark.parametrize(("gain", "offset"), [(2.0, 0.0), (0.5, 30.0), (1.0, 100.0)])
def test_brightness_and_contrast_do_not_matter(gain: float, offset: float) -> None:
    crops = crystals()
    relit = torch.where(crops > 0, crops * gain + offset, 0.0)
    assert torch.allclose(standardise(crops), standardise(relit), atol=1e-4)


@pytest.mark.parametrize("value", [0.0, 7.0, 255.0])
def test_flat_and_empty_crops_stay_finite(value: float) -> None:
    logits = MicroCrystalNet().eval()(torch.full((2, 1, 64, 64), value))
    assert torch.isfinite(logits).all()


def test_the_heads_agree() -> None:
    """The probability of a facet definition is the sum of its shapes', for any weights."""
    torch.manual_seed(0)
    network = MicroCrystalNet().eval()
    features = torch.randn(50, 64)
    shapes = network.forward_head(features).softmax(dim=1)
    with torch.no_grad():
        network.facet_head.bias[0] += 1
    ratio = network.forward_head(features).softmax(dim=1) / shapes
    assert torch.allclose(ratio[:, 0], ratio[:, 1]), "rhombic and polyhedral have the same ratio"
    assert torch.allclose(ratio[:, 2], ratio[:, 3]), "amorphous and spherical have the same ratio"
    assert (ratio[:, 0] > 1).all()


@pytest.mark.parametrize(
    "steps", [(), ("normalise",), ("normalise", "reduce"), ("normalise", "reduce", "select")]
)
def test_omitted_steps_have_no_parameters(steps: tuple[str, ...]) -> None:
    network = MicroCrystalNet(NetworkSettings(steps=steps))
    kinds = {type(module).__name__ for module in network.modules()}
    assert ("BatchNorm2d" in kinds) == ("normalise" in steps)
    sizes = [module.kernel_size for module in network.modules() if isinstance(module, Conv2d)]
    assert ((1, 1) in sizes) == ("reduce" in steps)
    assert all(block.gates.requires_grad == ("select" in steps) for block in network.blocks)
    assert network(crystals(3)).shape == (3, 4)
    stored_settings = json.loads(json.dumps(network.settings.as_dict()))
    assert NetworkSettings.from_dict(stored_settings) == network.settings
