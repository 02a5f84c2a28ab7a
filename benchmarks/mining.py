"""Mining of hard negatives, compared with sentence-transformers and FlagEmbedding.

    python benchmarks/mining.py [--repeats 3] [--write]

All get the same encoder, pairs, candidates, depth and margin, in separate processes that alternate.
Time is measured from the loaded model to the mined negatives, as processor time of all threads,
which other jobs distort less, and as wall time. Memory is the growth of anonymous memory from that
point on. This package packs its texts, and all have one thread. Then each mines with another
margin: sentence-transformers with its cache of embeddings, this package by opening the data with
another limit.

- ``encoder``: all-MiniLM-L6-v2, so that embedding dominates.
- ``search``: an encoder of one layer with as many dimensions, and more texts, so that the search
  and the bookkeeping dominate.

FlagEmbedding's ``hn_mine`` takes part if the package has it, as version 1.2.11 does; later ones
keep it only in their repository. It needs a separate environment with
``pip install --no-deps FlagEmbedding==1.2.11 faiss-cpu==1.15.1`` and what ``make bench``
installs. It has no margin, and keeps neither scores nor embeddings.
"""

from __future__ import annotations

import argparse
import builtins
import importlib
import json
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Optional

import numpy as np
from made_up_text import MadeUpText
from measuring import anonymous_mb, linear_layers, machine, run, table

PAGE = Path(__file__).parent / "results" / "mining.md"
ONE_THREAD = {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
DEPTH, MARGIN, OTHER_MARGIN, LENGTH = 50, 0.02, 0.05, 128

# Number of passages, of queries, and of words per passage.
SIZES = {"encoder": (300, 100, 60), "search": (10_000, 1_000, 12)}


def write_data(folder: Path, setting: str) -> None:
    """Write passages, pairs of a passage's first words and the passage, and the encoder."""
    n_passages, n_queries, n_words = SIZES[setting]
    made_up = MadeUpText(0)
    texts = list(dict.fromkeys(made_up.texts(made_up.sizes(n_passages, n_words))))
    with open(folder / "corpus.jsonl", "w") as file:
        file.writelines(json.dumps({"id": str(i), "text": t}) + "\n" for i, t in enumerate(texts))
    draw = np.random.default_rng(1)
    with open(folder / "pairs.jsonl", "w") as file:
        for i in draw.choice(len(texts), n_queries, replace=False).tolist():
            words = texts[i].split()
            query = " ".join(words[: max(3, len(words) // 3)]) + f" {i}"
            file.write(json.dumps({"query": query, "query_id": f"q{i}", "pos": [texts[i]]}) + "\n")
    if setting == "search":
        _write_one_layer(folder / "encoder")


def _write_one_layer(folder: Path) -> None:
    import torch
    from transformers import AutoTokenizer, BertConfig, BertModel

    from llm_embedder_data.demo import demo_encoder

    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(demo_encoder())
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=384,
        num_hidden_layers=1,
        num_attention_heads=6,
        intermediate_size=384,
    )
    BertModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def encoder_of(folder: Path) -> str:
    from llm_embedder_data.demo import demo_encoder

    own = folder / "encoder"
    return str(own) if own.is_dir() else demo_encoder()


def measured(mine: Callable[[float], int]) -> dict[str, Any]:
    """Mine with two margins; the figures include the memory before, which the caller subtracts."""
    before, begun, processor = anonymous_mb(), time.perf_counter(), time.process_time()
    with linear_layers() as linear:
        n_negatives = mine(MARGIN)
    wall, seconds = time.perf_counter() - begun, time.process_time() - processor
    processor = time.process_time()
    mine(OTHER_MARGIN)
    return {
        "before": before,
        "seconds": seconds,
        "linear": linear.value,
        "rest": seconds - linear.value,
        "wall": wall,
        "again": time.process_time() - processor,
        "negatives": n_negatives,
    }


def ours(folder: Path) -> dict[str, Any]:
    """This package: ``mine`` writes the run once; a margin applies when the data are opened."""
    import tempfile

    from transformers import AutoTokenizer

    from llm_embedder_data import BiEncoder, RetrievalDataModule
    from llm_embedder_data.mining.mining import mine, write_mined
    from llm_embedder_data.mining.retrievers import DenseRetriever
    from llm_embedder_data.mining.text_embedder import TextEmbedder

    name = encoder_of(folder)
    model = BiEncoder(name, pooling="mean", similarity="cos").eval()
    tokenizer = AutoTokenizer.from_pretrained(name)
    work = Path(tempfile.mkdtemp(dir=folder))
    run_file = work / "run.tsv"

    def opened(**source: str) -> Any:
        path = {"path": str(folder / "pairs.jsonl"), **source}
        limit = {"relative_margin": opened.margin} if source else {}
        module = RetrievalDataModule(
            tokenizer=tokenizer,
            train_data={"pairs": path},
            corpus=str(folder / "corpus.jsonl"),
            on_no_negatives="keep",
            query_max_length=LENGTH,
            key_max_length=LENGTH,
            cache_dir=work / "cache",
            **limit,
        )
        module.prepare_data()
        module.setup("fit")
        return module

    def make(data: Any, passages: Any, queries: Any) -> DenseRetriever:
        embedder = TextEmbedder(model, tokenizer, max_length=LENGTH, layout="packed")
        return DenseRetriever(passages, queries.texts, embedder, embedder, work / "store")

    def both(margin: float) -> int:
        opened.margin = margin
        if not run_file.exists():
            [data] = opened().data_to_mine().values()
            write_mined(run_file, [mine(data, make, work / "blocks", depth=DEPTH)])
        found = opened(negatives=str(run_file)).train_sets()["pairs"]
        return DEPTH * len(found.kept) - sum(map(sum, found.left_out_by_limit.values()))

    return measured(both)


def theirs(folder: Path) -> dict[str, Any]:
    """sentence-transformers, with its cache of embeddings."""
    import tempfile

    from datasets import Dataset
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.util import mine_hard_negatives

    model = SentenceTransformer(encoder_of(folder), device="cpu")
    model.max_seq_length = LENGTH
    cache = tempfile.mkdtemp(dir=folder)
    rows = read(folder / "pairs.jsonl")
    passages = [row["text"] for row in read(folder / "corpus.jsonl")]
    pairs = Dataset.from_dict(
        {"query": [row["query"] for row in rows], "answer": [row["pos"][0] for row in rows]}
    )

    def mine(margin: float) -> int:
        found = mine_hard_negatives(
            pairs,
            model,
            corpus=passages,
            range_max=DEPTH,
            num_negatives=DEPTH,
            relative_margin=margin,
            sampling_strategy="top",
            batch_size=32,
            output_format="labeled-list",
            output_scores=True,
            cache_folder=cache,
            verbose=False,
        )
        [lists] = [name for name in found.column_names if name in ("scores", "label", "labels")][:1]
        return sum(len(of_query) - 1 for of_query in found[lists])

    return measured(mine)


def flag_embedding(folder: Path) -> dict[str, Any]:
    """FlagEmbedding's script, with our length limit and its batches of 256 texts."""
    module = hn_mine()
    from FlagEmbedding import FlagModel

    model = FlagModel(encoder_of(folder), pooling_method="mean", use_fp16=False)
    encode = model.encode
    model.encode = lambda texts, **settings: encode(texts, **{**settings, "max_length": LENGTH})
    rows = read(folder / "pairs.jsonl")
    pool = read(folder / "corpus.jsonl")
    for name, lines in (("fe.jsonl", rows), ("pool.jsonl", pool)):
        (folder / name).write_text("".join(json.dumps(line) + "\n" for line in lines))

    def mine(margin: float) -> int:
        module.find_knn_neg(
            model,
            input_file=str(folder / "fe.jsonl"),
            candidate_pool=str(folder / "pool.jsonl"),
            output_file=str(folder / "mined.jsonl"),
            sample_range=[0, DEPTH + 1],
            negative_number=DEPTH,
            use_gpu=False,
        )
        return sum(len(row["neg"]) for row in read(folder / "mined.jsonl"))

    return measured(mine)


def hn_mine() -> Any:
    """FlagEmbedding's script.

    Raises:
        ImportError: the package is not installed, or lacks the script.
    """
    # Version 1.2.11 takes this name from transformers.trainer, which version 5 does not export.
    vars(builtins)["Optional"] = Optional
    return importlib.import_module("FlagEmbedding.baai_general_embedding.finetune.hn_mine")


SIDES = {"ours": ours, "sentence-transformers": theirs, "FlagEmbedding": flag_embedding}


def compare(setting: str, repeats: int) -> dict[str, dict[str, float]]:
    """The medians of each side."""
    sides = ["ours", "sentence-transformers"]
    try:
        hn_mine()
        sides.append("FlagEmbedding")
    except ImportError:
        print("FlagEmbedding's hn_mine is not installed: left out", file=sys.stderr)
    found: dict[str, list[dict[str, Any]]] = {side: [] for side in sides}
    with tempfile.TemporaryDirectory() as folder:
        write_data(Path(folder), setting)
        for _ in range(repeats):
            for side in sides:
                result = run([__file__, "--side", side, "--folder", folder], ONE_THREAD)
                result["memory"] = result["anonymous"] - result["before"]
                found[side].append(result)
    names = ("seconds", "linear", "rest", "wall", "again", "memory", "negatives")
    return {
        side: {name: statistics.median(one[name] for one in results) for name in names}
        for side, results in found.items()
    }


def page(results: dict[str, dict[str, dict[str, float]]], repeats: int) -> str:
    packages = ["torch", "sentence-transformers", "transformers"]
    has_hn_mine = "FlagEmbedding" in next(iter(results.values()))
    if has_hn_mine:
        packages += ["FlagEmbedding", "faiss-cpu"]
    parts = [
        "# Mining hard negatives\n",
        f"{machine(packages)} Made by "
        f"`python benchmarks/mining.py --repeats {repeats} --write`; medians, one thread. Ratios "
        "are the other's figure divided by ours. Much of the memory is holes that activations of "
        "other sizes leave in the heap. `MALLOC_MMAP_THRESHOLD_=1000000` in the environment hands "
        "each freed tensor back to the system: that shows how much is in use, and takes longer.\n",
    ]
    if has_hn_mine:
        parts.append(
            "FlagEmbedding's `hn_mine` has no margin, and keeps neither scores nor embeddings: it "
            "keeps all negatives, and another choice is a second run. Its batches are of 256 texts "
            "that are not sorted by length, with our limit of tokens. Of version 1.2.11, the last "
            "package that has it, one name is mended that transformers 5 does not export any "
            "more.\n"
        )
    for setting, sides in results.items():
        n_passages, n_queries, n_words = SIZES[setting]
        parts.append(
            f"## {setting}: {n_passages:,} passages of about {n_words} words, {n_queries:,} "
            f"queries, depth {DEPTH}\n"
        )
        own = sides["ours"]
        rows = [
            [
                side,
                f"{found['seconds']:.1f} s ({found['seconds'] / own['seconds']:.2f})",
                f"{found['linear']:.1f} s",
                f"{found['rest']:.1f} s ({found['rest'] / own['rest']:.2f})",
                f"{found['wall']:.1f} s",
                f"{found['memory']:.0f} MB ({found['memory'] / own['memory']:.2f})",
                f"{found['again']:.1f} s",
                f"{found['negatives']:,.0f}",
            ]
            for side, found in sides.items()
        ]
        header = [
            "",
            "mining, processor time (ratio to ours)",
            "of it in linear layers",
            "all else (ratio to ours)",
            "wall time",
            "memory (ratio to ours)",
            "another margin, processor time",
            "negatives kept",
        ]
        peer = sides["sentence-transformers"]
        parts += [
            table(header, rows) + "\n",
            "The linear layers, which take padding too, are "
            f"{own['linear'] / own['seconds']:.0%} of our time, and "
            f"{peer['linear'] / peer['seconds']:.0%} of the time of sentence-transformers. If all "
            "else took no time, we would take "
            f"{own['linear'] / peer['seconds']:.2f} of its time.\n",
        ]
    return "\n".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--settings", nargs="+", default=list(SIZES))
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--side", choices=list(SIDES))
    parser.add_argument("--folder", type=Path)
    arguments = parser.parse_args()
    if arguments.side:
        warnings.simplefilter("ignore")
        print(json.dumps(SIDES[arguments.side](arguments.folder)))
        return
    results = {setting: compare(setting, arguments.repeats) for setting in arguments.settings}
    text = page(results, arguments.repeats)
    print(text)
    if arguments.write:
        PAGE.write_text(text)


if __name__ == "__main__":
    main()
