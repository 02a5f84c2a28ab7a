"""The two ways to attend within the texts of a packed row agree, with their gradients."""

import pytest
import torch
from example_counts import tried
from hypothesis import example, given
from hypothesis import strategies as st
from torch.testing import assert_close

from llm_embedder_data.training.encoder.packed_attention import attend_by_length, attend_padded


@pytest.mark.parametrize("n_key_heads", [4, 2])
@given(
    lengths=st.lists(st.integers(0, 5), min_size=1, max_size=8).filter(any),
    causal=st.booleans(),
    window=st.sampled_from([None, 1, 2, 9]),
)
@example(lengths=[3, 3, 1, 1, 2], causal=False, window=None)  # attended to where they are
@example(lengths=[1, 3, 1, 3, 1, 3, 1], causal=False, window=None)  # sorted first
@tried(25)
def test_texts_taken_by_length_are_as_texts_padded(n_key_heads, lengths, causal, window):
    random = torch.Generator().manual_seed(0)
    bounds = torch.tensor([0, *torch.tensor(lengths).cumsum(0).tolist()], dtype=torch.int32)
    n_tokens = int(bounds[-1])
    found = []
    vectors = [
        torch.randn(1, h, n_tokens, 3, generator=random) for h in (4, n_key_heads, n_key_heads)
    ]
    weight = torch.randn(n_tokens, 4, 3, generator=random)
    for attend in (attend_by_length, attend_padded):
        leaves = tuple(one.clone().requires_grad_() for one in vectors)
        attended = attend(
            leaves, bounds, max(lengths), causal=causal, window=window, dropout=0.0, scaling=None
        )
        (attended * weight).sum().backward()
        found.append([attended.detach(), *(one.grad for one in leaves)])

    assert found[0][0].shape == (n_tokens, 4, 3)
    assert_close(*found)
