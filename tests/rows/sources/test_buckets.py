"""Sources in a bucket: s3fs against a server of this machine that answers as S3 does."""

import gzip
import json
import logging
from pathlib import Path

import pytest

from llm_embedder_data.core.errors import DataError
from llm_embedder_data.rows.sources.fetched_files import fetched
from llm_embedder_data.rows.sources.sources import resolve_sources
from llm_embedder_data.rows.streaming import byte_ranges
from llm_embedder_data.rows.streaming.byte_ranges import RemoteFile

pytest.importorskip("s3fs", reason="s3fs opens s3://")
pytest.importorskip("moto", reason="moto answers as S3 does")
pytest.importorskip("flask_cors", reason="moto's server needs flask and flask-cors")

ROW = json.dumps({"query": "q", "pos": ["p"], "neg": ["n"]}).encode() + b"\n"


@pytest.fixture(scope="module")
def server():
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    started = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    started.start()
    yield started
    started.stop()


@pytest.fixture
def bucket(server, monkeypatch):
    """Puts objects into the bucket ``shelf``, past the listings that s3fs keeps."""
    import boto3
    import s3fs

    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://{}:{}".format(*server.get_host_and_port()))
    s3fs.S3FileSystem.clear_instance_cache()
    client = boto3.client("s3")
    client.create_bucket(Bucket="shelf")

    def put(**contents):
        for name, content in contents.items():
            client.put_object(Bucket="shelf", Key=name, Body=content)

    yield put
    for found in client.list_objects_v2(Bucket="shelf").get("Contents", []):
        client.delete_object(Bucket="shelf", Key=found["Key"])
    client.delete_bucket(Bucket="shelf")
    s3fs.S3FileSystem.clear_instance_cache()


def sources(data, cache):
    return resolve_sources(data, setting="data.train_data", fields=["query"], cache_dir=cache)


def test_datasets_are_named_and_found_as_on_a_disk(tmp_path, bucket):
    bucket(
        **{"nq/train.jsonl": ROW, "fever/train.jsonl": ROW, "old/rows.csv.gz": gzip.compress(ROW)}
    )

    found = sources(["s3://shelf/*/train.jsonl", "s3://shelf/old/rows.csv.gz"], tmp_path)

    assert [source.name for source in found] == ["fever", "nq", "old"]
    assert [Path(source.files[0]).name for source in found] == [
        "train.jsonl",
        "train.jsonl",
        "rows.csv.gz",
    ]


def test_a_folder_may_have_its_mark_in_the_bucket(tmp_path, bucket):
    bucket(**{"rows/": b"", "rows/a.jsonl": ROW, "rows/more/": b"", "rows/b.jsonl": ROW})

    [source] = sources({"mine": "s3://shelf/rows"}, tmp_path)

    assert [Path(file).name for file in source.files] == ["a.jsonl", "b.jsonl"]


def test_a_folder_that_is_a_dataset_is_one(tmp_path, bucket):
    bucket(
        **{
            "beir/corpus.jsonl": b'{"_id": "d", "text": "t"}\n',
            "beir/queries.jsonl": b'{"_id": "q", "text": "t"}\n',
            "beir/qrels/train.tsv": b"query-id\tcorpus-id\tscore\nq\td\t1\n",
        }
    )

    [source] = sources("s3://shelf/beir", tmp_path)

    assert source.name == "beir"
    assert Path(source.files[0]).is_dir()


def test_data_root_may_be_a_bucket(tmp_path, bucket):
    bucket(**{"nq/train.jsonl": ROW})

    [source] = resolve_sources(
        "llm-embedder:nq/train.jsonl",
        setting="data.train_data",
        fields=[],
        data_root="s3://shelf",
        cache_dir=tmp_path,
    )

    assert Path(source.files[0]).read_bytes() == ROW


def test_an_object_added_later_is_seen_in_the_same_process(tmp_path, bucket):
    streamed = {"mine": {"path": "s3://shelf/*.parquet", "streaming": True}}
    bucket(**{"a.parquet": b"1"})
    assert len(sources(streamed, tmp_path)[0].files) == 1
    bucket(**{"b.parquet": b"1"})

    assert sources(streamed, tmp_path)[0].files == ("s3://shelf/a.parquet", "s3://shelf/b.parquet")


def test_an_object_that_was_replaced_is_known_by_its_state(bucket):
    import s3fs

    bucket(**{"a.parquet": b"12345"})
    s3fs.S3FileSystem().ls("shelf")
    file = RemoteFile("s3://shelf/a.parquet")
    before = file.state()
    bucket(**{"a.parquet": b"54321"})

    assert file.state(anew=True) != before


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"12", "has changed: it has 2 bytes now"), (None, "there is nothing at this address")],
)
def test_an_object_that_shrank_or_went_is_not_asked_for_again(
    bucket, monkeypatch, content, message
):
    import boto3

    monkeypatch.setattr(byte_ranges.time, "sleep", lambda _: pytest.fail("asked again"))
    monkeypatch.setattr(byte_ranges, "WAITS", (1.0,))
    bucket(**{"a.parquet": b"12345"})
    file = RemoteFile("s3://shelf/a.parquet")
    file.state()
    if content is None:
        boto3.client("s3").delete_object(Bucket="shelf", Key="a.parquet")
    else:
        bucket(**{"a.parquet": content})

    with pytest.raises(DataError, match=message):
        file.read(0, 5)


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("s3://shelf/none.jsonl", "there is nothing at this address"),
        ("s3://shelf/none/*.jsonl", "there is nothing at this address"),
        ("s3://other-shelf/train.jsonl", "there is nothing at this address"),
    ],
)
def test_nothing_in_a_bucket_is_said(tmp_path, bucket, address, message):
    with pytest.raises(DataError, match=message):
        fetched(address, tmp_path)


def test_missing_credentials_are_said(tmp_path, bucket, monkeypatch):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))

    with pytest.raises(DataError, match="Unable to locate credentials"):
        fetched("s3://shelf/train.jsonl", tmp_path)
