"""A mean leaves out each text's own prompt, in every layout."""

import pytest
import torch
from transformers import AutoTokenizer

from llm_embedder_data import RetrievalDataCollator
from llm_embedder_data.batches.tokens.model_inputs import layout_of, model_calls
from llm_embedder_data.batches.tokens.row_instructions import RowInstructions
from llm_embedder_data.training.encoder.pooling import pool, pool_packed, prompt_length_of_calls

QUERIES = ["one", "two words", "three more words", "a"]
KEYS = [["k", "another key"], ["k"], ["k", "b"], ["the last key of all", "k"]]
OWN = RowInstructions("ask: ", ["", None, "tell me: ", None])


def embedded(batch, side, hidden_of):
    """Means of made-up hidden states, a function of the token alone, as BiEncoder takes them."""
    calls = model_calls(batch[side])
    inverse = batch.get(f"{side}_inverse")
    lengths = prompt_length_of_calls(calls, inverse, batch[f"{side}_prompt_length"])
    rows = []
    for call, length in zip(calls, lengths, strict=True):
        hidden = hidden_of[call["input_ids"]]
        if layout_of(call) == "packed":
            rows.append(pool_packed(hidden[0], call["cu_seq_lens_q"], "mean", length))
        else:
            rows.append(pool(hidden, call["attention_mask"], "mean", length))
    joined = torch.cat(rows)
    return joined if inverse is None else joined[inverse]


@pytest.mark.parametrize("unique_keys", [False, True])
@pytest.mark.parametrize("layout", ["padded", "chunked", "packed"])
def test_each_text_leaves_out_its_own_prompt(byte_level_bpe, layout, unique_keys):
    tokenizer = AutoTokenizer.from_pretrained(byte_level_bpe)
    hidden_of = torch.rand(len(tokenizer), 4, generator=torch.Generator().manual_seed(1))
    collate = RetrievalDataCollator(
        tokenizer, prompt_lengths=True, layout=layout, chunk_size=3, unique_keys=unique_keys
    )
    batch = collate(
        {"query": QUERIES, "query_instruction": OWN, "key": KEYS, "key_instruction": OWN}
    )

    single = RetrievalDataCollator(tokenizer, prompt_lengths=True)
    for side, texts in ("query", [[text] for text in QUERIES]), ("key", KEYS):
        found = embedded(batch, side, hidden_of)
        n_keys = len(found) // len(texts)
        for b, (row, instruction) in enumerate(zip(texts, OWN.texts(), strict=True)):
            for g, text in enumerate(row):
                alone = single({"content": [text], "key_instruction": instruction})
                expected = embedded(alone, "content", hidden_of)
                torch.testing.assert_close(found[b * n_keys + g], expected[0])
