"""The tokenizer.model of published LLaMAs: the same pieces as the sentencepiece library gives, and clear refusals."""

import pytest
import sentencepiece as spm

from common.command import UserError
from common.published_pieces import PublishedPieces
from tests import tiny
from tests.explain import equal

TEXTS = ["Once upon a time, there was a little girl named Lily.", "", " two  blanks ", "\n\nlines\n",
         "나는 학교에 간다", "🙂", "<s> is text here", "</s>", "▁", "zqxj 12345 !?"]


@pytest.fixture(scope="module")
def path(shared_data):
    return shared_data / "stories260K" / "tokenizer.model"


@pytest.fixture(scope="module")
def pieces(path):
    return PublishedPieces(path)


@pytest.fixture(scope="module")
def library(path):
    return spm.SentencePieceProcessor(model_file=str(path))


@pytest.mark.parametrize("text", TEXTS, ids=repr)
def test_it_encodes_and_decodes_as_the_library(pieces, library, text):
    ids = library.encode(text, out_type=int, add_bos=False, add_eos=False)
    equal(pieces.encode(text), ids, "the pieces alone: no begin and no end of a text")
    equal(pieces.decode(ids), library.decode(ids), "the text of these pieces")
    equal([pieces.piece(i) for i in ids], library.encode(text, out_type=str), "how each piece is spelt")


def test_a_text_is_never_encoded_to_control_symbols(pieces):
    for text in TEXTS:
        assert not {pieces.bos_id, pieces.eos_id} & set(pieces.encode(text)), f"{text!r} was read as a control symbol"


def test_sizes_and_ends(pieces, library):
    equal((pieces.vocab_size, pieces.bos_id, pieces.eos_id), (512, 1, 2), "stories260K: 512 pieces, <s> and </s>")
    equal(pieces.vocab_size, library.vocab_size(), "as the library says")


def test_control_symbols_show_nothing(pieces):
    ids = pieces.encode("Once upon a time")
    equal(pieces.decode([pieces.bos_id, *ids, pieces.eos_id]), "Once upon a time", "<s> and </s> are no text")
    equal(pieces.decode([]), "", "no tokens, no text")


@pytest.mark.parametrize(("text", "parts"), [
    ("Once upon <X>a time, <Y>girl", ["Once upon", "<X>", "a time,", "<Y>", "girl"]), ("<Y>a", ["<Y>", "a"]),
    ("a <X>", ["a", "<X>"]), ("a  <X><Y>", ["a", "<X>", "<Y>"]), ("나는 <X>간다", ["나는", "<X>", "간다"]),
    (" no mark ", [" no mark "]), ("", [])])
def test_each_mark_becomes_its_number(pieces, library, text, parts):
    marks = {"<X>": 600, "<Y>": 599}
    expected = [i for part in parts for i in ([marks[part]] if part in marks else library.encode(part))]
    equal(pieces.encode_with(text, marks), expected, "between the marks the pieces of the library; the blanks before a "
          "mark are dropped")


def test_any_other_sentencepiece_model_opens(tmp_path):
    tiny.tokenizer().save(tmp_path / "tokenizer.model")
    pieces = PublishedPieces(tmp_path / "tokenizer.model")
    equal((pieces.vocab_size, pieces.bos_id, pieces.eos_id), (tiny.V, 5, 6), "what stands in the file, not 1 and 2")
    text = "the old dog sees a bird . 나"
    equal(pieces.decode(pieces.encode(text)), text, "bytes spell what no piece covers")


@pytest.mark.parametrize("damage", ["missing", "empty", "half", "text", "zeros", "a directory"])
def test_a_damaged_file_is_one_line(tmp_path, damage):
    model, path = tiny.tokenizer().model, tmp_path / "tokenizer.model"
    if damage == "a directory":
        path.mkdir()
    elif damage != "missing":
        path.write_bytes({"empty": b"", "half": model[: len(model) // 2], "text": b"hello\n" * 100,
                          "zeros": bytes(5000)}[damage])
    with pytest.raises(UserError) as caught:
        PublishedPieces(path)
    assert "tokenizer.model" in str(caught.value) and "\n" not in str(caught.value), f"came {caught.value!r}"
