"""Streamed training sets: the batches of local files, fetched piece by piece."""

import pickle
import subprocess
import sys
import threading
import time
from functools import partial

import fsspec
import pyarrow.parquet as pq
import pytest
import torch
from datamodule_cases import Recorder, make_trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from processes import returned, run_on_ranks
from streamed_files import made_up_rows, served, write_shard

from llm_embedder_data import ConfigError, DataError, RetrievalDataModule
from llm_embedder_data.demo import demo_encoder
from llm_embedder_data.rows.streaming import byte_ranges, shard_pieces

pytest.importorskip("aiohttp")


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch):
    """Pieces of a few kilobytes, and short waits."""
    monkeypatch.setattr(shard_pieces, "_LEAST_BYTES", 4096)
    monkeypatch.setattr(byte_ranges, "WAITS", (0.05,) * 6)


@pytest.fixture
def shards(tmp_path):
    """Two files of 200 rows."""
    folder = tmp_path / "shards"
    folder.mkdir()
    for number in range(2):
        write_shard(folder / f"s{number}.parquet", made_up_rows(200, number))
    return folder


def module(tokenizer, source, cache, **settings):
    source = source if isinstance(source, dict) else {"path": source, "streaming": True}
    found = RetrievalDataModule(
        tokenizer,
        train_data={"a": source},
        cache_dir=cache,
        **{"batch_size": 8, "train_group_size": 3} | settings,
    )
    found.prepare_data()
    found.setup("fit")
    return found


def batches(data_module, n_batches=None):
    loader = data_module.train_dataloader()
    return [dict(batch) for _, batch in zip(range(n_batches or len(loader)), loader, strict=False)]


def assert_equal(found, expected):
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert one.keys() == other.keys()
        for name, value in one.items():
            _assert_same(value, other[name], name)


def _assert_same(value, other, name):
    if isinstance(value, torch.Tensor):
        assert torch.equal(value, other), name
    elif hasattr(value, "keys"):
        assert value.keys() == other.keys(), name
        for inner in value.keys():  # noqa: SIM118 (a BatchEncoding iterates over its values)
            _assert_same(value[inner], other[inner], f"{name}.{inner}")
    else:
        assert value == other, name


@pytest.mark.parametrize(
    "settings",
    [
        {"shuffle_window": 64},
        pytest.param({}, marks=pytest.mark.slow),
        pytest.param({"num_workers": 1}, marks=pytest.mark.slow),
    ],
)
def test_batches_are_those_of_the_same_files_on_this_machine(shards, tmp_path, minilm, settings):
    local = module(minilm, {"path": str(shards / "*.parquet")}, tmp_path / "local", **settings)
    with served(shards) as server:
        addresses = [f"{server.address}s{number}.parquet" for number in range(2)]
        streamed = module(
            minilm, {"path": addresses, "streaming": True}, tmp_path / "cache", **settings
        )

        assert_equal(batches(streamed), batches(local))
    assert str(streamed.report()) == str(local.report())


@pytest.mark.slow
def test_any_file_system_of_fsspec_will_do(shards, tmp_path, minilm):
    memory = fsspec.filesystem("memory")
    memory.pipe("/bucket/a/s0.parquet", (shards / "s0.parquet").read_bytes())
    memory.pipe("/bucket/a/README.md", b"not rows")
    streamed = module(minilm, "memory://bucket/a/*.parquet", tmp_path / "cache")
    local = module(minilm, {"path": str(shards / "s0.parquet")}, tmp_path / "local")

    assert_equal(batches(streamed), batches(local))


@pytest.mark.parametrize("name", ["rows.parquet", "rows.arrow", "stream.arrow"])
def test_each_container_is_read_in_pieces(tmp_path, minilm, name):
    path = tmp_path / name
    write_shard(path, made_up_rows(100))
    streamed = module(minilm, str(path), tmp_path / "cache")
    local = module(minilm, {"path": str(path)}, tmp_path / "local")

    assert_equal(batches(streamed), batches(local))
    pieces = list((tmp_path / "cache" / "streamed" / "pieces").glob("*/*.arrow"))
    assert len(pieces) > 3


def test_only_the_pieces_and_columns_of_the_first_steps_are_fetched(shards, tmp_path, minilm):
    with served(shards) as server:
        address = f"{server.address}s0.parquet"
        streamed = module(minilm, address, tmp_path / "cache", shuffle_window=16)
        indexed = server.n_bytes["s0.parquet"]
        batches(streamed, 1)
        fetched = server.n_bytes["s0.parquet"] - indexed

    size = (shards / "s0.parquet").stat().st_size
    assert indexed == pytest.approx(size, rel=0.01)
    assert fetched > 0


@pytest.mark.slow
def test_a_second_start_fetches_no_file_whole(shards, tmp_path, minilm):
    with served(shards) as server:
        address = f"{server.address}s0.parquet"
        module(minilm, address, tmp_path / "cache")
        sent = dict(server.n_bytes)
        module(minilm, address, tmp_path / "cache")

        assert server.n_bytes == sent


@pytest.mark.slow
def test_the_folder_of_pieces_stays_within_its_limit(tmp_path, minilm):
    path = tmp_path / "rows.parquet"
    write_shard(path, made_up_rows(1600, n_negatives=8), rows_per_piece=100)
    streamed = module(minilm, str(path), tmp_path / "cache", stream_cache_mib=1)
    local = module(minilm, {"path": str(path)}, tmp_path / "local")

    assert_equal(batches(streamed), batches(local))

    pieces = (tmp_path / "cache" / "streamed" / "pieces").glob("*/*.arrow")
    sizes = [piece.stat().st_size for piece in pieces]
    assert 0 < sum(sizes) <= (1 << 20) + max(sizes)


def test_a_run_is_resumed_with_the_same_files_on_this_machine(shards, tmp_path, minilm):
    def fitted(source, cache, **settings):
        recorder = Recorder()
        data_module = module(minilm, source, tmp_path / cache, shuffle_window=64)
        ckpt_path = settings.pop("ckpt_path", None)
        trainer = make_trainer(max_epochs=2, **settings)
        trainer.fit(recorder, datamodule=data_module, ckpt_path=ckpt_path)
        return recorder.trained

    local = {"path": str(shards / "*.parquet")}
    whole = fitted(local, "local")
    saved = ModelCheckpoint(tmp_path / "saved", every_n_train_steps=20, save_top_k=-1)
    begun = fitted(
        {**local, "streaming": True},
        "cache",
        max_steps=20,
        callbacks=[saved],
        enable_checkpointing=True,
    )
    [checkpoint] = (tmp_path / "saved").glob("*.ckpt")
    rest = fitted(local, "local", ckpt_path=checkpoint)

    assert {**begun, **rest} == whole
    assert len(begun) == 20
    assert len(rest) == len(whole) - 20


def batches_of_rank(rank, addresses, folder, n_ranks, ckpt_path=None, **settings):
    shard_pieces._LEAST_BYTES = 4096
    recorder = Recorder()
    data_module = RetrievalDataModule(
        demo_encoder(),
        train_data={"a": {"path": addresses, "streaming": True}},
        cache_dir=folder,
        batch_size=16 // n_ranks,
        train_group_size=3,
        shuffle_window=64,
        num_workers=1,
        stream_cache_mib=1,
    )
    trainer = make_trainer(devices=n_ranks, strategy="ddp", max_epochs=1, **settings)
    trainer.fit(recorder, datamodule=data_module, ckpt_path=ckpt_path)
    return recorder.trained


@pytest.mark.slow
@pytest.mark.ranks
def test_two_ranks_with_workers_share_one_cache(shards, tmp_path, minilm):
    with served(shards) as server:
        addresses = [f"{server.address}s{number}.parquet" for number in range(2)]
        ranks = returned(
            run_on_ranks(batches_of_rank, 2, tmp_path, addresses, tmp_path / "cache", 2)
        )
    [whole] = returned(
        run_on_ranks(batches_of_rank, 1, tmp_path, [str(shards / "*.parquet")], tmp_path / "one", 1)
    )

    for at, (dataset, rows, _) in whole.items():
        shares = [trained[at] for trained in ranks]
        assert [share[0] for share in shares] == [dataset, dataset]
        assert tuple(row for share in shares for row in share[1]) == tuple(rows)


@pytest.mark.slow
@pytest.mark.ranks
def test_a_streamed_run_goes_on_on_two_ranks(shards, tmp_path):
    saved = ModelCheckpoint(tmp_path / "saved", every_n_train_steps=5, save_top_k=-1)
    stops = {"max_steps": 5, "callbacks": [saved], "enable_checkpointing": True}
    with served(shards) as server:
        addresses = [f"{server.address}s{number}.parquet" for number in range(2)]

        def on_ranks(n_ranks, ckpt_path=None, **settings):
            fit = partial(batches_of_rank, **settings)
            own = tmp_path / f"{n_ranks} {ckpt_path is None} {len(settings)}"
            own.mkdir()
            given = (addresses, tmp_path / "cache", n_ranks, ckpt_path)
            return returned(run_on_ranks(fit, n_ranks, own, *given))

        [begun], [whole] = on_ranks(1, **stops), on_ranks(1)
        [checkpoint] = (tmp_path / "saved").glob("*.ckpt")
        rest = on_ranks(2, str(checkpoint))

    assert {at: whole[at] for at in begun} == begun
    assert rest[0].keys() == rest[1].keys() == whole.keys() - begun.keys()
    for at in rest[0]:
        assert rest[0][at][1] + rest[1][at][1] == whole[at][1]


@pytest.mark.slow
def test_a_slow_server_is_waited_for(shards, tmp_path, minilm):
    local = module(minilm, {"path": str(shards / "*.parquet")}, tmp_path / "local")
    with served(shards) as server:
        server.delay = 0.05
        source = {"path": [f"{server.address}s{n}.parquet" for n in range(2)], "streaming": True}

        assert_equal(batches(module(minilm, source, tmp_path / "cache")), batches(local))


def test_cut_connections_are_asked_again(shards, tmp_path, minilm):
    local = module(minilm, {"path": str(shards / "s0.parquet")}, tmp_path / "local")
    with served(shards) as server:
        server.n_faults = 3
        streamed = module(minilm, f"{server.address}s0.parquet", tmp_path / "cache")
        assert server.n_faults == 0
        server.n_faults = 3

        assert_equal(batches(streamed), batches(local))
        assert server.n_faults == 0


@pytest.mark.slow
def test_a_server_that_restarts_is_waited_for(shards, tmp_path, minilm, monkeypatch):
    monkeypatch.setattr(byte_ranges, "WAITS", (0.2,) * 20)
    with served(shards) as server:
        port = server.server_port
        streamed = module(minilm, f"{server.address}s0.parquet", tmp_path / "cache")

    def serve_again():
        time.sleep(0.5)
        with served(shards, port):
            is_done.wait(60)

    is_done = threading.Event()
    thread = threading.Thread(target=serve_again)
    thread.start()
    try:
        found = batches(streamed)
    finally:
        is_done.set()
        thread.join()

    local = module(minilm, {"path": str(shards / "s0.parquet")}, tmp_path / "local")
    assert_equal(found, batches(local))


def test_a_server_that_stays_away_is_named(shards, tmp_path, minilm, monkeypatch):
    monkeypatch.setattr(byte_ranges, "WAITS", (0.01,) * 2)
    with served(shards) as server:
        address = f"{server.address}s0.parquet"
        streamed = module(minilm, address, tmp_path / "cache")

    with pytest.raises(DataError, match=rf"{address}: cannot be fetched"):
        batches(streamed)


def test_a_file_that_changes_in_mid_training_is_found(shards, tmp_path, minilm):
    with served(shards) as server:
        server.version = "always the same"
        streamed = module(minilm, f"{server.address}s0.parquet", tmp_path / "cache")
        content = bytearray((shards / "s0.parquet").read_bytes())
        content[2000:2010] = b"0123456789"
        (shards / "s0.parquet").write_bytes(content)

        with pytest.raises(DataError, match=r"s0\.parquet: has changed since it was indexed"):
            batches(streamed)
        content = bytearray((shards / "s0.parquet").read_bytes())
        write_shard(shards / "s0.parquet", made_up_rows(200, 0))
        assert len(content) == (shards / "s0.parquet").stat().st_size
        again = module(minilm, f"{server.address}s0.parquet", tmp_path / "cache")
        assert len(batches(again)) == 25


def test_a_changed_file_is_indexed_anew_at_the_next_start(shards, tmp_path, minilm):
    module(minilm, str(shards / "s0.parquet"), tmp_path / "cache")
    write_shard(shards / "s0.parquet", made_up_rows(120, seed=5))
    streamed = module(minilm, str(shards / "s0.parquet"), tmp_path / "cache")

    assert len(batches(streamed)) == 120 // 8


def test_bad_rows_are_found_before_training_and_may_be_skipped(tmp_path, minilm):
    rows = made_up_rows(60)
    rows[41]["query"] = " "
    path = tmp_path / "rows.parquet"
    write_shard(path, rows)

    with pytest.raises(DataError, match=r"rows\.parquet, row 41"):
        module(minilm, str(path), tmp_path / "cache")
    streamed = module(minilm, str(path), tmp_path / "cache", on_bad_row="skip")
    local = module(minilm, {"path": str(path)}, tmp_path / "local", on_bad_row="skip")

    [train_set] = streamed.train_sets().values()
    assert (len(train_set.kept), train_set.dropped) == (59, {"bad_row": 1})
    assert_equal(batches(streamed), batches(local))


def test_columns_may_have_other_names_and_one_text_a_row(tmp_path, minilm):
    rows = made_up_rows(40)
    triplets = [
        {"anchor": row["query"], "positive": row["pos"][0], "negative": row["neg"][0]}
        for row in rows
    ]
    path = tmp_path / "rows.parquet"
    write_shard(path, triplets)
    names = {"query": "anchor", "pos": "positive", "neg": "negative"}
    streamed = module(minilm, {"path": str(path), "streaming": True, **names}, tmp_path / "cache")
    local = module(minilm, {"path": str(path), **names}, tmp_path / "local")

    assert_equal(batches(streamed), batches(local))


@pytest.mark.slow
def test_a_damaged_index_is_made_again(shards, tmp_path, minilm):
    module(minilm, str(shards / "s0.parquet"), tmp_path / "cache")
    [kept] = (tmp_path / "cache" / "streamed").glob("*/header.bin")
    kept.write_bytes(kept.read_bytes()[:-3])

    streamed = module(minilm, str(shards / "s0.parquet"), tmp_path / "cache")

    assert len(batches(streamed)) == 25
    [folder] = [path.parent for path in (tmp_path / "cache" / "streamed").glob("*/header.bin")]
    assert sorted(path.name for path in folder.iterdir()) == [
        "header.bin",
        "pieces.digest",
        "rows.arrow",
    ]


def test_a_streamed_data_module_shows_and_finds_texts(shards, tmp_path, minilm):
    streamed = module(minilm, str(shards / "s0.parquet"), tmp_path / "cache")
    row = made_up_rows(200, 0)[17]

    assert "row 17" in str(streamed.occurrences(text=row["query"]))
    assert "query" in str(streamed.show(step=1))


@pytest.mark.slow
def test_what_workers_get_has_neither_threads_nor_rows(shards, tmp_path, minilm):
    streamed = module(minilm, str(shards / "s0.parquet"), tmp_path / "cache")
    batches(streamed, 2)
    texts = streamed.train_sets()["a"].streamed

    texts.fetch_ahead(range(200))
    again = pickle.loads(pickle.dumps(texts))

    assert again.table([3, 150], ["query"]).equals(texts.table([3, 150], ["query"]))


def test_an_epoch_that_fetches_much_says_so(tmp_path, minilm):
    path = tmp_path / "rows.parquet"
    write_shard(path, made_up_rows(1600, n_negatives=8), rows_per_piece=100)
    with pytest.warns(UserWarning, match=r"a pass fetches its \d MB about \d+ times"):
        module(minilm, str(path), tmp_path / "cache", stream_cache_mib=1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tokenize": "cached"}, "data.tokenize='cached' with the streamed dataset 'a'"),
        ({"length_window": 4}, "data.length_window=4 with the streamed dataset 'a'"),
        ({"no_duplicates": True}, "data.no_duplicates=true with the streamed dataset 'a'"),
        ({"stream_cache_mib": 0}, "data.stream_cache_mib=0"),
    ],
)
def test_settings_that_need_all_texts_are_refused(shards, tmp_path, minilm, settings, message):
    with pytest.raises(ConfigError, match=message):
        module(minilm, str(shards / "s0.parquet"), tmp_path / "cache", **settings)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"negatives": "run.tsv"}, "so negatives cannot be used with it"),
        ({"neg": ["neg", "other"]}, "the source names several columns"),
        ({"format": "msmarco_triples"}, "format='msmarco_triples' with streaming"),
        ({"streaming": "yes"}, "streaming='yes': expected true or false"),
    ],
)
def test_sources_that_cannot_be_streamed_are_refused(shards, tmp_path, minilm, source, message):
    source = {"path": str(shards / "s0.parquet"), "streaming": True, **source}

    with pytest.raises(ConfigError, match=message):
        module(minilm, source, tmp_path / "cache")


def test_files_that_have_no_pieces_are_refused_before_they_are_fetched(tmp_path, minilm):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"query": "a", "pos": ["b"]}\n' * 2000)
    with served(tmp_path) as server:
        with pytest.raises(DataError, match=r"rows\.jsonl: is neither Parquet nor Arrow"):
            module(minilm, f"{server.address}rows.jsonl", tmp_path / "cache")
        assert sum(server.n_bytes.values()) < 100


ENDS = """
import sys
from llm_embedder_data import RetrievalDataModule
from llm_embedder_data.rows.streaming import byte_ranges, shard_pieces
address, cache = sys.argv[1:]
shard_pieces._LEAST_BYTES = 4096
source = {"path": address, "streaming": True}
data = RetrievalDataModule("%s", {"a": source}, batch_size=32, cache_dir=cache)
data.prepare_data()
data.setup("fit")
byte_ranges.WAITS = (600.0,)
byte_ranges.filesystem_of = lambda *_: 1 / 0  # no answer: all threads wait to ask again
data.train_sets()["a"].streamed.fetch_ahead(range(200))
print("done", flush=True)
"""


@pytest.mark.slow
def test_a_process_ends_at_once_while_pieces_are_fetched(shards, tmp_path, minilm):
    command = [sys.executable, "-c", ENDS % minilm, str(shards / "s0.parquet"), str(tmp_path)]
    found = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert found.stdout == "done\n", found.stderr
    assert "Traceback" not in found.stderr


def test_a_server_that_lets_nobody_in_is_not_asked_again(shards, tmp_path, minilm, caplog):
    with served(shards) as server:
        server.status = 403
        with pytest.raises(DataError, match=r"s0\.parquet: cannot be fetched: 403"):
            module(minilm, f"{server.address}s0.parquet", tmp_path / "cache")
    assert "asking again" not in caplog.text


def test_a_file_without_rows_is_refused(tmp_path, minilm):
    write_shard(tmp_path / "rows.parquet", made_up_rows(40))
    empty = pq.read_table(tmp_path / "rows.parquet").slice(0, 0)
    pq.write_table(empty, tmp_path / "rows.parquet")
    with pytest.raises(DataError, match=r"rows\.parquet: .* no row"):
        module(minilm, str(tmp_path / "rows.parquet"), tmp_path / "cache")


def test_a_server_without_byte_ranges_is_refused(tmp_path, minilm):
    write_shard(tmp_path / "rows.parquet", made_up_rows(40))
    with served(tmp_path) as server:
        server.knows_ranges = False
        with pytest.raises(DataError, match="sends the whole file where a part is asked for"):
            module(minilm, f"{server.address}rows.parquet", tmp_path / "cache")
