"""Equal texts are found, and every change of texts, order or ids changes a digest."""

from hypothesis import given
from hypothesis import strategies as st

from llm_embedder_data.mining.embeddable_texts import ListedTexts
from llm_embedder_data.mining.text_inventory import take_inventory

TEXTS = st.lists(st.sampled_from(["", "a", "b", "ab", "ba", "aa", "a b"]), max_size=12)


@given(TEXTS, st.data())
def test_distinct_texts_are_numbered_as_they_appear(texts, data):
    wanted = st.sampled_from([None, "", "a"])
    own = data.draw(st.lists(wanted, min_size=len(texts), max_size=len(texts)))
    pairs = list(zip(own, texts, strict=True))
    distinct = list(dict.fromkeys(pairs))

    found = take_inventory(ListedTexts(texts, own_instructions=own))

    assert [pairs[i] for i in found.first] == distinct
    assert found.n_texts == len(texts)
    if found.number is None:
        assert len(distinct) == len(texts)
    else:
        assert len(distinct) < len(texts)
        assert [distinct[i] for i in found.number] == pairs


@given(TEXTS, TEXTS)
def test_a_digest_stands_for_the_texts_and_their_order(texts, others):
    digest, other = (take_inventory(ListedTexts(these)).texts_digest for these in (texts, others))

    assert (digest == other) is (texts == others)


def test_a_text_is_another_behind_an_instruction_of_its_own():
    digests = {
        take_inventory(ListedTexts([text], own_instructions=own)).texts_digest
        for text, own in [("ab", None), ("ab", [""]), ("b", ["a"]), ("", ["ab"])]
    }

    assert len(digests) == 4


def test_ids_have_a_digest_of_their_own():
    texts = ["a", "b"]
    choices = (None, ["0", "1"], ["1", "0"], ["01", ""])
    found = [take_inventory(ListedTexts(texts, ids)) for ids in choices]

    assert len({inventory.texts_digest for inventory in found}) == 1
    assert found[0].ids_digest == found[1].ids_digest
    assert len({inventory.ids_digest for inventory in found}) == 3


def test_progress_counts_all_texts():
    counts = []

    take_inventory(ListedTexts([str(i) for i in range(20_000)]), counts.append)

    assert sum(counts) == 20_000
    assert len(counts) > 1
