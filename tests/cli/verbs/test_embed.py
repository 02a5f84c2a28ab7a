"""``embed`` fills stores of the texts that are named, by shards, and says what it chose."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from cli_cases import small, write_rows
from transformers import AutoTokenizer

from llm_embedder_data import BiEncoder
from llm_embedder_data.core.checked_json import read_checked_json
from llm_embedder_data.mining.embedding_store import EmbeddingStore
from llm_embedder_data.mining.store_fingerprint import StoreFingerprint
from llm_embedder_data.mining.text_embedder import TextEmbedder

TEXTS = [" ".join([f"text {i}"] * (1 + i)) for i in range(30)]


@pytest.fixture
def data(tmp_path):
    """A folder with train.jsonl, eval.jsonl and corpus.jsonl; the corpus has ids."""
    folder = write_rows(tmp_path / "data")
    rows = [{"id": f"d{i}", "title": "", "text": text} for i, text in enumerate(TEXTS)]
    (folder / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture
def base(tiny, tmp_path):
    return [
        f"encoder={tiny}",
        f"data.cache_dir={tmp_path}/cache",
        "trainer.accelerator=cpu",
        "trainer.devices=1",
        "out=store",
    ]


def the_store(root="store"):
    """The only store of a folder."""
    [folder] = Path(root).iterdir()
    facts = read_checked_json(folder / "store.json")["fingerprint"]
    return EmbeddingStore.open(root, StoreFingerprint(**facts))


def embedded(encoder, tiny, texts, prompt=""):
    return TextEmbedder(encoder, AutoTokenizer.from_pretrained(tiny), prompt=prompt).embed(texts)


def test_two_shards_make_a_store(run, base, data, tiny, tmp_path):
    corpus = f"data.corpus={data}/corpus.jsonl"

    first = run("embed", *base, corpus, "shard=0/2")
    second = run("embed", *base, corpus, "shard=1/2")

    assert "30 texts; of 3 shards 2 written, 0 found, 1 still missing: store/" in first
    assert "of 3 shards 1 written, 0 found: store/" in second
    store = the_store()
    assert store.ids.to_pylist() == [f"d{i}" for i in range(30)]
    np.testing.assert_allclose(store.vectors(), embedded(BiEncoder(tiny), tiny, TEXTS), atol=1e-6)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "data", "store"]


def test_an_incomplete_store_names_the_command_that_completes_it(run, base, data):
    run("embed", *base, f"data.corpus={{c: {data}/corpus.jsonl}}", "shard=0/2")

    with pytest.raises(ValueError, match="1 of 3 shards are missing: 1") as refused:
        the_store()

    said = str(refused.value)
    command = said.partition("(run ")[2].partition(", which writes only these")[0]
    program, *arguments = shlex.split(command)
    assert program == "llm-embedder-data"
    assert "shard=" not in command
    assert "1 written, 2 found" in run(*arguments)
    assert len(the_store()) == 30


def test_texts_that_are_cut_are_counted(run, base, data):
    printed = run("embed", *base, f"data.corpus={data}/corpus.jsonl", "data.key_max_length=24")

    # Two words a repetition, and two special tokens: eleven repetitions fill 24 tokens.
    assert "20 of the texts embedded now have 24 tokens or more; what is beyond" in printed


def test_choices_are_said_once(run, base, data):
    corpora = f"data.corpus={{a: {data}/corpus.jsonl, b: {data}/corpus.jsonl}}"

    printed = run("embed", *base, corpora, "recipe=e5", "batch_tokens=512", "dtype=float16")

    assert printed.count("device: cpu, computing in 32-true (") == 1
    assert printed.count("vectors: float16 (dtype changes it)") == 1
    assert printed.count("batches: 512 tokens, padded (batch_tokens and data.layout") == 1
    assert (
        "corpus a: prompt 'passage: ' (recipe e5; data.recipe changes it), at most 256" in printed
    )
    before, _, after = printed.partition("corpus b:")
    assert "3 written, 0 found" in before
    assert "0 written, 3 found" in after  # the same texts
    assert the_store().fingerprint.dtype == "float16"


QUERIES = {"eval_data": ("eval", "text {}", 7), "train_data": ("train", "q {}", 8)}


@pytest.mark.parametrize("kind", QUERIES)
def test_queries_have_stores_too(run, base, data, tiny, kind):
    file, text, n = QUERIES[kind]
    given = [f"data.{kind}={data}/{file}.jsonl", f"data.corpus={data}/corpus.jsonl"]

    printed = run("embed", *base, *given, f"texts={kind}", "recipe=e5")

    assert f"{kind} mine: prompt 'query: ' (recipe e5" in printed
    expected = embedded(BiEncoder(tiny), tiny, [text.format(i) for i in range(n)], "query: ")
    np.testing.assert_allclose(the_store().vectors(), expected, atol=1e-6)


def test_everything_that_is_named_is_embedded(run, base, data):
    kinds = {"corpus": "corpus", "eval_data": "eval", "train_data": "train"}
    named = [f"data.{kind}={data}/{file}.jsonl" for kind, file in kinds.items()]

    printed = run("embed", *base, *named)

    for kind in kinds:
        assert f"\n{kind} mine: no prompt (" in printed
    assert len(list(Path("store").iterdir())) == 3


def test_the_weights_of_a_checkpoint_are_those_that_embed(run, base, data, tiny):
    trained_on = [f"data.train_data={data}/train.jsonl", "model.learning_rate=0.1", "export=false"]
    run("fit", *small(tiny, *trained_on, *base[1:2]))
    [checkpoint] = Path("outputs").rglob("last.ckpt")

    run("embed", *base, f"data.corpus={data}/corpus.jsonl", f"ckpt_path={checkpoint}")

    trained = BiEncoder.load_from_checkpoint(checkpoint)
    vectors = the_store().vectors()
    np.testing.assert_allclose(vectors, embedded(trained, tiny, TEXTS), atol=1e-6)
    assert np.abs(vectors - embedded(BiEncoder(tiny), tiny, TEXTS)).max() > 0.01


def console(*arguments, **options):
    command = [sys.executable, "-m", "llm_embedder_data.cli", "embed", *arguments]
    return subprocess.Popen(command, text=True, **options)


@pytest.mark.slow
def test_a_killed_run_goes_on_where_it_stood(run, base, data):
    rows = [{"id": f"d{i}", "text": f"text {i} " * (1 + i % 300)} for i in range(3000)]
    (data / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    given = [*base, f"data.corpus={data}/corpus.jsonl", "batch_tokens=300"]
    job = console(*given, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not list(Path("store").glob("*/*.0*.bin")) and job.poll() is None:
        time.sleep(0.01)
    job.send_signal(signal.SIGKILL)
    assert job.wait() == -signal.SIGKILL

    printed = run("embed", *given)

    counts = printed.partition("shards ")[2].split()
    n_written, n_found = int(counts[0]), int(counts[2])
    assert n_written > 0
    assert n_found > 0
    assert n_written + n_found == 28
    assert len(the_store()) == 3000


@pytest.mark.slow
@pytest.mark.ranks
def test_the_ranks_of_the_trainer_share_the_shards_out(base, data, tmp_path):
    (tmp_path / "here").mkdir()
    given = [f"data.corpus={data}/corpus.jsonl", "trainer.devices=2", "trainer.precision=bf16"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    job = console(*base, *given, stdout=subprocess.PIPE, cwd=tmp_path / "here", env=environment)
    printed, _ = job.communicate(timeout=170)

    assert job.returncode == 0
    assert printed.count("device: cpu on each of 2 ranks, computing in bf16-mixed") == 1
    assert "of 3 shards 3 written, 0 found: store/" in printed
    assert len(the_store(tmp_path / "here/store")) == 30


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        ([], "there are no texts to embed (name one of data.corpus, data.eval_data"),
        (["CORPUS", "out=null"], "out=None: expected the folder for embedding stores"),
        (["CORPUS", "out=data/mine/corpus.jsonl"], "data.corpus is read from this file"),
        (["CORPUS", "out=data/mine/train.jsonl"], "there is a file of that name"),
        (["CORPUS", "shard=2/2"], "shard=2/2: expected i/n with i from 0 to n - 1"),
        (["CORPUS", "shard=1"], "shard=1: expected i/n, such as 0/2"),
        (["CORPUS", "dtype=double"], "dtype='double': expected one of float32, float16, bfloat16"),
        (["CORPUS", "batch_tokens=many"], "batch_tokens='many': expected a whole number"),
        (["CORPUS", "texts=[]"], "texts=[]: expected one or more of corpus, eval_data"),
        (["CORPUS", "trainer.devices=true"], "trainer.devices=True: expected a list, text or"),
        (["CORPUS", "texts=queries"], "texts='queries': expected one of corpus, eval_data"),
        (["CORPUS", "texts=train_data"], "texts=train_data: data.train_data is null"),
        (["CORPUS", "trainer.precision=64-true"], "embeddings are computed in 32-true, bf16-mixed"),
        (["CORPUS", "trainer.accelerator=abacus"], "trainer.accelerator, trainer.devices: "),
        (["CORPUS", "data.key_max_length=600"], "positions for 512"),
        (["CORPUS", "ckpt_path=none.ckpt"], "ckpt_path='none.ckpt': there is no such file"),
        (["CORPUS", "encoder=no/model"], "no/model"),
    ],
)
def test_a_wrong_setting_is_one_sentence(refused_by_verb, base, data, overrides, sentence):
    corpus = f"data.corpus={data}/corpus.jsonl"

    said = refused_by_verb("embed", *base, *[corpus if o == "CORPUS" else o for o in overrides])

    assert sentence in said
    assert not Path("store").exists()


def test_a_wrong_key_is_one_sentence(refused, base):
    assert "there is no key 'shards'; did you mean 'shard'?" in refused(
        "embed", *base, "shards=0/2"
    )
