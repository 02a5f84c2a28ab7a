"""The encoder under mteb's own evaluator."""

import pytest
from datasets import Dataset

from llm_embedder_data import BiEncoder, ConfigError, RetrievalDataModule, evaluate

PASSAGES = [
    ("d10", "The abbot rings the bell before dawn."),
    ("d9", "A ferry crosses the narrow strait twice a day."),
    ("d1", "Porridge needs salt, oats and patience."),
    ("d2", "The bell of the abbey was cast in 1711."),
    ("d3", "The ferry does not sail in a storm."),
    ("q1", "who rings the bell?"),
]
QUERIES = [("q1", "who rings the bell?"), ("q2", "when does the ferry sail?"), ("q3", "porridge")]
RELEVANT = {"q1": {"d10": 2, "d2": 1}, "q2": {"d9": 1, "d3": 2}, "q3": {"d1": 1}}


@pytest.fixture(scope="module")
def mteb():
    """The package, imported here since that takes seconds in each process that collects tests."""
    return pytest.importorskip("mteb")


def task(mteb):
    class Tiny(mteb.abstasks.AbsTaskRetrieval):
        ignore_identical_ids = True
        metadata = mteb.TaskMetadata(
            name="TinyRetrieval",
            description="six passages",
            reference=None,
            dataset={"path": "none/none", "revision": "0"},
            type="Retrieval",
            category="t2t",
            modalities=["text"],
            eval_splits=["test"],
            eval_langs=["eng-Latn"],
            main_score="ndcg_at_10",
        )

        def load_data(self, **kwargs):
            self.dataset = {
                "default": {
                    "test": {
                        "queries": Dataset.from_list([{"id": i, "text": t} for i, t in QUERIES]),
                        "corpus": Dataset.from_list(
                            [{"id": i, "title": "", "text": t} for i, t in PASSAGES]
                        ),
                        "relevant_docs": RELEVANT,
                        "top_ranked": None,
                    }
                }
            }
            self.data_loaded = True

    return Tiny()


@pytest.mark.slow  # importing mteb takes longer than the test
def test_mteb_finds_what_evaluate_finds(minilm_model, mteb):
    model = BiEncoder(minilm_model, cutoffs=(10,))
    datamodule = RetrievalDataModule(
        tokenizer=minilm_model,
        eval_data=[{"query": t, "query_id": i, "relevant": RELEVANT[i]} for i, t in QUERIES],
        corpus=[{"id": i, "text": t} for i, t in PASSAGES],
    )

    ours = evaluate(model, datamodule, drop_identical_ids=True, show_progress=False).mean()
    theirs = mteb.evaluate(model.to_mteb(), task(mteb), cache=None, show_progress_bar=False)

    scores = theirs.task_results[0].scores["test"][0]
    assert scores["ndcg_at_10"] == pytest.approx(
        ours["ndcg@10"], abs=1e-5
    )  # mteb rounds to 5 digits
    assert scores["map_at_10"] == pytest.approx(ours["map@10"], abs=1e-5)
    assert 0.5 < ours["ndcg@10"] < 1
    assert model.training


def test_a_model_without_a_tokenizer_says_so(minilm_model):
    from transformers import AutoModel

    with pytest.raises(ConfigError, match=r"to_mteb\(\) has no tokenizer"):
        BiEncoder(AutoModel.from_pretrained(minilm_model)).to_mteb()
