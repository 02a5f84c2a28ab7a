"""Names the setting that decides each entry in which a run differs from its checkpoint."""

from __future__ import annotations

from typing import Any

from llm_embedder_data.datamodule.resume.run_fingerprint import ABSENT, DATASET, Difference

_OF_RUN = {
    "tokenizer": "data.tokenizer, or the files of the same tokenizer",
    "instructions": "data.recipe, data.add_instruction, or task_description of the source",
    "datasets": "data.train_data: the same sources, in the same order",
}
_ROWS = "data.train_data: the same files"
_KEPT = f"{_ROWS}; data.max_sample_num, data.teacher_scores_min and other settings that drop rows"
_OF_DATASET = {
    "task": "data.default_task, or task of the source in data.train_data",
    "files": f"{_ROWS}; key_template of a corpus that they name, or data.key_template",
    "rows kept": _KEPT,
    "rows digest": _KEPT,
    "global batch": "data.batch_size, or batch_size of the source, and the number of ranks",
    "steps": "it follows from the rows, the global batch and the weight",
    "weight": "weight of the source in data.train_data",
    "in_batch_negatives": "in_batch_negatives of the source in data.train_data",
}
_OF_SOURCE = ("negatives", "scores", "max_sample_num", "normalize_scores")


def remedy_of(difference: Difference) -> str:
    """Return what to set so that the run has the checkpoint's value: a config key, with the value.

    Args:
        difference: an entry that must be equal at resume.
    """
    name = difference.path[0]
    if not name.startswith(DATASET):
        return _OF_RUN.get(name) or _assigned(
            f"data.{'.'.join(difference.path)}", difference.before
        )
    if len(difference.path) == 1:
        return _OF_RUN["datasets"]
    entry = difference.path[1]
    if entry == "columns" and len(difference.path) > 2:
        return _column_remedy(difference.path[2], difference.before)
    if entry != "settings" or len(difference.path) == 2:  # a changed state may lack all settings
        return _OF_DATASET.get(entry, _ROWS)
    setting = difference.path[2]
    if setting == "rows with own instructions":
        return "data.add_instruction, and the same files"
    if setting == "corpus":
        return "data.corpus, or corpus of the source, and key_template: the same files and columns"
    if setting in ("negatives", "scores"):
        return f"{setting} of the source in data.train_data: the same files"
    of_source = f", or {setting} of the source" if setting in _OF_SOURCE else ""
    return f"{_assigned(f'data.{setting}', difference.before)}{of_source}"


def _column_remedy(field: str, column: Any) -> str:
    if column is ABSENT:
        return f"the source in data.train_data: no {field}"
    named = column if isinstance(column, str) else f"[{', '.join(map(str, column))}]"
    return f"{field} of the source in data.train_data: {field}: {named}"


def _assigned(key: str, value: Any) -> str:
    if value is ABSENT or value is None:
        return f"{key}=null"
    if isinstance(value, bool):
        return f"{key}={str(value).lower()}"
    return f"{key}={value}" if isinstance(value, int | float | str) else key
