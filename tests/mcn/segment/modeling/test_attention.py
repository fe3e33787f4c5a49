from functools import partial

import pytest
import torch

from mcn.segment.modeling.attention import fuse_attention


@pytest.mark.parametrize("relative", [True, False])
def test_the_encoder_matches_metas(relative: bool) -> None:
    from segment_anything.modeling import ImageEncoderViT

    torch.manual_seed(0)
    encoder = ImageEncoderViT(
        img_size=96,
        patch_size=16,
        embed_dim=32,
        depth=2,
        num_heads=2,
        out_chans=16,
        norm_layer=partial(torch.nn.LayerNorm, eps=1e-6),
        use_rel_pos=relative,
        window_size=4,  # does not divide the frame, so windows are padded
        global_attn_indexes=(1,),
    ).eval()
    for name, parameter in encoder.named_parameters():
        if "rel_pos" in name:
            torch.nn.init.normal_(parameter)
    images = torch.randn(2, 3, 96, 96)
    with torch.no_grad():
        expected = encoder(images)
        fuse_attention(encoder)
        torch.testing.assert_close(encoder(images), expected, atol=1e-5, rtol=1e-4)
