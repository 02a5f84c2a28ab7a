"""Tokens of texts that another table has are copied from it."""

import multiprocessing
import signal

from table_cases import (
    LONG,
    build,
    check,
    kill,
    letters,
    stopped_build,
)


def test_a_text_of_another_table_is_not_tokenized_again(tmp_path):
    first, second = [("ab", ["cd", "ef"])], [("ab", ["gh", "cd"]), ("new", [])]
    build(tmp_path / "first", first)
    asked = []

    table = build(tmp_path / "second", second, lambda texts: asked.extend(texts) or letters(texts))

    check(table, second)
    assert sorted(asked) == [">gh", "new"]


def test_a_killed_build_is_taken_up_beside_other_tables(tmp_path):
    build(tmp_path / "some.bin", LONG[:300])
    build(tmp_path / "others.bin", LONG[850:])
    process = multiprocessing.get_context("fork").Process(
        target=stopped_build, args=(tmp_path / "t.bin", 500, kill)
    )
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    asked, done = [], []

    table = build(
        tmp_path / "t.bin",
        LONG,
        lambda texts: asked.extend(texts) or letters(texts),
        progress=done.append,
    )

    check(table, LONG)
    assert done[0] >= 380  # rows that are not read again
    known = {f"query {i}" for i in [*range(300), *range(850, 900)]}
    assert not known & set(asked)
