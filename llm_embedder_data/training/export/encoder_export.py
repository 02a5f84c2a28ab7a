"""Exports an encoder to a folder for AutoModel and SentenceTransformer, and checks the folder."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn
from transformers import PreTrainedTokenizerBase

from llm_embedder_data.config.model_files import (
    UnknownFile,
    read_transformer_file,
    short_name,
)
from llm_embedder_data.config.model_prompts import KEY_SUFFIX, QUERY_SUFFIX, with_conventions
from llm_embedder_data.config.pooling_modes import PoolingMode, SimilarityName
from llm_embedder_data.config.recipes import ANY_TASK, AUTO, Recipe
from llm_embedder_data.core.atomic_folder import atomic_folder
from llm_embedder_data.core.errors import ConfigError
from llm_embedder_data.core.home_paths import with_home
from llm_embedder_data.core.printable import one_line
from llm_embedder_data.training.data_module_protocols import GivesConventions, GivesLongestInputs
from llm_embedder_data.training.encoder.adapters import merged
from llm_embedder_data.training.encoder.position_limits import check_positions, most_positions
from llm_embedder_data.training.export.export_check import Encode, check_encoder
from llm_embedder_data.training.export.exported_files import (
    save_tokenizer,
    write_encoder_files,
)
from llm_embedder_data.training.export.model_card import ModelCard
from llm_embedder_data.training.export.run_record import RunRecord

# A folder is overwritten only if it contains this file, which shows that it holds a model.
_MODEL_FILE = "config.json"

_KEY_LENGTH = "data.key_max_length"
# transformers gives a tokenizer without a limit the maximum length 1e30.
_NO_LIMIT = 1e9


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderExport:
    """An encoder, and everything that its exported folder says about it.

    Attributes:
        encoder: a transformers model. If it is a PeftModel, a merged copy is saved.
        pooler: the encoder's pooler, if it was removed for training.
        tokenizer: the tokenizer to save beside the encoder; None saves no tokenizer.
        model_name: folder or hub name of the model that was trained; None if unknown.
        pooling: how token vectors are pooled.
        include_prompt: whether mean pooling includes the prompt's tokens.
        similarity: how embeddings are compared.
        dense_layers: the layers after the pooling.
        encode: embeds a padded batch, on the device of the encoder.
        datamodule: the run's data module, the source of prompts and maximum length. None takes them
            from the model's files.
        max_length: maximum number of tokens of a text; None takes the data module's key length, or
            the model's limit if there is no data module.
        run: facts about the training for the model card.
    """

    encoder: nn.Module
    pooler: nn.Module | None
    tokenizer: PreTrainedTokenizerBase | None
    model_name: str | None
    pooling: PoolingMode
    include_prompt: bool
    similarity: SimilarityName
    dense_layers: nn.Sequential
    encode: Encode
    datamodule: object
    max_length: int | None
    run: RunRecord

    def write(self, path: str | os.PathLike[str], *, overwrite: bool, check: bool) -> None:
        """Write the folder; see :meth:`BiEncoder.export`."""
        prompts = prompts_to_export(self.datamodule, self.model_name)
        length, origin = self._max_length()
        check_positions(self.encoder, {origin: (length, length)})
        include_prompt = self.include_prompt or self.pooling != "mean"
        notes = self._notes(length, origin, prompts)
        with new_folder(path, overwrite=overwrite) as folder:
            save_weights(self.encoder, folder, self.pooler)
            if self.tokenizer is not None:
                save_tokenizer(self.tokenizer, folder, length)
            write_encoder_files(
                folder,
                width=self.encoder.config.hidden_size,  # type: ignore[union-attr, arg-type]
                pooling=self.pooling,
                include_prompt=include_prompt,
                similarity=self.similarity,
                dense_layers=self.dense_layers,
                prompts=prompts,
                max_length=length,
            )
            checked = "Not compared with the trained encoder."
            if check and self.tokenizer is not None:
                checked = check_encoder(
                    folder,
                    self.tokenizer,
                    prompts=prompts,
                    max_length=length,
                    include_prompt=include_prompt,
                    encode=self.encode,
                )
            card = ModelCard(
                kind="bi-encoder",
                base_model=self.model_name,
                facts=[
                    ("pooling", self.pooling),
                    *([] if include_prompt else [("pooling of the prompt", "left out")]),
                    *([("dense layers", str(len(self.dense_layers)))] if self.dense_layers else []),
                    ("similarity", "cosine" if self.similarity == "cos" else "inner product"),
                    ("longest text, in tokens", f"{length} ({origin})"),
                ],
                prompts=prompts,
                run=self.run,
                checked=checked,
                notes=notes,
            )
            card.write(folder)
        card.log_notes(path)

    def _max_length(self) -> tuple[int, str]:
        """Return the maximum number of tokens of a text, and the source of this limit."""
        if self.max_length is not None:
            return self.max_length, "max_length"
        if isinstance(self.datamodule, GivesLongestInputs):
            longest = self.datamodule.longest_inputs()
            if _KEY_LENGTH in longest:
                return longest[_KEY_LENGTH][0], _KEY_LENGTH
        return longest_of_model(self.model_name, self.encoder, self.tokenizer)

    def _notes(self, length: int, origin: str, prompts: Mapping[str, str]) -> list[str]:
        notes = []
        if isinstance(self.datamodule, GivesLongestInputs) and origin == _KEY_LENGTH:
            of_queries, _ = self.datamodule.longest_inputs()["data.query_max_length"]
            if of_queries != length:
                notes.append(
                    f"The maximum length is that of keys, {length} tokens ({origin}). In training, "
                    f"queries had at most {of_queries} tokens, but a folder has a single maximum "
                    "length."
                )
        if getattr(self.tokenizer, "truncation_side", "right") == "left" and any(prompts.values()):
            notes.append(
                "The tokenizer truncates long texts on the left. There, sentence-transformers cuts "
                "off the prompt, which was never cut off in training."
            )
        return notes


@contextmanager
def new_folder(path: str | os.PathLike[str], *, overwrite: bool) -> Iterator[Path]:
    """Yield a temporary folder, which is renamed to ``path`` when the block ends without an error.

    Raises:
        ConfigError: ``path`` is a folder with files, and ``overwrite`` is False or it does not hold
            a model; or it cannot be written.
    """
    folder = with_home(path).absolute()
    check_target(folder, overwrite=overwrite)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with atomic_folder(folder, overwrite=overwrite) as part:
            yield part
    except Exception as error:
        # safetensors and tokenizers raise errors of their own, with the system's number in the text
        if not isinstance(error, OSError) and "(os error " not in str(error):
            raise
        raise ConfigError(f"{one_line(folder)}: the export cannot be written: {error}") from error


def check_target(path: str | os.PathLike[str], *, overwrite: bool) -> None:
    """Check that an export may write to a path.

    Raises:
        ConfigError: the path is a file or a link; or it is a folder with files, and ``overwrite``
            is False or it does not hold a model.
    """
    folder = with_home(path)
    if os.path.islink(folder) or (os.path.exists(folder) and not os.path.isdir(folder)):
        raise ConfigError(f"{one_line(folder)} is not a folder (name another path to export to)")
    if not os.path.isdir(folder) or not any(folder.iterdir()):
        return
    if not overwrite:
        raise ConfigError(
            f"{one_line(folder)} exists and has files (name another folder, or give overwrite=true)"
        )
    if not (folder / _MODEL_FILE).is_file():
        raise ConfigError(
            f"{one_line(folder)} has files but no {_MODEL_FILE}, so it is not an exported model, "
            "and overwrite=true does not delete it (name another folder)"
        )


def save_weights(model: Any, folder: Path, pooler: nn.Module | None = None) -> None:
    """Save a transformers model with the pooler that was removed; a PeftModel is merged first."""
    model = merged(model)
    weights = model.state_dict()
    if pooler is not None:
        weights |= pooler.state_dict(prefix="pooler.")
    model.save_pretrained(folder, state_dict=weights)


def longest_of_model(
    model_name: str | None, encoder: nn.Module, tokenizer: PreTrainedTokenizerBase | None
) -> tuple[int, str]:
    """Return the maximum number of tokens of a text according to a model's files, and the source.

    If no file states a limit, it is 512.
    """
    if model_name is not None:
        try:
            found = read_transformer_file(model_name)
        except UnknownFile:
            found = None
        length = found.get("max_seq_length") if isinstance(found, Mapping) else None
        if isinstance(length, int) and length > 0:
            return length, f"max_seq_length of {short_name(model_name)}"
    limits = {"the encoder's positions": most_positions(encoder)}
    if tokenizer is not None and tokenizer.model_max_length < _NO_LIMIT:
        limits["model_max_length of the tokenizer"] = int(tokenizer.model_max_length)
    known = {name: limit for name, limit in limits.items() if limit is not None}
    if not known:
        return 512, "no file of the model states a limit"
    origin = min(known, key=lambda name: known[name])
    return known[origin], origin


def prompts_to_export(datamodule: object, model_name: str | None) -> dict[str, str]:
    """Return the prompts that users of the exported model must put before their texts, by name.

    These are the instructions of the data module or, without a data module, those in the model's
    files. The prompts ``query`` and ``document`` are the usual ones. A task with other instructions
    gets prompts that are named after the task.

    Args:
        datamodule: the data module that trained the model, or None.
        model_name: folder or hub name of the encoder.
    """
    if isinstance(datamodule, GivesConventions):
        by_task = {task: datamodule.instruction(task) for task in datamodule.recipe.instructions}
    else:
        recipe = with_conventions(Recipe(AUTO, {}), model_name)
        by_task = {task: recipe.instruction(task) for task in recipe.instructions}
    default_task = getattr(datamodule, "default_task", None)
    usual = by_task.get(ANY_TASK) or by_task.get(default_task or "") or next(iter(by_task.values()))
    prompts = {"query": usual.query, "document": usual.key}
    for task, instruction in by_task.items():
        if instruction != usual:
            prompts[f"{task}{QUERY_SUFFIX}"] = instruction.query
            prompts[f"{task}{KEY_SUFFIX}"] = instruction.key
    return prompts
