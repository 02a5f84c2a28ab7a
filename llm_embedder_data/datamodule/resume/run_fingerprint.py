"""The run fingerprint: everything that training batches depend on.

It is compared when a run resumes, and across ranks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from enum import Enum
from typing import Any

import xxhash
from transformers import PreTrainedTokenizerBase

from llm_embedder_data.batches.plan.epoch_plan import EpochPlan
from llm_embedder_data.batches.plan.mixing import Mixing
from llm_embedder_data.batches.tokens.tokenizer_digest import tokenizer_digest
from llm_embedder_data.config.recipes import Instruction
from llm_embedder_data.core.printable import one_line
from llm_embedder_data.datamodule.settings.settings import DataSettings
from llm_embedder_data.rows.train_set import TrainSet

STATE_VERSION = 3

# Stands for an entry that one side of a comparison does not have.
ABSENT = "absent"


class AtResume(Enum):
    """Whether a resumed run may have another value than its checkpoint."""

    MUST_EQUAL = "another value would give other rows"
    FOLLOWS_GLOBAL_BATCH = "allowed with data.on_other_global_batch=continue"
    MAY_DIFFER = "the same rows, made into batches in another way"
    IS_NOT_COMPARED = "describes the record itself"


def _entry(
    at_resume: AtResume = AtResume.MUST_EQUAL,
    *,
    name: str | None = None,
    since: int = 1,
    across_ranks: bool = True,
) -> Any:
    """A field of a fingerprint.

    Args:
        at_resume: whether the value may differ at resume.
        name: the entry's name in a checkpoint, if it differs from the field's name.
        since: the first state version that records the entry.
        across_ranks: whether all ranks must have the same value.
    """
    return field(
        metadata={
            "at_resume": at_resume,
            "name": name,
            "since": since,
            "across_ranks": across_ranks,
        }
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetFingerprint:
    """Everything that the batches of one training set depend on."""

    task: str = _entry()
    files: list[str] = _entry()  # noqa: RUF009
    columns: dict[str, Any] = _entry(since=3)  # noqa: RUF009
    rows_kept: int = _entry(name="rows kept")
    rows_digest: str = _entry(name="rows digest")
    global_batch: int = _entry(AtResume.FOLLOWS_GLOBAL_BATCH, name="global batch")
    steps: int = _entry(AtResume.FOLLOWS_GLOBAL_BATCH)
    weight: float = _entry()
    in_batch_negatives: bool = _entry()
    settings: dict[str, Any] = _entry()  # noqa: RUF009

    @classmethod
    def of(cls, train_set: TrainSet, plan: EpochPlan) -> DatasetFingerprint:
        """Take the fingerprint of a training set under a plan of any epoch."""
        settings = train_set.settings.by_name()  # without who chose a setting: batches are the same
        for name, limit in train_set.settings.limits.items():
            if isinstance(limit, Mapping):  # in a state, the keys of a mapping must be strings
                settings[name] = [list(change) for change in limit.items()]
        # States that are older than these entries lack them, so leave out what is not used.
        if settings["normalize_scores"] is None:
            del settings["normalize_scores"]
        settings |= train_set.side_cars
        if train_set.n_instructed:  # a count is enough: the files' digests cover the texts
            settings["rows with own instructions"] = train_set.n_instructed
        renamed = {} if train_set.source is None else train_set.source.fields
        return cls(
            task=train_set.task,
            files=list(train_set.digests),
            columns={
                name: column if isinstance(column, str) else list(column)
                for name, column in renamed.items()
                if name != column
            },
            rows_kept=len(train_set.kept),
            rows_digest=xxhash.xxh3_64_hexdigest(train_set.kept.data),
            global_batch=plan.global_batch(train_set.name),
            steps=plan.steps.get(train_set.name, 0),
            weight=train_set.weight,
            in_batch_negatives=train_set.in_batch_negatives,
            settings=settings,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenizerFingerprint:
    """A digest of what a tokenizer does to texts, and the side on which it pads."""

    tokenizer: str
    padding_side: str

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerBase) -> TokenizerFingerprint:
        """Take the fingerprint of a tokenizer."""
        side = tokenizer.padding_side
        try:
            # The digest covers the padding side. Exclude it, because it does not change tokens.
            tokenizer.padding_side = "right"
            digest = tokenizer_digest(tokenizer)
        finally:
            tokenizer.padding_side = side
        return cls(tokenizer=digest, padding_side=side)

    def as_dict(self) -> dict[str, str]:
        """Return the fingerprint in plain Python."""
        return {"tokenizer": self.tokenizer, "padding_side": self.padding_side}


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFingerprint:
    """Everything that the training batches of a run depend on.

    A checkpoint stores :meth:`as_dict` under the name ``facts``.
    """

    seed: int = _entry()
    train_group_size: int = _entry()
    organize_method: str = _entry()
    mixing: dict[str, Any] | None = _entry()  # noqa: RUF009
    remainder: str = _entry()
    no_duplicates: bool = _entry()
    length_window: int | None = _entry()
    shuffle_window: int | None = _entry()
    query_max_length: int = _entry()
    key_max_length: int = _entry()
    cross: bool = _entry()
    layout: str = _entry(AtResume.MAY_DIFFER, since=2)
    chunk_size: int = _entry(AtResume.MAY_DIFFER, since=2)
    unique_keys: bool = _entry(AtResume.MAY_DIFFER, since=2)
    pad_to_multiple_of: int | None = _entry(AtResume.MAY_DIFFER, since=2)
    # May differ across ranks, because machines have different numbers of cores.
    num_workers: int | str = _entry(AtResume.MAY_DIFFER, since=2, across_ranks=False)
    state_version: int = _entry(AtResume.IS_NOT_COMPARED, name="state version")
    tokenizer: str = _entry(since=2)
    padding_side: str = _entry(AtResume.MAY_DIFFER, since=2)
    instructions: dict[str, dict[str, str]] = _entry()  # noqa: RUF009
    datasets: dict[str, DatasetFingerprint] = _entry()  # noqa: RUF009

    @classmethod
    def of(
        cls,
        train_sets: Iterable[TrainSet],
        plan: EpochPlan,
        settings: DataSettings,
        instructions: Mapping[str, Instruction],
        tokenizer: TokenizerFingerprint,
    ) -> RunFingerprint:
        """Take the fingerprint of a run.

        Args:
            train_sets: the training sets; the plan depends on their order.
            plan: the plan of any epoch.
            settings: the settings of the data module.
            instructions: the instructions in force, by task.
            tokenizer: the fingerprint of the tokenizer.
        """
        mixing = Mixing.of(settings.mixing)
        values: dict[str, Any] = {
            entry.name: getattr(settings, entry.name, None) for entry in fields(cls)
        }
        return cls(
            **values
            | {
                "mixing": mixing and mixing.as_dict(),
                "state_version": STATE_VERSION,
                "tokenizer": tokenizer.tokenizer,
                "padding_side": tokenizer.padding_side,
                "instructions": {
                    task: asdict(instruction) for task, instruction in instructions.items()
                },
                "datasets": {
                    train_set.name: DatasetFingerprint.of(train_set, plan)
                    for train_set in train_sets
                },
            }
        )

    def as_dict(self) -> dict[str, Any]:
        """Return the fingerprint as checkpoints store it: plain Python."""
        stored = {_NAMES[name]: getattr(self, name) for name in _NAMES}
        for name, off in _OFF.items():
            if stored[name] == off:
                del stored[name]  # states that are older than the setting have no such entry
        stored["datasets"] = list(self.datasets)
        for name, dataset in self.datasets.items():
            stored[f"{DATASET}{name}"] = {
                _DATASET_NAMES[entry]: getattr(dataset, entry) for entry in _DATASET_NAMES
            }
        return stored

    def across_ranks(self) -> dict[str, Any]:
        """Return the entries that all ranks must agree on."""
        stored = self.as_dict()
        for entry in fields(self):
            if not entry.metadata["across_ranks"]:
                del stored[_NAMES[entry.name]]
        return stored


# The beginning of the name of a dataset's entries.
DATASET = "dataset "

# A setting with this value changes nothing, and is not stored.
_OFF = {"mixing": None, "shuffle_window": None, "no_duplicates": False}

_NAMES = {entry.name: entry.metadata["name"] or entry.name for entry in fields(RunFingerprint)}
_DATASET_NAMES = {
    entry.name: entry.metadata["name"] or entry.name for entry in fields(DatasetFingerprint)
}
_RULES: dict[str, AtResume] = {
    _NAMES[entry.name]: entry.metadata["at_resume"] for entry in fields(RunFingerprint)
}
_DATASET_RULES: dict[str, AtResume] = {
    _DATASET_NAMES[entry.name]: entry.metadata["at_resume"] for entry in fields(DatasetFingerprint)
}
_SINCE: dict[str, int] = {
    _NAMES[entry.name]: entry.metadata["since"] for entry in fields(RunFingerprint)
}
_DATASET_SINCE: dict[str, int] = {
    _DATASET_NAMES[entry.name]: entry.metadata["since"] for entry in fields(DatasetFingerprint)
}
# The same for entries of a dataset's settings.
_SETTING_SINCE = {"corpus": 3}


@dataclass(frozen=True, slots=True)
class Difference:
    """An entry in which two fingerprints differ.

    Attributes:
        path: the names that lead to the entry, outermost first.
        before: the value of the first fingerprint; :data:`ABSENT` if it has none.
        now: the value of the second.
    """

    path: tuple[str, ...]
    before: Any
    now: Any

    @property
    def name(self) -> str:
        """The path on one line, for messages."""
        return one_line(", ".join(self.path))

    @property
    def since(self) -> int:
        """The first state version that records the entry."""
        if len(self.path) > 1 and self.path[0].startswith(DATASET):
            if self.path[1] == "settings" and len(self.path) > 2:
                return _SETTING_SINCE.get(self.path[2], 1)
            return _DATASET_SINCE.get(self.path[1], 1)
        return _SINCE.get(self.path[0], 1)

    @property
    def at_resume(self) -> AtResume:
        """Whether a resumed run may differ here."""
        if len(self.path) > 1 and self.path[0].startswith(DATASET):
            return _DATASET_RULES.get(self.path[1], AtResume.MUST_EQUAL)
        return _RULES.get(self.path[0], AtResume.MUST_EQUAL)


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[Difference]:
    """Return the entries in which two stored fingerprints differ, sorted by name."""
    left, right = _flat(before), _flat(now)
    return [
        Difference(path, left.get(path, ABSENT), right.get(path, ABSENT))
        for path in sorted({*left, *right}, key=", ".join)
        if left.get(path, ABSENT) != right.get(path, ABSENT)
    ]


def differences_at_resume(state: Mapping[str, Any], now: RunFingerprint) -> list[Difference]:
    """Return the differences between a checkpoint's state and this run that matter at resume.

    Earlier versions of the state lack some entries; these are not compared.
    """
    before, after = dict(state["facts"]), now.as_dict()
    for stored in (before, after):
        for name in ("shuffle_window", "no_duplicates"):
            stored.setdefault(name, _OFF[name])
    if state["version"] == 1:
        before.setdefault("length_window", None)  # the oldest states lack this setting
    return [
        difference
        for difference in differences(before, after)
        if difference.at_resume is not AtResume.IS_NOT_COMPARED
        and not (difference.before == ABSENT and difference.since > state["version"])
    ]


def steps_of_epoch(state: Mapping[str, Any]) -> int:
    """Return the number of steps of an epoch in the run that wrote a state."""
    stored = state["facts"]
    return sum(stored[f"{DATASET}{name}"]["steps"] for name in stored["datasets"])


def global_batches(state: Mapping[str, Any]) -> dict[str, int]:
    """Return the rows of a global batch in the run that wrote a state, by dataset."""
    stored = state["facts"]
    return {name: stored[f"{DATASET}{name}"]["global batch"] for name in stored["datasets"]}


def _flat(stored: Mapping[str, Any], above: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    flat: dict[tuple[str, ...], Any] = {}
    for name, value in stored.items():
        path = (*above, name)
        flat |= _flat(value, path) if isinstance(value, Mapping) else {path: value}
    return flat
