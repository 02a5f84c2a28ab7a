"""Published figures of all-MiniLM-L6-v2, measured again by ``llm-embedder-data validate``.

    python benchmarks/published.py --data FOLDER [--sets scifact xquad/en ...] [--write]

A set is a folder of FOLDER with eval.jsonl and corpus.jsonl. Only the encoder and the paths of a
set are given. The exit code is 1 if a figure differs from the published one by over 1e-5.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from measuring import machine, table

PAGE = Path(__file__).parent / "results" / "published.md"

# SciFact: the test set of BEIR, a public report of six digits. XQuAD: XQuADRetrieval of MTEB, as
# embeddings-benchmark/results has it for the model's revision 8b3219a.
PUBLISHED = {
    "scifact": {"ndcg@10": 0.645082},
    "xquad/en": {"ndcg@10": 0.94357, "mrr@10": 0.928071, "recall@10": 0.98987},
    "xquad/de": {"ndcg@10": 0.70324, "mrr@10": 0.659969, "recall@10": 0.83827},
    "xquad/es": {"ndcg@10": 0.63229, "mrr@10": 0.585995},
}
TOLERANCE = 1e-5
PACKAGES = ("torch", "transformers", "lightning")


def measured(folder: Path) -> dict[str, float]:
    """The metrics that ``validate`` computes."""
    with tempfile.TemporaryDirectory() as made:
        metrics = Path(made) / "metrics.json"
        command = [sys.executable, "-m", "llm_embedder_data.cli", "validate", "encoder=demo"]
        command += [f"data.eval_data={folder / 'eval.jsonl'}", f"metrics_file={metrics}"]
        command += [f"data.corpus={folder / 'corpus.jsonl'}", f"hydra.run.dir={made}/run"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        [found] = json.loads(metrics.read_text()).values()
    return dict(found)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--sets", nargs="+", choices=PUBLISHED, default=list(PUBLISHED))
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.name}")
    arguments = parser.parse_args()
    rows, largest = [], 0.0
    for name in arguments.sets:
        found = measured((arguments.data / name).absolute())
        for metric, published in PUBLISHED[name].items():
            difference = abs(found[metric] - published)
            largest = max(largest, difference)
            rows.append([name, metric, str(published), f"{found[metric]:.8f}", f"{difference:.0e}"])
    text = table(["set", "metric", "published", "measured", "difference"], rows)
    print(text)
    if arguments.write:
        PAGE.write_text(
            f"# Published figures, measured again\n\n{machine(PACKAGES)}\n\nall-MiniLM-L6-v2 by "
            "`llm-embedder-data validate encoder=demo` with the paths of a set and nothing else. "
            f"Made by `python benchmarks/published.py --data FOLDER --write`.\n\n{text}\n"
        )
    return int(largest > TOLERANCE)


if __name__ == "__main__":
    sys.exit(main())
