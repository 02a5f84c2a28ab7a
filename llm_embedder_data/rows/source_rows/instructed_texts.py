"""Finds texts that already begin with an instruction, although another is put before them.

Data that was prepared for an encoder often holds that encoder's prompts.
"""

from __future__ import annotations

import re

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from llm_embedder_data.config.recipes import Instruction
from llm_embedder_data.core.shown_values import shown
from llm_embedder_data.rows.settings.reading_settings import ReadingSettings
from llm_embedder_data.rows.source_rows.row_instructions import KEY_INSTRUCTION, QUERY_INSTRUCTION
from llm_embedder_data.rows.source_rows.source_rows import SourceRows

# How the prompts of published encoders begin.
_PROMPT = re.compile(
    r"(Instruct:|Represent (this|the) |query: |passage: |search_query: |search_document: |"
    r"Given (a|an|the) .{0,80}, retrieve )"
)
PROMPT_LETTERS = "IRqpsG"  # the first letters of these prompts

# The number of rows that are checked, and the share of instructed rows from which a note is given.
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
    """Return a note if texts begin with an instruction, and another instruction is put before them.

    Some rows are checked: their queries and, in training rows, their first keys. The checked rows
    are evenly spaced, or the first rows if rows are streamed.

    Args:
        read: the rows, with columns of ``TRAIN_SCHEMA`` or of eval rows.
        kept: the numbers of the kept rows, ``[n]`` int64.
        reading: the recipe, and whether instructions are put before texts.
        task: the task of the rows.
        description: the description of the task for the prompt of an instruct model; None for the
            recipe's.

    Returns:
        The note; or an empty list.
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
    """Return, for each row with instructed texts, the first of them."""
    found: dict[int, str] = {}
    sides = [("query", QUERY_INSTRUCTION, recipe.query)]
    if KEY_INSTRUCTION in read.rows.column_names:
        sides.append(("key", KEY_INSTRUCTION, recipe.key))
    for side, column, common in sides:
        of_rows = read.rows.data.column(column)
        if not common and of_rows.null_count == len(of_rows):
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
