from doctor_cases import SOUND, opened

from llm_embedder_data.inspection.doctor.checks.row_fingerprints import row_fingerprints
from llm_embedder_data.inspection.doctor.texts import kept_rows


def test_fingerprints_of_rows_do_not_depend_on_the_block(tmp_path, minilm, monkeypatch):
    module = opened(tmp_path, minilm, {"set": SOUND})
    train_set = module.train_sets()["set"]
    instruction = module._builder.instruction_of(train_set)
    whole = row_fingerprints(train_set, instruction, module.tokenizer)

    monkeypatch.setattr(kept_rows, "_BLOCK_ROWS", 3)
    parts = row_fingerprints(train_set, instruction, module.tokenizer)

    for name in ("rows", "query", "key", "bounds", "n_pos", "whole_row"):
        assert getattr(whole, name).tolist() == getattr(parts, name).tolist()
