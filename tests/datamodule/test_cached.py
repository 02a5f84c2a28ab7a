"""``tokenize=cached`` and the layouts, through the data module: other speed, the same batches."""

import itertools
import json
import tracemalloc
import warnings
from pathlib import Path

import pytest
import torch
from datamodule_cases import (
    RECIPE,
    Recorder,
    as_rank,
    batches,
    digest,
    eval_arguments,
    examples,
    make_datamodule,
    make_tokenizer,
    make_trainer,
    opened,
    seen_batch,
    write,
)
from lightning.pytorch.utilities.data import extract_batch_size
from processes import returned, run_on_ranks
from slow_cases import mostly_slow
from transformers import AutoTokenizer, BertConfig, BertModel

from llm_embedder_data import BiEncoder, RetrievalDataModule

LAYOUTS = [
    {},
    {"layout": "chunked", "unique_keys": True, "chunk_size": 5},
    {"layout": "packed", "unique_keys": True},
    {"cross": True, "query_max_length": 9, "key_max_length": 12},
    {"query_max_length": 8, "key_max_length": 9, "select_negative": "random"},
    {"add_instruction": False, "train_group_size": 30},
]


def tables(folder):
    return {path.name for path in Path(folder).glob("tokens/*/*.bin")}


def all_loaders(datamodule):
    found = datamodule.val_dataloader()
    return found if isinstance(found, dict) else {"": found}


@pytest.mark.parametrize("settings", LAYOUTS, ids=lambda one: ", ".join(one) or "defaults")
@pytest.mark.parametrize("workers", mostly_slow([0, 2], 0))
def test_cached_batches_are_those_made_on_the_fly(folder, settings, workers):
    one, other = (
        opened(make_datamodule(folder, tokenize=how, num_workers=workers, **settings))
        for how in ("on-the-fly", "cached")
    )

    for epoch in (0, 1):
        wanted, found = ([digest(b) for b in batches(dm, epoch)] for dm in (one, other))
        assert found == wanted


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("batch_size", [1, 3])
def test_batches_that_are_made_together_are_those_made_alone(tmp_path, side, batch_size):
    """Of rows that have other numbers of keys, of positives and of tokens than the next."""
    rows = [
        {
            "query": "what" * (i % 7),
            "pos": [f"{i} is right " * (1 + (i + n) % 5) for n in range(i % 4)],
            "neg": [f"{i} is wrong " * (1 + n % 3) for n in range(1 + i % 6)],
            "query_id": f"q{i}" if i % 2 else i,
        }
        for i in range(60)
    ]
    for row in rows[::3]:
        row["teacher_scores"] = [
            float(len(row["query"]) + n) for n in range(len(row["pos"] + row["neg"]))
        ]
    tokenizer = make_tokenizer(padding_side=side, truncation_side=side)
    datamodule = make_datamodule(
        tmp_path,
        tokenizer=tokenizer,
        train_data={"qa": {"path": str(write(tmp_path / "qa.jsonl", rows)), "weight": 2.0}},
        select_negative="random",
        tokenize="cached",
        batch_size=batch_size,
        key_max_length=40,
        on_bad_row="skip",
        train_group_size=4,
    )
    loader = opened(datamodule).train_dataloader()

    together, alone = list(loader), [loader.dataset[index] for index in loader.sampler]

    assert len(together) > 10
    assert [digest(batch) for batch in together] == [digest(batch) for batch in alone]
    assert all(t.is_contiguous() for batch in together for t in tensors_of(batch))


def tensors_of(value):
    if isinstance(value, dict):
        return [tensor for one in value.values() for tensor in tensors_of(one)]
    return [value] if isinstance(value, torch.Tensor) else []


@pytest.mark.slow
@pytest.mark.parametrize("tokenize", ["on-the-fly", "cached"])
def test_opening_caches_takes_no_array_of_numbers_for_all_rows(tmp_path, tokenize):
    def peak(n_rows):
        """Bytes, on the way to the first batch."""
        file = tmp_path / f"{n_rows}.jsonl"
        file.write_text('{"query": "a", "pos": ["b"], "neg": ["c"], "task": "qa"}\n' * n_rows)
        datamodule = make_datamodule(tmp_path, train_data=str(file), tokenize=tokenize)
        datamodule.prepare_data()
        tracemalloc.start()
        datamodule.setup("fit")
        next(iter(datamodule.train_dataloader()))
        _, found = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return found

    small, large = 140_000, 280_000
    assert (peak(large) - peak(small)) / (large - small) < 6


@pytest.mark.parametrize("eval_method", ["retrieve", "rerank"])
def test_cached_eval_batches_are_those_made_on_the_fly(folder, tmp_path, eval_method):
    arguments = eval_arguments(folder)
    if eval_method == "rerank":
        rows = [
            {"query": f"q {i}", "task": "qa", "pos": ["right"], "neg": [f"wrong {i}"] * (i % 4)}
            for i in range(7)
        ]
        arguments = {"eval_data": {"qa": str(write(tmp_path / "rerank.jsonl", rows))}}
    one, other = (
        all_loaders(
            opened(make_datamodule(folder, tokenize=how, eval_method=eval_method, **arguments))
        )
        for how in ("on-the-fly", "cached")
    )

    assert list(one) == list(other)
    for name in one:
        assert [digest(b) for b in other[name]] == [digest(b) for b in one[name]]
        assert len(list(one[name])) > 1


@pytest.mark.parametrize("kind", ["byte_level_bpe", "unigram"])
@pytest.mark.parametrize("side", ["left", "right"])
def test_the_sample_is_cached_exactly_by_other_tokenizers(
    request, sample_dir, tmp_path, kind, side
):
    tokenizer = AutoTokenizer.from_pretrained(request.getfixturevalue(kind), truncation_side=side)
    one, other = (
        opened(
            RetrievalDataModule(
                tokenizer,
                train_data=str(sample_dir / "*/train.jsonl"),
                batch_size=8,
                query_max_length=90,
                key_max_length=96,
                num_workers=0,
                cache_dir=tmp_path,
                tokenize=how,
            )
        )
        for how in ("on-the-fly", "cached")
    )

    assert [digest(b) for b in batches(other)] == [digest(b) for b in batches(one)]


def test_only_what_tokens_depend_on_is_tokenized_anew(folder, tmp_path):
    cache = {"cache_dir": tmp_path, "tokenize": "cached"}
    opened(make_datamodule(folder, **cache))
    first = tables(tmp_path)
    other_words = {
        "instruction": {task: {"query": "find ", "key": "this "} for task in RECIPE["instruction"]},
        "training": RECIPE["training"],
    }
    for settings in (
        {"recipe": other_words},
        {"add_instruction": False},
        {"query_max_length": 12, "key_max_length": 12, "train_group_size": 2},
        {"select_negative": "first", "seed": 8, "batch_size": 2, "layout": "packed"},
    ):
        opened(make_datamodule(folder, **cache, **settings))

    assert len(first) == 3
    # This tokenizer has a token for a space, so a text is cached with the space before it: with
    # instructions once, without instructions once.
    assert len(tables(tmp_path)) == 6
    opened(make_datamodule(folder, **cache, max_sample_num=8))
    assert len(tables(tmp_path)) > 6


def test_a_tokenizer_that_joins_instruction_and_text_is_named(folder, tmp_path):
    recipe = {"instruction": {"qa": {"query": "a", "key": "key: "}}}
    tokenizer = AutoTokenizer.from_pretrained(make_bpe_that_joins(tmp_path))
    file = write(
        tmp_path / "qa.jsonl",
        [{"query": "b" * i, "pos": ["x"], "neg": ["y", "z"], "task": "qa"} for i in range(1, 9)],
    )
    arguments = {"tokenizer": tokenizer, "train_data": {"qa": str(file)}, "recipe": recipe}
    one = opened(make_datamodule(folder, **arguments))
    other = make_datamodule(folder, **arguments, tokenize="cached", cache_dir=tmp_path / "c")
    other.prepare_data()
    with pytest.warns(
        UserWarning, match="qa: the tokenizer may merge the instruction 'a' with the text"
    ):
        other.setup()

    assert [digest(b) for b in batches(other)] == [digest(b) for b in batches(one)]
    printed = " ".join(str(other.report()).split())
    assert "so each query is cached together with the instruction" in printed


def make_bpe_that_joins(folder):
    """A tokenizer that knows "ab" as one token."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    vocab = {token: i for i, token in enumerate(["[PAD]", *"abkeyxz: ", "ab"])}
    backend = Tokenizer(models.BPE(vocab, [("a", "b")]))
    PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="[PAD]").save_pretrained(
        folder / "joins"
    )
    return folder / "joins"


def test_no_text_is_tokenized_after_preparing(folder, tmp_path, monkeypatch):
    cache = {"cache_dir": tmp_path, "tokenize": "cached", **eval_arguments(folder)}
    make_datamodule(folder, **cache).prepare_data()
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.bin")}

    datamodule = make_datamodule(folder, **cache)
    datamodule.setup()
    batches(datamodule)

    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.bin")}


def test_validating_alone_leaves_training_texts_alone(folder, tmp_path):
    cache = {"cache_dir": tmp_path, "tokenize": "cached", **eval_arguments(folder)}

    make_trainer().validate(Recorder(), datamodule=make_datamodule(folder, **cache), verbose=False)

    assert len(tables(tmp_path)) == 4  # two eval sets, two corpora


def fit_cached(rank, folder, cache):
    recorder = Recorder()
    trainer = make_trainer(devices=2, strategy="ddp")
    datamodule = make_datamodule(folder, batch_size=2, tokenize="cached", cache_dir=cache)
    trainer.fit(recorder, datamodule=datamodule)
    return recorder.trained


@pytest.mark.ranks
def test_two_ranks_share_what_one_of_them_tokenized(folder, tmp_path):
    results = returned(run_on_ranks(fit_cached, 2, tmp_path, folder, tmp_path / "cache"))

    for rank in (0, 1):
        alone = opened(as_rank(make_datamodule(folder, batch_size=2), rank, 2))
        wanted = [seen_batch(batch) for epoch in range(3) for batch in batches(alone, epoch)]
        assert list(results[rank].values()) == wanted
    assert len(tables(tmp_path / "cache")) == 3


@pytest.mark.parametrize("layout", ["chunked", "packed"])
def test_a_layout_holds_the_same_rows_and_texts(folder, layout):
    one, other = (
        opened(make_datamodule(folder, layout=how, chunk_size=5, unique_keys=how != "padded"))
        for how in ("padded", layout)
    )

    for wanted, found in zip(batches(one), batches(other), strict=True):
        assert seen(found) == examples(wanted)
        with warnings.catch_warnings():  # it asks for batch_size=, as other tensors are longer
            warnings.simplefilter("ignore")
            assert extract_batch_size(found) == extract_batch_size(wanted) == 4


def seen(batch):
    """:func:`examples` of a batch in any layout."""
    ids = {}
    for side in ("query", "key"):
        inputs = batch[side]
        if isinstance(inputs, list):
            rows = [
                row[mask.bool()].tolist()
                for chunk in inputs
                for row, mask in zip(chunk["input_ids"], chunk["attention_mask"], strict=True)
            ]
        else:
            bounds = itertools.pairwise(inputs["cu_seq_lens_q"].tolist())
            rows = [inputs["input_ids"][0, a:b].tolist() for a, b in bounds]
        inverse = batch.get(f"{side}_inverse", torch.arange(len(rows)))
        ids[side] = [rows[place] for place in inverse]
    group = len(ids["key"]) // len(ids["query"])
    key_id = batch["key_id"].view(-1, group).tolist()
    return {
        row: (ids["query"][b], ids["key"][b * group : (b + 1) * group], key_id[b])
        for b, row in enumerate(batch["row"].tolist())
    }


def test_every_layout_trains_and_evaluates_alike(sample_dir, minilm, tmp_path):
    metrics = {}
    for layout in ("padded", "chunked", "packed"):
        datamodule = RetrievalDataModule(
            minilm,
            train_data={"qa": str(sample_dir / "qa/train.jsonl")},
            eval_data={"qa": str(sample_dir / "qa/eval.jsonl")},
            corpus={"qa": str(sample_dir / "qa/corpus.jsonl")},
            batch_size=8,
            train_group_size=4,
            key_max_length=48,
            layout=layout,
            unique_keys=layout != "padded",
            tokenize="cached",
            cache_dir=tmp_path,
            num_workers=0,
        )
        torch.manual_seed(0)
        encoder = BertModel(
            BertConfig(
                hidden_size=32,
                num_hidden_layers=2,
                num_attention_heads=2,
                intermediate_size=32,
                hidden_dropout_prob=0.0,
                attention_probs_dropout_prob=0.0,
            )
        )
        model = BiEncoder(encoder, pooling="mean", learning_rate=1e-3, warmup_ratio=0.0)
        trainer = make_trainer(max_steps=3, val_check_interval=3)
        trainer.fit(model, datamodule=datamodule)
        metrics[layout] = {name: float(one) for name, one in trainer.callback_metrics.items()}

    assert {"train/loss", "val/mrr@10"} <= set(metrics["padded"])
    assert metrics["chunked"] == pytest.approx(metrics["padded"], abs=2e-3)
    assert metrics["packed"] == pytest.approx(metrics["padded"], abs=2e-3)


def test_a_corpus_that_two_tasks_see_differently_is_cached_for_both(folder, tmp_path):
    rows = [{"query": f"q{i}", "task": ["qa", "tool"][i % 2], "pos_index": [0]} for i in range(6)]
    recipe = {"instruction": {"qa": {"key": "one "}, "tool": {"key": ""}}}
    arguments = {
        "eval_data": {"mixed": str(write(tmp_path / "eval.jsonl", rows))},
        "corpus": str(folder / "qa" / "corpus.jsonl"),
        "train_data": None,
        "recipe": recipe,
    }
    one, other = (
        opened(make_datamodule(folder, tokenize=how, **arguments))
        for how in ("on-the-fly", "cached")
    )

    for name, loader in one.val_dataloader().items():
        assert [digest(b) for b in other.val_dataloader()[name]] == [digest(b) for b in loader]
    assert json.loads(json.dumps(other.report())) == json.loads(json.dumps(one.report()))
