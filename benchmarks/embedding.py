"""How fast texts are embedded, compared with sentence-transformers' encode of the same model.

    python benchmarks/embedding.py [--corpus corpus.jsonl] [--texts 1500] [--repeats 3]

Both get the same texts, the same 256 tokens and one thread, in one process and in turn, and both
sort by length. Time is processor time, which other jobs distort less than wall time. The texts are
a random sample of a corpus, or made up with the word statistics of real text and lengths as in real
passages. A tenth of the texts occurs twice, as in the corpora of issue trackers and chats;
``--equal 0`` turns this off. ``--write`` makes the page in results/.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from made_up_text import MadeUpText
from measuring import machine, table
from numpy.typing import NDArray
from transformers import AutoTokenizer

from llm_embedder_data import BiEncoder
from llm_embedder_data.demo import demo_encoder
from llm_embedder_data.mining.embeddable_texts import ListedTexts
from llm_embedder_data.mining.store_filling import fill_store
from llm_embedder_data.mining.text_embedder import TextEmbedder

PAGE = Path(__file__).parent / "results" / "embedding.md"
MAX_LENGTH = 256


def texts_of(corpus: str | None, n_texts: int, equal: float) -> list[str]:
    """A sample of a corpus, or made-up passages; a share of them occurs twice."""
    draw = np.random.default_rng(0)
    n_distinct = round(n_texts * (1 - equal))
    if corpus is None:
        made_up = MadeUpText(0)
        texts = made_up.texts(made_up.sizes(n_distinct, 90))
    else:
        lines = Path(corpus).read_text(encoding="utf-8").splitlines()
        rows = [json.loads(lines[i]) for i in draw.choice(len(lines), n_distinct, replace=False)]
        texts = [f"{row.get('title') or ''} {row['text']}".strip() for row in rows]
    again = [texts[i] for i in draw.choice(len(texts), n_texts - n_distinct, replace=False)]
    return [(texts + again)[i] for i in draw.permutation(n_texts)]


def contestants(folder: str) -> dict[str, Callable[[list[str]], NDArray[np.float32]]]:
    """The functions to compare, by name; each embeds texts."""
    from sentence_transformers import SentenceTransformer

    theirs = SentenceTransformer(folder, device="cpu")
    theirs.max_seq_length = MAX_LENGTH
    encoder, tokenizer = BiEncoder(folder), AutoTokenizer.from_pretrained(folder)

    def ours(texts: list[str], layout: str) -> NDArray[np.float32]:
        embedder = TextEmbedder(encoder, tokenizer, max_length=MAX_LENGTH, layout=layout)  # type: ignore[arg-type]
        with tempfile.TemporaryDirectory() as root:
            return np.array(fill_store(root, ListedTexts(texts), embedder).open().vectors())

    return {
        "sentence-transformers, batches of 32": lambda texts: theirs.encode(texts),
        "sentence-transformers, batches of 128": lambda texts: theirs.encode(texts, batch_size=128),
        "into a store, padded": lambda texts: ours(texts, "padded"),
        "into a store, packed": lambda texts: ours(texts, "packed"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpus")
    parser.add_argument("--texts", type=int, default=1500)
    parser.add_argument("--equal", type=float, default=0.1, help="share of texts that occur twice")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--write", action="store_true", help="write the page in results/")
    arguments = parser.parse_args()
    texts = texts_of(arguments.corpus, arguments.texts, arguments.equal)
    torch.set_num_threads(1)
    embed = contestants(demo_encoder())
    seconds: dict[str, list[float]] = {name: [] for name in embed}
    expected = None
    for _ in range(arguments.repeats):
        for name, function in embed.items():
            began = time.process_time()
            found = function(texts)
            seconds[name].append(time.process_time() - began)
            expected = found if expected is None else expected
            assert np.abs(found - expected).max() < 1e-5, name
    medians = {name: statistics.median(each) for name, each in seconds.items()}
    best = min(value for name, value in medians.items() if name.startswith("sentence"))
    rows = [
        (name, f"{value:.1f}", f"{len(texts) / value:.0f}", f"{value / best:.2f}")
        for name, value in medians.items()
    ]
    shown = table(["", "processor seconds", "texts/s", "of the best peer's time"], rows)
    print(shown)
    if arguments.write:
        PAGE.write_text(
            "# Embedding a corpus\n\n"
            f"`python benchmarks/embedding.py --texts {arguments.texts} --equal {arguments.equal} "
            f"--repeats {arguments.repeats}`{' on a corpus' if arguments.corpus else ''}: "
            f"{len(texts):,} texts, {len(set(texts)):,} of them different, all-MiniLM-L6-v2, "
            f"{MAX_LENGTH} tokens, one thread; processor time, since other jobs ran beside; "
            f"medians of {arguments.repeats} runs in turn; all embeddings are equal to 1e-5.\n\n"
            f"{machine(['torch', 'transformers', 'sentence-transformers'])}\n\n"
            f"{shown}\n"
        )


if __name__ == "__main__":
    main()
