"""Search and metrics together against trec_eval, through pytrec_eval, with heavy ties."""

import pyarrow as pa
import pytest
import pytrec_eval
import torch
from example_counts import tried
from hypothesis import given
from hypothesis import strategies as st

from llm_embedder_data.mining.retrieval_metrics import retrieval_metrics
from llm_embedder_data.mining.search import merge_top_k, top_k
from llm_embedder_data.mining.tie_order import tie_ranks

CUTOFFS = (1, 3, 10)
NAMES = {
    "recall": "recall",
    "ndcg": "ndcg_cut",
    "map": "map_cut",
    "precision": "P",
    "hit_rate": "success",
}


@st.composite
def retrievals(draw):
    """Coordinates of -1, 0 and 1, so that most scores are ties; ids in no order, some not ASCII."""
    n_queries, n_documents = draw(st.integers(1, 5)), draw(st.integers(1, 40))
    random = torch.Generator().manual_seed(draw(st.integers(0, 9999)))
    queries = torch.randint(-1, 2, (n_queries, 3), generator=random).float()
    corpus = torch.randint(-1, 2, (n_documents, 3), generator=random).float()
    ids = draw(
        st.lists(st.text("aAz09é\U0001f600-", min_size=1), unique=True, min_size=n_documents)
    )
    grades = torch.randint(-2, 4, (n_queries, n_documents), generator=random)
    grades[:, draw(st.integers(0, n_documents - 1))] = 2  # each query has a positive
    return queries, corpus, ids[:n_documents], grades.clamp(min=0)


def of_trec_eval(scores, ids, grades):
    """The means of trec_eval's measures; its reciprocal rank has no cutoff, so cut the run."""
    qrels = {
        str(q): {ids[d]: int(grade) for d, grade in enumerate(row)} for q, row in enumerate(grades)
    }
    run = {
        str(q): {ids[d]: float(score) for d, score in enumerate(row)}
        for q, row in enumerate(scores)
    }
    cuts = ",".join(map(str, CUTOFFS))
    evaluator = pytrec_eval.RelevanceEvaluator(qrels, {f"{name}.{cuts}" for name in NAMES.values()})
    of_queries = list(evaluator.evaluate(run).values())
    found = {
        f"{ours}@{k}": sum(one[f"{theirs}_{k}"] for one in of_queries) / len(of_queries)
        for ours, theirs in NAMES.items()
        for k in CUTOFFS
    }
    reciprocal = pytrec_eval.RelevanceEvaluator(qrels, {"recip_rank"}).evaluate(run)
    for k in CUTOFFS:
        ranks = [round(1 / one["recip_rank"]) for one in reciprocal.values()]
        found[f"mrr@{k}"] = sum(1 / rank for rank in ranks if rank <= k) / len(ranks)
    return found


@given(retrievals(), st.integers(0, 40), st.integers(1, 9))
@tried(80)
def test_metrics_equal_trec_eval_however_the_corpus_is_cut(retrieval, cut, chunk):
    queries, corpus, ids, grades = retrieval
    ties, index = tie_ranks(pa.array(ids)), torch.arange(len(ids))
    k = max(CUTOFFS)
    parts = [
        top_k(queries, corpus[here], index[here], k, ties=ties[here], chunk=chunk)
        for here in (slice(cut), slice(cut, None))
    ]
    scores, found = (torch.cat(side, dim=1) for side in zip(*parts, strict=True))
    _, found = merge_top_k(scores, found, k, ties)
    positives = torch.where(grades > 0, index, -1)

    measured = retrieval_metrics(found, positives, CUTOFFS, grades.double())

    assert measured == pytest.approx(of_trec_eval(queries @ corpus.T, ids, grades), abs=1e-6)


def test_ids_are_ordered_by_the_bytes_of_their_text():
    ids = ["10", "9", "", "Z", "a", "é", "\U0001f600", "\uffff"]

    ranks = tie_ranks(pa.array(ids)).tolist()

    in_order = sorted(ids, key=lambda text: text.encode(), reverse=True)
    assert [ids[ranks.index(rank)] for rank in range(len(ids))] == in_order
