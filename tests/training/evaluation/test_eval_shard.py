"""What a rank has encoded, joined."""

import torch

from llm_embedder_data.mining.search import top_k
from llm_embedder_data.training.evaluation.eval_shard import EncodedQueries, EvalShard


def encoded(rows, positives, ranked=None):
    rows = torch.tensor(rows)
    return EncodedQueries("wiki", rows[:, None].float(), rows, torch.tensor(positives), ranked)


def test_queries_join_by_row_and_are_as_wide_as_the_widest_part():
    joined = EncodedQueries.joined(
        [
            encoded([5, 1], [[50], [10]], torch.tensor([[1], [2]])),
            encoded([3], [[30, 31]], torch.tensor([[3, 4]])),
        ]
    )

    assert joined.row.tolist() == [1, 3, 5]
    assert joined.embedding.tolist() == [[1.0], [3.0], [5.0]]
    assert joined.positives.tolist() == [[10, -1], [30, 31], [50, -1]]
    assert joined.ranked.tolist() == [[2, -1], [3, 4], [1, -1]]


def test_a_rank_without_corpus_rows_has_an_empty_shard():
    embedding, index = EvalShard().corpus("wiki", 4)

    assert embedding.shape == (0, 4)
    assert top_k(torch.ones(2, 4), embedding, index, 3)[1].tolist() == [[-1] * 3] * 2
