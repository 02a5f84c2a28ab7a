"""LLM-Embedder's names: its documented usage, and its batches token for token."""

import inspect
import json
import subprocess
import sys
from collections import Counter
from functools import partial
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer, BertConfig, BertModel, Trainer, TrainingArguments

import llm_embedder_data
from llm_embedder_data import (
    TASK_CONFIG,
    ConfigError,
    DataError,
    RetrievalDataCollator,
    RetrievalDataset,
    SameDatasetTrainDataset,
)

TASKS = ["qa", "convsearch", "chat", "lrlm", "icl", "tool"]
SCORED = ["qa", "chat", "lrlm", "icl"]


def rows_of(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def group_by_the_book(row: dict, group_size: int, positive: str, negative: str, stable: bool):
    """(keys, scores) of one row, written from LLM-Embedder's documentation, one row at a time."""
    pos, neg = row.get("pos") or [], row.get("neg") or []
    if row.get("history") is not None:
        pos, neg = [], row["history"]
    scores = row.get("teacher_scores") or [0.0] * (len(pos) + len(neg))
    candidates = list(zip([*pos, *neg], scores, strict=True))
    if positive == "teacher":
        best = max(range(len(candidates)), key=lambda i: candidates[i][1])
    elif positive == "teacher-pos":
        best = max(range(len(pos)), key=lambda i: candidates[i][1])
    else:
        best = 0
    rest = [one for i, one in enumerate(candidates) if i >= len(pos) and i != best]
    if negative == "teacher+":
        rest = sorted(rest, key=lambda one: one[1], reverse=True)
    elif negative == "teacher-":
        rest = sorted(rest, key=lambda one: one[1])
    chosen = [rest[i % len(rest)] for i in range(group_size - 1)]
    if stable:
        chosen = sorted(chosen, key=lambda one: one[1], reverse=True)
    group = [candidates[best], *chosen]
    return [text for text, _ in group], [score for _, score in group]


def test_task_config_has_the_published_versions():
    assert set(TASK_CONFIG) == {"llm-embedder", "bge", "e5", "instructor"}
    assert set(TASK_CONFIG["llm-embedder"]["training"]) == set(TASKS)
    assert TASK_CONFIG["llm-embedder"]["training"]["chat"] == {
        "select_positive": "teacher",
        "select_negative": "random",
        "max_sample_num": None,
        "teacher_scores_margin": None,
        "teacher_scores_min": None,
        "distill_weight": 1.0,
        "contrastive_weight": 0,
        "teacher_temperature": 0.1,
        "stable_distill": False,
    }
    assert TASK_CONFIG["bge"]["instruction"]["any task"] == {
        "query": "Represent this sentence for searching relevant passages: ",
        "key": "",
    }
    assert "training" not in TASK_CONFIG["bge"]


@pytest.mark.parametrize(
    ("task", "positive", "negative", "stable"),
    [
        ("qa", "first", "first", False),
        ("tool", "first", "first", False),
        ("convsearch", "first", "first", False),
        ("qa", "teacher", "teacher+", False),
        ("icl", "teacher-pos", "teacher-", False),
        ("icl", "teacher", "first", True),
        ("chat", "teacher", "teacher+", True),
        ("lrlm", "teacher", "teacher-", False),
    ],
)
def test_deterministic_strategies_give_the_originals_tensors(
    task, positive, negative, stable, sample_dir, minilm, tmp_path
):
    path = sample_dir / task / "train.jsonl"
    tokenizer = AutoTokenizer.from_pretrained(minilm)
    dataset, ranges = RetrievalDataset.prepare_train_dataset(
        str(path),
        cache_dir=tmp_path,
        config=TASK_CONFIG["llm-embedder"],
        train_group_size=6,
        select_positive=positive,
        select_negative=negative,
        stable_distill=stable,
        add_instruction=True,
    )
    collator = RetrievalDataCollator(tokenizer, query_max_length=40, key_max_length=48)

    rows = rows_of(path)
    assert ranges == {task: (0, len(rows))}
    instruction = TASK_CONFIG["llm-embedder"]["instruction"][task]
    for start in range(0, len(rows), 8):
        numbers = list(range(start, min(start + 8, len(rows))))
        batch = collator([dataset[i] for i in numbers])
        groups = [group_by_the_book(rows[i], 6, positive, negative, stable) for i in numbers]
        expected = {"padding": True, "truncation": True, "return_tensors": "pt"}
        query = tokenizer(
            [instruction["query"] + rows[i]["query"] for i in numbers], max_length=40, **expected
        )
        key = tokenizer(
            [instruction["key"] + text for texts, _ in groups for text in texts],
            max_length=48,
            **expected,
        )
        assert set(batch["query"]) == set(query)
        assert all(torch.equal(batch["query"][name], query[name]) for name in query)
        assert all(torch.equal(batch["key"][name], key[name]) for name in key)
        assert batch["task"] == task
        if task in SCORED:
            assert torch.equal(batch["teacher_scores"], torch.tensor([s for _, s in groups]))
        else:
            assert "teacher_scores" not in batch


def test_a_glob_with_teacher_selection_and_config_is_the_documented_call(sample_dir, tmp_path):
    dataset, ranges = RetrievalDataset.prepare_train_dataset(
        str(sample_dir / "*" / "train.jsonl"),
        cache_dir=tmp_path,
        config=TASK_CONFIG["llm-embedder"],
        add_instruction=True,
        use_train_config=True,
    )

    assert list(ranges) == sorted(TASKS)
    assert ranges["tool"][1] == len(dataset)
    first = dataset[ranges["qa"][0]]
    assert first["query"].startswith("Represent this query for retrieving relevant documents: ")
    assert len(first["key"]) == 8
    assert first["teacher_scores"][1:] == sorted(first["teacher_scores"][1:], reverse=True)
    both = dataset[[ranges["tool"][0], 0]]
    assert both["teacher_scores"][0] is None
    assert both["teacher_scores"][1] is not None
    # lrlm's teacher_scores_margin of 0.1 takes two rows out
    assert (
        ranges["lrlm"][1] - ranges["lrlm"][0] == len(rows_of(sample_dir / "lrlm/train.jsonl")) - 2
    )


def test_teacher_scores_min_and_stable_distill_by_argument(sample_dir, tmp_path):
    path = sample_dir / "qa/train.jsonl"
    best = [max(row["teacher_scores"]) for row in rows_of(path)]
    threshold = sorted(best)[10]

    dataset, _ = RetrievalDataset.prepare_train_dataset(
        str(path),
        cache_dir=tmp_path,
        select_positive="teacher",
        teacher_scores_min=threshold,
        stable_distill=True,
    )

    assert len(dataset) == sum(score >= threshold for score in best)


def test_a_strategy_that_needs_scores_is_refused_without_them(sample_dir, tmp_path):
    with pytest.raises(DataError, match=r"tool/train\.jsonl, row 0 .*select_positive='teacher'"):
        RetrievalDataset.prepare_train_dataset(
            str(sample_dir / "tool/train.jsonl"), cache_dir=tmp_path, select_positive="teacher"
        )


def test_misspelt_strategies_are_refused(sample_dir):
    with pytest.raises(ConfigError, match="did you mean 'first'"):
        RetrievalDataset.prepare_train_dataset(
            str(sample_dir / "qa/train.jsonl"), select_positive="frist"
        )


def test_random_choices_are_drawn_anew_each_epoch_and_not_at_each_access(sample_dir, tmp_path):
    dataset, _ = RetrievalDataset.prepare_train_dataset(
        str(sample_dir / "qa/train.jsonl"), cache_dir=tmp_path, train_group_size=4
    )

    assert dataset[3] == dataset[3]
    before = [dataset[i]["key"] for i in range(20)]
    dataset.set_epoch(1)
    assert before != [dataset[i]["key"] for i in range(20)]


def test_the_process_function_gives_what_the_dataset_gives(sample_dir, tmp_path):
    path = sample_dir / "icl/train.jsonl"
    rows = rows_of(path)
    instruction = TASK_CONFIG["e5"]["instruction"]["icl"]
    process = RetrievalDataset.get_train_process_fn(
        5, "teacher", "teacher+", stable_distill=True, instruction=instruction
    )
    dataset, _ = RetrievalDataset.prepare_train_dataset(
        str(path),
        tmp_path,
        train_group_size=5,
        select_positive="teacher",
        select_negative="teacher+",
        stable_distill=True,
        instruction=instruction,
    )

    processed = process({name: [row.get(name) for row in rows] for name in rows[0]})

    assert processed == {name: list(column) for name, column in dataset[: len(rows)].items()}


def test_eval_queries_keep_their_ids_and_corpora_their_texts(sample_dir, minilm, tmp_path):
    instruction = TASK_CONFIG["llm-embedder"]["instruction"]["tool"]
    queries = RetrievalDataset.prepare_eval_dataset(
        str(sample_dir / "tool/eval.jsonl"), cache_dir=tmp_path, instruction=instruction
    )
    corpus = RetrievalDataset.prepare_corpus(
        str(sample_dir / "tool/corpus.jsonl"), "{text}", cache_dir=tmp_path, instruction=instruction
    )
    rows, passages = (
        rows_of(sample_dir / "tool/eval.jsonl"),
        rows_of(sample_dir / "tool/corpus.jsonl"),
    )

    assert queries[2] == {
        "query": instruction["query"] + rows[2]["query"],
        "query_id": rows[2]["query_id"],
        "task": "tool",
    }
    assert corpus[5] == {"content": instruction["key"] + passages[5]["text"]}
    assert (len(queries), len(corpus)) == (len(rows), len(passages))
    collator = RetrievalDataCollator(AutoTokenizer.from_pretrained(minilm))
    loader = torch.utils.data.DataLoader(queries, batch_size=4, collate_fn=collator)
    assert next(iter(loader))["query_id"] == [row["query_id"] for row in rows[:4]]
    content = next(iter(torch.utils.data.DataLoader(corpus, batch_size=4, collate_fn=collator)))
    assert content["content"]["input_ids"].shape[0] == 4


def test_reranking_takes_positives_then_negatives(sample_dir, minilm, tmp_path):
    queries = RetrievalDataset.prepare_eval_dataset(
        str(sample_dir / "tool/train.jsonl"), cache_dir=tmp_path, eval_method="rerank"
    )
    row = rows_of(sample_dir / "tool/train.jsonl")[0]

    assert queries[0]["key"] == row["pos"] + row["neg"]
    assert queries[0]["key_index"] == row["pos_index"] + row["neg_index"]
    collator = RetrievalDataCollator(AutoTokenizer.from_pretrained(minilm))
    batch = collator([queries[i] for i in range(6)])
    assert batch["key_index"].shape == batch["key_mask"].shape
    assert torch.equal(batch["key_index"] >= 0, batch["key_mask"].bool())


@pytest.mark.parametrize("method", ["epoch", "epoch-static", "epoch-random", "random"])
def test_items_are_whole_batches_of_one_dataset_shared_by_processes(method, sample_dir, tmp_path):
    dataset, ranges = RetrievalDataset.prepare_train_dataset(
        str(sample_dir / "*" / "train.jsonl"),
        cache_dir=tmp_path,
        config=TASK_CONFIG["llm-embedder"],
        use_train_config=True,
    )
    ranks = [SameDatasetTrainDataset(dataset, ranges, 4, 7, method, r, 2) for r in range(2)]

    assert len(ranks[0]) == len(ranks[1]) == sum((b - a) // 8 for a, b in ranges.values())
    seen = Counter()
    for step in range(len(ranks[0])):
        parts = [rank[step] for rank in ranks]
        assert len({task for part in parts for task in part["task"]}) == 1
        rows = [
            (q, tuple(k)) for part in parts for q, k in zip(part["query"], part["key"], strict=True)
        ]
        assert len(set(rows)) == 8
        seen.update(query for query, _ in rows)
        assert ranks[0][step] == parts[0]
    if method != "random":
        assert max(seen.values()) == 1


class Scorer(torch.nn.Module):
    """The least model that LLM-Embedder's batches train."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        config = BertConfig(
            vocab_size=vocabulary,
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=16,
            max_position_embeddings=64,
        )
        self.encoder = BertModel(config, add_pooling_layer=False)
        self.seen: list[list[int]] = []

    def forward(self, query, key, key_mask=None, task=None, teacher_scores=None):
        self.seen.append(query["input_ids"].flatten().tolist())
        query = self.encoder(**query).last_hidden_state[:, 0]
        key = self.encoder(**key).last_hidden_state[:, 0]
        labels = torch.arange(len(query)) * (len(key) // len(query))
        return {"loss": torch.nn.functional.cross_entropy(query @ key.T, labels)}


@pytest.mark.parametrize("workers", [0, 2])
def test_a_transformers_trainer_trains_on_it(workers, sample_dir, minilm, tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(minilm)
    dataset, ranges = RetrievalDataset.prepare_train_dataset(
        str(sample_dir / "*" / "train.jsonl"),
        cache_dir=tmp_path,
        config=TASK_CONFIG["llm-embedder"],
        use_train_config=True,
        train_group_size=3,
    )
    train_dataset = SameDatasetTrainDataset(dataset, ranges, 8, 7, "epoch")
    model = Scorer(len(tokenizer))
    trainer = Trainer(
        model=model,
        args=TrainingArguments(
            tmp_path / "out",
            per_device_train_batch_size=1,
            num_train_epochs=2,
            remove_unused_columns=False,
            dataloader_num_workers=workers,
            report_to="none",
            use_cpu=True,
            disable_tqdm=True,
        ),
        train_dataset=train_dataset,
        data_collator=RetrievalDataCollator(
            tokenizer, query_max_length=16, key_max_length=16, inbatch_same_dataset="epoch"
        ),
    )

    trainer.train()

    steps = len(train_dataset)
    assert trainer.state.global_step == 2 * steps
    first, second = model.seen[:steps], model.seen[steps : 2 * steps]
    assert len(set(map(tuple, first))) == steps
    assert set(map(tuple, first)) != set(map(tuple, second))  # dealt anew in the second epoch


_TWO_PROCESSES = """
import os
import sys
from pathlib import Path
import torch
from transformers import AutoTokenizer, Trainer, TrainingArguments
from llm_embedder_data.compat import *
sys.path.insert(0, {tests!r})
from test_compat import Scorer

if __name__ == "__main__":
    args = TrainingArguments({out!r}, per_device_train_batch_size=1, num_train_epochs=1,
        remove_unused_columns=False, report_to="none", use_cpu=True, disable_tqdm=True,
        ddp_backend="gloo", train_sampling_strategy={strategy!r}, save_strategy="no")
    tokenizer = AutoTokenizer.from_pretrained({minilm!r})
    dataset, ranges = RetrievalDataset.prepare_train_dataset({data!r}, cache_dir={out!r},
        config=TASK_CONFIG["llm-embedder"], use_train_config=True, train_group_size=3)
    train = SameDatasetTrainDataset(dataset, ranges, 4, 7, "epoch",
        process_index=args.process_index, num_processes=args.world_size)
    tasks = []
    class Recording(Trainer):
        def compute_loss(self, model, inputs, *rest, **more):
            tasks.append(inputs["task"])
            return super().compute_loss(model, inputs, *rest, **more)
    trainer = Recording(model=Scorer(len(tokenizer)), args=args, train_dataset=train,
        data_collator=RetrievalDataCollator(tokenizer, query_max_length=16, key_max_length=16))
    trainer.train()
    gathered = [None, None]
    torch.distributed.all_gather_object(gathered, tasks)
    assert gathered[0] == gathered[1], gathered
    assert len(tasks) * 2 == len(train)
    # A file a rank: what two processes print may come in pieces, each between the other's.
    Path({out!r}, f"rank{{args.process_index}}").write_text("ranks agree")
    torch.distributed.barrier()
    os._exit(0)  # gloo's own threads may abort a process that leaves after the other has
"""


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["sequential", "random"])
def test_two_processes_keep_to_one_task_or_say_what_is_wrong(
    strategy, sample_dir, minilm, tmp_path
):
    script = tmp_path / "train.py"
    script.write_text(
        _TWO_PROCESSES.format(
            tests=str(Path(__file__).parent),
            out=str(tmp_path / "out"),
            strategy=strategy,
            minilm=str(minilm),
            data=str(sample_dir / "*" / "train.jsonl"),
        )
    )
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run(
        [*command, str(script)], capture_output=True, text=True, timeout=170, check=False
    )

    if strategy == "sequential":
        said = [path.read_text() for path in (tmp_path / "out").glob("rank*")]
        assert said == ["ranks agree"] * 2, done.stdout + done.stderr[:3000]
    else:
        assert done.returncode != 0
        assert "set TrainingArguments(train_sampling_strategy='sequential')" in done.stderr


def test_the_public_names_are_all_there():
    assert len(set(llm_embedder_data.__all__)) == 12
    assert all(hasattr(llm_embedder_data, name) for name in llm_embedder_data.__all__)


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("train_group_size", 0),
        ("train_group_size", "4"),
        ("train_group_size", 2.5),
        ("seed", "a"),
        ("seed", -1),
        ("max_sample_num", -3),
        ("teacher_scores_min", "x"),
        ("teacher_scores_margin", float("nan")),
        ("instruction", "query: "),
        ("instruction", {"passage": "x"}),
        ("select_positive", "frist"),
        ("select_negative", None),
        ("stable_distill", "false"),
        ("add_instruction", "yes"),
        ("use_train_config", 1),
        ("cache_dir", 3),
    ],
)
def test_an_argument_that_cannot_be_is_named(tmp_path, argument, value):
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"query": "a", "pos": ["b"], "neg": ["c"]}\n')

    with pytest.raises(ConfigError, match=f"^{argument}="):
        RetrievalDataset.prepare_train_dataset(str(rows), **{argument: value})
    if argument in inspect.signature(RetrievalDataset.get_train_process_fn).parameters:
        with pytest.raises(ConfigError, match=f"^{argument}="):
            RetrievalDataset.get_train_process_fn(**{argument: value})


@pytest.mark.parametrize("config", ["llm-embedder", "bge", "nothing", 3, {}, {"instruction": "x"}])
def test_a_config_that_is_no_entry_of_task_config_is_named(tmp_path, config):
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"query": "a", "pos": ["b"], "neg": ["c"]}\n')

    with pytest.raises(ConfigError, match=r"^config=.*TASK_CONFIG") as refused:
        RetrievalDataset.prepare_train_dataset(str(rows), config=config, add_instruction=True)
    if config == "bge":
        assert "such as TASK_CONFIG['bge']" in str(refused.value)


def test_a_cache_folder_that_cannot_be_is_named(tmp_path):
    for prepare in (
        RetrievalDataset.prepare_eval_dataset,
        partial(RetrievalDataset.prepare_corpus, key_template="{text}"),
    ):
        with pytest.raises(ConfigError, match=r"^cache_dir=3: expected the path of a folder"):
            prepare(str(tmp_path / "rows.jsonl"), cache_dir=3)


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("dataset", None),
        ("dataset_indices_range", [("rows", 0, 2)]),
        ("dataset_indices_range", {"rows": 2}),
        ("dataset_indices_range", {"rows": (0, 3)}),
        ("num_processes", 0),
        ("num_processes", None),
        ("process_index", "0"),
    ],
)
def test_the_batches_name_an_argument_that_cannot_be(tmp_path, argument, value):
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"query": "a", "pos": ["b"], "neg": ["c"]}\n' * 2)
    dataset, ranges = RetrievalDataset.prepare_train_dataset(str(rows), cache_dir=tmp_path)
    arguments = {"dataset": dataset, "dataset_indices_range": ranges, argument: value}

    with pytest.raises(ConfigError, match=f"^{argument}="):
        SameDatasetTrainDataset(**arguments, batch_size=1, seed=1, organize_method="epoch")


def test_the_collator_says_how_a_name_becomes_a_tokenizer():
    with pytest.raises(ConfigError, match=r"AutoTokenizer\.from_pretrained\('some/model'\)"):
        RetrievalDataCollator("some/model")


@pytest.mark.parametrize(("argument", "value"), [("pad_to_multiple_of", -8), ("chunk_size", 0)])
def test_the_collator_names_a_number_that_cannot_be(minilm, argument, value):
    tokenizer = AutoTokenizer.from_pretrained(minilm)

    with pytest.raises(ConfigError, match=rf"data\.{argument}={value}: expected a whole number"):
        RetrievalDataCollator(tokenizer, **{argument: value})
