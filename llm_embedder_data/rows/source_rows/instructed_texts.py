"""Texts that begin with an instruction already, so that another one before them would be too much.

Data that was prepared for one encoder often holds that encoder's prompts.
"""

from __future__ import annotations

import re

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from llm_embedder_data.config.recipes import Instruction
from llm_embedder_data.rows.files.shown_values import shown
from llm_embedder_data.rows.settings.reading_settings import ReadingSettings
from llm_embedder_data.rows.source_rows.row_instructions import KEY_INSTRUCTION, QUERY_INSTRUCTION
from llm_embedder_data.rows.source_rows.source_rows import SourceRows

# Beginnings of texts that published encoders' prompts have.
_PROMPT = re.compile(
    r"(Instruct:|Represent (this|the) |query: |passage: |search_query: |search_document: |"
    r"Given (a|an|the) .{0,80}, retrieve )"
)
PROMPT_LETTERS = "IRqpsG"

# Rows of a dataset that are looked at, and the share of them from which it is worth a note.
_LOOKED_AT = 500
_LEAST_SHARE = 0.01


def begins_instructed(text: str, instruction: str) -> bool:
    """Return whether a text begins with its instruction, or with a published encoder's prompt."""
    stripped = instruction.strip()
    if stripped and text.startswith(stripped):
        return True
    return text[:1] in PROMPT_LETTERS and _PROMPT.match(text) is not None


def note_on_instructed_texts(
    read: SourceRows,
    kept: NDArray[np.int64],
    reading: ReadingSettings,
    task: str,
    description: str | None,
) -> list[str]:
    """Return a note if texts begin with an instruction before which another one is put.

    Looks at some rows: at their queries, and in training rows at the first key. They are evenly
    spaced, unless rows are streamed: then they are the first ones.

    Args:
        read: the rows, with columns of ``TRAIN_SCHEMA`` or of eval rows.
        kept: ``[n]`` int64, row numbers.
        reading: has the recipe, and says whether instructions are wanted.
        task: of the rows.
        description: of the task, for the prompt of an instruct model; None for the recipe's.
    """
    if not reading.add_instruction or not len(kept):
        return []
    recipe = reading.recipe.instruction(task, description)
    n_looked_at = min(len(kept), _LOOKED_AT)
    last = n_looked_at - 1 if read.streamed is not None else len(kept) - 1
    at = np.unique(np.linspace(0, last, n_looked_at).astype(np.int64))
    found = _instructed(read, kept[at], recipe)
    if len(found) < max(1.0, _LEAST_SHARE * len(at)):
        return []
    return [
        f"{len(found) / len(at):.0%} of the rows have a text that begins with an instruction "
        f"already, such as {shown(found[0][:80])}, and another one is put before it (take the "
        "instruction out of the texts, or set data.add_instruction=false)"
    ]


# --------------------------------------------------------------------------------------------------


def _instructed(read: SourceRows, numbers: NDArray[np.int64], recipe: Instruction) -> list[str]:
    """Return a text of each row that has one which begins with an instruction twice."""
    found: dict[int, str] = {}
    sides = [("query", QUERY_INSTRUCTION, recipe.query)]
    if KEY_INSTRUCTION in read.rows.column_names:
        sides.append(("key", KEY_INSTRUCTION, recipe.key))
    for side, column, common in sides:
        own = read.rows.data.column(column)
        if not common and own.null_count == len(own):
            continue  # no instruction is put before these texts
        table = read.tables([side, column]).mapped(numbers.tolist())
        texts = table.column(side)
        texts = pc.list_element(texts, 0) if side == "key" else texts
        if side == "key" and read.passages is not None:
            texts = pa.array(read.passages.texts(texts.to_numpy().astype(np.int64)))
        for row, (text, instruction) in enumerate(
            zip(texts.to_pylist(), table.column(column).to_pylist(), strict=True)
        ):
            instruction = common if instruction is None else instruction
            if instruction and begins_instructed(text, instruction):
                found.setdefault(row, text)
    return [found[row] for row in sorted(found)]
