"""Labelled sentences from files, and what is wrong with some files (common/labelled.py)."""

import json

import pytest

from common.command import UserError
from common.labelled import (
    Answered,
    Classified,
    Tagged,
    breaks_bio,
    read_answered,
    read_classified,
    read_tagged,
    text_of,
)
from tests.explain import equal


@pytest.fixture
def file(tmp_path):
    def write(text):
        path = tmp_path / "my.txt"
        path.write_text(text, encoding="utf-8")
        return path
    return write


def squad(context="The capital is Oslo.", question="What?", answer="Oslo", start=15):
    return json.dumps({"version": "1.1", "data": [{"title": "", "paragraphs": [{"context": context, "qas": [
        {"id": "1", "question": question, "answers": [{"text": answer, "answer_start": start}]}]}]}]})


def test_labels():
    equal([text_of(e) for e in (Classified("a b", "x"), Classified("a", "x", "b"), Tagged(("a", "b"), ("O", "O")),
                                Answered("q", "c d", "c", 0))], ["a b", "a b", "a b", "q c d"], "the input, no answer")


def test_classified_files(file):
    equal(read_classified(file("4 ||| A fine film .\n\n0 ||| Dull .\n")),
          [Classified("A fine film .", "4"), Classified("Dull .", "0")], "label ||| sentence")
    equal(read_classified(file("pos\tgood\nneg\tbad\n")),
          [Classified("good", "pos"), Classified("bad", "neg")], "label<TAB>sentence")
    equal(read_classified(file("yes\tA\tB\n")), [Classified("A", "yes", "B")], "two sentences")


@pytest.mark.parametrize(("text", "line", "says"), [
    ("pos\tgood\nneg\n", 2, "1 column;"), ("pos\tgood\nneg\tbad\tworse\n", 2, "3 columns"),
    ("pos\tgood\n\t bad\n", 2, "one of them empty"), ("1 ||| a ||| b\n", 1, "3 columns"), ("pos\n", 1, "1 column;"),
    ("1 ||| a\n2\tb\n", 2, "1 column;"), ("a\tb\tc\td\n", 1, "4 columns")])
def test_wrong_columns_are_named_by_line(file, text, line, says):
    with pytest.raises(UserError) as error:
        read_classified(file(text))
    assert f"line {line}: " in str(error.value) and says in str(error.value) and "\n" not in str(error.value)


def test_tagged_files(file):
    text = "-DOCSTART- -X- O\n\nAnna\tNNP\tB-PER\nKim NNP I-PER\n\n\nParis B-LOC\nis O\n"
    equal(read_tagged(file(text)), [Tagged(("Anna", "Kim"), ("B-PER", "I-PER")),
                                    Tagged(("Paris", "is"), ("B-LOC", "O"))],
          "the first column is the word, the last the tag, a blank line ends a sentence")


@pytest.mark.parametrize(("text", "line", "says"), [
    ("Anna O\nKim I-PER\n", 2, "I-PER does not continue"), ("Anna B-LOC\nKim I-PER\n", 2, "I-PER does not continue"),
    ("I I-PER\n", 1, "I-PER does not continue"), ("Anna B-PER\n\nKim I-PER\n", 3, "I-PER does not continue"),
    ("Anna\n", 1, "has no tag"), ("Anna PER\n", 1, "'PER' is no tag"), ("Anna B-\n", 1, "'B-' is no tag")])
def test_broken_tags_are_named_by_line(file, text, line, says):
    with pytest.raises(UserError) as error:
        read_tagged(file(text))
    assert f"line {line}: " in str(error.value) and says in str(error.value)


def test_breaks_bio():
    broken = [(a, b) for a in ("O", "B-X", "I-X", "B-Y", "I-Y") for b in ("O", "B-X", "I-X") if breaks_bio(a, b)]
    equal(broken, [("O", "I-X"), ("B-Y", "I-X"), ("I-Y", "I-X")], "only an I- can break, behind another kind or O")


def test_answered_files(file):
    equal(read_answered(file(squad())), [Answered("What?", "The capital is Oslo.", "Oslo", 15)], "SQuAD 1.1")


@pytest.mark.parametrize(("text", "says"), [
    (squad(start=14), "does not stand at letter 14"), (squad(answer="Rome"), "'Rome' to 'What?' does not stand"),
    (squad(start=-5), "does not stand"), (squad(answer="", start=0), "does not stand"), ("{", "is not SQuAD's JSON"),
    ("[]", "is not SQuAD's JSON"), (squad(context=None), "None is no text"), (squad(question=7), "7 is no text"),
    ('{"data": [{"paragraphs": [{"qas": [{}]}]}]}', "is not SQuAD's JSON"),
    ('{"data": []}', "holds no questions"),
    ('{"data": [{"paragraphs": [{"context": "a", "qas": [{"question": "q", "answers": []}]}]}]}', "has no answer")])
def test_what_is_wrong_with_squad_files(file, text, says):
    with pytest.raises(UserError) as error:
        read_answered(file(text))
    assert says in str(error.value) and "\n" not in str(error.value)
