"""``export`` writes a folder that sentence-transformers loads, or nothing."""

import json

import lightning
import pytest
import torch
from cli_cases import small
from transformers import AutoTokenizer

from llm_embedder_data import BiEncoder, CrossEncoder


def loaded(folder):
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(folder), device="cpu")


@pytest.fixture
def checkpoint(run, tiny, sample_dir, tmp_path):
    """A checkpoint of a short fit, whose encoder takes the name of an earlier run's."""
    (tmp_path / "here/encoder").mkdir(parents=True)
    for name in ("config.json", "old.txt"):
        (tmp_path / "here/encoder" / name).touch()
    data = f"data.train_data={{tool: {sample_dir}/tool/train.jsonl}}"
    run("fit", *small(tiny, data, "recipe=e5", "hydra.run.dir=here"))
    return tmp_path / "here/checkpoints/last.ckpt"


def test_an_encoder_is_written_with_its_own_length(run, tiny, tmp_path):
    out = run("export", f"encoder={tiny}", "out=folder")

    assert "Exported: folder" in out
    card = (tmp_path / "folder/README.md").read_text()
    assert "the token ids are equal" in card
    assert "Not trained here." in card
    assert loaded("folder").max_seq_length == 512  # the tokenizer's, not the default of the data
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder"]


def test_settings_of_the_data_reach_the_folder(run, tiny):
    run("export", f"encoder={tiny}", "out=folder", "recipe=bge", "data.key_max_length=40")

    model = loaded("folder")
    assert model.max_seq_length == 40
    assert model.prompts["query"].startswith("Represent this sentence")


def test_a_checkpoint_is_written_with_its_weights_prompts_length_and_card(
    run, checkpoint, tmp_path
):
    run("export", f"ckpt_path={checkpoint}", "out=folder")

    model, expected = loaded("folder"), BiEncoder.load_from_checkpoint(checkpoint)
    assert model.max_seq_length == 24
    assert model.prompts == {"query": "query: ", "document": "passage: "}
    found = model[0].auto_model.state_dict()
    for name, value in expected.encoder.state_dict().items():
        assert torch.equal(found[name], value)
    with open("folder/README.md") as file:
        card = file.read()
    facts = torch.load(checkpoint)["RetrievalDataModule"]["facts"]
    assert facts["dataset tool"]["files"][0] in card
    assert "| optimizer steps | 3 |" in card
    written, of_fit = tmp_path / "folder", tmp_path / "here/encoder"
    names = sorted(path.relative_to(written) for path in written.rglob("*"))
    assert names == sorted(path.relative_to(of_fit) for path in of_fit.rglob("*"))
    for name in names:
        if (written / name).is_file() and name.name != "README.md":
            assert (written / name).read_bytes() == (of_fit / name).read_bytes(), name


def test_a_cross_encoder_trains_and_is_written(run, tiny, sample_dir, tmp_path):
    from sentence_transformers import CrossEncoder as Theirs

    rows = [{"query": f"q {i}", "pos": [f"p {i}"], "neg": [f"n {i}", f"m {i}"]} for i in range(6)]
    (tmp_path / "eval.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    out = run(
        "fit",
        *small(tiny, f"data.train_data={{tool: {sample_dir}/tool/train.jsonl}}"),
        "model=cross_encoder",
        "data.cross=true",
        "data.eval_method=rerank",
        "data.eval_data=eval.jsonl",
        "hydra.run.dir=here",
    )
    assert "/mrr@10" in out

    run("export", "ckpt_path=here/checkpoints/last.ckpt", "out=folder")

    model = CrossEncoder.load_from_checkpoint("here/checkpoints/last.ckpt").eval()
    theirs = Theirs("folder", device="cpu")
    assert theirs.max_seq_length == 48
    pair = theirs.tokenizer(["where"], ["there"], return_tensors="pt")
    expected = model.score(pair).item()
    assert theirs.predict([("where", "there")])[0] == pytest.approx(expected, abs=1e-5)
    assert Theirs("here/encoder", device="cpu").predict([("where", "there")])[0] == pytest.approx(
        expected, abs=1e-5
    )


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["encoder=TINY"], "out=None: expected a folder"),
        (["out=folder"], "nothing to export (name an encoder, or a checkpoint"),
        (["encoder=TINY", "out=TINY"], "is or holds encoder="),
        (["encoder=TINY", "out=TINY/..", "overwrite=true"], "is or holds encoder="),
        (["ckpt_path=full/mine.txt", "out=full", "overwrite=true"], "is or holds ckpt_path="),
        (["encoder=TINY", "out=folder", "overwrite=maybe"], "overwrite='maybe': expected true"),
        (["encoder=TINY", "out=folder", "max_length=0"], "max_length=0: expected a whole number"),
        (["encoder=TINY", "out=full"], "full exists and has files (name another folder, or"),
        (["encoder=TINY", "out=full", "overwrite=true"], "not an exported model"),
        (["encoder=TINY", f"out={'x' * 300}"], "File name too long"),
        (["ckpt_path=none.ckpt", "out=folder"], "there is no such file"),
        (["encoder=TINY", "out=folder", "max_length=999"], "has positions for 512"),
    ],
)
def test_what_cannot_be_exported_is_one_sentence(
    refused_by_verb, tiny, tmp_path, arguments, sentence
):
    (tmp_path / "full").mkdir()
    (tmp_path / "full/mine.txt").touch()

    words = [word.replace("TINY", tiny) for word in arguments]
    assert sentence in refused_by_verb("export", *words)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["full"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["model=cross_encoder"], "data.cross=False: the batches hold queries and keys sep"),
        (["data.cross=true"], "data.cross=True: the batches hold (query, key) pairs"),
    ],
)
def test_a_model_that_does_not_fit_the_batches_is_one_sentence(
    refused, settings, arguments, sentence
):
    assert sentence in refused("fit", *settings, *arguments)


def test_a_checkpoint_of_other_loaders_is_written_too(run, refused, tiny, tmp_path):
    trainer = lightning.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    trainer.strategy.connect(BiEncoder(tiny))
    trainer.save_checkpoint(tmp_path / "own.ckpt", weights_only=True)
    content = torch.load(tmp_path / "own.ckpt")
    name = next(name for name in content["state_dict"] if "word_embeddings" in name)
    del content["state_dict"][name]
    torch.save(content, tmp_path / "lacking.ckpt")

    run("export", "ckpt_path=own.ckpt", "out=new/encoder")
    said = refused("export", "ckpt_path=lacking.ckpt", "out=other")

    tokenizers = [AutoTokenizer.from_pretrained(folder) for folder in (tiny, "new/encoder")]
    assert tokenizers[0]("a text").input_ids == tokenizers[1]("a text").input_ids
    assert name in said
    assert not (tmp_path / "other").exists()
