"""Which corpus each eval set is searched in, and which instruction its passages get."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from llm_embedder_data.core.errors import ConfigError
from llm_embedder_data.core.printable import one_line
from llm_embedder_data.rows.corpora import Corpus
from llm_embedder_data.rows.eval_sets import EvalSet

# Loader names reserved for corpora begin with this.
CORPUS = "corpus"


@dataclass(frozen=True, slots=True)
class CorpusView:
    """A corpus as the queries of some tasks see it: its passages after one instruction.

    Attributes:
        name: the corpus' name, or ``<corpus>@<task>`` if tasks have different instructions for it.
        corpus: the passages.
        key_instruction: the text put before each passage; may be empty.
    """

    name: str
    corpus: Corpus
    key_instruction: str


@dataclass(frozen=True, slots=True)
class Matching:
    """Eval sets matched with corpora.

    Attributes:
        of_eval: the view that each eval set is matched with, by eval set; empty without corpora.
        views: the views of all corpora by name, also of those without an eval set.
    """

    of_eval: Mapping[str, CorpusView]
    views: Mapping[str, CorpusView]

    def used(self) -> dict[str, CorpusView]:
        """Return the views that an eval set is matched with, by name."""
        names = {view.name for view in self.of_eval.values()}
        return {name: view for name, view in self.views.items() if name in names}


def corpus_of(eval_set: EvalSet, corpora: Mapping[str, Corpus]) -> Corpus | None:
    """Return the corpus of an eval set: the only one, else that of its name or of its source."""
    if len(corpora) == 1:
        return next(iter(corpora.values()))
    return corpora.get(eval_set.name, corpora.get(eval_set.source))


def match(
    evals: Mapping[str, EvalSet],
    corpora: Mapping[str, Corpus],
    *,
    key_instruction: Callable[[str], str],
    default_task: str,
) -> Matching:
    """Match eval sets with corpora.

    An eval set goes with the only corpus, or with the one of its name; one of several tasks of a
    file, ``<name>:<task>``, also with the corpus ``<name>``.

    Args:
        evals: the eval sets by name.
        corpora: the corpora by name.
        key_instruction: returns the text that a task puts before a key.
        default_task: the task that gives the instruction of a corpus without an eval set.

    Raises:
        ConfigError: an eval set has none of several corpora, an eval set is named like a corpus'
            loader, or two views have the same name.
    """
    matched: dict[str, Corpus] = {}
    for eval_set in evals.values():
        if eval_set.name == CORPUS or eval_set.name.startswith(f"{CORPUS}/"):
            raise ConfigError(
                f"data.eval_data: {eval_set.name!r} is the name of a corpus' loader (give the eval "
                "set another, as mappings {name: path} do)"
            )
        if not corpora:
            continue
        corpus = corpus_of(eval_set, corpora)
        if corpus is None:
            raise ConfigError(
                f"no corpus for eval set {eval_set.name!r}: data.corpus has "
                f"{', '.join(map(one_line, corpora))} (name one of them like the eval set, as "
                "mappings {name: path} do)"
            )
        matched[eval_set.name] = corpus
    tasks: dict[str, list[str]] = {name: [] for name in corpora}
    for name, corpus in matched.items():
        tasks[corpus.name].append(evals[name].task)
    by_task: dict[tuple[str, str], CorpusView] = {}
    views: dict[str, CorpusView] = {}
    for name, corpus in corpora.items():
        wanted = {task: key_instruction(task) for task in tasks[name] or [default_task]}
        alone = len(set(wanted.values())) == 1
        shared: dict[str, CorpusView] = {}
        for task, instruction in wanted.items():
            view = CorpusView(name if alone else f"{name}@{task}", corpus, instruction)
            view = by_task[name, task] = shared.setdefault(instruction, view)
            if views.setdefault(view.name, view) is not view:
                raise ConfigError(
                    f"data.corpus: two corpora are called {view.name!r}, for one is called "
                    "name@task where tasks put different instructions before it (give one of them "
                    "another name, as mappings {name: path} do)"
                )
    return Matching(
        of_eval={name: by_task[corpus.name, evals[name].task] for name, corpus in matched.items()},
        views=views,
    )


def loader_names(views: Mapping[str, CorpusView]) -> dict[str, str]:
    """Return the loader names of views: ``corpus``, or ``corpus/<name>`` if there are several."""
    return {name: CORPUS if len(views) == 1 else f"{CORPUS}/{name}" for name in views}
