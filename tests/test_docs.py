"""README.md and docs/: links resolve, Python runs, rooms are the code's.

Every ```python block of a page runs, in order, in one namespace a page, unless the line before it
is a comment ``<!-- not run: reason -->``; such a block still compiles. They run in an empty folder,
in which the lines of its ```bash blocks that begin with ``printf`` have written their files. A
```text block behind a block of Python is in what that prints. See test_doc_blocks for other blocks.
"""

import inspect
import re
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import pytest
from slow_cases import mostly_slow

import llm_embedder_data
from llm_embedder_data.cli.verbs import VERBS
from llm_embedder_data.rows.formats.detection import BY_NAME
from tests.doc_blocks import FENCE, PAGES, README, ROOT, blocks, outputs, page_id, written_files
from tests.page_pictures import PICTURES as PAGE_PICTURES
from tests.test_house import FLOORS

ARCHITECTURE = ROOT / "docs/architecture.md"
PACKAGE = Path(llm_embedder_data.__file__).parent

LINK = re.compile(r"\[[^\]]*\]\((?P<target>[^)\s]+)\)")


def prose(page: Path) -> str:
    return FENCE.sub("", page.read_text())


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub and mkdocs give the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_readme_is_short():
    assert len(README.read_text().splitlines()) < 150


def test_readme_links_every_page():
    linked = {found["target"] for found in LINK.finditer(prose(README))}

    assert linked >= {f"docs/{page.name}" for page in PAGES[1:] if page.name != "index.md"}


def test_the_site_s_menu_has_every_page():
    menu = (ROOT / "mkdocs.yml").read_text().partition("\nnav:\n")[2]

    assert sorted(re.findall(r"[\w-]+\.md", menu)) == [page.name for page in PAGES[1:]]


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_a_page_has_one_title(page):
    assert len(re.findall(r"^# ", prose(page), re.MULTILINE)) == 1


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_relative_links_resolve(page):
    for found in LINK.finditer(prose(page)):
        path, _, anchor = found["target"].partition("#")
        if "://" in path:
            continue
        target = page.parent / path if path else page
        assert target.exists(), f"{page.name} links to {found['target']}"
        assert not anchor or anchor in anchors(target), f"{page.name} links to {found['target']}"


# They train or measure the demo's encoder.
SLOW = {"evaluation", "first-use", "loops", "slow-gpu", "training", "embed", "export"}
SLOW |= {"from-llm-embedder", "from-sentence-transformers", "index", "cross-encoder", "streaming"}
SLOW |= {"how-it-works"}


@pytest.mark.usefixtures("minilm")
@pytest.mark.parametrize(
    "page", mostly_slow(PAGES, *(page for page in PAGES if page.stem not in SLOW)), ids=page_id
)
def test_python_blocks_run_and_print_what_the_page_says(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for line in written_files(page):
        subprocess.run(["bash", "-c", line], check=True)
    namespace: dict[str, object] = {}
    said = outputs(page)
    for block in blocks(page, "python"):
        code = compile("\n" * block.line + block.text, str(page), "exec")
        if block.is_run:
            exec(code, namespace)
            printed = capsys.readouterr().out.replace(f"{tmp_path}/", "")
            assert said.get(block.line, "") in printed


PICTURES = sorted((ROOT / "docs").glob("*.svg"))


@pytest.mark.parametrize("picture", PICTURES, ids=page_id)
def test_a_picture_is_self_contained_and_described(picture):
    text = picture.read_text()
    elements = list(ElementTree.fromstring(text).iter())
    tags = {element.tag.rpartition("}")[2] for element in elements}

    assert {"title", "desc", "text"} <= tags
    assert not {"image", "script", "foreignObject"} & tags
    assert "viewBox" in elements[0].attrib
    assert set(re.findall(r"(?:https?:)?//[^\s\"']+", text)) == {"http://www.w3.org/2000/svg"}
    assert "prefers-color-scheme: dark" in text
    assert any(f"]({picture.name})" in page.read_text() for page in PAGES)


def test_pictures_of_pages_are_small_and_described_and_made_by_the_command():
    shown = [re.findall(r"!\[([^\]]{20,})\]\((page-[\w-]+)\.webp\)", p.read_text()) for p in PAGES]
    files = {path.stem: path for path in (ROOT / "docs").glob("*.webp")}

    assert sorted(name for page in shown for _, name in page) == sorted(files)
    assert sorted(files) == sorted(picture.name for picture in PAGE_PICTURES)
    assert max(path.stat().st_size for path in files.values()) < 150_000


def test_the_picture_of_the_plan_is_the_plan():
    texts = [element.text for element in ElementTree.parse(ROOT / "docs/plan.svg").iter()]
    shown = [text for text in texts if text and re.fullmatch(r"\d \d", text)]
    steps = [text for text in texts if text and text.startswith("step ")]
    plan = llm_embedder_data.EpochPlan({"qa": 10, "tool": 5}, batch_size=2, num_replicas=2)

    ranks = [plan.for_rank(step, rank)[1] for step in range(len(plan)) for rank in range(2)]
    assert shown == [" ".join(map(str, rows.tolist())) for rows in ranks]
    assert steps == [f"step {step}: {plan[step][0]}" for step in range(len(plan))]


def drawing() -> str:
    """The rooms of FLOORS, highest first, as the architecture page shows them."""
    return "".join(f"{'   '.join(floor.split())}\n" for floor in FLOORS)


def test_the_architecture_page_draws_the_floors():
    marked = re.search(
        r"<!-- not run: the floors, [^\n]+\n```text\n(.*?)```\n",
        ARCHITECTURE.read_text(),
        re.DOTALL,
    )

    assert marked is not None
    assert marked[1] == drawing(), f"put this there:\n{drawing()}"


def test_the_architecture_page_describes_every_room():
    described = re.findall(r"^\| `([\w.]+)` \| \S", ARCHITECTURE.read_text(), re.MULTILINE)
    rooms = " ".join(FLOORS).split()

    assert [name for name in described if name in rooms] == rooms


def test_the_architecture_page_names_modules_that_exist():
    named = re.findall(r"`([\w/]+\.py)`", ARCHITECTURE.read_text())
    modules = [name for name in named if not name.startswith("tests/")]

    assert modules
    assert [name for name in modules if not (PACKAGE / name).is_file()] == []


def test_the_console_page_has_every_verb():
    listed = re.findall(r"^\| `(\w+)` \| ", (ROOT / "docs/console.md").read_text(), re.MULTILINE)

    assert sorted(listed) == sorted(VERBS)


def test_the_formats_page_has_every_name_of_a_format():
    names = (ROOT / "docs/formats.md").read_text().partition("## All names of `format:`")[2]

    assert set(re.findall(r"\w+", names)) == set(BY_NAME)


def test_the_reference_has_every_public_name():
    documented = re.findall(r"^::: ([\w.]+)", (ROOT / "docs/api.md").read_text(), re.MULTILINE)
    errors = {"ConfigError", "DataError"}  # they stand under their module

    names = {name.rpartition(".")[2] for name in documented} | errors
    assert set(llm_embedder_data.__all__) <= names


def test_the_benchmarks_page_links_every_page_of_results():
    linked = {found["target"] for found in LINK.finditer((ROOT / "docs/benchmarks.md").read_text())}

    pages = (ROOT / "benchmarks/results").glob("*.md")
    assert {f"../benchmarks/results/{page.name}" for page in pages} <= linked


def test_the_arguments_page_has_every_argument():
    parameters = inspect.signature(llm_embedder_data.RetrievalDataModule).parameters
    listed = re.findall(r"^\| `(\w+)` \|", (ROOT / "docs/arguments.md").read_text(), re.MULTILINE)

    assert listed == list(parameters)
