"""A digest of a tokenizer is of what it does, whatever was done with it."""

import copy
import pickle

import pytest
from processes import returned, run_on_ranks
from tokenizers import AddedToken, NormalizedString, normalizers
from transformers import AutoTokenizer, BertTokenizerFast, ByT5Tokenizer

from llm_embedder_data.batches.tokens.tokenizer_digest import is_random, tokenizer_digest

KINDS = ("minilm", "byte_level_bpe", "unigram")


class Shouting(BertTokenizerFast):
    """Changes texts in its own call, and counts and remembers them."""

    def __init__(self, *args, mark="!", **kwargs):
        super().__init__(*args, **kwargs)
        self.mark, self.n_calls, self.seen, self.warned = mark, 0, {}, False

    def __call__(self, text=None, *args, **kwargs):
        self.n_calls, self.warned = self.n_calls + 1, True
        self.seen[str(text)] = len(self.seen)
        many = isinstance(text, list)
        said = [one + self.mark for one in text] if many else text + self.mark
        return super().__call__(said, *args, **kwargs)


@pytest.fixture(params=KINDS)
def folder(request):
    return request.getfixturevalue(request.param)


def load(folder, **settings):
    return AutoTokenizer.from_pretrained(folder, **settings)


def use(tokenizer):
    tokenizer(["a", "the night ferry " * 300], padding=True, truncation=True, max_length=7)
    tokenizer("the night ferry " * 900)
    tokenizer("a", split_special_tokens=True)


def test_use_copies_and_files_of_another_place_change_nothing(folder, tmp_path):
    tokenizer = load(folder)
    digest = tokenizer_digest(tokenizer)

    use(tokenizer)
    assert tokenizer_digest(tokenizer) == digest
    assert tokenizer_digest(pickle.loads(pickle.dumps(tokenizer))) == digest
    tokenizer.save_pretrained(tmp_path)
    assert tokenizer_digest(load(tmp_path)) == digest


def test_a_digest_leaves_the_tokenizers_settings_alone(folder):
    tokenizer = load(folder)
    tokenizer.backend_tokenizer.enable_truncation(7)
    tokenizer.backend_tokenizer.enable_padding(length=9)

    tokenizer_digest(tokenizer)

    assert tokenizer.backend_tokenizer.truncation["max_length"] == 7
    assert tokenizer.backend_tokenizer.padding["length"] == 9


def digests(_rank, folders):
    return [tokenizer_digest(one) for one in (*map(load, folders), ByT5Tokenizer())]


def test_another_process_has_the_same_digests(minilm, byte_level_bpe, unigram, tmp_path):
    folders = [minilm, byte_level_bpe, unigram]

    [said] = returned(run_on_ranks(digests, 1, tmp_path, folders, connect=False))

    assert said == digests(0, folders)


@pytest.mark.parametrize("changed", ["added", "side", "truncation", "pad", "normalizer", "split"])
def test_whatever_tokens_depend_on_changes_the_digest(folder, changed):
    tokenizer = load(folder)
    before = tokenizer_digest(tokenizer)

    if changed == "added":
        tokenizer.add_tokens([AddedToken("ferry", lstrip=True)])
        other = load(folder)
        other.add_tokens([AddedToken("ferry", rstrip=True)])
        assert tokenizer_digest(other) != tokenizer_digest(tokenizer)
    elif changed == "side":
        tokenizer.padding_side = {"left": "right", "right": "left"}[tokenizer.padding_side]
    elif changed == "truncation":
        tokenizer.truncation_side = "left"
    elif changed == "pad":
        tokenizer.pad_token = tokenizer.convert_ids_to_tokens(7)
    elif changed == "normalizer":
        tokenizer.backend_tokenizer.normalizer = normalizers.Lowercase()
    else:
        tokenizer.split_special_tokens = True

    assert tokenizer_digest(tokenizer) != before


def test_a_slow_tokenizers_vocabulary_counts():
    digests = [tokenizer_digest(ByT5Tokenizer(extra_ids=n)) for n in (0, 0, 5)]
    used = ByT5Tokenizer(extra_ids=0)
    use(used)

    assert digests[0] == digests[1] == tokenizer_digest(used) != digests[2]


def test_code_and_settings_of_a_users_class_count_and_what_it_remembers_does_not(minilm):
    plain = BertTokenizerFast.from_pretrained(minilm)
    fresh, used = (Shouting.from_pretrained(minilm) for _ in range(2))
    use(used)

    assert tokenizer_digest(fresh) == tokenizer_digest(used) == tokenizer_digest(fresh)
    assert tokenizer_digest(fresh) != tokenizer_digest(plain)
    fresh.mark = "?"
    assert tokenizer_digest(fresh) != tokenizer_digest(used)


class Swap:
    """A part of a backend in Python."""

    def __init__(self, old, new):
        self.old, self.new = old, new

    def normalize(self, normalized: NormalizedString):
        normalized.replace(self.old, self.new)


def test_a_backend_with_parts_in_python_has_the_digest_of_what_it_does(minilm):
    def swapping(new):
        tokenizer = load(minilm)
        tokenizer.backend_tokenizer.normalizer = normalizers.Normalizer.custom(Swap("fox", new))
        return tokenizer_digest(tokenizer)

    assert swapping("dog") == swapping("dog")
    assert swapping("dog") != swapping("cat")


def test_chance_is_no_part_of_a_digest(byte_level_bpe):
    tokenizer = load(byte_level_bpe)
    before = tokenizer_digest(tokenizer)
    assert not is_random(tokenizer)
    tokenizer.backend_tokenizer.model.dropout = 0.5

    assert is_random(tokenizer)
    assert tokenizer_digest(tokenizer) == tokenizer_digest(copy.deepcopy(tokenizer)) != before
