"""Measures lengths, words and tokens of real rows, and fits the law that made-up texts follow.

    python benchmarks/real_text.py FOLDER [--rows 300]

FOLDER holds ``<task>/<dataset>/train.jsonl`` files. The output shows the lengths of queries and
keys by task; the number of distinct words as a text gets longer, and the tokens per word by the
word's rank, compared with those of made-up rows; and the Zipf-Mandelbrot law that fits best. Each
distinct text is taken once, in random order. Words are separated by spaces.
"""

from __future__ import annotations

import argparse
import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
from loads import TASKS, copy_load, make_load
from made_up_text import LAW, ZipfLaw
from measuring import table

COUNTS = (1000, 3000, 10_000, 30_000, 100_000, 300_000, 1_000_000)
BANDS = (0, 30, 100, 300, 1000, 3000, 10_000, 30_000, 60_000, 10**9)
_RANKS = np.array([1, 3, 10, 30, 100, 300, 1000, 3000, 10_000])


class Texts(NamedTuple):
    """The distinct queries and keys of one task."""

    queries: list[str]
    keys: list[str]


def read(folder: Path) -> dict[str, Texts]:
    """The texts of ``<name>/train.jsonl`` files, by the task at the beginning of the name."""
    by_task: dict[str, Texts] = {}
    for task in TASKS:
        queries: dict[str, None] = {}
        keys: dict[str, None] = {}
        for file in sorted(folder.glob(f"{task}*/train.jsonl")):
            for row in map(json.loads, file.open()):
                queries[row["query"]] = None
                keys |= dict.fromkeys([*row["pos"], *row["neg"]])
        by_task[task] = Texts(list(queries), list(keys))
    return by_task


def shuffled(by_task: dict[str, Texts]) -> list[str]:
    """All distinct texts, in random order."""
    texts = list(dict.fromkeys(text for one in by_task.values() for side in one for text in side))
    np.random.default_rng(0).shuffle(texts)
    return texts


def lengths(texts: Sequence[str]) -> tuple[float, float]:
    """The median of the numbers of words, and the standard deviation of their logarithms."""
    sizes = np.array([text.count(" ") + 1 for text in texts])
    return float(np.median(sizes)), float(np.std(np.log(sizes)))


def distinct_words(texts: Iterable[str], counts: Sequence[int] = COUNTS) -> dict[int, int]:
    """The number of distinct words among the first n words of the texts, for each count n."""
    seen: set[str] = set()
    found = {}
    words = (word for text in texts for word in text.split(" "))
    for n_words, word in enumerate(words, start=1):
        seen.add(word)
        if n_words in counts:
            found[n_words] = len(seen)
    return found


def by_rank(texts: Iterable[str]) -> list[list[float]]:
    """For each band of ranks: mean tokens of a word; shares with punctuation, capital, digits."""
    from transformers import AutoTokenizer

    from llm_embedder_data.demo import demo_encoder

    backend = AutoTokenizer.from_pretrained(demo_encoder()).backend_tokenizer
    backend.no_padding()
    backend.no_truncation()
    words = [
        word for word, _ in Counter(w for text in texts for w in text.split(" ")).most_common()
    ]
    found = []
    for first, last in pairwise(BANDS):
        some = words[first:last]
        encodings = backend.encode_batch_fast(some, add_special_tokens=False)
        each = [
            (
                len(encoding.ids),
                bool(re.search(r"[^\w]", word)),
                word[:1].isupper(),
                any(map(str.isdigit, word)),
            )
            for word, encoding in zip(some, encodings, strict=True)
        ]
        found.append(np.mean(each, axis=0).tolist() if each else [float("nan")] * 4)
    return found


def fitted(growth: dict[int, int], frequencies: Sequence[float]) -> ZipfLaw:
    """The law with the nearest growth of words and frequencies of ranks, by random search.

    Args:
        growth: number of distinct words by number of words.
        frequencies: frequencies of the words, the highest first.
    """
    random = np.random.default_rng(0)
    best, steps = np.array([2.0, 1.05, np.log(5000), 1.6]), np.array([0.5, 0.05, 0.4, 0.1])
    least = np.inf
    for i in range(4000):
        tried = best + (random.normal(size=4) * steps if i else 0)
        if tried[0] < 0 or tried[3] < 1.05 or tried[2] > np.log(1 << 16):
            continue
        miss = _miss(
            ZipfLaw(tried[0], tried[1], float(np.exp(tried[2])), tried[3]), growth, frequencies
        )
        if miss < least:
            best, least = tried, miss
        if i % 800 == 799:
            steps = steps / 2
    return ZipfLaw(*(float(one) for one in (best[0], best[1], np.exp(best[2]), best[3])))


def expected_words(law: ZipfLaw, counts: Iterable[int]) -> list[float]:
    """The expected number of distinct words among n words drawn from a law, for each count n."""
    ranks = np.arange(1, 1 << 16, dtype=np.float64)
    edges = np.geomspace(1 << 16, 1e12, 4000)
    middles, widths = np.sqrt(edges[1:] * edges[:-1]), np.diff(edges)
    head, tail = law.weights(ranks), law.weights(middles)
    total = head.sum() + (tail * widths).sum()
    return [
        float(-np.expm1(-n * head / total).sum() - (np.expm1(-n * tail / total) * widths).sum())
        for n in counts
    ]


def _miss(law: ZipfLaw, growth: dict[int, int], frequencies: Sequence[float]) -> float:
    grown = np.log(np.array(expected_words(law, growth)) / np.array(list(growth.values())))
    weights = law.weights(_RANKS.astype(np.float64))
    total = law.weights(np.arange(1.0, 1 << 16)).sum() + law.weight_beyond((1 << 16) - 1)
    ranked = np.log(weights / total / np.array(frequencies)[_RANKS - 1])
    return float(np.sum(grown**2) + 0.09 * np.sum(ranked**2))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("folder", help="of the real rows")
    parser.add_argument("--rows", type=int, default=300, help="made-up rows of each task")
    arguments = parser.parse_args()
    with TemporaryDirectory() as real, TemporaryDirectory() as made_up:
        copy_load(Path(arguments.folder), Path(real))
        make_load(Path(made_up), rows=arguments.rows, negatives=30)
        loads = {"real": read(Path(real)), "made up": read(Path(made_up))}
    print("Numbers of words, median / spread of the logarithms:\n")
    rows = [
        [task, name, *("{:.0f} / {:.2f}".format(*lengths(side)) for side in by_task[task])]
        for task in TASKS
        for name, by_task in loads.items()
    ]
    print(table(["", "", "queries", "keys"], rows))
    texts = {name: shuffled(by_task) for name, by_task in loads.items()}
    growth = {name: distinct_words(one) for name, one in texts.items()}
    print("\nDistinct words among running words:\n")
    found = {**growth, "the law": dict(zip(COUNTS, expected_words(LAW, COUNTS), strict=True))}
    print(
        table(
            ["", *(f"{n:,}" for n in COUNTS)],
            [
                [name, *(f"{one[n]:,.0f}" for n in COUNTS if n in one)]
                for name, one in found.items()
            ],
        )
    )
    print("\nTokens a word; shares of words with punctuation, a capital, digits; by rank:\n")
    bands = [f"{first:,}" for first in BANDS[:-1]]
    print(
        table(
            ["", *bands],
            [
                [name, *(" / ".join(f"{value:.2f}" for value in band) for band in by_rank(one))]
                for name, one in texts.items()
            ],
        )
    )
    counts = Counter(word for text in texts["real"] for word in text.split(" "))
    frequencies = [n / counts.total() for _, n in counts.most_common()]
    print("\nFitted:", fitted(growth["real"], frequencies))


if __name__ == "__main__":
    main()
