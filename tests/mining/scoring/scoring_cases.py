"""Tiny teachers, rows to score, and the scores that a slow and plain implementation gives."""

import json

import torch
from tiny_models import tiny_bert
from transformers import (
    BertForSequenceClassification,
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

N_TOKENS = 640  # of the tokenizers, and some that no text has

_SIZES = {
    "vocab_size": N_TOKENS,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 8,
    "initializer_range": 0.4,
    "max_position_embeddings": 512,
}
_GPT2 = GPT2Config(
    vocab_size=N_TOKENS, n_embd=16, n_layer=2, n_head=2, n_positions=512, initializer_range=0.4
)
LANGUAGE_MODELS = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**_SIZES)),
    "gpt2": lambda: GPT2LMHeadModel(_GPT2),
    "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**_SIZES)),
    "qwen3": lambda: Qwen3ForCausalLM(Qwen3Config(**_SIZES)),
    # A cap so low that it changes every logit, and windows shorter than the texts.
    "gemma2": lambda: Gemma2ForCausalLM(
        Gemma2Config(**_SIZES, final_logit_softcapping=2.0, sliding_window=16)
    ),
}


def language_model(name):
    """A causal language model of two layers that is the same each time."""
    torch.manual_seed(0)
    return LANGUAGE_MODELS[name]().eval()


def cross_encoder(tokenizer, n_labels=1):
    """A cross-encoder of two layers, for texts of at most 48 tokens, that is the same each time."""
    return tiny_bert(
        len(tokenizer),
        BertForSequenceClassification,
        max_position_embeddings=48,
        initializer_range=0.4,
        num_labels=n_labels,
    ).eval()


def rows_with_answers(n_rows=5):
    """Rows with two answers each, keys of very different length, and characters of many bytes."""
    return [
        {
            "query": f"what is number {i}?",
            "query_id": 100 + i,
            "pos": [f"number {i} is a number — naïve 数字 😀 " * (1 + i)],
            "neg": ["short", f"a longer negative for {i}, which goes on " * 4],
            "answers": [f"it is {i}", f"the number {i}, as everybody knows: é"],
            "task": "qa",
        }
        for i in range(n_rows)
    ]


def write_lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@torch.inference_mode()
def slow_likelihood(model, tokenizer, prompt, answer):
    """The mean log-likelihood of an answer behind a prompt: one input, and all of its logits."""
    encoded = tokenizer(prompt + answer, return_offsets_mapping=True)
    ids, offsets = encoded["input_ids"], encoded["offset_mapping"]
    while offsets[-1] == (0, 0):  # an EOS that the tokenizer appends
        ids, offsets = ids[:-1], offsets[:-1]
    logits = model(torch.tensor([ids])).logits[0].double().log_softmax(-1)
    of_answer = [i for i, (_, end) in enumerate(offsets) if end > len(prompt)]
    return sum(logits[i - 1, ids[i]].item() for i in of_answer) / len(of_answer)


@torch.inference_mode()
def slow_yes_no(model, tokenizer, prompt, yes, no):
    """The difference of two logits behind a prompt."""
    encoded = tokenizer(prompt, return_offsets_mapping=True)
    ids = [
        i
        for i, span in zip(encoded["input_ids"], encoded["offset_mapping"], strict=True)
        if span != (0, 0) or i == tokenizer.bos_token_id
    ]
    logits = model(torch.tensor([ids])).logits[0, -1].double()
    return (logits[yes] - logits[no]).item()
