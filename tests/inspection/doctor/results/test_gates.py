import pytest
from doctor_cases import SOUND, opened

from llm_embedder_data import ConfigError
from llm_embedder_data.inspection.doctor.results.gates import check_gates, exceeded


def test_limits_are_counts_or_shares(tmp_path, minilm):
    module = opened(tmp_path, minilm, {"set": [*SOUND, SOUND[0]]})
    datasets = module.diagnose()["datasets"]

    assert exceeded(check_gates({"duplicate_rows": 1}), datasets) == {}
    assert exceeded(check_gates({"duplicate_rows": 0.2}), datasets) == {}
    [(where, sentence)] = exceeded(check_gates({"duplicate_rows": 0}), datasets).items()
    assert where == ("set", "duplicate_rows")
    assert sentence.startswith("set: duplicate_rows: 1 rows that repeat an earlier row, allowed: 0")
    assert len(exceeded(check_gates({"duplicate_rows": 0.1}), datasets)) == 1


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"duplicates": 0}, "fail_on='duplicates': expected one of .*did you mean"),
        ({"duplicate_rows": 1.5}, "fail_on.duplicate_rows=1.5: expected a count"),
        ({"duplicate_rows": -1}, "fail_on.duplicate_rows=-1"),
        ({"near_contamination": 0}, r"fail_on.near_contamination: near-.*set near_duplicates=0.8"),
        ([1], r"fail_on=\[1\]: expected a mapping"),
    ],
)
def test_wrong_limits_are_one_sentence(given, sentence):
    with pytest.raises(ConfigError, match=sentence):
        check_gates(given)
