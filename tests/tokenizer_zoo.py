"""Random tokenizers of every kind, small enough that odd cases come up soon."""

from hypothesis import strategies as st
from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    models,
    normalizers,
    pre_tokenizers,
    processors,
)
from transformers import PreTrainedTokenizerFast

ALPHABET = "abA:.'1>é\u0301 \n\u00a0▁日_"
MARKED = [
    "se",
    "elf",
    ":",
    "s",
    "ab",
    "a ",
    " a",
    ": ",
    "'s",
    "é",
    "e\u0301",
    "日",
    "  ",
    "\n",
    "_",
]

TEXTS = st.text(ALPHABET, max_size=8) | st.lists(
    st.sampled_from([*MARKED, "self", " ", "", "<a>", "<a><b>", "ab ab", "\u0301", "\u0308x"]),
    max_size=6,
).map("".join)
INSTRUCTIONS = st.sampled_from(
    ["", "a: ", "query: ", "query:", "Find > ", "ab ", "ab  ", "a\n", "1. ", "<a> ", "'", " ", "é "]
) | st.tuples(TEXTS, st.sampled_from(["", " ", ": "])).map("".join)

NORMALIZERS = [
    normalizers.NFC,
    normalizers.NFD,
    normalizers.NFKC,
    normalizers.NFKD,
    normalizers.Lowercase,
    normalizers.StripAccents,
    normalizers.Strip,
    normalizers.Nmt,
    normalizers.BertNormalizer,
    lambda: normalizers.BertNormalizer(clean_text=False, strip_accents=False, lowercase=False),
    lambda: normalizers.Replace(" ", "_"),
    lambda: normalizers.Replace(Regex(" {2,}"), " "),
    lambda: normalizers.Replace(": ", ":"),
    lambda: normalizers.Prepend("▁"),
]
QWEN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
PATTERNS = [
    QWEN,
    r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+",
    r"\p{L}+|\p{N}+",
    r"\p{L}+|\s+",
    r"[^\p{L}]+|\p{L}+",
    r": \p{L}+|\s+|\p{L}",
    " ",
    ":",
]
PRE_TOKENIZERS = [
    *(
        lambda prefixed=prefixed, regex=regex: pre_tokenizers.ByteLevel(prefixed, use_regex=regex)
        for prefixed in (False, True)
        for regex in (False, True)
    ),
    *(
        lambda scheme=scheme, split=split: pre_tokenizers.Metaspace(
            prepend_scheme=scheme, split=split
        )
        for scheme in ("always", "first", "never")
        for split in (False, True)
    ),
    *(
        lambda pattern=pattern, how=how: pre_tokenizers.Split(Regex(pattern), how)
        for pattern in PATTERNS
        for how in ("isolated", "removed", "merged_with_previous", "merged_with_next")
    ),
    pre_tokenizers.Whitespace,
    pre_tokenizers.WhitespaceSplit,
    pre_tokenizers.BertPreTokenizer,
    pre_tokenizers.Punctuation,
    pre_tokenizers.Digits,
]
ADDED = [
    "<a>",
    "<a><b>",
    "ab",
    ": a",
    "\n",
    " ",
    "\u00a0",
    "  ",
    ">",
    "e",
    "é",
    "A",
    "日",
    "\u0301",
]


@st.composite
def backends(draw, usual=False):
    """A backend; of parts as they usually go together, or of any."""
    kind = draw(st.sampled_from(["bpe", "unigram", "wordpiece"]))
    backend = Tokenizer(draw(_models(kind)))
    if usual:
        normalizing = draw(st.lists(st.sampled_from(NORMALIZERS[:6]), max_size=2))
        steps = [draw(st.sampled_from(PRE_TOKENIZERS))]
        if draw(st.booleans()):
            steps.append(lambda: pre_tokenizers.ByteLevel(False, use_regex=False))
    else:
        normalizing = draw(st.lists(st.sampled_from(NORMALIZERS), max_size=2))
        steps = draw(st.lists(st.sampled_from(PRE_TOKENIZERS), max_size=2))
    if draw(st.booleans()) and kind == "wordpiece":
        normalizing, steps = NORMALIZERS[8:9], [pre_tokenizers.BertPreTokenizer]
    if normalizing:
        backend.normalizer = normalizers.Sequence([make() for make in normalizing])
        if len(normalizing) == 1:
            backend.normalizer = normalizing[0]()
    if steps:
        backend.pre_tokenizer = pre_tokenizers.Sequence([make() for make in steps])
        if len(steps) == 1:
            backend.pre_tokenizer = steps[0]()
    for content in draw(st.lists(st.sampled_from(ADDED), max_size=3, unique=True)):
        flags = draw(st.fixed_dictionaries({name: st.booleans() for name in _FLAGS}))
        if draw(st.booleans()):
            flags |= dict.fromkeys(("lstrip", "rstrip", "single_word"), False)
        backend.add_tokens([AddedToken(content, **flags)])
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> $B:1 </s>:1",
        special_tokens=[(token, backend.token_to_id(token)) for token in ("<s>", "</s>")],
    )
    return backend


_FLAGS = ("lstrip", "rstrip", "single_word", "normalized")


@st.composite
def _models(draw, kind):
    special = ["<unk>", "<s>", "</s>", "<pad>"]
    characters = sorted({*ALPHABET, *"selfqury", *pre_tokenizers.ByteLevel.alphabet()})
    words = draw(st.lists(st.text("abse:Ġ▁lf'é", min_size=2, max_size=4), max_size=12))
    if kind == "bpe":
        vocabulary, merges = [*special, *characters], []
        for word in [*words, "Ġa", ":a", "se", "self", ":Ġ", "▁a", ": a"]:
            for cut in range(1, len(word)):
                left, right = word[:cut], word[cut]
                if left in vocabulary and right in vocabulary and (left, right) not in merges:
                    merges.append((left, right))
                    if left + right not in vocabulary:
                        vocabulary.append(left + right)
        ids = {token: i for i, token in enumerate(vocabulary)}
        return models.BPE(ids, merges, unk_token="<unk>", fuse_unk=draw(st.booleans()))
    tokens = list(dict.fromkeys([*special, *characters, *words]))
    if kind == "unigram":
        return models.Unigram([(one, -float(1 + i % 7)) for i, one in enumerate(tokens)], unk_id=0)
    tokens += [f"##{one}" for one in [*characters, *words]]
    ids = {token: i for i, token in enumerate(dict.fromkeys(tokens))}
    return models.WordPiece(ids, unk_token="<unk>")


def wrapped(backend, **settings):
    """A tokenizer as transformers has it."""
    names = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
    return PreTrainedTokenizerFast(tokenizer_object=backend, **names, **settings)


def refused(tokenizer):
    """Whether nothing is left of an added token, on which the tokenizers library fails."""
    normalizer = tokenizer.backend_tokenizer.normalizer
    return any(
        token.normalized and normalizer is not None and not normalizer.normalize_str(token.content)
        for token in tokenizer.added_tokens_decoder.values()
    )
