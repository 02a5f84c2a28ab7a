"""Checks that a data module makes the kind of batches that a model takes.

A bi-encoder takes queries and keys separately; a cross-encoder takes (query, key) pairs.
"""

from __future__ import annotations

from llm_embedder_data.core.errors import ConfigError
from llm_embedder_data.training.data_module_protocols import GivesPairs


def check_gives_sides(datamodule: object) -> None:
    """Check that a data module suits a bi-encoder: its batches hold queries and keys separately.

    Raises:
        ConfigError: ``data.cross`` is true.
    """
    if isinstance(datamodule, GivesPairs) and datamodule.cross:
        raise ConfigError(
            "data.cross=True: the batches hold (query, key) pairs, but BiEncoder encodes query and "
            "key separately (set data.cross=false, or train a cross-encoder with "
            "model=cross_encoder)"
        )


def check_gives_pairs(datamodule: object) -> None:
    """Check that a data module suits a cross-encoder: it makes pairs, and evaluates by reranking.

    Raises:
        ConfigError: ``data.cross`` is false, or there are eval sets and ``data.eval_method`` is not
            ``rerank``.
    """
    if not isinstance(datamodule, GivesPairs):
        return
    if not datamodule.cross:
        raise ConfigError(
            "data.cross=False: the batches hold queries and keys separately, but CrossEncoder "
            "scores (query, key) pairs (set data.cross=true, or train a bi-encoder with "
            "model=bi_encoder)"
        )
    has_eval_data = datamodule.hparams.get("eval_data") is not None
    if has_eval_data and datamodule.eval_method != "rerank":
        raise ConfigError(
            f"data.eval_method={datamodule.eval_method!r}: a cross-encoder cannot search a corpus, "
            "it scores each query with the candidates of its row (set data.eval_method=rerank and "
            "give eval rows with candidates, or data.eval_data=null)"
        )
