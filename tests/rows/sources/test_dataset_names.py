"""Names of datasets are unique, whatever files or names are given."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_embedder_data import ConfigError
from llm_embedder_data.core.printable import one_line
from llm_embedder_data.rows.sources.dataset_names import by_unique_name, names_from_paths
from llm_embedder_data.rows.sources.sources import resolve_sources

parts = st.sampled_from(["a", "b", "a#2", "a#3", "a.json", "b\x1b", "b\\x1b", "\udcff"])
files = st.builds(
    lambda folders, stem, ending: "/" + "/".join([*folders, stem + ending]),
    st.lists(parts, max_size=3),
    parts,
    st.sampled_from([".jsonl", ".json", ".json.gz", ".parquet"]),
)


@given(st.lists(files, max_size=8))
def test_every_listed_file_gets_a_unique_name(listed):
    names = names_from_paths(listed)

    assert len(set(names)) == len(names) == len(listed)
    assert names == names_from_paths(listed)
    assert all(name.encode() for name in names)  # no half surrogate of a file's name
    assert all(name == one_line(name) for name in names)


class Named:
    def __init__(self, name, *files):
        self.name, self.files = name, files


@given(st.lists(st.text("ab#\x1b\n\\x1", max_size=5)))
def test_datasets_by_name_are_complete_or_an_error(names):
    datasets = [Named(name, f"file {i}") for i, name in enumerate(names)]
    if len(set(map(one_line, names))) < len(names):
        with pytest.raises(ConfigError, match=r"data\.x: two datasets are called"):
            by_unique_name(datasets, "data.x")
    else:
        assert list(by_unique_name(datasets, "data.x").items()) == [
            (dataset.name, dataset) for dataset in datasets
        ]


def test_the_error_for_equal_names_lists_the_files():
    sentence = (
        r"^data\.x: two datasets are called 'a', one from one\.jsonl and one from 1, 2, 3, \.\.\. "
        r"\(give one of them another name"
    )

    with pytest.raises(ConfigError, match=sentence):
        by_unique_name([Named("a", "one.jsonl"), Named("a", *"1234")], "data.x")


@pytest.mark.parametrize("names", [(1, "1"), (True, "True"), (None, "None"), ("\x1b", "\\x1b")])
def test_mapping_keys_that_give_equal_names_are_refused(tmp_path, names):
    (tmp_path / "a.jsonl").write_text("{}")
    data = dict.fromkeys(names, str(tmp_path / "a.jsonl"))

    with pytest.raises(ConfigError, match=r"data\.train_data: two datasets are called"):
        resolve_sources(data, setting="data.train_data", fields=[])


@pytest.mark.parametrize("name", ["", "  ", "\n", "a\ud800"])
def test_a_blank_or_unencodable_name_is_refused(tmp_path, name):
    (tmp_path / "a.jsonl").write_text("{}")

    with pytest.raises(ConfigError, match=r"data\.train_data: (a dataset is called|the name)"):
        resolve_sources({name: str(tmp_path / "a.jsonl")}, setting="data.train_data", fields=[])
