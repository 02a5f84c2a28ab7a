"""``validate``: metrics of a model."""

import json
from pathlib import Path

import pytest
import pytrec_eval
from cli_cases import small

from llm_embedder_data.mining.run_files import read_run


def test_validate_measures_a_model(run, tiny, sample_dir):
    out = run(
        "validate",
        *small(tiny),
        f"data.eval_data={{tool: {sample_dir}/tool/eval.jsonl}}",
        f"data.corpus={sample_dir}/tool/corpus.jsonl",
        "data.key_template='{text}'",
    )

    assert "val/tool/ndcg@10" in out


def test_trec_eval_finds_the_metrics_in_the_run_of_each_eval_set(run, tiny, sample_dir):
    names = ("qa", "tool")
    out = run(
        "validate",
        *small(tiny),
        *(f"+data.eval_data.{name}={sample_dir}/{name}/eval.jsonl" for name in names),
        *(f"+data.corpus.{name}={sample_dir}/{name}/corpus.jsonl" for name in names),
        "run_file=out/run.trec",
        "metrics_file=metrics.json",
    )

    metrics = json.loads(Path("metrics.json").read_text())
    for name in names:
        assert f"out/run.{name}.trec" in out
        rows = map(json.loads, Path(f"{sample_dir}/{name}/eval.jsonl").read_text().splitlines())
        qrels = {str(row["query_id"]): {str(i): 1 for i in row["pos_index"]} for row in rows}
        found = pytrec_eval.RelevanceEvaluator(qrels, {"ndcg_cut_10", "map_cut_100"}).evaluate(
            read_run(f"out/run.{name}.trec")
        )
        for theirs, ours in (("ndcg_cut_10", "ndcg@10"), ("map_cut_100", "map@100")):
            mean = sum(one[theirs] for one in found.values()) / len(qrels)
            assert metrics[name][ours] == pytest.approx(mean, rel=1e-12)
