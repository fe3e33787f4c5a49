"""Adapters initially change nothing, are trained alone, and can be merged."""

import torch
from torch import nn

from mcn.segment.modeling.lora import LowRank, adapt_attention, merged_state


class Encoder(nn.Module):
    """The attributes of `ImageEncoderViT` that `adapt_attention` uses."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(nn.Module() for _ in range(2))
        for block in self.blocks:
            block.attn = nn.Module()
            block.attn.qkv = nn.Linear(8, 24)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for block in self.blocks:
            x = block.attn.qkv(x)[..., :8]
        return x


def test_an_untrained_adapter_changes_nothing() -> None:
    encoder, x = Encoder(), torch.randn(5, 8)
    before = encoder(x)
    adapt_attention(encoder, 2)
    assert torch.equal(encoder(x), before)
    trained = {name for name, p in encoder.named_parameters() if p.requires_grad}
    assert len(trained) == 4
    assert all(name.endswith((".up", ".down")) for name in trained)


def test_an_adapter_adds_a_matrix_of_its_rank() -> None:
    adapter, weight = LowRank(24, 8, 2), torch.zeros(24, 8)
    nn.init.normal_(adapter.up)
    assert torch.linalg.matrix_rank(adapter(weight)) == 2


def test_merged_weights_need_no_adapter() -> None:
    adapted, plain, x = Encoder(), Encoder(), torch.randn(5, 8)
    adapt_attention(adapted, 3)
    for module in adapted.modules():
        if isinstance(module, LowRank):
            nn.init.normal_(module.up)
    state = merged_state(adapted)
    assert state.keys() == plain.state_dict().keys()
    plain.load_state_dict(state)
    torch.testing.assert_close(plain(x), adapted(x))
