"""The reordered two-way transformer gives the same output as Segment Anything's."""

import pytest
import torch
from segment_anything.modeling import TwoWayTransformer  # after mcn's operators
from torch import nn

from mcn.segment.modeling.two_way import TwoWay, doubled, normalised, raster


def transformer(depth: int = 2) -> TwoWayTransformer:
    """A transformer with biases and norms that affect the output."""
    torch.manual_seed(0)
    model = TwoWayTransformer(depth=depth, embedding_dim=32, num_heads=4, mlp_dim=64)
    for parameter in model.parameters():
        if parameter.dim() == 1:
            nn.init.normal_(parameter, 0.1, 0.3)
    return model.eval().requires_grad_(False)


@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("images", [1, 3])
def test_the_output_equals_that_of_segment_anything(depth: int, images: int) -> None:
    original = transformer(depth)
    position, tokens = torch.randn(1, 32, 5, 5), torch.randn(6, 4, 32)
    pictures = torch.randn(images, 32, 5, 5)
    each = pictures.repeat_interleave(6 // images, 0)
    queries, keys = original(each, position.expand_as(each), tokens)
    rows = [part.flatten(2).permute(0, 2, 1) for part in (pictures, position)]
    output, our_keys = TwoWay(original)(tokens, *rows, output_tokens=[0, 1, 2, 3])
    torch.testing.assert_close(output, queries, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(our_keys, keys, atol=1e-4, rtol=1e-4)
    some, _ = TwoWay(original)(tokens, *rows, output_tokens=[2, 0])
    torch.testing.assert_close(some, queries[:, [2, 0]], atol=1e-4, rtol=1e-4)


def test_doubling_twice_is_two_transposed_convolutions() -> None:
    torch.manual_seed(0)
    first, second = nn.ConvTranspose2d(8, 6, 2, 2), nn.ConvTranspose2d(6, 4, 2, 2)
    image = torch.randn(2, 8, 3, 5)
    rows = doubled(doubled(image.flatten(2).mT, first), second)
    torch.testing.assert_close(raster(rows.mT, 3, 5), second(first(image)))


def test_a_norm_keeps_the_format_of_its_input() -> None:
    norm = nn.LayerNorm(8)
    x = torch.randn(4, 8)
    torch.testing.assert_close(normalised(x, norm), norm(x))
    half = normalised(x.half(), norm)
    assert half.dtype == torch.float16
    torch.testing.assert_close(half.float(), norm(x), atol=5e-3, rtol=5e-3)
