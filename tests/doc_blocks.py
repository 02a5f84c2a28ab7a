"""The fenced blocks of README.md and docs/, and the commands in them.

A block of any kind is checked by a test, unless the line before it is a comment
``<!-- not run: reason -->``.
"""

import itertools
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").glob("*.md"))]

FENCE = re.compile(
    r"(?:<!-- (?P<mark>[^\n]+) -->\n)?^```(?P<kind>\w*)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)

# Words that may stand before a command: variables, and what starts it on other machines.
_BEFORE = re.compile(r"(?:[A-Z_]+=\S+ |srun )*")


class Block(NamedTuple):
    """A fenced block.

    ``line`` is the number of lines above its text. ``is_run`` is False if a comment says why it is
    not.
    """

    kind: str
    text: str
    is_run: bool
    line: int
    page: Path

    @property
    def file_name(self) -> str | None:
        """The name of the file that the block is, from a comment in its first line."""
        found = re.match(r"# ([\w/.-]+\.\w+)\n", self.text)
        return found and found[1]

    @property
    def commands(self) -> list[list[str]]:
        """The words of each command; a backslash at the end of a line continues it.

        Variables of the shell have the value that the line gives for when they are not set.
        """
        text = re.sub(r"\$\{\w+:-(\w*)\}", r"\1", self.text.replace("\\\n", " "))
        lines = text.splitlines()
        commands = [shlex.split(_BEFORE.sub("", line, count=1), comments=True) for line in lines]
        return [words for words in commands if words]


def page_id(page: Path) -> str:
    return page.stem


def block_id(block: Block) -> str:
    return f"{block.page.stem}:{block.line}"


def all_blocks(page: Path) -> Iterator[Block]:
    text = page.read_text()
    for found in FENCE.finditer(text):
        line = text.count("\n", 0, found.start("text"))
        is_run = not (found["mark"] or "").startswith("not run: ")
        yield Block(found["kind"], found["text"], is_run, line, page)


def blocks(page: Path, kind: str) -> list[Block]:
    return [block for block in all_blocks(page) if block.kind == kind]


def blocks_of_all_pages(kind: str) -> list[Block]:
    """The blocks of one kind that are run."""
    return [block for page in PAGES for block in blocks(page, kind) if block.is_run]


def outputs(page: Path) -> dict[int, str]:
    """What the page says that Python prints: the text behind a block, by that block's line."""
    found = list(all_blocks(page))
    return {
        block.line: after.text
        for block, after in itertools.pairwise(found)
        if (block.kind, after.kind) == ("python", "text") and after.is_run
    }


def written_files(page: Path) -> list[str]:
    """The lines of a page that write the files which its Python reads."""
    lines = "\n".join(block.text for block in blocks(page, "bash")).splitlines()
    return [line for line in lines if line.startswith("printf ")]


def write_yaml(page: Path, folder: Path) -> None:
    """Write the files that blocks of YAML are, by the comment in their first line."""
    for block in blocks(page, "yaml"):
        if block.file_name:
            file = folder / block.file_name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(block.text)


def console_commands(page: Path) -> list[list[str]]:
    """The verb and settings of each ``llm-embedder-data`` of a page, in order."""
    commands = [words for block in blocks(page, "bash") if block.is_run for words in block.commands]
    return [words[1:] for words in commands if words[0] == "llm-embedder-data"]


def without_sweeps(settings: list[str]) -> list[str]:
    """Settings with the first value of each sweep, and without searched ranges."""
    given = [one for one in settings if not re.search(r"=(tag|interval|choice|range)\(", one)]
    return [re.sub(r"=([\w.]+),.*", r"=\1", setting) for setting in given]
