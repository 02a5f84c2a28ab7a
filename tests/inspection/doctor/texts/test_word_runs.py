import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_embedder_data.core.normal_form import normal_form
from llm_embedder_data.inspection.doctor.texts import word_runs as module
from llm_embedder_data.inspection.doctor.texts.flat_texts import FlatTexts
from llm_embedder_data.inspection.doctor.texts.normal_texts import normal_texts
from llm_embedder_data.inspection.doctor.texts.word_runs import N_WORDS, SearchedRuns, word_runs

WORDS = st.lists(st.sampled_from(["a", "b", "Ünï", "ﬁn", "中"]), max_size=18)
TEXTS = st.lists(st.tuples(WORDS, st.sampled_from([" ", "  ", "\n"])), max_size=4).map(
    lambda drawn: [blank.join(words) for words, blank in drawn]
)


def runs(text):
    words = normal_form(text).split()
    return {tuple(words[i : i + N_WORDS]) for i in range(len(words) - N_WORDS + 1)}


def normal(texts):
    return normal_texts(FlatTexts.of(texts))


@given(TEXTS)
def test_runs_are_those_of_the_words_within_a_text(texts):
    flat = normal(texts)

    found = word_runs(flat)

    pieces = [
        (text, tuple(flat.content[start:end].tobytes().decode().split()))
        for text, start, end in zip(found.text, found.starts, found.ends, strict=True)
    ]
    assert set(pieces) == {(n, run) for n, text in enumerate(texts) for run in runs(text)}


@given(TEXTS, TEXTS, st.sampled_from([1, 64, 1 << 18]))
def test_texts_are_found_that_share_a_run(searched, texts, window):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_WINDOW_BYTES", window)

        found = SearchedRuns(normal(searched)).found_in(normal(texts))

    wanted = set().union(*map(runs, searched))
    assert found.tolist() == [bool(runs(text) & wanted) for text in texts]


def test_an_equal_hash_of_another_run_is_no_match(monkeypatch):
    searched = SearchedRuns(normal(["one two three four five six seven eight nine ten a b c"]))
    monkeypatch.setattr(module, "_hashes", lambda content, runs: searched._hashes.repeat(2))

    found = searched.found_in(normal(["x y z four five six seven eight nine ten a b c d"]))

    assert not found.any()
