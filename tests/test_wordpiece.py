"""WordPiece against rules worked by hand and against the published tokenizer."""

import json
from itertools import islice
from pathlib import Path

import pytest

from common.command import UserError
from common.wordpiece import SPECIALS, WordPiece, basic_tokens
from tests.oracle import oracle

# ids                  5     6       7        8         9        10     11    12   13   14   15    16
PIECES = [*SPECIALS, "un", "unf", "##aff", "##able", "##fold", "able", "a", "##a", "!", "#", "北", "京"]


def expect(expected, came, mistake: str) -> None:
    assert came == expected, f"expected {expected!r}, came {came!r}; likely mistake: {mistake}"


@pytest.fixture
def vocab(tmp_path) -> Path:
    path = tmp_path / "vocab.txt"
    path.write_text("\n".join(PIECES) + "\n", encoding="utf-8")
    return path


def pieces(wordpiece: WordPiece, text: str) -> list[str]:
    return [wordpiece.piece(id) for id in wordpiece.encode(text)]


# ------------------------------------------------ cutting words, on a vocabulary of 17 pieces


@pytest.mark.parametrize(
    ("word", "expected", "mistake"),
    [
        ("able", ["able"], "a whole word in the vocabulary was cut further"),
        ("unable", ["un", "##able"], "a continuing piece was looked up without its ##"),
        ("unaffable", ["un", "##aff", "##able"], "a shorter piece, ##a, was taken before ##aff"),
        ("unfable", ["unf", "##able"], "a shorter piece, un, was taken before unf"),
        # un ##fold would do, but "unf" is longer than "un", and nothing continues it with "old"
        ("unfold", ["[UNK]"], "the cutting went back to try a shorter piece; greedy never does"),
        ("aff", ["[UNK]"], "##aff was used at the start of a word"),
        ("unz", ["[UNK]"], "only the stretch without a piece became [UNK]; the whole word does"),
        ("unable unz!", ["un", "##able", "[UNK]", "!"], "an unknown word took its neighbours with it"),
    ],
)
def test_longest_match_by_hand(vocab, word, expected, mistake):
    expect(expected, pieces(WordPiece.load(vocab), word), mistake)


def test_words_up_to_100_characters(vocab):
    wordpiece = WordPiece.load(vocab)
    at_limit = ["a"] + ["##a"] * 99
    expect(at_limit, pieces(wordpiece, "a" * 100), "the limit is 100 characters inclusive")
    expect(["[UNK]", "!"], pieces(wordpiece, "a" * 101 + "!"), "an overlong word is one [UNK], alone")
    expect(at_limit, pieces(wordpiece, "a\u0301" * 100), "length is counted before the accents are stripped")


def test_special_tokens_in_text(vocab):
    wordpiece = WordPiece.load(vocab)
    expect(["un", "[MASK]", "able"], pieces(wordpiece, "UN[MASK]able"), "a [MASK] without spaces was missed")
    for id, special in enumerate(SPECIALS):
        expect([id], wordpiece.encode(special), f"{special} was lowered or cut at its brackets")
    expect(["[UNK]"] * 3, pieces(wordpiece, "[mask]"), "[mask] in small letters is plain text: [ mask ]")
    ids = [wordpiece.pad_id, wordpiece.unk_id, wordpiece.cls_id, wordpiece.sep_id, wordpiece.mask_id]
    expect([0, 1, 2, 3, 4], ids, "the ids of the specials are their line numbers, from 0")
    expect([], wordpiece.encode(" \t\n"), "encode adds no [CLS] and [SEP], and no piece for spaces")


# ------------------------------------------------ cutting text into words


@pytest.mark.parametrize(
    ("text", "expected", "mistake"),
    [
        ("Don't stop.", ["don", "'", "t", "stop", "."], "punctuation must be a word of its own"),
        ("a$b+c^d`e|f~g", list("a$b+c^d`e|f~g"), "BERT splits ASCII signs that Unicode calls symbols"),
        ("«a»—b…", ["«", "a", "»", "—", "b", "…"], "punctuation outside ASCII (categories P*) was missed"),
        ("5€ ©2", ["5€", "©2"], "symbols (categories S*) outside ASCII are not punctuation"),
        ("Crème Brûlée", ["creme", "brulee"], "accents are not stripped; NFD, then drop category Mn"),
        ("cafe\u0301", ["cafe"], "a combining accent, already apart, must go as well"),
        ("Łódź straße", ["łodz", "straße"], "only what NFD takes apart is stripped: ł and ß stay"),
        ("a≠b", ["a", "=", "b"], "punctuation is split before the accents go; ≠ is = with a stroke"),
        ("in北京2", ["in", "北", "京", "2"], "each Chinese character is a word of its own"),
        # escaped, since an editor may compose jamo back into syllables
        ("한 다", ["\u1112\u1161\u11ab", "\u1103\u1161"], "NFD takes Hangul into jamo, which stay a word"),
        ("ひら カナ", ["ひら", "カナ"], "kana are not Chinese characters"),
        ("a\x00b\x07c\u200bd\ufffde", ["abcde"], "control (Cc), format (Cf) and U+FFFD vanish without a gap"),
        ("a\tb\nc\rd\u00a0e\u3000f", list("abcdef"), "tab, newline and Unicode spaces separate words"),
        ("a\u2028b", ["a", "b"], "the line separator U+2028 separates words"),
        ("ΟΔΟΣ", ["οδος"], "lower the whole text, not letter by letter: a final capital sigma is ς"),
    ],
)  # fmt: skip
def test_basic_tokens_uncased(text, expected, mistake):
    expect(expected, basic_tokens(text, lowercase=True), mistake)


def test_basic_tokens_cased():
    came = basic_tokens("Crème 한국, 北", lowercase=False)
    expect(["Crème", "한국", ",", "北"], came, "cased checkpoints keep capitals, accents and syllables")


# ------------------------------------------------ back to text


def test_decode(vocab):
    wordpiece = WordPiece.load(vocab)
    text = "unable able ! # [MASK] # 北 京 [SEP]"
    expect(text, wordpiece.decode(wordpiece.encode(text)), "spaced words in lower case must come back")
    expect("[CLS] unable", wordpiece.decode([2, 5, 8]), "## pieces are glued on, specials stay as text")
    expect("", wordpiece.decode([]), "no ids, no text")


@pytest.mark.parametrize("id", [-100, -1, len(PIECES)])
def test_ids_outside_the_vocabulary_are_refused(vocab, id):
    with pytest.raises(IndexError, match=f"id {id} is not in this vocabulary of {len(PIECES)} pieces"):
        WordPiece.load(vocab).decode([5, id])


# ------------------------------------------------ reading files


def test_vocabulary_lines(tmp_path):
    path = tmp_path / "vocab.txt"
    path.write_bytes("\r\n".join([*SPECIALS, "\u2028", "un"]).encode())  # Windows ends, no last one
    wordpiece = WordPiece.load(path)
    expect(7, wordpiece.vocab_size, "lines end at newlines only; splitlines() also cuts at U+2028")
    expect([6], wordpiece.encode("un"), "a \\r stayed on the piece, or a line before it was lost or doubled")


def test_lowercase_comes_from_the_config(vocab):
    config = vocab.with_name("tokenizer_config.json")
    expect(True, WordPiece.load(vocab).lowercase, "without a config the vocabulary is uncased")
    config.write_text(json.dumps({"do_lower_case": False}), encoding="utf-8")
    expect(["[UNK]"], pieces(WordPiece.load(vocab), "Unable"), "do_lower_case: false was not read")
    expect(True, WordPiece.load(vocab, lowercase=True).lowercase, "the argument goes before the config")
    config.write_text(json.dumps({"model_max_length": 512}), encoding="utf-8")
    expect(True, WordPiece.load(vocab).lowercase, "a config without do_lower_case means uncased")


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ("{", "is not JSON"),
        ('{"do_lower_case": true, "strip_accents": false}', "strip_accents"),
        ('{"tokenize_chinese_chars": false}', "tokenize_chinese_chars"),
    ],
)
def test_configs_that_would_give_wrong_ids_are_refused(vocab, config, reason):
    vocab.with_name("tokenizer_config.json").write_text(config, encoding="utf-8")
    with pytest.raises(UserError, match=rf"tokenizer_config\.json .*{reason}"):
        WordPiece.load(vocab)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "cannot read .*vocab.txt: No such file"),
        ("\n".join(PIECES).encode("utf-16"), "vocab.txt is not UTF-8 text"),
        (b"<unk>\n<s>\n[CLS]\n[PAD]\n", r"vocab.txt has no \[UNK\] \[SEP\] \[MASK\]"),
        (b"", r"vocab.txt has no \[PAD\]"),
    ],
)
def test_user_errors_are_one_line(tmp_path, content, reason):
    path = tmp_path / "vocab.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=reason) as caught:
        WordPiece.load(path)
    assert "\n" not in str(caught.value), f"expected one line, came {str(caught.value)!r}"


# ------------------------------------------------ the published tokenizer as the judge


@pytest.fixture
def published(minilm):
    """MiniLM's tokenizer.json in the `tokenizers` library, which else would cut and pad to 128 ids."""
    tokenizer = oracle("tokenizers").Tokenizer.from_file(str(minilm / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def expect_published_ids(minilm, published, lines: list[str]) -> None:
    wordpiece = WordPiece.load(minilm / "vocab.txt")
    for line in lines:
        theirs = published.encode(line, add_special_tokens=False)
        ours = wordpiece.encode(line)
        assert ours == theirs.ids, (
            f"{line!r}\nexpected {theirs.tokens}\ncame     {[wordpiece.piece(id) for id in ours]}\n"
            "likely mistake: a rule of basic_tokens or of the cutting; the tests above take them one by one"
        )


def test_published_ids_on_1000_english_lines(minilm, published, shared_data):
    with open(shared_data / "sst5" / "sst-train.txt", encoding="utf-8") as file:
        lines = [line.split("|||")[1].strip() for line in islice(file, 1000)]
    assert len(lines) == 1000, f"expected 1,000 lines of sst5, came {len(lines)}"
    expect_published_ids(minilm, published, lines)


def test_published_ids_on_korean(minilm, published, shared_data):
    with open(shared_data / "nsmc" / "dev.tsv", encoding="utf-8") as file:
        lines = [line.rstrip("\n").split("\t")[1] for line in islice(file, 1, 501)]
    expect_published_ids(minilm, published, lines)


def test_published_ids_on_nasty_lines(minilm, published):
    lines = [
        "", "   ", "\t\n\r\u00a0\u3000", "a\tb\r\nc\u2028d\x0be\x00f\ufffdg\u200bh\u200dI",
        "Cafe\u0301 CAFÉ naïve Ångström ŁÓDŹ straße İstanbul \ufb01ne \u01c4 ½ ² Ⅷ",
        "e\u0301\u0323\u0302 \u0301 \u0301a", "a≠b ≤ ` \u1fef ; \u037e", "Σίσυφος σ",
        "I \u2764\ufe0f 🏳\ufe0f\u200d🌈 👩\u200d👩\u200d👧 😀😀!! ok👍ok", "한국어ㅋㅋㅋ ㅠㅠ 좋아요!!! ★★★☆",
        "北京in한국어2東京タワー、「すごい」。", "\U00020000\U0002f800 \uf900", "हिन्दी ไทย العربية",
        "$5+3=8 ^_^ <b>|~x~|</b> {a}[b]\\c/ @me #tag ##able ###", "don't co-op. e.g. U.S.A. \"q\" “q” …",
        "[MASK] [CLS]x[SEP] a[MASK]b [mask] [ MASK ] [UNK][PAD] [[MASK]] [MASK", "[unused1]",
        "a" * 100, "a" * 101, "ab" * 200 + " ok", "é" * 100 + " " + "é" * 101, "한" * 33 + " " + "한" * 34,
    ]  # fmt: skip
    expect_published_ids(minilm, published, lines)


def test_published_vocabulary_round_trip(minilm):
    wordpiece = WordPiece.load(minilm / "vocab.txt")
    came = [wordpiece.vocab_size, wordpiece.pad_id, wordpiece.unk_id, wordpiece.cls_id, wordpiece.mask_id]
    expect([30522, 0, 100, 101, 103], came, "the ids are line numbers counted from 0")
    text = "the capital of france is [MASK] , unaffable as ever ."
    expect(text, wordpiece.decode(wordpiece.encode(text)), "spaced words in lower case must come back")
