"""Measures likelihood scores per second, compared with LLM-Embedder's way of computing them.

    python benchmarks/scoring.py                    # shapes for a CPU, or for a GPU if there is one
    python benchmarks/scoring.py --shapes 0.5B 7B   # on a machine with CUDA

The reference is a new implementation of what LLM-Embedder's script does: batches of 4 in the order
of the rows, padded on the left, keys cut to 512 tokens by encoding and decoding, the logits of all
positions, and their cross entropy with labels of -100 outside the answer. Both sides go from texts
to scores, with the same model of random weights, in turn in one process; the ratio is that of the
medians. The texts are those of the package's sample; the answer is a positive's first sentence. A
page and every figure as JSON go to benchmarks/results.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from measuring import machine, table
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerBase

import llm_embedder_data
from llm_embedder_data import read_rows
from llm_embedder_data.demo import demo_encoder
from llm_embedder_data.mining.scoring.language_models import LikelihoodTeacher
from llm_embedder_data.mining.scoring.prompts import LengthLimits
from llm_embedder_data.mining.scoring.scored_rows import RowsToScore, ScoredRow
from llm_embedder_data.mining.scoring.templates import LIKELIHOOD_TEMPLATES, templates_by_task

RESULTS = Path(__file__).parent / "results"
REFERENCE_BATCH = 4
KEY_TOKENS = 512

# Width, layers, heads, heads of keys and values, width of the feed-forward layers, vocabulary
# (None: the tokenizer's).
SHAPES: dict[str, tuple[int, int, int, int, int, int | None]] = {
    "3M": (64, 4, 4, 4, 172, None),
    "14M": (192, 6, 6, 6, 512, None),
    "110M": (768, 12, 12, 12, 2048, None),
    "0.5B": (896, 24, 14, 2, 4864, 151_936),
    "1.5B": (1536, 28, 12, 2, 8960, 151_936),
    "7B": (4096, 32, 32, 32, 11_008, 32_000),
}
FOR_A_CPU, FOR_A_GPU = ("3M", "14M", "110M"), ("0.5B", "1.5B", "7B")
TASKS = ("qa", "convsearch")


def rows_of_sample(task: str, n_rows: int) -> list[ScoredRow]:
    """Rows of the sample with an answer: the first sentence of their positive."""
    path = Path(llm_embedder_data.__file__).parent / f"sample/{task}/train.jsonl"
    rows = list(read_rows(str(path)))[:n_rows]
    answered = [
        {**row, "answers": [row["pos"][0].partition(". ")[0]], "task": task} for row in rows
    ]
    wanted = ("query", "query_id", "pos", "neg", "answers", "task")
    source = [{name: row[name] for name in wanted} for row in answered]
    return list(RowsToScore(source, needs_answers=True))


@torch.inference_mode()
def reference(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerBase, rows: list[ScoredRow]
) -> list[float]:
    """Score as LLM-Embedder's script does."""
    texts = []
    for row in rows:
        for key in row.keys:
            ids = tokenizer.encode(
                key, add_special_tokens=False, truncation=True, max_length=KEY_TOKENS
            )
            cut = tokenizer.decode(ids)
            prompt = f"Knowledge: {cut.strip()}\n\nQuestion: {row.query.strip()}\n\nAnswer: "
            texts.append((prompt, row.answers[0].strip()))
    scores = []
    for start in range(0, len(texts), REFERENCE_BATCH):
        batch = texts[start : start + REFERENCE_BATCH]
        ids, labels = [], []
        for prompt, answer in batch:
            of_text = tokenizer(prompt + answer)["input_ids"][
                :-1
            ]  # without the special token at the end
            n_answer = len(tokenizer(answer, add_special_tokens=False)["input_ids"])
            ids.append(of_text)
            labels.append([-100] * (len(of_text) - n_answer) + of_text[-n_answer:])
        width = max(map(len, ids))
        pads = [width - len(of_text) for of_text in ids]
        of_batch = {
            "input_ids": [[0] * pad + of_text for pad, of_text in zip(pads, ids, strict=True)],
            "attention_mask": [[0] * pad + [1] * (width - pad) for pad in pads],
            "labels": [[-100] * pad + of_text for pad, of_text in zip(pads, labels, strict=True)],
        }
        inputs = {name: torch.tensor(one).to(model.device) for name, one in of_batch.items()}
        targets = inputs.pop("labels")[:, 1:]
        logits = model(**inputs, use_cache=False).logits[:, :-1].float()
        flat = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none")
        mean = flat.view_as(targets).sum(1) / (targets != -100).sum(1)
        scores += (-mean).tolist()
    return scores


def ours(teacher: LikelihoodTeacher, rows: list[ScoredRow]) -> list[float]:
    """Score as the verb ``score`` does, without writing files."""
    scores = teacher.scores(teacher.prepare(rows), lambda n_inputs: None)
    return [score for of_row in scores for score in of_row or []]


def compare(
    shape: str, task: str, n_rows: int, repeats: int, batch_tokens: int | None
) -> dict[str, Any]:
    """Measure both sides with a model of a shape on the rows of a task."""
    on_gpu = torch.cuda.is_available()
    tokenizer = AutoTokenizer.from_pretrained(demo_encoder())
    width, layers, heads, of_keys, feed_forward, vocabulary = SHAPES[shape]
    config = LlamaConfig(
        vocab_size=vocabulary or len(tokenizer),
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=of_keys,
        intermediate_size=feed_forward,
        max_position_embeddings=4096,
    )
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16 if on_gpu else torch.float32)
    with torch.device("cuda" if on_gpu else "cpu"):
        model = LlamaForCausalLM(config).eval()
    torch.set_default_dtype(torch.float32)
    templates = templates_by_task(None, LIKELIHOOD_TEMPLATES, ("key", "query", "answer"))
    limits = LengthLimits(2048, KEY_TOKENS, 512)
    batch_tokens = batch_tokens or (32_768 if on_gpu else 4096)
    teacher = LikelihoodTeacher(model, tokenizer, templates, limits, batch_tokens)
    rows = rows_of_sample(task, n_rows)
    sides = {
        "ours": lambda: ours(teacher, rows),
        "reference": lambda: reference(model, tokenizer, rows),
    }
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    scores: dict[str, list[float]] = {}
    for repeat in range(repeats + 1):  # the first is a warm-up
        for name, score in sides.items():
            began = time.perf_counter()
            scores[name] = score()
            if on_gpu:
                torch.cuda.synchronize()
            if repeat:
                seconds[name].append(time.perf_counter() - began)
    n_pairs = len(scores["ours"])
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    pairs = zip(scores["ours"], scores["reference"], strict=True)
    return {
        "shape": shape,
        "task": task,
        "n_parameters": sum(weights.numel() for weights in model.parameters()),
        "n_pairs": n_pairs,
        "pairs_per_second": {name: n_pairs / median for name, median in medians.items()},
        "ratio": medians["reference"] / medians["ours"],
        "seconds": seconds,
        "largest_difference": max(abs(one - other) for one, other in pairs),
    }


def page(results: dict[str, Any]) -> str:
    """The content of ``scoring.json`` as a page in Markdown."""
    arguments = results["arguments"]
    rows = [
        [
            f"{one['shape']} ({one['n_parameters'] / 1e6:,.0f} M)",
            one["task"],
            f"{one['n_pairs']:,}",
            *(f"{one['pairs_per_second'][name]:,.1f}" for name in ("ours", "reference")),
            f"**{one['ratio']:.1f}**",
            f"{one['largest_difference']:.1g}",
        ]
        for one in results["figures"]
    ]
    header = ["model", "rows", "pairs", "ours", "reference", "ratio", "largest difference"]
    kind = "bfloat16" if results["on_gpu"] else "float32"
    parts = [
        "# Likelihood scores a second",
        results["machine"],
        f"Pairs a second from texts to scores, {kind}, medians of {arguments['repeats']} rounds, "
        "both sides in turn in one process (`python benchmarks/scoring.py`). Llama shapes with "
        "random weights. The reference is LLM-Embedder's algorithm, written anew: batches of 4 in "
        "the order of the rows, padded on the left, the logits of all positions. The last column "
        "is how far the scores of the two differ.",
        table(header, rows),
    ]
    if not results["on_gpu"]:
        parts.append(
            "Not measured here, for want of a GPU: the shapes of 0.5B, 1.5B and 7B, which the same "
            "command measures where CUDA is."
        )
    return "\n\n".join(parts) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    default = FOR_A_GPU if torch.cuda.is_available() else FOR_A_CPU
    parser.add_argument("--shapes", nargs="+", default=default, choices=SHAPES)
    parser.add_argument("--tasks", nargs="+", default=TASKS, choices=TASKS)
    parser.add_argument("--rows", type=int, default=24, help="rows of each task")
    parser.add_argument("--repeats", type=int, default=3, help="number of rounds that are counted")
    parser.add_argument(
        "--batch-tokens", type=int, help="batch_tokens of this package; default: the verb's"
    )
    parser.add_argument("--results", default=str(RESULTS), help="folder of the results")
    arguments = parser.parse_args()
    on_gpu = torch.cuda.is_available()
    device = f"{torch.cuda.get_device_name()}; " if on_gpu else ""
    results = {
        "machine": device + machine(("torch", "transformers", "tokenizers")),
        "on_gpu": on_gpu,
        "arguments": vars(arguments) | {"results": None},
        "figures": [
            compare(shape, task, arguments.rows, arguments.repeats, arguments.batch_tokens)
            for shape in arguments.shapes
            for task in arguments.tasks
        ],
    }
    folder = Path(arguments.results)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "scoring.json").write_text(json.dumps(results, indent=1) + "\n")
    (folder / "scoring.md").write_text(page(results))
    print(page(results))


if __name__ == "__main__":
    main()
