"""``validate``: metrics of a model."""

from cli_cases import small


def test_validate_measures_a_model(run, tiny, sample_dir):
    out = run(
        "validate",
        *small(tiny),
        f"data.eval_data={{tool: {sample_dir}/tool/eval.jsonl}}",
        f"data.corpus={sample_dir}/tool/corpus.jsonl",
        "data.key_template='{text}'",
    )

    assert "val/tool/ndcg@10" in out
