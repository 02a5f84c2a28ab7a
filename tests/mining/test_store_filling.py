"""Processes share a store's shards out, and what was written before a kill is not written again."""

import os
import signal
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from processes import from_server, returned, run_on_ranks
from store_cases import TEXTS, tiny_embedder, tiny_encoder

from llm_embedder_data import ConfigError, DataError
from llm_embedder_data.mining.embeddable_texts import ListedTexts
from llm_embedder_data.mining.store_filling import Share, fill_store


@pytest.fixture(scope="module")
def embedder(minilm):
    return tiny_embedder(minilm)


def files_of(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@given(st.integers(1, 9), st.integers(0, 60))
def test_shares_are_all_shards_once(n, n_shards):
    shards = [shard for i in range(n) for shard in Share(i, n).of(n_shards)]

    assert sorted(shards) == list(range(n_shards))


@pytest.mark.parametrize("text", ["", "1", "1/", "a/b", "1/0", "2/2", "-1/2", "0/2/3", None, 0.5])
def test_what_is_no_share_is_refused(text):
    with pytest.raises(ConfigError, match=r"^shard=.*expected i/n"):
        Share.parse(text)


@pytest.mark.parametrize("n", [1, 2, 3, 50])
def test_any_number_of_jobs_writes_the_same_files(tmp_path, embedder, n):
    texts = ListedTexts(TEXTS)
    whole = fill_store(tmp_path / "whole", texts, embedder)

    jobs = [fill_store(tmp_path / "jobs", texts, embedder, share=Share(i, n)) for i in range(n)]

    assert sum(job.n_written for job in jobs) == whole.n_written == whole.layout.n_shards
    assert jobs[-1].n_missing == 0
    assert files_of(jobs[-1].layout.folder) == files_of(whole.layout.folder)


@pytest.mark.parametrize("n", [1, 3])
def test_texts_that_reach_the_length_are_counted(tmp_path, minilm, n):
    embedder = tiny_embedder(minilm, max_length=12)  # ten tokens of a text
    n_long = sum(len(embedder.tokenizer(text)["input_ids"]) >= 12 for text in set(TEXTS))

    jobs = [fill_store(tmp_path, ListedTexts(TEXTS), embedder, share=Share(i, n)) for i in range(n)]

    assert sum(job.n_full for job in jobs) == n_long > 0


def test_a_complete_store_is_not_embedded_again(tmp_path, embedder, monkeypatch):
    texts = ListedTexts(TEXTS)
    first = fill_store(tmp_path, texts, embedder)
    monkeypatch.setattr(type(embedder.encoder), "encode", None)

    again = fill_store(tmp_path, texts, embedder)

    assert (again.n_written, again.n_found) == (0, first.n_written)


def fill_and_wait(folder, root, killable):
    """Fill a store, say when some shards are written, and wait there to be killed."""
    embedder = tiny_embedder(folder)
    encode, calls = embedder.encoder.encode, []

    def waiting(*arguments):
        calls.append(1)
        if len(calls) == 3:
            killable.set()
            time.sleep(60)
        return encode(*arguments)

    embedder.encoder.encode = waiting
    fill_store(root, ListedTexts(TEXTS), embedder)


def test_a_killed_job_loses_the_shard_it_was_at(tmp_path, minilm, embedder):
    root, context = tmp_path / "store", from_server()
    killable = context.Event()
    job = context.Process(target=fill_and_wait, args=(minilm, root, killable))
    job.start()
    assert killable.wait(60)
    job.kill()
    job.join()
    assert job.exitcode == -signal.SIGKILL
    [folder] = root.iterdir()
    written = {path.name: path.stat().st_ino for path in folder.glob("*.bin")}

    filled = fill_store(root, ListedTexts(TEXTS), embedder)

    assert filled.n_found >= 1
    assert filled.n_written == filled.layout.n_shards - filled.n_found
    assert filled.n_written >= 1
    assert written.items() <= {p.name: p.stat().st_ino for p in folder.glob("*.bin")}.items()
    np.testing.assert_allclose(filled.open().vectors(), embedder.embed(TEXTS), atol=2e-7)


def test_a_part_of_a_killed_job_is_not_read_and_goes_away(tmp_path, embedder):
    texts = ListedTexts(TEXTS)
    layout = fill_store(tmp_path, texts, embedder).layout
    part = layout.path(1).with_name(f"{layout.path(1).name}.{'0' * 32}.part")
    layout.path(1).rename(part)
    os.utime(part, (time.time() - 999, time.time() - 999))

    again = fill_store(tmp_path, texts, embedder)

    assert again.n_written == 1
    assert len(again.open()) == len(TEXTS)


def fill_on_rank(rank, folder, root):
    filled = fill_store(root, ListedTexts(TEXTS), tiny_embedder(folder))
    return filled.n_written, filled.n_found, filled.n_missing, filled.open().vectors()[7].tolist()


@pytest.mark.ranks
def test_ranks_share_the_shards_out(tmp_path, minilm, embedder):
    whole = fill_store(tmp_path / "whole", ListedTexts(TEXTS), embedder)

    first, second = returned(run_on_ranks(fill_on_rank, 2, tmp_path, minilm, tmp_path / "ranks"))

    assert first == second
    assert first[:3] == (whole.n_written, 0, 0)
    [folder] = (tmp_path / "ranks").iterdir()
    assert files_of(folder) == files_of(whole.layout.folder)
    assert first[3] == whole.open().vectors()[7].tolist()


def fill_and_fail_on_rank(rank, folder, root):
    encoder = tiny_encoder(folder)
    if rank == 1:
        encoder.encode = lambda *arguments: 1 / 0
    fill_store(root, ListedTexts(TEXTS), tiny_embedder(folder, encoder))


@pytest.mark.ranks
def test_a_rank_that_fails_ends_all(tmp_path, minilm):
    first, second = run_on_ranks(fill_and_fail_on_rank, 2, tmp_path, minilm, tmp_path / "ranks")

    assert first.kind == "DataError"
    assert first.startswith("rank 1: division by zero")
    assert second.kind == "ZeroDivisionError"


def fill_with_other_weights_on_rank(rank, folder, root):
    fill_store(root, ListedTexts(TEXTS), tiny_embedder(folder, tiny_encoder(folder, seed=rank)))


@pytest.mark.ranks
def test_ranks_that_would_fill_different_stores_are_refused(tmp_path, minilm):
    errors = run_on_ranks(fill_with_other_weights_on_rank, 2, tmp_path, minilm, tmp_path / "ranks")

    for rank, error in enumerate(errors):
        assert error.startswith(f"rank {1 - rank} would embed other texts, or embed them in anoth")
        assert "weights differ" in error
    assert not list((tmp_path / "ranks").glob("*/*.0*.bin"))


def scaled(encoder, factor):
    encode = encoder.encode
    encoder.encode = lambda *arguments: encode(*arguments) * factor
    return encoder


@pytest.mark.parametrize(
    ("factor", "dtype", "error", "sentence"),
    [
        (float("nan"), "float32", DataError, "embeddings that are not finite"),
        (float("inf"), "bfloat16", DataError, "embeddings that are not finite"),
        (1e6, "float16", ConfigError, "which float16 cannot hold"),
    ],
)
def test_numbers_that_cannot_be_stored_leave_no_shard(
    tmp_path, minilm, factor, dtype, error, sentence
):
    embedder = tiny_embedder(minilm, scaled(tiny_encoder(minilm), factor))

    with pytest.raises(error, match=sentence):
        fill_store(tmp_path, ListedTexts(TEXTS), embedder, dtype=dtype)

    assert not list(tmp_path.glob("*/*.0*.bin"))


def test_large_numbers_fit_into_bfloat16(tmp_path, minilm):
    embedder = tiny_embedder(minilm, scaled(tiny_encoder(minilm), 1e6))

    store = fill_store(tmp_path, ListedTexts(TEXTS), embedder, dtype="bfloat16").open()

    np.testing.assert_allclose(store.vectors(), embedder.embed(TEXTS), rtol=2**-8)


def test_no_texts_are_refused(tmp_path, embedder):
    with pytest.raises(DataError, match="nothing: there are no texts to embed"):
        fill_store(tmp_path, ListedTexts([], name="nothing"), embedder)


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path, embedder):
    (tmp_path / "file").write_text("")

    with pytest.raises(DataError, match=r"file/\w+: cannot be written: "):
        fill_store(tmp_path / "file", ListedTexts(TEXTS), embedder)
