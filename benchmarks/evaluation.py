"""Evaluation of one model on one set: time and memory, also of sentence-transformers and mteb.

    python benchmarks/evaluation.py

Texts are made up, the model is the demo's all-MiniLM-L6-v2, on the CPU. Each run is a separate
process with one thread, and the ways alternate. Time is processor time, which other jobs distort
less than wall time. Memory is the peak of a process's anonymous memory, less what it had with model
and data loaded. The time of the model's linear layers is given separately, because it hardly
differs for the same model and texts. The page is written to benchmarks/results/evaluation.md.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from made_up_text import MadeUpText
from measuring import anonymous_mb, linear_layers, machine, run, table

from llm_embedder_data.demo import demo_encoder

ONE_THREAD = {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
PAGE = Path(__file__).parent / "results" / "evaluation.md"
WAYS = {
    "ours": "`evaluate`, `layout=packed`, cutoffs 1 to 100",
    "sentence-transformers": "`InformationRetrievalEvaluator` with its defaults",
    "mteb": "`mteb.evaluate` of the SentenceTransformer, batches of 32",
}


def write_set(folder: Path, n_passages: int, n_queries: int) -> None:
    """Write passages and queries; a query is the middle part of the passage that answers it."""
    text = MadeUpText(5)
    passages = text.texts(text.sizes(n_passages, 80))
    step = n_passages // n_queries
    queries = [" ".join(passages[step * n].split()[5:13]) or "none" for n in range(n_queries)]
    corpus = [{"id": f"d{n}", "text": passage} for n, passage in enumerate(passages)]
    rows = [
        {"query": query, "query_id": f"q{n}", "relevant": {f"d{step * n}": 1}}
        for n, query in enumerate(queries)
    ]
    for name, content in (("corpus", corpus), ("eval", rows)):
        lines = "".join(json.dumps(row) + "\n" for row in content)
        (folder / f"{name}.jsonl").write_text(lines)


def evaluate_once(way: str, folder: Path) -> dict[str, Any]:
    """Evaluate once, in this process."""
    corpus, rows = (
        [json.loads(line) for line in (folder / f"{name}.jsonl").read_text().splitlines()]
        for name in ("corpus", "eval")
    )
    if way == "ours":
        from llm_embedder_data import BiEncoder, RetrievalDataModule, evaluate

        model = BiEncoder(demo_encoder())
        datamodule = RetrievalDataModule(
            demo_encoder(),
            eval_data={"made up": str(folder / "eval.jsonl")},
            corpus=str(folder / "corpus.jsonl"),
            layout="packed",
            cache_dir=str(folder / "cache"),
        )
        return measured(
            lambda: evaluate(model, datamodule, show_progress=False).metrics["made up"]["ndcg@10"]
        )
    from sentence_transformers import SentenceTransformer

    encoder = SentenceTransformer(demo_encoder(), device="cpu")
    queries = {row["query_id"]: row["query"] for row in rows}
    passages = {row["id"]: row["text"] for row in corpus}
    if way == "mteb":
        return _with_mteb(encoder, queries, passages, rows)
    from sentence_transformers.evaluation import InformationRetrievalEvaluator

    evaluator = InformationRetrievalEvaluator(
        queries, passages, {row["query_id"]: set(row["relevant"]) for row in rows}, write_csv=False
    )
    return measured(lambda: evaluator(encoder)["cosine_ndcg@10"])


def measured(evaluate: Callable[[], float]) -> dict[str, float]:
    """Evaluate; the memory before, the time in total and of linear layers, and nDCG@10."""
    before, began = anonymous_mb(), time.process_time()
    with linear_layers() as linear:
        ndcg = evaluate()
    seconds = time.process_time() - began
    return {"before": before, "seconds": seconds, "linear": linear.value, "ndcg": ndcg}


def _with_mteb(encoder: Any, queries: Any, passages: Any, rows: Any) -> dict[str, Any]:
    import mteb
    from datasets import Dataset

    data = {
        "queries": Dataset.from_list([{"id": i, "text": text} for i, text in queries.items()]),
        "corpus": Dataset.from_list(
            [{"id": i, "title": "", "text": text} for i, text in passages.items()]
        ),
        "relevant_docs": {row["query_id"]: row["relevant"] for row in rows},
        "top_ranked": None,
    }

    class MadeUp(mteb.abstasks.AbsTaskRetrieval):  # type: ignore[misc, name-defined]
        metadata = mteb.TaskMetadata(
            name="MadeUpRetrieval",
            description="made-up texts",
            reference=None,
            dataset={"path": "none/none", "revision": "0"},
            type="Retrieval",
            category="t2t",
            modalities=["text"],
            eval_splits=["test"],
            eval_langs=["eng-Latn"],
            main_score="ndcg_at_10",
        )

        def load_data(self, **kwargs: Any) -> None:
            self.dataset = {"default": {"test": data}}
            self.data_loaded = True

    def evaluate() -> float:
        results = mteb.evaluate(
            encoder, MadeUp(), cache=None, show_progress_bar=False, encode_kwargs={"batch_size": 32}
        )
        return float(results.task_results[0].scores["test"][0]["ndcg_at_10"])

    return measured(evaluate)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", nargs=2, metavar=("WAY", "FOLDER"))
    parser.add_argument("--passages", type=int, default=1500)
    parser.add_argument("--queries", type=int, default=300)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--page", type=Path, default=PAGE)
    given = parser.parse_args()
    if given.run:
        print(json.dumps(evaluate_once(given.run[0], Path(given.run[1]))))
        return
    found: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as name:
        write_set(Path(name), given.passages, given.queries)
        for _ in range(given.repeats):
            for way in WAYS:
                found[way].append(run([__file__, "--run", way, name], ONE_THREAD))
    given.page.write_text(page(given, found))
    print(given.page.read_text())


def page(given: Any, found: dict[str, list[dict[str, float]]]) -> str:
    def median(way: str, name: str) -> float:
        return statistics.median(one[name] for one in found[way])

    for runs in found.values():
        for one in runs:
            one["memory"] = one["anonymous"] - one["before"]
            one["rest"] = one["seconds"] - one["linear"]
    rows = []
    for way, how in WAYS.items():
        cells = [way, how]
        for name, digits in (("seconds", 1), ("linear", 1), ("rest", 1), ("memory", 0)):
            value = median(way, name)
            cells.append(f"{value:,.{digits}f} ({median('ours', name) / value:.2f})")
        rows.append([*cells, f"{found[way][0]['ndcg']:.6f}"])
    share = median("ours", "linear") / median("ours", "seconds")
    least = median("ours", "linear") / median("sentence-transformers", "seconds")
    header = [
        *("", "how", "processor seconds", "linear layers, s", "all else, s"),
        *("memory, MB", "nDCG@10"),
    ]
    return "\n".join(
        [
            "# Evaluation",
            "",
            f"`python benchmarks/evaluation.py --passages {given.passages} --queries "
            f"{given.queries} --repeats {given.repeats}`",
            "",
            f"{given.passages:,} made-up passages and {given.queries:,} queries, "
            f"all-MiniLM-L6-v2 on the CPU, {given.repeats} processes "
            "each, in turns, with one thread; medians; processor time, since other jobs ran. "
            "mteb rounds its values. In parentheses: ours divided by this. The model's linear "
            "layers take most of the time in all three; without padding they have fewer tokens.",
            "",
            table(header, rows),
            "",
            f"The linear layers are {share:.0%} of our time. If all else took no time, we would "
            f"take {least:.2f} of the time of sentence-transformers.",
            "",
            machine(["torch", "sentence-transformers", "mteb"]),
            "",
        ]
    )


if __name__ == "__main__":
    main()
