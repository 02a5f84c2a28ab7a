"""Attention with dropout drops weights at random, and otherwise equals attention without it."""

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from llm_embedder_data.training.encoder import attention_dropout
from llm_embedder_data.training.encoder.attention_dropout import attend_with_dropout

SIZE = 24


def attend(query, key, value, dropout, visible=None, scaling=None):
    return attend_with_dropout(query, key, value, visible=visible, dropout=dropout, scaling=scaling)


def inputs(n_texts=3, n_heads=4, n_key_heads=4, dtype=torch.float32):
    """Query, key, and values that show the attention weights: token i has a one in dimension i."""
    random = torch.Generator().manual_seed(0)
    query = torch.randn(n_texts, n_heads, SIZE, 8, generator=random, dtype=dtype)
    key = torch.randn(n_texts, n_key_heads, SIZE, 8, generator=random, dtype=dtype)
    value = torch.eye(SIZE, dtype=dtype).expand(n_texts, n_key_heads, SIZE, SIZE)
    return query, key, value


@pytest.mark.parametrize("n_key_heads", [4, 2])
@pytest.mark.parametrize("visible", [None, torch.ones(SIZE, SIZE).tril().bool()])
@pytest.mark.parametrize("scaling", [None, 0.5])
@pytest.mark.parametrize("max_weights", [1, 2**22])
def test_kept_weights_are_those_of_attention_scaled_up(
    monkeypatch, n_key_heads, visible, scaling, max_weights
):
    monkeypatch.setattr(attention_dropout, "_MAX_WEIGHTS", max_weights)
    query, key, value = inputs(n_key_heads=n_key_heads)
    torch.manual_seed(0)
    found = attend(query, key, value, 0.25, visible, scaling)

    whole = F.scaled_dot_product_attention(
        query, key, value, attn_mask=visible, scale=scaling, enable_gqa=n_key_heads != 4
    )
    kept = found != 0
    assert_close(found[kept], whole[kept] / 0.75)
    share = kept.sum().item() / (whole != 0).sum().item()
    assert share == pytest.approx(0.75, abs=0.03)


@pytest.mark.parametrize("dropout", [0.1, 0.5, 0.9])
def test_each_weight_is_dropped_with_its_probability(dropout):
    query, key, value = inputs(n_texts=64, n_heads=8, n_key_heads=8)
    torch.manual_seed(0)
    dropped = attend(query, key, value, dropout) == 0
    assert dropped.float().mean().item() == pytest.approx(dropout, abs=0.005)
    # A token's weight is as likely to go in one place as in another.
    assert_close(dropped.float().mean((0, 1)), torch.full((SIZE, SIZE), dropout), atol=0.1, rtol=0)


def test_gradients_are_those_of_the_kept_weights():
    query, key, value = (one.clone().requires_grad_() for one in inputs(dtype=torch.float64))
    weight = torch.randn(3, 4, SIZE, SIZE, dtype=torch.float64)
    torch.manual_seed(0)
    found = attend(query, key, value, 0.25)
    given = torch.autograd.grad((found * weight).sum(), (query, key, value))

    weights = (query @ key.transpose(2, 3) / 8**0.5).softmax(-1) * (found != 0) / 0.75
    expected = torch.autograd.grad(((weights @ value) * weight).sum(), (query, key, value))
    assert_close(given, expected)


def test_a_seed_names_the_dropped_weights():
    drawn = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        drawn.append(attend(*inputs(), 0.5))
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_scores_of_bfloat16_are_computed_in_float32():
    query, key, value = inputs(dtype=torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        found = attend(query, key, value, 1e-9)
    assert found.dtype == torch.bfloat16
    whole = attend(query.float(), key.float(), value.float(), 1e-9)
    assert torch.equal(found, whole.bfloat16())
