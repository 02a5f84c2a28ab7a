"""The training sets of a data module, as input for mining negatives."""

from __future__ import annotations

from llm_embedder_data.datamodule.open_data.building import DatasetBuilder
from llm_embedder_data.datamodule.settings.settings import DataSettings
from llm_embedder_data.mining.mining_data import ROW_COLUMNS, MiningData
from llm_embedder_data.rows.joins.joined_rows import without_side_cars
from llm_embedder_data.rows.joins.side_car_documents import corpora_of
from llm_embedder_data.rows.positive_ids import positive_ids
from llm_embedder_data.rows.train_set import TrainSet
from llm_embedder_data.rows.train_sets import read_train_rows


def data_to_mine(
    train_set: TrainSet,
    builder: DatasetBuilder,
    settings: DataSettings,
    *,
    with_answers: bool,
) -> MiningData:
    """Return a training set, without negatives mined earlier, as input for mining.

    Args:
        train_set: the training set to mine negatives for.
        builder: the builder of the training set.
        settings: the settings of the data module.
        with_answers: whether to read the answers of the rows.
    """
    source, reading = train_set.source, builder.reading
    assert source is not None
    corpus = source.reader_options.get("corpus", reading.corpus)
    instruction = builder.instruction_of(train_set)
    corpora = corpora_of(corpus, source.name, reading)
    read = read_train_rows(without_side_cars(source), reading)
    return MiningData(
        name=train_set.name,
        rows=read.tables(ROW_COLUMNS),
        numbers=train_set.kept,
        corpora=corpora,
        query_prompt=instruction.query,
        key_prompt=instruction.key,
        query_max_length=settings.query_max_length,
        key_max_length=settings.key_max_length,
        answers=builder.answers_of(train_set) if with_answers else {},
        # Without a corpus, the rows' own texts are searched, which have no ids.
        positive_ids=positive_ids(read, reading) if corpora else None,
    )
