"""Byte-level BPE against merges worked by hand, a slow trainer, and GPT-2's published tokenizer."""

import json
import random
import shutil
import sys
import unicodedata
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from common.bpe import BYTES, END, SPELLING, ByteBPE, cut
from common.command import UserError
from tests.explain import equal
from tests.oracle import oracle

ROOT = Path(__file__).resolve().parents[1]
SENNRICH = ["low"] * 5 + ["lower"] * 2 + ["newest"] * 6 + ["widest"] * 3
BASE = list(SPELLING.values())  # the 256 pieces of one byte
SMALL_TEXT = """It's a dog's life, isn't it? We'll see, they're here; I'd say we've 10 dogs, 100 dogs, 1000 dogs!!!
  aaaa aaaaa aaa banana bananas  \t\n\n한국어 한국 국어, 나는 나의 나라. 👩\u200d👩\u200d👧 👩 — café cafés naïve
x==y  x!=y  <|endoftext|> The end."""


def bpe_of(*merges: str) -> ByteBPE:
    """The bytes, then what the merges ("l o", "lo w") spell, and the end of text."""
    pairs = [tuple(merge.split(" ")) for merge in merges]
    return ByteBPE([*BASE, *("".join(pair) for pair in pairs), END], pairs)


def pieces(bpe: ByteBPE, text: str) -> list[str]:
    return [bpe.piece(id) for id in bpe.encode(text)]


# ------------------------------------------------ bytes


@pytest.mark.parametrize(
    ("byte", "char", "mistake"),
    [
        (b"!", "!", "visible ASCII spells itself"),
        (b"~", "~", "visible ASCII goes up to ~"),
        (b" ", "Ġ", "a blank is byte 32 of those that are shifted: U+0120"),
        (b"\n", "Ċ", "a newline is U+010A"),
        (b"\0", "Ā", "the shifted ones begin at U+0100"),
        (b"\x7f", "ġ", "DEL is not visible; it comes after the blank"),
        (b"\xa0", "ł", "the no-break space of Latin-1 is not visible"),
        (b"\xa1", "¡", "the visible part of Latin-1 begins at ¡"),
        (b"\xad", "Ń", "the soft hyphen is not visible, and is the last one shifted"),
        (b"\xff", "ÿ", "the last byte is visible in Latin-1"),
    ],
)
def test_spelling_of_bytes(byte, char, mistake):
    equal(SPELLING[byte[0]], char, mistake)
    equal(bytes([BYTES[char]]), byte, f"the table back differs from the table; {mistake}")


def test_the_first_ids_are_those_of_gpt2():
    came = [bpe_of().encode(text)[0] for text in ("!", "A", "~", " ", "\n")]
    equal(came, [0, 32, 93, 220, 198], "the visible bytes come first in GPT-2's vocabulary, then the others")
    equal(bpe_of().encode("é"), [127, 102], "é is the two bytes C3 A9; a character is not a byte")


# ------------------------------------------------ merging, by hand


@pytest.mark.parametrize(
    ("merges", "text", "expected", "mistake"),
    [
        (["l o", "lo w", "e r"], "lower", ["low", "er"], "merges were not applied to what merges made"),
        (["b c", "a b"], "abc", ["a", "bc"], "the pair that comes first in the text was merged, not in the list"),
        (["a b", "b c"], "abc", ["ab", "c"], "the last merge of the list went first"),
        (["c d", "a b", "ab cd"], "abcd", ["abcd"], "a piece made on the right was not seen by its left neighbour"),
        (["a b", "abc d", "ab c"], "abcd", ["abcd"], "a merge whose turn was over is not tried again"),
        (["a a"], "aaaaa", ["aa", "aa", "a"], "equal pairs that overlap go from left to right"),
        (["a a", "aa a"], "aaaaa", ["aa", "aaa"], "a piece that is gone was used, or pairs went from right to left"),
        (["a b"], "ab abab a b", ["ab", "Ġ", "ab", "ab", "Ġ", "a", "Ġ", "b"], "only one of many places was merged"),
        (["Ġ t", "Ġt h"], "th th", ["t", "h", "Ġth"], "the first word has no blank, and none is put before it"),
        (["a Ġ"], "a b", ["a", "Ġ", "b"], "a merge must not reach from one word into the next"),
        (["ê °", "ê° Ģ"], "가", ["ê°Ģ"], "merges join bytes (가 is EA B0 80), spelled as visible characters"),
    ],
)  # fmt: skip
def test_merges_by_hand(merges, text, expected, mistake):
    equal(pieces(bpe_of(*merges), text), expected, mistake)


def test_a_word_met_again_is_cut_the_same():
    bpe = bpe_of("l o", "lo w")
    first = bpe.encode("low")
    first.append(-1)  # the caller may change what it was given
    equal(bpe.encode("low low"), [257, 220, 257], "the kept ids of a word changed with a list handed out before")


def test_long_words_are_cut_as_short_ones():
    bpe = bpe_of("a a", "aa aa", "b a")
    equal(pieces(bpe, "a" * 4001), ["aaaa"] * 1000 + ["a"], "words too long to be kept are cut otherwise")
    equal(pieces(bpe, "ba" * 3000), ["ba"] * 3000, "words too long to be kept are cut otherwise")


# ------------------------------------------------ words


@pytest.mark.parametrize(
    ("text", "expected", "mistake"),
    [
        ("Hello world", ["Hello", " world"], "a word keeps the one blank before it"),
        ("a  b   c", ["a", " ", " b", "  ", " c"], "of several blanks the last goes to the word: the (?!\\S)"),
        ("a\n b\n\nc \n", ["a", "\n", " b", "\n", "\n", "c", " \n"], "only a blank goes to a word, not a newline"),
        ("a\t\tb", ["a", "\t", "\t", "b"], "(?!\\S) leaves the last tab, which no word takes"),
        ("end  ", ["end", "  "], "spaces at the end of the text are one word"),
        ("it's I'll we've they're I'd I'm don't", ["it", "'s", " I", "'ll", " we", "'ve", " they", "'re", " I", "'d",
         " I", "'m", " don", "'t"], "the English endings are words"),
        ("IT'S 'n 'tis x'llama", ["IT", "'", "S", " '", "n", " '", "tis", " x", "'ll", "ama"],
         "capitals are no endings, nor is what comes after a blank; letters behind an ending are a word"),
        ("''s", ["''", "s"], "two apostrophes are a run of signs"),
        ("don’t", ["don", "’", "t"], "only the ASCII apostrophe makes an ending"),
        ("10pm x² Ⅷ½! ٣", ["10", "pm", " x", "²", " Ⅷ½", "!", " ٣"], "numbers are all of N*: ² Ⅷ ½ too"),
        ("a_b __c", ["a", "_", "b", " __", "c"], "_ is a sign; Python's \\w counts it as a letter"),
        ("cafe\u0301 हि", ["cafe", "\u0301", " ह", "ि"], "combining marks (M*) are no letters"),
        ("한국어ㅋㅋ北京ªʰ", ["한국어ㅋㅋ北京ªʰ"], "letters are all of L*: Lo and Lm too"),
        ("👩\u200d👧!?", ["👩\u200d👧!?"], "emoji, joiners and punctuation are signs"),
        ("a\x1cb\x1f c", ["a", "\x1c", "b", "\x1f", " c"], "U+001C-U+001F are spaces to Python only; here signs"),
        ("!\x1c!", ["!\x1c!"], "U+001C-U+001F are spaces to Python only; here signs"),
        ("!\x85! !\u3000!", ["!", "\x85", "!", " !", "\u3000", "!"], "U+0085 and U+3000 are spaces"),
        ("!\u180e!\u200b!\ufeff!\0!", ["!\u180e!\u200b!\ufeff!\0!"], "U+180E, U+200B, U+FEFF and NUL are no spaces"),
        ("", [], "an empty text has no words"),
    ],
)  # fmt: skip
def test_cut_by_hand(text, expected, mistake):
    equal(cut(text), expected, mistake)


def test_every_character_is_of_the_kind_that_gpt2_takes_it_for():
    """All but surrogates and characters that this Python's Unicode leaves open (Cn): a newer one may have filled them.

    "a?1!?!" has its cuts elsewhere for a letter, a number, a sign, a space and the blank.
    """
    published = oracle("tokenizers").pre_tokenizers.ByteLevel(add_prefix_space=False)
    every = [c for c in map(chr, range(sys.maxunicode + 1)) if unicodedata.category(c) not in ("Cs", "Cn", "Co")]
    every += ["\ue000", "\uf8ff", "\U00100000"]  # for the 137,468 of private use
    wrong = []
    for char in every:
        text = f"a{char}1!{char}!"
        if cut(text) != [text[start:end] for _, (start, end) in published.pre_tokenize_str(text)]:
            wrong.append(char)
    equal([f"U+{ord(char):04X}" for char in wrong], [], "\\s, \\d and \\w of Python are not \\s, \\p{N} and \\p{L}")
    assert len(every) > 140_000, f"expected all characters of Unicode, came {len(every)}"


# ------------------------------------------------ back to text

ANY_TEXT = st.text(st.one_of(st.characters(exclude_categories=["Cs"]), st.sampled_from("  \n\r\t\0'stld1_.ab한글😀")))
GENERAL = [
    "", " ", "  two blanks before and after  ", "lines\nand\r\nlines\r\n", "\t\tif x:\r\n\t\t\treturn {'a': [1, 2]}\n",
    "\0 \x01 \x1b \x7f", "한국어를 좋아해요ㅋㅋ. 뷁", "\u1112\u1161\u11ab", "👩\u200d👩\u200d👧 😀 🇰🇷 🏳\ufe0f\u200d🌈",
    "a\u2028b\u2029c\x85d", "\u3000\xa0\u200b\ufeff\ufffd", "ﬁ Å ½ ０", "Ġ Ċ Ā", "\U0010ffff\ue000", END,
    f"one{END}two {END} {END}{END}", "<|endoftext|", "<|ENDOFTEXT|>", SMALL_TEXT,
]  # fmt: skip


@pytest.fixture(scope="module")
def trained() -> ByteBPE:
    return ByteBPE.train([SMALL_TEXT], 330)


@pytest.mark.parametrize("text", GENERAL)
def test_texts_come_back(trained, text):
    equal(trained.decode(trained.encode(text)), text, "something was normalised, dropped or cut at other ends")
    equal(trained.decode_bytes(trained.encode(text)), text.encode(), "the bytes are those of UTF-8")


@given(ANY_TEXT)
@example("\x1c\u2028\u180e")
def test_any_text_comes_back(trained, text):
    came = trained.decode(trained.encode(text))
    assert came == text, f"expected {text!r}, came {came!r}; likely mistake: `cut` lost a character that no kind takes"


def test_a_character_across_pieces():
    bpe = bpe_of()
    ids = bpe.encode("é한")
    equal([bpe.decode([id]) for id in ids], ["\ufffd"] * 5, "half a character is U+FFFD, not an error")
    equal(bpe.decode(ids), "é한", "all bytes are joined first, and only then read as UTF-8")
    equal(bpe.decode_bytes(ids[:3]), "é".encode() + b"\xed", "decode_bytes gives a part of a character as it is")
    equal(bpe.decode(iter(ids[:2])), "é", "ids may come from any iterable")


def test_end_of_text():
    bpe = bpe_of("a b")
    end = bpe.eos_id
    equal(end, 257, "the id of <|endoftext|> is its place among the pieces")
    equal(bpe.encode(f"ab{END}ab"), [256, end, 256], "<|endoftext|> in a text is one id")
    equal(bpe.encode(END * 2), [end, end], "and there is nothing around it")
    equal(pieces(bpe, f"a {END} b"), ["a", "Ġ", END, "Ġ", "b"], "blanks around it are words of their own")
    equal(bpe.decode([256, end]), f"ab{END}", "it is decoded as its text")
    without = ByteBPE(BASE, [])
    equal(without.eos_id, None, "a vocabulary without <|endoftext|> has no such id")
    equal(pieces(without, END), list(END), "a vocabulary without <|endoftext|> spells it")


@pytest.mark.parametrize("id", [-100, -1, 258, 50256])
def test_ids_outside_the_vocabulary_are_refused(id):
    bpe = bpe_of("a b")
    for ask in (bpe.piece, lambda id: bpe.decode([0, id]), lambda id: bpe.decode_bytes([0, id])):
        with pytest.raises(IndexError, match=f"id {id} is not in this vocabulary of 258 pieces"):
            ask(id)


def test_half_of_a_surrogate_pair_is_refused(trained):
    with pytest.raises(UnicodeEncodeError):
        trained.encode("a\ud83d")


# ------------------------------------------------ training


def slow_merges(texts: list[str], n: int) -> list[tuple[str, str]]:
    """Count all pairs afresh for every merge; ids in the order of their making decide between equals."""
    words = Counter(word for text in texts for part in text.split(END) for word in cut(part))
    cuts = {word: [SPELLING[byte] for byte in word.encode()] for word in words}
    ids, merges = {piece: id for id, piece in enumerate(BASE)}, []
    for _ in range(n):
        count = Counter()
        for word, times in words.items():
            for pair in pairwise(cuts[word]):
                count[pair] += times
        best = max(count, key=lambda pair: (count[pair], -ids[pair[0]], -ids[pair[1]]))
        merges.append(best)
        assert "".join(best) not in ids, "what stands between two ends of pieces is always merged in the same way"
        ids["".join(best)] = len(ids)
        for word in words:
            old, new = cuts[word], []
            while old:
                width = 2 if tuple(old[:2]) == best else 1
                new, old = [*new, "".join(old[:width])], old[width:]
            cuts[word] = new
    return merges


def test_training_by_hand():
    # low 5, lower 2, newest 6, widest 3. Pairs: es st 9, we 8, lo ow 7, ew ne 6, ...; es before st, since e < s.
    # With es: est 9, lo ow 7 (we is down to 2), ... then low 7. Of ew ne and w-est, 6 each, e has the smallest id; of
    # n-ew and ew-est n has; of d-est, id and wi, 3 each, d has.
    bpe = ByteBPE.train(SENNRICH, 256 + 8 + 1)
    expected = ["e s", "es t", "l o", "lo w", "e w", "n ew", "new est", "d est"]
    equal([" ".join(pair) for pair in bpe.merges], expected, "the most frequent pair, equals by the smallest ids")
    equal(bpe.pieces[256:], [merge.replace(" ", "") for merge in expected] + [END], "pieces in the order of merges")
    equal(pieces(bpe, "lowest widest"), ["low", "est", "Ġ", "w", "i", "dest"], "trained merges were not applied")


@pytest.mark.parametrize(
    ("texts", "expected", "mistake"),
    [
        (["ab ab ab cd cd"], ["a b", "c d", "Ġ ab", "Ġ cd"], "the blank Ġ has id 220, and c a smaller one"),
        (["aaaa"], ["a a", "aa aa"], "the pairs of aaaa are three, but only two are joined"),
        (["cd", "ab"], ["a b", "c d"], "equals go by ids, not by what came first in the text"),
        (["ab", "ac"], ["a b", "a c"], "equals with the same left piece go by the right one"),
        ([f"ab{END}ab"], ["a b"], "<|endoftext|> in the texts is no text to learn from"),
    ],
)  # fmt: skip
def test_ties_and_overlaps_by_hand(texts, expected, mistake):
    bpe = ByteBPE.train(texts, 257 + len(expected))
    equal([" ".join(pair) for pair in bpe.merges], expected, mistake)


def test_merges_equal_those_of_a_slow_trainer():
    text = (ROOT / "common" / "command.py").read_text(encoding="utf-8")[:1500] + SMALL_TEXT
    equal(ByteBPE.train([text], 257 + 200).merges, slow_merges([text], 200), "a count was not kept up to date")


@given(st.lists(st.text("aab c", max_size=12), max_size=6).filter(lambda texts: any(len(t) > 3 for t in texts)))
def test_merges_equal_those_of_a_slow_trainer_on_any_text(texts):
    try:
        merges = ByteBPE.train(texts, 257 + 3).merges
    except UserError:  # fewer than three pairs; how many there are is tested below
        return
    equal(merges, slow_merges(texts, len(merges)), "a count was not kept up to date where pairs overlap")


def test_merges_equal_those_of_the_tokenizers_library(shared_data):
    library = oracle("tokenizers")
    text = (shared_data / "tinyshakespeare" / "input.txt").read_text(encoding="utf-8")[:200_000] + SMALL_TEXT
    theirs = library.Tokenizer(library.models.BPE())
    theirs.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = library.pre_tokenizers.ByteLevel.alphabet()
    text = text.replace(END, "")  # there it is cut up
    trainer = library.trainers.BpeTrainer(vocab_size=256 + 1000, initial_alphabet=alphabet, show_progress=False)
    theirs.train_from_iterator([text], trainer)
    merges = [tuple(pair) for pair in json.loads(theirs.to_str())["model"]["merges"]]
    ours = ByteBPE.train([text], 257 + 1000)
    first = next((n for n, pair in enumerate(merges) if ours.merges[n] != pair), None)
    assert first is None, (f"merge {first}: expected {merges[first]}, came {ours.merges[first]}; "
                           "likely mistake: a count was not kept up to date, or equals go by something else than ids")
    equal(len(ours.merges), 1000, "one merge a piece")


def test_training_says_what_is_impossible():
    with pytest.raises(UserError, match="a vocabulary of 256 pieces is too small: the 256 bytes and .* make 257"):
        ByteBPE.train(["some text"], 256)
    equal(ByteBPE.train([], 257).merges, [], "257 pieces are the bytes and the end, and need no text")
    # "abc" holds two merges, "a b" and "ab c", so 259 pieces
    equal(ByteBPE.train(["abc abc"], 259).vocab_size, 259, "all pieces that the text holds can be learnt")
    with pytest.raises(UserError, match="the text is too small for 300 pieces: it holds 259"):
        ByteBPE.train(["abc"], 300)
    with pytest.raises(UserError, match="the text is too small for 258 pieces: it holds 257"):
        ByteBPE.train([], 258)


# ------------------------------------------------ files


def write(directory: Path, vocab, merges) -> Path:
    vocab = vocab if isinstance(vocab, bytes) else json.dumps(vocab).encode()
    (directory / "vocab.json").write_bytes(vocab)
    (directory / "merges.txt").write_bytes(merges if isinstance(merges, bytes) else merges.encode())
    return directory


VOCAB = {piece: id for id, piece in enumerate([*BASE, "ab", "abc", "#a", END])}


@pytest.mark.parametrize(
    ("merges", "expected", "mistake"),
    [
        ("#version: 0.2\na b\nab c\n", [("a", "b"), ("ab", "c")], "the version line is no merge"),
        ("a b\nab c", [("a", "b"), ("ab", "c")], "the first line was dropped, though it is no version; or the last"),
        ("#version: 0.2\r\na b\r\n", [("a", "b")], "a \\r of Windows stayed on the piece"),
        ("# a\na b\n", [("#", "a"), ("a", "b")], "a line that begins with # is no comment"),
        ("", [], "no merges at all"),
    ],
)
def test_merges_are_read(tmp_path, merges, expected, mistake):
    equal(ByteBPE.load(write(tmp_path, VOCAB, merges)).merges, expected, mistake)


def test_rank_is_the_line_and_not_the_id(tmp_path):
    vocab = {piece: id for id, piece in enumerate(["abc", "ab", "bc", *BASE])}
    bpe = ByteBPE.load(write(tmp_path, dict(reversed(vocab.items())), "b c\na b\nab c\n"))
    equal(pieces(bpe, "abc"), ["a", "bc"], "the first line goes first, whatever the ids of the pieces")
    equal(bpe.encode("bc!"), [2, 3], "ids are those of vocab.json, not the order of its lines")


def test_save_and_load(tmp_path, trained):
    trained.save(tmp_path / "new" / "folder")
    again = ByteBPE.load(str(tmp_path / "new" / "folder"))
    equal((again.pieces, again.merges), (trained.pieces, trained.merges), "what was saved must be read back")
    equal(again.encode(SMALL_TEXT), trained.encode(SMALL_TEXT), "what was saved must be read back")
    equal(sorted(path.name for path in (tmp_path / "new" / "folder").iterdir()), ["merges.txt", "vocab.json"],
          "two files, and nothing left over")


WITHOUT_BLANK = {piece: id for id, piece in enumerate(piece for piece in VOCAB if piece != "Ġ")}
OTHER_LANGUAGE = VOCAB | {"▁the": len(VOCAB)}


@pytest.mark.parametrize(
    ("vocab", "merges", "reason"),
    [
        (None, "a b\n", "cannot read .*vocab.json: No such file"),
        (VOCAB, None, "cannot read .*merges.txt: No such file"),
        (json.dumps(VOCAB).encode("utf-16"), "", r"vocab.json is not UTF-8 text \(byte 0\)"),
        (VOCAB, "a b\n".encode("utf-16"), r"merges.txt is not UTF-8 text \(byte 0\)"),
        (b'{"a": 0', "", "vocab.json is not a JSON table from pieces to ids"),
        (b"", "", "vocab.json is not a JSON table from pieces to ids"),
        (list(VOCAB), "", "vocab.json is not a JSON table from pieces to ids"),
        (3, "", "vocab.json is not a JSON table from pieces to ids"),
        ({"a": [0]}, "", "vocab.json is not a JSON table from pieces to ids"),
        (VOCAB | {"a": 9}, "", "vocab.json has 260 pieces and none of them has the id 64"),
        (VOCAB | {"x": 1000}, "", "vocab.json has 260 pieces and none of them has the id 87"),
        ({piece: id + 1 for piece, id in VOCAB.items()}, "", "none of them has the id 0"),
        ({piece: str(id) for piece, id in VOCAB.items()}, "", "none of them has the id 0"),
        (WITHOUT_BLANK, "", "vocab.json has no piece 'Ġ': it is not byte-level"),
        (OTHER_LANGUAGE, "", "vocab.json has the piece '▁the': it is not byte-level"),
        (VOCAB | {"": 260}, "", "vocab.json has the piece '': it is not byte-level"),
        (VOCAB, "a b\nab d\nb c\n", "merges.txt, line 2: 'ab d' is no merge, vocab.json has no piece 'abd'"),
        (VOCAB, "#version: 0.2\nxy c\n", "merges.txt, line 2: 'xy c' is no merge, vocab.json has no piece 'xy'"),
        (VOCAB, "a b\n\nabc\n", "merges.txt, line 3: 'abc' is no merge, vocab.json has no piece ''"),
        (VOCAB, "a b c\n", "merges.txt, line 1: 'a b c' is no merge, vocab.json has no piece 'b c'"),
        (VOCAB, "a 한\n", "merges.txt, line 1: 'a 한' is no merge, vocab.json has no piece '한'"),
    ],
)
def test_user_errors_are_one_line(tmp_path, vocab, merges, reason):
    write(tmp_path, VOCAB if vocab is None else vocab, merges or "")
    for content, name in ((vocab, "vocab.json"), (merges, "merges.txt")):
        if content is None:
            (tmp_path / name).unlink()
    with pytest.raises(UserError, match=reason) as caught:
        ByteBPE.load(tmp_path)
    assert "\n" not in str(caught.value), f"expected one line, came {str(caught.value)!r}"


# ------------------------------------------------ the published tokenizer as the judge


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory, shared_data) -> Path:
    """A folder with GPT-2's two files under the names they are published by."""
    folder = tmp_path_factory.mktemp("gpt2")
    for name in ("vocab.json", "merges.txt"):
        shutil.copy(shared_data / "gpt2-bpe" / f"gpt2_{name}", folder / name)
    return folder


@pytest.fixture(scope="module")
def ours(gpt2) -> ByteBPE:
    return ByteBPE.load(gpt2)


def in_the_library(folder: Path):
    """The two files of `folder` as the `tokenizers` library reads them."""
    library = oracle("tokenizers")
    model = library.models.BPE.from_file(str(folder / "vocab.json"), str(folder / "merges.txt"))
    tokenizer = library.Tokenizer(model)
    tokenizer.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = library.decoders.ByteLevel()
    tokenizer.add_special_tokens([END])
    return tokenizer


@pytest.fixture(scope="module")
def theirs(gpt2):
    return in_the_library(gpt2)


def expect_their_ids(ours: ByteBPE, theirs, text: str) -> int:
    came, expected = ours.encode(text), theirs.encode(text).ids
    if came != expected:
        at = next((n for n, (a, b) in enumerate(zip(came, expected)) if a != b), min(len(came), len(expected)))
        spell = [theirs.id_to_token(id) for id in expected[max(at - 3, 0):at + 5]]
        pytest.fail(f"from id {at} on: expected {spell}, came {[ours.piece(id) for id in came[max(at - 3, 0):at + 5]]}"
                    "\nlikely mistake: a rule of `cut`, or the order of merges; the tests above take them one by one")
    equal(ours.decode_bytes(came), text.encode(), "the ids are right, so it is the way back that loses bytes")
    return len(came)


def test_known_ids_of_gpt2(ours):
    equal(ours.encode("Hello world"), [15496, 995], "GPT-2's ids of these words are known")
    equal(ours.encode(" The capital of France is"), [383, 3139, 286, 4881, 318], "one id for each of these words")
    equal((ours.vocab_size, ours.eos_id, ours.encode(END)), (50257, 50256, [50256]), "the end is the last of 50,257")


def megabyte(shared_data: Path) -> str:
    """Plays, film reviews, chats and sentences in English and Korean, code, and a block of every kind of character."""
    def head(name: str, size: int) -> str:
        return (shared_data / name).read_text(encoding="utf-8")[:size]

    code = "".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "common").glob("*.py")))
    draw = random.Random(0)
    by_category: dict[str, list[str]] = {}
    for char in map(chr, range(sys.maxunicode + 1)):
        by_category.setdefault(unicodedata.category(char), []).append(char)
    # No surrogates (Cs), which are no text, and nothing that this Python's Unicode leaves open (Cn), see common/bpe.py.
    chars = [draw.choice(kind) for c, kind in sorted(by_category.items()) if c not in ("Cs", "Cn") for _ in range(300)]
    draw.shuffle(chars)
    emoji = "".join(draw.choices("😀👩👧🏳🌈❤👍🇰🇷\u200d\ufe0f\U0001f3fd a!", k=10_000))
    spaces = "".join(draw.choices("  \n\r\t\0\u2028\x85'sx1.", k=10_000))
    return "\n".join([head("tinyshakespeare/input.txt", 320_000), head("nsmc/dev.tsv", 80_000), END, code[:150_000],
                      head("korean-chatbot/ChatbotData.csv", 80_000), head("tatoeba-en-ko/kor.txt", 120_000),
                      "".join(chars), emoji, spaces, "".join(f" {char}" for char in chars)])  # fmt: skip


def test_the_ids_of_a_megabyte_are_those_of_gpt2(ours, theirs, shared_data):
    text = megabyte(shared_data)
    size = len(text.encode())
    assert size > 1_000_000, f"expected a megabyte, came {size} bytes"
    n = expect_their_ids(ours, theirs, text)
    print(f"\nGPT-2: {n:,} ids of {size:,} bytes, all equal")


@pytest.mark.parametrize("text", GENERAL)
def test_the_ids_of_odd_texts_are_those_of_gpt2(ours, theirs, text):
    expect_their_ids(ours, theirs, text)


@given(text=st.text(st.one_of(st.characters(exclude_categories=["Cs", "Cn"]), st.sampled_from("  \n\t'stdlmrve1_.한"))))
def test_the_ids_of_any_text_are_those_of_gpt2(ours, theirs, text):
    expect_their_ids(ours, theirs, text)


def test_the_ids_of_text_without_blanks_are_those_of_gpt2(ours, theirs):
    draw = random.Random(0)
    for text in ("a" * 20_001, "".join(draw.choices("abcdefghijklmnopqrstuvwxyz", k=20_000)), " " * 20_000 + "x",
                 "".join(draw.choices("가나다라마바사", k=5_000)), "!" * 10_000 + "=" * 10_001):
        expect_their_ids(ours, theirs, text)


def test_our_files_open_in_the_libraries(tmp_path, shared_data):
    text = (shared_data / "tinyshakespeare" / "input.txt").read_text(encoding="utf-8")[:50_000] + SMALL_TEXT
    bpe = ByteBPE.train([text], 800)
    bpe.save(tmp_path)
    theirs = in_the_library(tmp_path)
    expect_their_ids(bpe, theirs, text)
    equal(theirs.get_vocab_size(), 800, "the library sees other pieces in the files")
    equal(theirs.decode(bpe.encode("한국 Hello"), skip_special_tokens=False), "한국 Hello", "the library's way back")
    published = oracle("transformers").GPT2Tokenizer.from_pretrained(tmp_path)
    equal(published(text)["input_ids"], bpe.encode(text), "transformers reads other ids from the files")


def test_gpt2_saved_again_is_the_same(tmp_path, ours, gpt2):
    ours.save(tmp_path)
    equal(json.loads((tmp_path / "vocab.json").read_text()), json.loads((gpt2 / "vocab.json").read_text()),
          "a piece or an id got lost in the file")  # fmt: skip
    merges = [(folder / "merges.txt").read_text(encoding="utf-8").split("\n") for folder in (tmp_path, gpt2)]
    came, expected = [[line for line in lines if line and "#version" not in line] for lines in merges]
    assert came == expected, "a merge got lost in the file, or changed its place"
