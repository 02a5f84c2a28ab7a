"""The pages of prepare, mine and explain in a real browser, as those of inspect are tested.

Their data have names and texts that try to break a page.
"""

import copy

import pytest
from browser_pages import DESK, PHONE, SCREENS, brightness, faults, opened_page
from inspection_cases import opened, rows_of, write

from llm_embedder_data.datamodule.run_differences import RunDifferences
from llm_embedder_data.inspection.doctor.results.diagnosis_page import diagnosis_page
from llm_embedder_data.inspection.html_page import page
from llm_embedder_data.inspection.mining_page import mining_page

EVIL = "<script>document.title='taken'</script></table></details> & \x1b[31m"
LONG = "unbrokenword" * 30
ARABIC = "متى تغادر آخر عبارة؟ 7"
CHINESE = "最后一班渡轮什么时候开" * 20
TEXTS = [EVIL, LONG, ARABIC, CHINESE, "👩\u200d👩\u200d👧" * 40]


@pytest.fixture(scope="module")
def module(minilm, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    rows = rows_of("qa", 20, scored=True)
    for row, text in zip(rows, TEXTS, strict=False):
        row["query"] = text
        row["neg"][0] = row["pos"][0]
    names = (f"evil {EVIL[:60]}", LONG, ARABIC)
    data = {name: write(folder / str(n) / "t.jsonl", rows) for n, name in enumerate(names)}
    return opened(folder, minilm, train_data=data, train_group_size=2, key_max_length=16)


@pytest.fixture(scope="module")
def files(module, tmp_path_factory):
    """The pages, by what they are of."""
    folder = tmp_path_factory.mktemp("html")
    differ = [{"name": "seed " + LONG, "a": 1, "b": EVIL, "meaning": "other rows"}]
    settings = [{"name": "batch_size", "a": 1, "b": 2, "meaning": ""}]
    bins, edges = [3, 40, 1, 0], [0.0, 1.0, 2.0, 3.0, 4.0]
    mined = {
        "counts": {"queries": 790, "known positives, which are never mined": 12_345},
        "left_out": {"range_min": 4, "max_score": 0},
        "edges": edges,
        "histograms": {"positives": bins, "range_min": bins, "max_score": [0] * 4, "kept": bins},
    }
    two_runs = RunDifferences(
        a="a.ckpt", b="b.ckpt", facts=differ, settings=settings, model_settings=[], position=[]
    )
    pages = {
        "prepare": diagnosis_page(module.diagnose(world_size=2)),
        "mine": mining_page({"set": mined, EVIL: mined}),
        "batch": page("A batch of a past run", [module.show(0)._repr_html_()]),
        "text": page("Where a text occurs", [module.occurrences(text=LONG)._repr_html_()]),
        "diff": page("How two runs differ", [two_runs._repr_html_()]),
    }
    for name, content in pages.items():
        (folder / f"{name}.html").write_text(content)
    return folder


@SCREENS
@pytest.mark.parametrize("name", ["prepare", "mine", "batch", "text", "diff"])
def test_a_page_opens_offline_and_everything_on_it_is_legible(browser, files, name, width, scheme):
    with opened_page(browser, (files / f"{name}.html").as_uri(), width, scheme) as page:
        assert "taken" not in page.title()
        assert len(page.locator("body").inner_text()) > 300
        assert faults(page) == []
        assert brightness(page) > 600 if scheme == "light" else brightness(page) < 150


def test_a_finding_is_unfolded_by_the_keyboard_and_says_where_and_what_to_do(browser, files):
    with opened_page(browser, (files / "prepare.html").as_uri()) as page:
        advice = page.get_by_text("Take these negatives out")
        assert not advice.is_visible()
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")

        assert advice.is_visible()
        assert page.get_by_text("0/t.jsonl:1", exact=True).first.is_visible()
        assert page.locator("bdi", has_text=ARABIC).first.evaluate("e => e.dir || 'auto'") == "auto"


def test_a_table_is_a_list_of_blocks_on_a_phone_and_no_cell_is_lost(browser, files):
    texts = []
    for width in (PHONE, DESK):
        with opened_page(browser, (files / "prepare.html").as_uri(), width) as page:
            cells = page.locator("table").first.locator("td:not(:empty)")
            texts.append(cells.all_inner_texts())
            boxes = [cells.nth(n).bounding_box() for n in range(cells.count())]
            assert all(box["x"] + box["width"] <= width for box in boxes)
    assert texts[0] == texts[1]
    assert len(texts[0]) > 10


@pytest.mark.slow
def test_findings_of_hundreds_of_datasets_are_one_line_a_check(browser, module, tmp_path):
    diagnosis = module.diagnose()
    entry = diagnosis["datasets"][LONG]
    diagnosis["datasets"] = {f"set {n}": copy.deepcopy(entry) for n in range(300)}
    file = tmp_path / "page.html"
    file.write_text(diagnosis_page(diagnosis))

    with opened_page(browser, file.as_uri(), PHONE) as page:
        lines = page.locator("body > details")
        assert lines.count() == sum(found["count"] > 0 for found in entry["checks"].values())
        assert lines.first.locator("summary").first.inner_text().endswith("and 297 more datasets")
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE
