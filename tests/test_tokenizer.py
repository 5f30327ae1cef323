"""The tokenizer: any text comes back unharmed, no text becomes a special token."""

import io
import re
from itertools import product

import pytest
import sentencepiece
from hypothesis import example, given
from hypothesis import strategies as st

from common.command import UserError
from common.tokenizer import SPECIAL, Tokenizer, split_at
from tests.explain import equal

VOCAB = 400
SYLLABLES = [a + b for a, b in product("bdfgklmnprst", "aeiou")]
WORDS = [a + b for a, b in product(SYLLABLES, SYLLABLES)]  # bebe, bebi ...: more to learn than the sentences hold
TEXTS = [" ".join(WORDS[i::90]) for i in range(90)] + 9 * [
    "the cat saw the mouse.", "a dog followed my friend to the town.", "우리는 학교에 가고 친구를 만났다."]
SPECIAL_TEXTS = [*SPECIAL, "".join(SPECIAL), " ".join(SPECIAL), "the [MASK] cat</s>", "<0x41>", "▁[MASK]▁"]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.train(TEXTS, VOCAB)


# ---- decode(encode(text)) == text

ANY_TEXT = st.text(st.one_of(st.characters(exclude_categories=["Cs"]), st.sampled_from(" ▁\n\r\t\0[]<>ab한글😀")))


@given(ANY_TEXT)
@example("")
@example(" ")
@example("  two blanks before and after  ")
@example("lines\nand\r\nlines\r\n")
@example("\0 \x01 \t \x1b \x7f")
@example("▁")
@example("a▁b ▁ c▁")
@example("우리는 친구를 만났다. 뷁")
@example("가")  # a syllable in single letters stays in single letters: nothing is normalised
@example("ﬁ Å ½ ０")
@example("👩‍👩‍👧 😀 🇰🇷")
@example("\u3000\xa0\u200b\ufeff\ufffd\u2028")
@example("[MASK] <s> </s> <0x41> <unk>")
def test_any_text_comes_back(tokenizer, text):
    came = tokenizer.decode(tokenizer.encode(text))
    assert came == text, (f"expected {text!r}, came {came!r}; likely mistake: blanks trimmed, characters normalised, "
                          "or a ▁ of the text taken for a blank")


@given(ANY_TEXT)
def test_every_id_is_an_ordinary_piece(tokenizer, text):
    ids = tokenizer.encode(text)
    assert all(len(SPECIAL) <= i < VOCAB for i in ids), f"{text!r} was encoded to {ids}: expected {len(SPECIAL)} to 399"


def test_nothing_is_encoded_to_nothing(tokenizer):
    equal(tokenizer.encode(""), [], "an empty text has no pieces")
    equal(tokenizer.decode([]), "", "no pieces, no text")


def test_a_word_is_the_same_pieces_first_and_later(tokenizer):
    once = tokenizer.encode("cat")
    equal(tokenizer.encode("cat cat"), once * 2, "the first word needs a blank before it as the others have")


def test_what_was_never_seen_is_spelled_in_bytes(tokenizer):
    pieces = [tokenizer.piece(i) for i in tokenizer.encode("뷁")]
    equal(pieces[-3:], [f"<0x{byte:02X}>" for byte in "뷁".encode()], "byte fallback: UTF-8 bytes, never [UNK]")


def test_a_known_text_takes_fewer_pieces_than_letters(tokenizer):
    text = "the cat saw the mouse."
    pieces = [tokenizer.piece(i) for i in tokenizer.encode(text)]
    equal("".join(pieces), "▁" + text.replace(" ", "▁"), "the pieces spell the text, ▁ for every blank")
    assert len(pieces) < len(text), f"expected fewer pieces than the {len(text)} letters, came {pieces}"


# ---- special tokens


def test_special_tokens_have_the_first_ids(tokenizer):
    ids = [tokenizer.pad_id, tokenizer.unk_id, tokenizer.cls_id, tokenizer.sep_id, tokenizer.mask_id,
           tokenizer.bos_id, tokenizer.eos_id]
    equal(ids, [0, 1, 2, 3, 4, 5, 6], "[PAD] [UNK] [CLS] [SEP] [MASK] <s> </s>, in this order")
    equal([tokenizer.piece(i) for i in ids], ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "<s>", "</s>"],
          "the ids and the pieces of the model must agree")


def test_pad_bos_and_eos_are_three(tokenizer):
    ids = {tokenizer.pad_id, tokenizer.bos_id, tokenizer.eos_id}
    equal(len(ids), 3, "a model that pads with its end-of-text token never learns to stop")


@pytest.mark.parametrize("text", SPECIAL_TEXTS)
def test_no_text_is_a_special_token(tokenizer, text):
    ids = tokenizer.encode(text)
    equal([tokenizer.piece(i) for i in ids if i < len(SPECIAL)], [], f"{text!r} is text and must be spelled out")
    equal(tokenizer.decode(ids), text, "and it comes back as text")


def test_text_with_the_names_of_special_tokens_can_be_trained_on():
    trained = Tokenizer.train([*TEXTS, *(f"{name} is a name {name}" for name in SPECIAL * 9)], VOCAB)
    for text in SPECIAL_TEXTS:
        equal([i for i in trained.encode(text) if i < len(SPECIAL)], [], f"{text!r} in training text became special")


def test_special_tokens_are_left_out_of_decoded_text(tokenizer):
    ids = [tokenizer.cls_id, *tokenizer.encode("the cat"), tokenizer.sep_id, tokenizer.pad_id, tokenizer.eos_id]
    equal(tokenizer.decode(ids), "the cat", "control symbols have no text")


# ---- a text with blanks to fill


@pytest.mark.parametrize(("text", "before", "after"), [
    ("the cat [MASK] the mouse.", "the cat", ["the mouse."]), ("[MASK] cat", "", ["cat"]), ("the [MASK]", "the", [""]),
    ("[MASK] [MASK] dog", "", ["", "dog"]), ("학교에 [MASK] 친구", "학교에", ["친구"]), ("▁ [MASK] ▁", "▁", ["▁"])])
def test_mask_in_a_text_takes_the_place_of_a_word(tokenizer, text, before, after):
    expected = tokenizer.encode(before)
    for part in after:
        expected += [tokenizer.mask_id, *tokenizer.encode(part)]
    equal(tokenizer.encode_masked(text), expected, "the blank before [MASK] belongs to the mask: a lone ▁ there "
          "is something that the model never saw; the blank after it belongs to the next word")


def test_a_text_without_mask_is_encoded_as_ever(tokenizer):
    for text in ("", "  the cat ", "▁", "[mask]"):
        equal(tokenizer.encode_masked(text), tokenizer.encode(text), "only [MASK] is special")


# ---- a text with marks in it


@pytest.mark.parametrize(("text", "expected"), [
    ("Thank you <X> me to", ["Thank you", "<X>", " me to"]), ("<X>", ["", "<X>", ""]), ("no mark", ["no mark"]),
    ("", [""]), ("a<X>b<Y>c", ["a", "<X>", "b", "<Y>", "c"]), ("<Y> <X><X>", ["", "<Y>", "", "<X>", "", "<X>", ""]),
    ("  a  <X>  b  ", ["  a", "<X>", "  b  "]), ("a \n\t<X>\nb", ["a", "<X>", "\nb"]),
    ("나는 <Y> 간다", ["나는", "<Y>", " 간다"]), ("<x> <X", ["<x> <X"])])
def test_a_text_is_split_at_its_marks(text, expected):
    equal(split_at(text, ["<X>", "<Y>"]), expected, "text and marks by turns, and the blanks before a mark are dropped")


@pytest.mark.parametrize("mark", ["[MASK]", "a.c", "(x|y)", "^$", "\\d", "*"])
def test_a_mark_is_no_pattern(mark):
    equal(split_at(f"abc d {mark} 7", [mark]), ["abc d", mark, " 7"], "re.escape: [MASK] is not one of M, A, S, K")


def test_each_mark_becomes_its_number(tokenizer):
    the_cat, saw, mouse = tokenizer.encode("the cat"), tokenizer.encode("saw"), tokenizer.encode("the mouse.")
    marks = {"<X>": 1000, "<Y>": 999}
    for text, expected in (("the cat <X> saw <Y> the mouse.", [*the_cat, 1000, *saw, 999, *mouse]),
                           ("the cat<X> saw", [*the_cat, 1000, *saw]), ("the cat", the_cat), ("", []),
                           ("<Y> <X> saw", [999, 1000, *saw]), ("the cat <X>", [*the_cat, 1000]), ("<X>", [1000]),
                           ("<X><X> the mouse.", [1000, 1000, *mouse])):
        equal(tokenizer.encode_with(text, marks), expected, f"{text!r}: a word behind a mark is the same pieces as "
              "anywhere else, and no lone ▁ stands before a mark")


def test_letters_joined_to_a_mark_begin_no_word(tokenizer):
    ids = tokenizer.encode_with("the cat<X>cat", {"<X>": 1000})
    behind = ids[ids.index(1000) + 1:]
    equal("".join(tokenizer.piece(i) for i in behind), "cat", "no blank stood there, so none comes into the pieces")
    equal(tokenizer.decode(behind), "cat", "and it comes back")


@pytest.mark.parametrize(("before", "after"), [("a ▁", "▁ b"), ("뷁", "뷁"), ("[MASK]", "</s>"), ("  two", "blanks  ")])
def test_around_a_mark_all_else_is_text(tokenizer, before, after):
    ids = tokenizer.encode_with(f"{before}<X>{after}", {"<X>": 1000})
    equal([tokenizer.decode(part) for part in (ids[:ids.index(1000)], ids[ids.index(1000) + 1:])], [before, after],
          "a ▁ of the text, letters never seen, names of special tokens, blanks: spelled out as ever")


# ---- training, saving, loading


def test_the_size_is_the_one_asked_for(tokenizer):
    equal(tokenizer.vocab_size, VOCAB, "special tokens and the 256 bytes count as pieces")


def test_the_same_text_gives_the_same_vocabulary():
    first, second = (Tokenizer.train(iter(TEXTS), VOCAB) for _ in range(2))
    assert first.model == second.model, "the same text gave two models: is training run on several threads?"


def test_save_and_load(tokenizer, tmp_path):
    path = tmp_path / "tokenizer.model"
    tokenizer.save(path)
    loaded = Tokenizer.load(path)
    equal(loaded.encode("the cat 학교"), tokenizer.encode("the cat 학교"), "the file must hold the same vocabulary")
    assert loaded.model == tokenizer.model, "the file must hold the model's bytes, unchanged"
    equal([file.name for file in tmp_path.iterdir()], ["tokenizer.model"], "no temporary file may stay behind")


# ---- mistakes that a user can make


def test_a_vocabulary_too_large_for_the_text_names_the_largest():
    with pytest.raises(UserError, match="100,000 pieces") as error:
        Tokenizer.train(TEXTS, 100_000)
    found = re.search(r"at most ([\d,]+)", str(error.value))
    assert found, f"expected the largest possible size in the message, came: {error.value}"
    largest = int(found[1].replace(",", ""))
    equal(Tokenizer.train(TEXTS, largest).vocab_size, largest, "the size that the message names must work")
    with pytest.raises(UserError):
        Tokenizer.train(TEXTS, largest + 1)


@pytest.mark.parametrize("vocab_size", [3, 100, 263, 270])
def test_a_vocabulary_too_small_for_bytes_and_letters_is_refused(vocab_size):
    with pytest.raises(UserError, match=f"a vocabulary of {vocab_size} pieces"):
        Tokenizer.train(TEXTS, vocab_size)


def test_a_missing_file_is_refused_by_name(tmp_path):
    with pytest.raises(UserError, match=r"nowhere\.model is not there"):
        Tokenizer.load(tmp_path / "nowhere.model")


@pytest.mark.parametrize("share", [0, 0.01, 0.5, 0.999])
def test_a_truncated_model_is_refused(tokenizer, share):
    with pytest.raises(UserError, match="tokenizer model"):
        Tokenizer(tokenizer.model[:int(share * len(tokenizer.model))])


def test_a_text_file_is_refused():
    with pytest.raises(UserError, match="tokenizer model"):
        Tokenizer(b"the quick brown fox\n" * 9)


@pytest.mark.parametrize("vocab_size", [6, 60])
def test_a_foreign_model_is_refused(vocab_size):
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["ab", "ba"] if vocab_size == 6 else TEXTS), model_writer=model,
        vocab_size=vocab_size, hard_vocab_limit=False, minloglevel=2)
    with pytest.raises(UserError, match="tokenizer model"):
        Tokenizer(model.getvalue())
