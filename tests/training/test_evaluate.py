"""``evaluate``: a model measured without a Trainer, by the ids of queries and documents."""

import json
import logging

import lightning
import pytest
import pytrec_eval
import torch
from processes import returned, run_on_ranks
from slow_cases import mostly_slow
from tiny_models import ONE_LAYER, tiny_bert
from training_cases import quiet_trainer
from transformers import AutoTokenizer

from llm_embedder_data import BiEncoder, ConfigError, DataError, RetrievalDataModule, evaluate
from llm_embedder_data.mining.run_files import read_run

WORDS = ["abbot", "bell", "ferry", "storm", "oats", "salt", "harbour", "lamp"]
CUTOFFS = (1, 3, 10)


def text(number):
    """Few words, so that many texts are the same, and their scores are ties."""
    return f"{WORDS[number % 8]} {WORDS[number * 3 % 5]}"


# Ids whose order is not that of the rows, and graded judgments.
CORPUS = [{"id": f"d{(number * 37) % 101}", "text": text(number)} for number in range(60)]
EVAL = [
    {
        "query": text(number * 7),
        "query_id": f"d{(number * 37) % 101}",  # the id of a document
        "task": "qa",
        "relevant": {CORPUS[(number * 7) % 60]["id"]: 2, CORPUS[(number * 11) % 60]["id"]: 1},
        "answers": [WORDS[number % 8]],
    }
    for number in range(20)
]


def tiny_model(tokenizer, **settings):
    encoder = tiny_bert(len(tokenizer), max_position_embeddings=512, **ONE_LAYER)
    return BiEncoder(encoder, cutoffs=CUTOFFS, **settings)


def make_datamodule(tokenizer, **settings):
    arguments = {"eval_data": {"bells": EVAL}, "corpus": CORPUS, "eval_batch_size": 7}
    return RetrievalDataModule(tokenizer, **arguments | settings)


@pytest.fixture(scope="module")
def tokenizer(minilm):
    return AutoTokenizer.from_pretrained(minilm)


def of_trec_eval(run, measures):
    qrels = {row["query_id"]: row["relevant"] for row in EVAL}
    found = pytrec_eval.RelevanceEvaluator(qrels, set(measures)).evaluate(run)
    return {name: sum(one[name] for one in found.values()) / len(found) for name in measures}


@pytest.mark.parametrize("drop", [False, True])
def test_trec_eval_finds_the_same_in_the_run_file(tokenizer, tmp_path, drop):
    found = evaluate(
        tiny_model(tokenizer),
        make_datamodule(tokenizer),
        drop_identical_ids=drop,
        run_file=tmp_path / "run.trec",
        metrics_file=tmp_path / "new" / "metrics.json",
        show_progress=False,
    )

    run = read_run(tmp_path / "run.trec")
    assert {len(documents) for documents in run.values()} == {10}
    assert any(query in documents for query, documents in run.items()) != drop
    names = {"ndcg_cut_10": "ndcg@10", "map_cut_3": "map@3", "recall_10": "recall@10"}
    names |= {"P_3": "precision@3", "success_1": "hit_rate@1", "ndcg_cut_3": "ndcg@3"}
    names |= {"recip_rank": "mrr@10"}
    for theirs, value in of_trec_eval(run, names).items():
        assert found.metrics["bells"][names[theirs]] == pytest.approx(value, abs=1e-6)
    assert 0 < found.metrics["bells"]["answer_accuracy@1"] <= 1
    assert json.loads((tmp_path / "new" / "metrics.json").read_text()) == found.metrics


def test_it_finds_what_a_trainer_finds_and_leaves_the_model_as_it_was(tokenizer):
    model, datamodule = tiny_model(tokenizer), make_datamodule(tokenizer)

    found = evaluate(model, datamodule, show_progress=False)
    (logged,) = {
        json.dumps(values, sort_keys=True)
        for values in quiet_trainer().validate(model, datamodule=datamodule, verbose=False)
    }

    assert model.training
    logged = json.loads(logged)
    for name, value in found.mean().items():
        assert logged[f"val/{name}"] == pytest.approx(value, abs=1e-7)
        assert logged[f"val/bells/{name}"] == pytest.approx(value, abs=1e-7)


@pytest.mark.parametrize("layout", ["padded", "chunked", "packed"])
def test_a_cpu_encodes_few_tokens_at_a_time_in_any_layout(tokenizer, tmp_path, layout):
    corpus = [
        {"id": f"d{number}", "text": " ".join(WORDS[: 1 + number * 3 % 8] * (1 + number % 40))}
        for number in range(100)
    ]
    eval_set = [{"query": "abbot bell", "query_id": "q", "relevant": {"d0": 1}}]
    model, sizes, runs = tiny_model(tokenizer), [], []
    model.encoder.register_forward_pre_hook(
        lambda module, args, inputs: sizes.append(inputs["input_ids"].numel()), with_kwargs=True
    )

    for batch_size, run in ((1, tmp_path / "apart.tsv"), (100, tmp_path / "together.tsv")):
        sizes.clear()
        settings = {"eval_data": {"bells": eval_set}, "corpus": corpus, "layout": layout}
        datamodule = make_datamodule(tokenizer, eval_batch_size=batch_size, **settings)
        evaluate(model, datamodule, cutoffs=(100,), run_file=run, show_progress=False)
        runs.append(read_run(run)["q"])

    apart, together = runs
    assert together == pytest.approx(apart, abs=1e-5)
    assert max(sizes) <= 1024
    assert len(sizes) < len(corpus) / 2


def evaluate_on_rank(rank, tokenizer):
    return evaluate(tiny_model(tokenizer), make_datamodule(tokenizer), show_progress=False).metrics


@pytest.mark.ranks
@pytest.mark.parametrize("n_ranks", mostly_slow([2, 4], 2))
def test_ranks_find_the_same_bits(tokenizer, tmp_path, n_ranks):
    alone = evaluate_on_rank(0, tokenizer)

    for found in returned(run_on_ranks(evaluate_on_rank, n_ranks, tmp_path, tokenizer)):
        assert found == alone


def test_tasks_have_means_of_their_own(tokenizer):
    names = {"a": "qa", "b": "qa", "c": "tool"}
    rows = [{name: row[name] for name in row if name != "task"} for row in EVAL]
    sets = {
        name: {"path": rows[3 * number :], "task": task}
        for number, (name, task) in enumerate(names.items())
    }
    model, datamodule = tiny_model(tokenizer), make_datamodule(tokenizer, eval_data=sets)

    found = evaluate(model, datamodule, show_progress=False)
    trainer = quiet_trainer()
    trainer.validate(model, datamodule=datamodule, verbose=False)

    of_sets = {name: metrics["mrr@3"] for name, metrics in found.metrics.items()}
    of_tasks = {task: metrics["mrr@3"] for task, metrics in found.by_task().items()}
    assert of_tasks == {"qa": (of_sets["a"] + of_sets["b"]) / 2, "tool": of_sets["c"]}
    assert float(trainer.callback_metrics["val/task=qa/mrr@3"]) == pytest.approx(of_tasks["qa"])


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        (
            [{**EVAL[0], "query_id": "two words"}],
            "query id 'two words' is empty or contains white space",
        ),
        ([EVAL[0], EVAL[0]], "2 rows of eval set 'bells' have the query id 'd0'"),
    ],
)
def test_ids_that_no_run_can_hold_are_refused_before_anything_is_encoded(
    tokenizer, tmp_path, rows, sentence
):
    model = tiny_model(tokenizer)
    model.validation_step = None  # would fail

    with pytest.raises((ConfigError, DataError), match=sentence):
        evaluate(
            model,
            make_datamodule(tokenizer, eval_data={"bells": rows}),
            run_file=tmp_path / "run.trec",
            show_progress=False,
        )
    assert list(tmp_path.iterdir()) == []


def test_a_sampled_corpus_is_said_and_named_while_a_fit_validates(tokenizer, recwarn):
    train = [{"query": "bell", "pos": ["abbot"], "neg": ["salt"]}] * 8
    settings = {"train_data": train, "batch_size": 4, "train_group_size": 2}
    datamodule = make_datamodule(tokenizer, eval_corpus_sample=3, **settings)
    model = tiny_model(tokenizer)
    seen = []

    class Passages(lightning.Callback):
        def on_validation_batch_end(self, trainer, pl_module, outputs, batch, *numbers):
            seen.extend(batch.get("index", torch.empty(0)).tolist())

    trainer = quiet_trainer(max_steps=2, val_check_interval=1, callbacks=Passages())
    trainer.fit(model, datamodule=datamodule)

    names = {name for name in trainer.callback_metrics if name.startswith("val/")}
    assert "val/bells/sampled_ndcg@10" in names
    assert "val/sampled_ndcg@10" in names
    assert all("sampled_" in name for name in names)
    assert any("only a part of corpus 'corpus' is searched" in str(one.message) for one in recwarn)
    right = {i for i, row in enumerate(CORPUS) for one in EVAL if row["id"] in one["relevant"]}
    assert set(seen) >= right
    assert len(set(seen)) == len(right) + 3
    trainer.validate(model, datamodule=datamodule, verbose=False)
    assert "val/ndcg@10" in trainer.callback_metrics


def test_queries_without_a_right_passage_are_counted(tokenizer, caplog):
    rows = [*EVAL, {**EVAL[0], "query_id": "nobody", "relevant": {"d0": 0}}]
    with caplog.at_level(logging.WARNING):
        found = evaluate(
            tiny_model(tokenizer),
            make_datamodule(tokenizer, eval_data={"bells": rows}),
            show_progress=False,
        )

    assert "1 of 21 queries have no positive and are left out of the metrics" in caplog.text
    alone = evaluate(tiny_model(tokenizer), make_datamodule(tokenizer), show_progress=False)
    assert found.metrics["bells"]["ndcg@10"] == alone.metrics["bells"]["ndcg@10"]
