"""ESRT's transformer, for which there are no weights and no outputs of the authors' code."""

import pytest
import torch
import torch.nn.functional as F

from srcli.archs.esrt import EMHA, EfficientTransformer, neighbourhoods, summed


@pytest.mark.slow
@pytest.mark.parametrize("size", [(2, 2), (5, 7), (12, 9)])
def test_neighbourhoods_and_their_sum(size):
    x = torch.randn(2, 3, *size)
    unfolded = F.unfold(x, 3, padding=1)
    assert torch.equal(neighbourhoods(x).flatten(2), unfolded)
    folded = F.fold(unfolded, size, 3, padding=1)
    torch.testing.assert_close(summed(unfolded.view(2, 27, *size)), folded, rtol=0, atol=1e-5)


@pytest.mark.parametrize("tokens", [4, 40, 41, 43])
def test_attention_within_pieces(tokens):
    """Softmax written out: four pieces of N // 4 tokens, and a fifth of what is left."""
    torch.manual_seed(3)
    emha = EMHA(288)
    x = torch.randn(1, tokens, 288)
    q, k, v = emha.qkv(emha.reduce(x)).view(tokens, 3, 8, 18).permute(1, 2, 0, 3)
    out = torch.zeros(8, tokens, 18)
    for start in range(0, tokens, tokens // 4):
        part = slice(start, min(start + tokens // 4, tokens))
        weights = (q[:, part] @ k[:, part].transpose(1, 2) / 6).softmax(2)
        out[:, part] = weights @ v[:, part]
    wanted = emha.proj(out.permute(1, 0, 2).reshape(1, tokens, 144))
    torch.testing.assert_close(emha(x), wanted, rtol=1e-4, atol=1e-5)


def test_a_token_sees_its_own_piece_only():
    torch.manual_seed(4)
    layer = EfficientTransformer(32).eval()
    x = torch.randn(1, 32, 16, 12)
    moved = x.clone()
    moved[:, :, 13, 5] += 1  # the last of four pieces of four rows
    off = (layer(moved) - layer(x)).abs().amax((0, 1, 3))
    assert (off[:10] == 0).all()  # row 11 holds neighbours of row 12 of the same piece
    assert (off[11:] > 0).all()
