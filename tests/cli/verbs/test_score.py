"""``score`` writes a file that the same source reads as its teacher scores."""

import json
import subprocess
import sys

import pytest
import torch
from slow_cases import mostly_slow
from tiny_models import ONE_LAYER, save_bert
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from llm_embedder_data import RetrievalDataModule, read_rows

ROWS = [
    {
        "query": f"query {i}",
        "pos": [f"positive {i} " * (i + 1)],
        "neg": [f"negative {i} a", f"negative {i} b"],
        "answers": [f"answer {i}", "another"],
        "task": "qa",
    }
    for i in range(8)
]


@pytest.fixture(scope="module")
def teacher(byte_level_bpe, tmp_path_factory):
    """The folder of a causal language model of two small layers, with its tokenizer."""
    folder = tmp_path_factory.mktemp("teacher")
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2}
    LlamaForCausalLM(
        LlamaConfig(vocab_size=640, num_attention_heads=2, max_position_embeddings=128, **sizes)
    ).save_pretrained(folder)
    AutoTokenizer.from_pretrained(byte_level_bpe).save_pretrained(folder)
    return str(folder)


@pytest.fixture
def data(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return str(path)


@pytest.fixture
def settings(teacher, data):
    return [
        f"teacher={teacher}",
        f"data.train_data={data}",
        "out=scores.jsonl",
        "kind=likelihood",
        "trainer.accelerator=cpu",
    ]


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_the_file_is_the_side_car_of_the_same_source(run, settings, data, tmp_path, minilm):
    printed = run("score", *settings)

    assert "kind=likelihood, dtype=float32, 1 x cpu, max_length=128, key_max_length=512" in printed
    assert r"template 'Knowledge: {key}\n\nQuestion: {query}\n\nAnswer: {answer}'" in printed
    assert "48 inputs scored" in printed
    assert "8 rows written to" in printed
    found = lines(tmp_path / "scores.jsonl")
    assert [line["query_id"] for line in found] == list(range(8))
    source = {"path": data, "scores": str(tmp_path / "scores.jsonl")}
    rows = list(read_rows(source))
    assert [row["teacher_scores"] for row in rows] == [line["scores"] for line in found]
    datamodule = RetrievalDataModule(
        tokenizer=minilm,
        train_data={"mine": source},
        batch_size=4,
        train_group_size=3,
        stable_distill=True,
        cache_dir=str(tmp_path / "cache"),
    )
    datamodule.prepare_data()
    datamodule.setup("fit")
    batch = next(iter(datamodule.train_dataloader()))
    assert batch["teacher_scores"].isfinite().all()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "cache",
        "rows.jsonl",
        "scores.jsonl",
    ]


@pytest.mark.parametrize("kind", ["bi-encoder", "auto"])
def test_a_bi_encoder_with_its_own_prompts(kind, run, settings, tiny, tmp_path):
    settings[0] = f"teacher={tiny}"

    printed = run("score", *settings, f"kind={kind}", "key_max_length=8")

    assert "kind=bi-encoder" in printed
    assert "prompts of query / key qa: '' / '' (model states no prompts" in printed.replace(
        tiny.rpartition("/")[2], "model"
    )
    assert "keys cut" in printed
    scores = [line["scores"] for line in lines(tmp_path / "scores.jsonl")]
    assert all(-1.001 < score < 1.001 for of_row in scores for score in of_row)


def test_a_bi_encoder_reads_what_embed_stored_of_a_corpus(run, settings, tiny, tmp_path):
    rows = [{**row, "pos": [row["pos"][0].strip()]} for row in ROWS]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    texts = [text for row in rows for text in (*row["pos"], *row["neg"])]
    passages = [{"_id": str(i), "text": text} for i, text in enumerate([*texts[:-2], "more"])]
    (tmp_path / "c.jsonl").write_text("".join(json.dumps(one) + "\n" for one in passages))
    embed = ["embed", f"encoder={tiny}", "data.corpus=c.jsonl", "out=kept", "data.cache_dir=cache"]
    run(*embed, "data.key_max_length=64", "trainer.accelerator=cpu")
    settings[0] = f"teacher={tiny}"
    settings += ["kind=bi-encoder", "key_max_length=64", "query_max_length=32"]
    run("score", *settings)
    without = [line["scores"] for line in lines(tmp_path / "scores.jsonl")]

    first = run("score", *settings, "store=kept")
    second = run("score", *settings, "store=kept")
    longer = run("score", *settings, "store=kept", "key_max_length=65")

    for line, scores in zip(lines(tmp_path / "scores.jsonl"), without, strict=True):
        assert line["scores"] == pytest.approx(scores, abs=1e-5)
    assert "queries: 0 of 8 texts read from stores; the others: 8 texts" in first
    assert "keys: 22 of 24 texts read from stores; the others: 2 texts" in first
    assert "22 texts were read from the store" in first
    assert "queries: 8 of 8 texts read from stores\n" in second
    assert "keys: 24 of 24 texts read from stores\n" in second
    assert "keys: 0 of 24 texts read from stores" in longer
    assert "was not read because it differs in max_length" in longer
    assert len(list((tmp_path / "kept").iterdir())) == 4  # corpus, queries, keys, longer keys


def limits_of(printed):
    return printed.partition("query_max_length=")[2].partition(", prompts")[0]


# 21 is no multiple of 8, to which texts are padded.
@pytest.mark.parametrize("positions", mostly_slow([21, 512], 21))
def test_a_bi_encoder_is_given_as_much_of_a_text_as_it_takes(
    run, refused, settings, minilm, tmp_path, positions
):
    encoder = save_bert(tmp_path / "e", minilm, max_position_embeddings=positions, **ONE_LAYER)
    settings[0] = f"teacher={encoder}"
    settings.append("kind=bi-encoder")
    limit = min(positions, AutoTokenizer.from_pretrained(minilm).model_max_length)

    own = run("score", *settings)
    stated = tmp_path / "e/sentence_bert_config.json"
    stated.write_text(json.dumps({"max_seq_length": 10}))
    of_file = run("score", *settings)
    of_user = run("score", *settings, "max_length=15", "key_max_length=20")
    stated.write_text(json.dumps({"max_seq_length": 1000}))
    too_long = run("score", *settings)

    assert limits_of(own).startswith(f"{limit}, key_max_length={limit} (")
    assert "keys cut" not in own or positions == 21
    assert limits_of(of_file) == "10, key_max_length=10 (max_seq_length of e)"
    assert "keys cut" in of_file
    assert limits_of(of_user) == "15, key_max_length=15"
    assert limits_of(too_long) == (
        f"{positions}, key_max_length={positions} (the encoder's positions)"
    )
    for setting in ("max_length", "query_max_length", "key_max_length"):
        said = refused("score", *settings, f"{setting}={positions + 1}")
        assert (
            f"{setting}={positions + 1}: the teacher has positions for {positions} tokens" in said
        )


def test_yes_no_with_a_template_of_the_users(run, settings, tmp_path):
    words = ["yes_word=y", "no_word=n", "template='{query} {key}? {instruction}'"]

    printed = run("score", *settings, "kind=yes-no", *words, "instruction='is it?'")

    assert "template '{query} {key}? {instruction}'" in printed
    assert len(lines(tmp_path / "scores.jsonl")) == 8


def test_shards_and_what_they_say(run, settings, tmp_path):
    settings.append("inputs_per_part=6")
    first = run("score", *settings, "shard=0/2")
    assert "parts are there; the job that writes the last one writes" in first
    assert not (tmp_path / "scores.jsonl").exists()

    second = run("score", *settings, "shard=1/2")

    assert "8 rows written to" in second
    shared = (tmp_path / "scores.jsonl").read_bytes()
    run("score", *settings)
    assert (tmp_path / "scores.jsonl").read_bytes() == shared


def test_what_was_cut_and_what_has_no_answer_is_counted(run, settings, data, tmp_path):
    with open(data, "a") as file:
        file.write(json.dumps({"query": "q", "pos": ["p"]}) + "\n")

    printed = run("score", *settings, "key_max_length=3", "data.on_bad_row=skip")

    assert "keys cut" in printed
    assert "1 rows without scores: no answers" in printed
    assert lines(tmp_path / "scores.jsonl")[-1]["scores"] is None


def test_the_folder_of_the_scores_is_made(run, settings, tmp_path):
    run("score", *settings, "out=new/scores/qa.jsonl")

    assert [path.name for path in (tmp_path / "new/scores").iterdir()] == ["qa.jsonl"]
    assert len(lines(tmp_path / "new/scores/qa.jsonl")) == len(ROWS)


def test_a_bi_encoders_prompts_may_be_left_out_and_not_come_from_a_source(
    run, refused, settings, tiny, data
):
    settings[0] = f"teacher={tiny}"
    settings.append("kind=bi-encoder")

    printed = run("score", *settings, "recipe=e5", "data.add_instruction=false")
    assert "qa: '' / '' (data.add_instruction=false)" in printed
    printed = run("score", *settings, "recipe=e5")
    assert "qa: 'query: ' / 'passage: '" in printed
    source = f"data.train_data={{mine: {{path: {data}, task_description: find it}}}}"
    assert "give recipe.task_description" in refused("score", *settings, source)


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ("teacher=null", "teacher=None: expected the model that scores"),
        ("teacher=nowhere/to/be/found", "cannot be loaded"),
        ("out=null", "out=None: expected a file for the scores, which ends in .jsonl"),
        ("out=rows.jsonl/scores.jsonl", "is a file, not a folder"),
        ("data.train_data=null", "there are no rows to score"),
        ("kind=auto", "is a causal language model, which scores in two ways"),
        ("kind=likelyhood", "did you mean 'likelihood'?"),
        ("shard=2/2", "expected i/n with i from 0 to n - 1"),
        ("dtype=int8", "dtype='int8': expected one of auto, float32"),
        ("max_length=0", "max_length=0: expected a whole number of at least 1"),
        ("inputs_per_part=0", "inputs_per_part=0: expected a whole number of at least 1"),
        ("max_length=999", "the teacher was made for 128 tokens at most"),
        ("max_length=3", "an answer is still longer than max_length"),
        ("template='{key} {query}'", "expected each of {key}, {query}, {answer} once"),
        ("kind=cross-encoder template='{key}'", "kind=cross-encoder has none"),
        ("kind=cross-encoder", "lack the weights"),
        ("kind=yes-no store=kept", "kind=yes-no has no embeddings to store"),
        ("kind=bi-encoder store=rows.jsonl", "there is a file of that name"),
        ("kind=yes-no yes_word=true", "yes_word=True: expected a text"),
        ("kind=yes-no instruction=[a]", "instruction=['a']: expected a text"),
        ("kind=yes-no yes_word=absolutely", "tokens of it, and a logit is that of one token"),
    ],
)
def test_what_cannot_be_used_is_one_sentence(
    refused_by_verb, settings, changed, sentence, tmp_path
):
    more = changed.split(" ", 1) if changed.startswith("kind") else [changed]
    assert sentence in refused_by_verb("score", *settings, *more)
    assert not (tmp_path / "scores.jsonl").exists()


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        (["yes_word=y"], "yes_word='y': only kind=yes-no reads it, and kind=likel"),
        (["kind=yes-no", "activation=Identity"], "only kind=cross-encoder reads it, and kind=yes-"),
    ],
)
def test_a_setting_of_another_kind_is_one_sentence(refused, settings, changed, sentence):
    """Only the console knows which settings were given."""
    assert sentence in refused("score", *settings, *changed)


def test_a_task_without_a_template_is_refused(refused, settings, data):
    with open(data, "a") as file:
        file.write(json.dumps({"query": "q", "pos": ["p"], "answers": ["a"], "task": "tool"}))

    assert "task 'tool' has no template" in refused("score", *settings)


def test_a_row_without_answers_is_refused(refused, settings, data):
    with open(data, "a") as file:
        file.write(json.dumps({"query": "q", "pos": ["p"]}) + "\n")

    assert "rows.jsonl, row 8 (line 9): the row has no answers" in refused("score", *settings)


@pytest.mark.parametrize("is_named", [True, False])
def test_mined_negatives_are_found_where_fit_finds_them(run, tiny, tmp_path, is_named):
    """In ``data.corpus``; of several, in the one that has the dataset's name."""
    (tmp_path / "rows.jsonl").write_text('{"query": "q", "query_id": 1, "pos": ["p"]}\n')
    (tmp_path / "run.tsv").write_text("1\td1\t0.5\n1\td2\t0.4\n")
    for name in ("mine", "other"):
        lines_of = [json.dumps({"id": f"d{i}", "text": f"{name} {i}"}) for i in (1, 2)]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines_of) + "\n")
    corpus = "{other: other.jsonl, mine: mine.jsonl}" if is_named else "mine.jsonl"
    source = "{path: rows.jsonl, negatives: run.tsv"

    run(
        "score",
        f"teacher={tiny}",
        "kind=bi-encoder",
        f"data.train_data={{mine: {source}}}}}",
        f"data.corpus={corpus}",
        "out=scores.jsonl",
        "trainer.accelerator=cpu",
    )

    [line] = lines(tmp_path / "scores.jsonl")
    assert len(line["scores"]) == 3
    run(
        "fit",
        f"encoder={tiny}",
        f"data.train_data={{mine: {source}, scores: scores.jsonl}}}}",
        f"data.corpus={corpus}",
        "data.batch_size=1",
        "data.train_group_size=3",
        "trainer.max_steps=1",
        "trainer.accelerator=cpu",
        "export=false",
        "output_dir=out",
    )  # which refuses scores of other keys


@pytest.mark.slow
def test_two_ranks_write_the_scores_of_one(run, settings, tmp_path):
    settings.append("inputs_per_part=6")
    run("score", *settings)
    alone = lines(tmp_path / "scores.jsonl")

    command = [sys.executable, "-m", "llm_embedder_data.cli", "score", *settings]
    done = subprocess.run(
        [*command, "out=two.jsonl", "trainer.devices=2"],
        capture_output=True,
        text=True,
        timeout=300,
    )

    assert done.returncode == 0, done.stderr
    assert "2 x cpu" in done.stdout
    two = lines(tmp_path / "two.jsonl")
    for line, other in zip(alone, two, strict=True):
        assert line["digest"] == other["digest"]
        assert line["scores"] == pytest.approx(other["scores"], abs=1e-5)
