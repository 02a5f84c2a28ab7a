"""``validate``: metrics of a model."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import pytrec_eval
from cli_cases import small

from llm_embedder_data.mining.run_files import read_run

SHARDED = "trainer.strategy={_target_: users_classes.Sharded, device: cpu}"


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


def test_stores_are_filled_once_and_read_then(run, settings, evaluation):
    files = [*settings, *evaluation, "recipe=e5"]
    run("validate", *files, "metrics_file=without.json", "run_file=without.tsv")

    first = run("validate", *files, "store=kept", "metrics_file=first.json", "run_file=first.tsv")
    second = run("validate", *files, "store=kept", "metrics_file=second.json", "run_file=2.tsv")

    for printed, counts in ((first, "2 written, 0 found"), (second, "0 written, 2 found")):
        assert f"eval_data mine: 7 texts; of 2 shards {counts}: kept/" in printed
        assert f"corpus mine: 9 texts; of 2 shards {counts}: kept/" in printed
    without = Path("without.json").read_text()
    assert Path("first.json").read_text() == Path("second.json").read_text() == without
    assert Path("first.tsv").read_text() == Path("2.tsv").read_text()
    expected = read_run("without.tsv")
    for query, documents in read_run("first.tsv").items():
        assert documents == pytest.approx(expected[query], abs=1e-6)


def test_what_embed_wrote_of_a_checkpoint_is_read(run, settings, evaluation):
    run("fit", *settings, "model.learning_rate=0.1")
    [checkpoint] = Path("outputs").rglob("last.ckpt")
    given = [*settings, *evaluation, f"ckpt_path={checkpoint}"]
    run("embed", *given, "texts=[eval_data,corpus]", "out=kept")

    trained = run("validate", *given, "store=kept")
    untrained = run("validate", *settings, *evaluation, "store=kept")

    assert trained.count("0 written, 2 found") == 2
    assert untrained.count("2 written, 0 found") == 2
    assert untrained.count("was not read because it differs in weights") == 2


@pytest.mark.slow
@pytest.mark.ranks
def test_the_ranks_of_the_trainer_share_a_store(settings, evaluation, tmp_path):
    here = tmp_path / "here"
    here.mkdir()
    command = [sys.executable, "-m", "llm_embedder_data.cli", "validate", *settings, *evaluation]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    metrics = []
    for devices in (2, 1):
        given = [f"trainer.devices={devices}", "store=kept", f"metrics_file={devices}.json"]
        done = subprocess.run(
            [*command, *given], text=True, cwd=here, env=environment, stdout=subprocess.PIPE
        )
        assert done.returncode == 0
        counts = "2 written, 0 found" if devices == 2 else "0 written, 2 found"
        assert done.stdout.count(counts) == 2
        metrics.append((here / f"{devices}.json").read_text())

    assert metrics[0] == metrics[1]


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["store=''"], "store='': expected the folder for embedding stores"),
        (["store=data/mine/eval.jsonl"], "there is a file of that name"),
        (["store=kept", "trainer.precision=64-true"], "embeddings are computed in 32-true"),
        (["store=kept", SHARDED], "Sharded shards the weights over ranks"),
        (["store=kept", "data.eval_method=rerank"], "candidates to rerank, which no store holds"),
        (
            ["store=kept", "data.cross=true", "data.eval_method=rerank", "model=cross_encoder"],
            "the model is a CrossEncoder, but only a BiEncoder has embeddings to store",
        ),
    ],
)
def test_a_store_that_cannot_be_used_is_refused(refused, settings, evaluation, overrides, sentence):
    if "data.eval_method=rerank" in overrides:
        row = {"query": "q", "pos": ["p"], "neg": ["n"]}
        Path("data/mine/rerank.jsonl").write_text(json.dumps(row) + "\n")
        evaluation = ["data.eval_data=data/mine/rerank.jsonl"]

    assert sentence in refused("validate", *settings, *evaluation, *overrides)


def test_fit_has_no_store(refused, settings):
    assert "there is no key 'store'" in refused("fit", *settings, "store=kept")


@pytest.mark.parametrize(
    ("verb", "sentence"),
    [
        ("validate", "data.eval_data=null: there is nothing to validate on"),
        ("plan", "data.train_data=None: nothing to train on"),
    ],
)
def test_a_corpus_alone_is_not_searched_for_the_queries_of_the_demo(
    refused, tmp_path, verb, sentence
):
    (tmp_path / "mine.jsonl").write_text('{"id": "a", "text": "a text"}\n')

    assert sentence in refused(verb, f"data.corpus={tmp_path}/mine.jsonl")
