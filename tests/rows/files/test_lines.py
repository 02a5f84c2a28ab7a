"""The lines of a file, in blocks and by number."""

from file_cases import written
from hypothesis import given
from hypothesis import strategies as st

from llm_embedder_data.rows.files import lines as module
from llm_embedder_data.rows.files.lines import line_blocks, lines_of_rows


@given(
    st.lists(st.sampled_from([b"", b" ", b"a", b"bb" * 40, b"\xef\xbb\xbf"]), max_size=12),
    st.integers(1, 9),
)
def test_lines_equal_those_of_split_for_any_block_size(tmp_path_factory, lines, size):
    content = b"\n".join(lines)
    path = written(tmp_path_factory.getbasetemp(), content)
    kept = module._READ_BYTES, module._SEARCHED_BYTES
    module._READ_BYTES, module._SEARCHED_BYTES = size, 2
    try:
        blocks = [bytes(block) for block in line_blocks(str(path), size)]
        found = lines_of_rows(str(path), range(20))
    finally:
        module._READ_BYTES, module._SEARCHED_BYTES = kept

    content = content.removeprefix(b"\xef\xbb\xbf")
    assert b"".join(blocks) == content
    assert all(block.endswith(b"\n") for block in blocks[:-1])
    numbers = [i for i, line in enumerate(content.split(b"\n"), start=1) if line.strip()]
    assert found == dict(enumerate(numbers))
