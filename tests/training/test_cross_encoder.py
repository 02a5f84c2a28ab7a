"""CrossEncoder: losses of pairs, reranking, checkpoints, and its exported folder."""

import inspect
import json

import lightning
import pytest
import torch
import torch.nn.functional as F
from example_counts import tried
from hypothesis import given
from hypothesis import strategies as st
from lightning.pytorch.callbacks import ModelCheckpoint
from omegaconf import OmegaConf
from tiny_models import tiny_bert, tiny_qwen
from torch.testing import assert_close
from training_cases import Batches, quiet_trainer, texts, training_batch
from transformers import (
    AutoTokenizer,
    BertConfig,
    BertForSequenceClassification,
    Qwen3ForSequenceClassification,
)

from llm_embedder_data import BiEncoder, ConfigError, CrossEncoder, RetrievalDataModule
from llm_embedder_data.config.composing import CONF_DIR
from llm_embedder_data.mining.retrieval_metrics import retrieval_metrics
from llm_embedder_data.training.export import cross_encoder_export
from llm_embedder_data.training.losses import kl_distillation, stable_distillation
from llm_embedder_data.training.pair_losses import binary_loss, left_out_keys, margin_mse

RECIPE = {
    "instruction": {"*": {}},
    "model": {"contrastive_weight": 0.5},
    "training": {
        "contrast": {"distill_weight": 0},
        "alone": {"contrastive_weight": 0, "teacher_temperature": 0.5, "student_temperature": 2.0},
        "stable": {"stable_distill": True, "contrastive_weight": 0},
    },
}


def tiny_classifier(seed=0, n_tokens=60, dropout=0.0):
    return tiny_bert(
        n_tokens,
        BertForSequenceClassification,
        seed=seed,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
        initializer_range=0.5,
        num_labels=1,
    )


def pair_batch(task="contrast", seed=0):
    """A training batch of pairs; the second query has a padded key, the last no scores."""
    batch = training_batch(task, seed=seed)
    del batch["query"]
    n_pairs = len(batch["key"]["input_ids"])
    return {"cross": texts(n_pairs, seed + 2, length=9), "batch_size": 4, **batch} | {"key": None}


@pytest.fixture
def saved(minilm, tmp_path):
    """The folder of a small classifier with its tokenizer."""
    tokenizer = AutoTokenizer.from_pretrained(minilm)
    tiny_classifier(n_tokens=len(tokenizer)).save_pretrained(tmp_path / "tiny")
    tokenizer.save_pretrained(tmp_path / "tiny")
    return str(tmp_path / "tiny")


@pytest.fixture
def data(saved, tmp_path):
    """A data module of pairs, of 12 rows with scores and 5 queries to rerank."""
    rows = [
        {
            "query": f"query {i}",
            "pos": [f"passage {i}"],
            "neg": [f"passage {i + j}" for j in (1, 2)],
            "teacher_scores": [3.0, 1.0, 0.5],
        }
        for i in range(12)
    ]
    queries = [
        {
            "query": f"query {i}",
            "key": [f"passage {j}" for j in range(4 + i % 3)],
            "pos_index": [i % 4],
        }
        for i in range(5)
    ]
    for name, lines in (("train", rows), ("eval", queries)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in lines))

    def make(**settings):
        given = {
            "train_data": {"mine": f"{tmp_path}/train.jsonl"},
            "eval_data": {"mine": f"{tmp_path}/eval.jsonl"},
            "eval_method": "rerank",
            "cross": True,
            "batch_size": 4,
            "train_group_size": 3,
            "query_max_length": 16,
            "key_max_length": 16,
            "cache_dir": tmp_path / "cache",
        }
        return RetrievalDataModule(saved, **(given | settings))

    return make


# Losses


def loss_of(batch, **settings):
    model = CrossEncoder(tiny_classifier(), recipe=RECIPE, **settings)
    scores = model.score(batch["cross"]).view(4, 3)
    return model.loss(batch), scores


def own_kept(batch):
    """Which keys count, written out: padding and a further known positive do not."""
    kept = batch["key_mask"].bool().clone()
    kept[0, 2] = False  # the batch below makes it a known positive of the first query
    return kept


def batch_with_a_known_positive(task):
    batch = pair_batch(task)
    batch["positive_id"][0, 1] = batch["key_id"][2]
    return batch


def test_the_listwise_loss_is_the_cross_entropy_among_the_keys_that_count():
    batch = batch_with_a_known_positive("contrast")
    loss, scores = loss_of(batch)
    rows = [
        F.cross_entropy(row[kept][None], torch.tensor([0]))
        for row, kept in zip(scores, own_kept(batch), strict=True)
    ]

    assert_close(loss, torch.stack(rows).mean())


@pytest.mark.parametrize("kind", ["cross-encoder", "bi-encoder"])
def test_a_training_step_runs_under_fabric(kind):
    model = CrossEncoder(tiny_classifier()) if kind == "cross-encoder" else BiEncoder(tiny_bert(60))
    batch = pair_batch() if kind == "cross-encoder" else training_batch()
    fabric = lightning.Fabric(accelerator="cpu", devices=1)
    model = fabric.setup(model)
    model.mark_forward_method("training_step")

    loss = model.training_step(batch, 0)

    assert loss.isfinite()


@pytest.mark.parametrize("weight", [None, 2.5])
def test_the_binary_loss_is_the_mean_over_the_keys_that_count(weight):
    batch = batch_with_a_known_positive("contrast")
    loss, scores = loss_of(batch, loss="binary", pos_weight=weight)
    rows = []
    for row, kept in zip(scores, own_kept(batch), strict=True):
        terms = [-(weight or 1) * F.logsigmoid(row[0])]
        terms += [-F.logsigmoid(-row[i]) for i in (1, 2) if kept[i]]
        rows.append(torch.stack(terms).mean())

    assert_close(loss, torch.stack(rows).mean())


@pytest.mark.parametrize("distillation", ["auto", "kl", "margin-mse", "stable"])
@pytest.mark.parametrize("task", ["alone", "stable"])
def test_distillation_is_that_of_the_argument_and_the_task(task, distillation):
    batch = pair_batch(task)
    loss, scores = loss_of(batch, distillation=distillation)
    teacher, mask = batch["teacher_scores"], batch["key_mask"]
    labels, _ = loss_of(pair_batch("contrast") | {"teacher_scores": None})
    last, _ = loss_of(batch, distill_weight=0)
    temperatures = (2.0, 0.5) if task == "alone" else (1.0, 1.0)
    named = dict(zip(("student_temperature", "teacher_temperature"), temperatures, strict=True))
    kind = distillation
    if kind == "auto":
        kind = "stable" if task == "stable" else "kl"
    if kind == "kl":
        of_rows = kl_distillation(scores, teacher, mask, reduction="none", **named)
    elif kind == "stable":
        first = torch.zeros(4).long()
        of_rows = stable_distillation(scores, first, teacher, mask, mask == 0, reduction="none")
    else:
        of_rows = margin_mse(scores, teacher, mask, **named)
    label_of_last = F.cross_entropy(scores[3:], torch.tensor([0]))  # it has no teacher scores

    assert_close(loss, (of_rows[:3].sum() + label_of_last) / 4)
    assert_close(labels, last)


@given(st.integers(2, 5), st.integers(1, 4), st.integers(0, 99))
@tried(30)
def test_a_padded_key_has_no_say(n_keys, n_queries, seed):
    random = torch.Generator().manual_seed(seed)
    scores = torch.randn(n_queries, n_keys, generator=random)
    teacher = torch.randn(n_queries, n_keys, generator=random)
    mask = torch.ones(n_queries, n_keys).long()
    wide = [F.pad(values, (0, 2), value=9.0) for values in (scores, teacher)]
    wide_mask = F.pad(mask, (0, 2))

    assert_close(margin_mse(wide[0], wide[1], wide_mask), margin_mse(scores, teacher, mask))
    assert_close(binary_loss(wide[0], wide_mask == 0), binary_loss(scores, mask == 0))


def test_margins_are_those_of_the_paper():
    student, teacher = torch.tensor([[4.0, 1.0, 0.0]]), torch.tensor([[5.0, 3.0, 0.0]])

    # (3 - 2)^2 and (4 - 5)^2, over two negatives
    assert margin_mse(student, teacher, torch.ones(1, 3).long()).item() == 1.0


def test_the_positive_counts_though_it_is_known_and_twice_there():
    left_out = left_out_keys(
        torch.ones(1, 3).long(), torch.tensor([7, 7, 8]), torch.tensor([[7, 0]])
    )

    assert left_out.tolist() == [[False, True, False]]


def test_a_list_of_one_is_refused():
    batch = pair_batch() | {"key_mask": torch.ones(12, 1).long()}

    with pytest.raises(ConfigError, match=r"one key per query.*model\.loss=binary"):
        CrossEncoder(tiny_classifier()).loss(batch)


# Batches


def test_the_ids_of_a_pair_are_those_of_sentence_transformers(saved, data):
    from sentence_transformers import CrossEncoder as Theirs

    module = data(query_max_length=6, key_max_length=7, pad_to_multiple_of=None, recipe="e5")
    collator = module._collator
    queries = ["a short one", "日本語の文章", "a question that is much longer than all others", ""]
    keys = ["x", "a passage of more words than fit in the room of a pair", "naïve", "y"]
    theirs = Theirs(saved, device="cpu", max_length=13)

    ours = collator(
        {
            "query": queries,
            "key": [[key] for key in keys],
            "query_instruction": "query: ",
        }
    )
    found = theirs.preprocess(list(zip(queries, keys, strict=True)), prompt="query: ")

    for name in ("input_ids", "attention_mask", "token_type_ids"):
        assert ours["cross"][name].tolist() == found[name].tolist()


def trained(data, seed=0, **settings):
    model = CrossEncoder(tiny_classifier(seed, n_tokens=30522), learning_rate=0.003, **settings)
    trainer = quiet_trainer(max_epochs=1)
    trainer.fit(model, datamodule=data)
    return model, trainer


@pytest.mark.parametrize("layout", ["padded", "chunked"])
def test_layouts_train_to_the_same_weights(data, layout):
    model, _ = trained(data(layout=layout, chunk_size=5), loss="binary")
    expected, _ = trained(data(), loss="binary")

    # The softmax of attention takes the bias of keys out: its gradient is rounding, which Adam
    # makes large.
    weights, others = (
        {name: value for name, value in one.state_dict().items() if "key.bias" not in name}
        for one in (model, expected)
    )
    assert_close(weights, others, atol=1e-5, rtol=1e-4)


def test_a_packed_layout_is_refused(data):
    with pytest.raises(ConfigError, match=r"set data\.layout=padded or chunked"):
        trained(data(layout="packed"))


def test_training_finds_the_positives(data):
    rows = [
        {"query": f"query {i}", "pos": [f"right {i}"], "neg": [f"wrong {i}", f"false {i}"]}
        for i in range(12)
    ]
    module = data(train_data={"mine": rows}, eval_data={"mine": rows[::2]})
    model = CrossEncoder(tiny_classifier(n_tokens=30522), learning_rate=0.01, warmup_ratio=0)
    trainer = quiet_trainer(max_epochs=8, check_val_every_n_epoch=8)
    before = trainer.validate(model, datamodule=module, verbose=False)[0]["val/mrr@10"]
    trainer.fit(model, datamodule=module)

    assert before < 1
    assert float(trainer.callback_metrics["val/mrr@10"]) == 1


# Evaluation


@pytest.mark.parametrize("layout", ["padded", "chunked"])
@pytest.mark.parametrize("eval_pairs", [2, 256])
def test_candidates_are_ranked_by_their_scores(data, layout, eval_pairs):
    module = data(layout=layout, chunk_size=3, eval_batch_size=2)
    model = CrossEncoder(tiny_classifier(n_tokens=30522), eval_pairs=eval_pairs, cutoffs=(1, 10))
    found = quiet_trainer().validate(model, datamodule=module, verbose=False)[0]

    tokenizer, model = module.tokenizer, model.eval()
    ranked, positives = torch.full((5, 6), -1), torch.tensor([[i % 4] for i in range(5)])
    for i in range(5):
        keys = [f"passage {j}" for j in range(4 + i % 3)]
        inputs = tokenizer([f"query {i}"] * len(keys), keys, padding=True, return_tensors="pt")
        with torch.no_grad():
            ranked[i, : len(keys)] = model.score(inputs).argsort(descending=True)
    expected = retrieval_metrics(ranked, positives, (1, 10))
    # Lightning logs float32.
    assert {name: found[f"val/{name}"] for name in expected} == pytest.approx(expected, abs=1e-6)


# Checkpoints


def test_a_resumed_fit_ends_where_an_unbroken_one_does(saved, data, tmp_path):
    def fit(n_epochs, folder, ckpt_path=None):
        lightning.seed_everything(3, verbose=False)
        model = CrossEncoder(saved, learning_rate=0.003, schedule="constant", warmup_ratio=0)
        keep = ModelCheckpoint(tmp_path / folder, save_last=True, every_n_train_steps=2)
        trainer = quiet_trainer(
            max_steps=n_epochs, enable_checkpointing=True, callbacks=keep, max_epochs=None
        )
        trainer.fit(model, datamodule=data(eval_data=None), ckpt_path=ckpt_path)
        return model, keep.last_model_path

    _, checkpoint = fit(2, "half")
    resumed, _ = fit(5, "rest", checkpoint)
    unbroken, _ = fit(5, "whole")
    loaded = CrossEncoder.load_from_checkpoint(checkpoint)

    assert_close(resumed.state_dict(), unbroken.state_dict(), atol=0, rtol=0)
    assert loaded.hparams["encoder"] == saved


# Export


def scores_of(folder, pairs):
    from sentence_transformers import CrossEncoder as Theirs

    return torch.tensor(Theirs(str(folder), device="cpu").predict(pairs))


PAIRS = [("where do otters sleep", "in kelp"), ("日本語", "文章"), ("long " * 30, "words " * 30)]


@pytest.mark.parametrize("recipe", ["auto", "e5", {"instruction": {"*": {"query": "find: "}}}])
def test_sentence_transformers_predicts_the_same_scores(saved, data, tmp_path, recipe):
    module = data(recipe=recipe)
    model = CrossEncoder(saved)
    model.export(tmp_path / "out", datamodule=module)

    instruction = module.instruction("qa")
    given = [(query, instruction.key + key) for query, key in PAIRS]
    batch = module._collator(
        {
            "query": [query for query, _ in PAIRS],
            "key": [[key] for _, key in PAIRS],
            "query_instruction": instruction.query,
            "key_instruction": instruction.key,
        }
    )
    with torch.no_grad():
        expected = model.eval().score(batch["cross"])
    assert_close(scores_of(tmp_path / "out", given), expected, atol=1e-5, rtol=1e-4)
    card = (tmp_path / "out/README.md").read_text()
    assert ("before each key" in card) == bool(instruction.key)


def test_a_decoder_scores_alike(unigram, tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(unigram)
    decoder = tiny_qwen(len(tokenizer), Qwen3ForSequenceClassification, num_labels=1)

    CrossEncoder(decoder).export(tmp_path / "out", tokenizer)  # compares

    card = (tmp_path / "out/README.md").read_text()
    assert "the token ids are equal, and the scores differ by at most" in card


def test_an_exported_classifier_trains_on(saved, data, tmp_path):
    model, _ = trained(data())
    model.export(tmp_path / "out")

    again = CrossEncoder(str(tmp_path / "out"))

    assert_close(again.state_dict(), model.state_dict(), atol=0, rtol=0)
    assert "| optimizer steps | 3 |" in (tmp_path / "out/README.md").read_text()


@pytest.mark.parametrize("is_installed", [True, False])
def test_a_folder_that_scores_otherwise_is_not_written(saved, tmp_path, monkeypatch, is_installed):
    import sys

    if not is_installed:
        monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    save = cross_encoder_export.save_weights

    def spoiled(model, folder):
        other = tiny_classifier(5, n_tokens=30522)
        save(other, folder)

    monkeypatch.setattr(cross_encoder_export, "save_weights", spoiled)
    with pytest.raises(ConfigError, match="computes other scores"):
        CrossEncoder(saved).export(tmp_path / "out")

    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]


# Settings


def test_the_config_holds_the_arguments_with_their_defaults_in_order():
    path = CONF_DIR / "model" / "cross_encoder.yaml"
    config = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
    parameters = dict(list(inspect.signature(CrossEncoder.__init__).parameters.items())[1:])
    defaults = {name: parameter.default for name, parameter in parameters.items()}
    defaults["cutoffs"] = list(defaults["cutoffs"])

    assert config.pop("_target_") == "llm_embedder_data.CrossEncoder"
    assert list(config) == list(defaults)
    assert config.pop("encoder") == "${encoder}"
    assert config == {name: value for name, value in defaults.items() if name != "encoder"}


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"loss": "pairwise"}, r"model\.loss='pairwise': expected one of listwise, binary"),
        ({"distillation": "mse"}, r"model\.distillation='mse': expected one of auto, kl"),
        ({"pos_weight": 0}, r"model\.pos_weight=0: expected a number above 0, or null"),
        ({"pos_weight": 2}, r"model\.pos_weight=2 has no effect with model\.loss='listwise'"),
        ({"eval_pairs": 0}, r"model\.eval_pairs=0: expected a whole number of at least 1"),
        ({"cutoffs": ()}, r"model\.cutoffs=\(\): expected"),
        ({"student_temperature": 0}, r"model\.student_temperature=0: expected .* above 0"),
    ],
)
def test_a_wrong_setting_is_named_with_what_is_allowed(setting, message):
    with pytest.raises(ConfigError, match=message):
        CrossEncoder(tiny_classifier(), **setting)


def test_another_number_of_labels_is_refused(minilm, tmp_path):
    config = BertConfig(
        vocab_size=9, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, num_labels=3
    )
    BertForSequenceClassification(config).save_pretrained(tmp_path / "three")

    with pytest.raises(ConfigError, match=r"with 3 labels: expected .* with one label"):
        CrossEncoder(BertForSequenceClassification(config))
    with pytest.raises(ConfigError, match="cannot be loaded as a classifier with one label"):
        CrossEncoder(tmp_path / "three")


def test_models_and_batches_that_do_not_fit_are_one_sentence(saved, data, minilm):
    trainer = quiet_trainer(max_steps=1)
    with pytest.raises(ConfigError, match=r"data\.cross=False.*set data\.cross=true"):
        trainer.fit(CrossEncoder(saved), datamodule=data(cross=False))
    with pytest.raises(ConfigError, match=r"data\.cross=True.*set data\.cross=false"):
        trainer.fit(BiEncoder(saved), datamodule=data())
    with pytest.raises(ConfigError, match=r"data\.cross=True.*set data\.cross=false"):
        trainer.validate(BiEncoder(saved), datamodule=data())
    with pytest.raises(ConfigError, match=r"holds no .* pairs"):
        trainer.fit(CrossEncoder(tiny_classifier()), datamodule=Batches([training_batch()]))


def test_an_evaluation_by_retrieval_is_refused(saved, data, sample_dir):
    folder = sample_dir / "qa"
    module = data(
        eval_data={"qa": f"{folder}/eval.jsonl"},
        corpus={"qa": f"{folder}/corpus.jsonl"},
        eval_method="retrieve",
    )

    with pytest.raises(ConfigError, match=r"data\.eval_method='retrieve'.*eval_method=rerank"):
        quiet_trainer().validate(CrossEncoder(saved), datamodule=module)
