"""The part of a text that answers: windows, decoding, SQuAD's scores (minibert/answering.py)."""

import pytest
import torch

from common.command import UserError
from common.labelled import Answered
from common.wordpiece import SPECIALS, WordPiece
from minibert import answering
from minibert.answering import LONGEST, best_span, normalised, pieces_and_places, rows_of, word_f1
from tests import tiny
from tests.explain import equal

CONTEXT = "The old cat sees a dog near the river and the small bird follows the green letter under a tree today ."


def test_squad_normalisation():
    cases = {"The Cat!": "cat", "a  an the": "", "U.S.A.": "usa", "An apple, a day": "apple day", "theatre": "theatre",
             "서울 입니다.": "서울 입니다"}
    equal({text: normalised(text) for text in cases}, cases, "lower, no punctuation, no articles, single blanks")


@pytest.mark.parametrize(("given", "truth", "expected"), [
    ("cat", "the cat", 1.0), ("big cat", "cat", 2 / 3), ("dog", "cat", 0.0), ("", "cat", 0.0), ("the", "a", 1.0),
    ("cat cat", "cat", 2 / 3), ("b c d", "c d e", 2 / 3)])
def test_word_f1_by_hand(given, truth, expected):
    assert word_f1(given, truth) == pytest.approx(expected)


def test_scores():
    truth = [Answered("q", "the cat", "cat", 4), Answered("q", "dog", "dog", 0)]
    equal(answering.scores(["The cat.", "small dog"], truth), {"exact_match": 0.5, "word_f1": (1 + 2 / 3) / 2}, "means")


def brute_force(logits, begin, end):
    spans = [(logits[i, 0].item() + logits[j, 1].item(), i, j) for i in range(begin, end)
             for j in range(i, min(end, i + LONGEST))]
    return max(spans)[1:]


def test_best_span_by_brute_force():
    for seed in range(50):
        torch.manual_seed(seed)
        logits, begin, end = torch.randn(60, 2), 3 + seed % 5, 20 + seed % 40
        score, first, last = best_span(logits, begin, end)
        equal((first, last), brute_force(logits, begin, end),
              "first <= last, at most LONGEST tokens, inside the context")
        assert score == pytest.approx((logits[first, 0] + logits[last, 1]).item())


def test_the_answer_never_lies_in_the_question_or_in_padding():
    t = tiny.tokenizer()
    example = Answered("the cat", CONTEXT, "cat", 8)
    [row], _ = rows_of([example], [], t, 200)
    end = row.begin + len(row.places)
    logits = torch.zeros(200, 2)
    logits[: row.begin] = logits[end:] = 100.0  # the question, [SEP] and padding look best
    _, first, last = best_span(logits, row.begin, end)
    assert row.begin <= first <= last < end
    backwards = torch.zeros(200, 2)
    backwards[row.begin + 5, 0] = backwards[row.begin + 2, 1] = 10.0  # ends before it begins
    _, first, last = best_span(backwards, row.begin, end)
    assert first <= last


@pytest.mark.parametrize("text", [CONTEXT, "서울은 Zürich와 다르다. ▁ 밥🙂을", "a  b\n\tc"])
def test_places_point_at_the_letters_of_each_piece(text):
    t = tiny.tokenizer()
    ids, places = pieces_and_places(t, text)
    equal(ids, t.encode(" ".join(text.split())), "word by word the pieces are those of the whole text")
    covered = "".join(text[begin:end] for begin, end in places)
    equal(covered, "".join(text.split()), "the pieces cover all letters but the blanks, each once")


def test_places_of_wordpiece():
    vocabulary = WordPiece([*SPECIALS, "un", "##aff", "##able", "!", "cafe", "[", "mask", "]", "o"])
    text = "Unaffable Café! [MASK] xyzo öo"
    ids, places = pieces_and_places(vocabulary, text)
    equal([(vocabulary.piece(i), text[a:b]) for i, (a, b) in zip(ids, places)],
          [("un", "Un"), ("##aff", "aff"), ("##able", "able"), ("cafe", "Café"), ("!", "!"), ("[", "["),
           ("mask", "MASK"),
           ("]", "]"), ("[UNK]", "xyzo"), ("[UNK]", "öo")],
           "lowering and accents keep the places; [MASK] is no mask here")


def test_targets_point_at_the_answer():
    t = tiny.tokenizer()
    for answer in ("cat", "old cat sees", "tree today", "The"):
        start = CONTEXT.index(answer)
        [row], lost = rows_of([Answered("the cat", CONTEXT, answer, start)], [], t, 200)
        first, last = (target - row.begin for target in row.targets)
        equal(CONTEXT[row.places[first][0] : row.places[last][1]], answer, "begin and end are places in the row")
        equal(lost, "", "the answer is there")


def test_a_long_context_is_read_in_windows():
    t = tiny.tokenizer()
    question, start = "the cat", CONTEXT.index("green letter")
    example = Answered(question, CONTEXT, "green letter", start)
    n_context = len(pieces_and_places(t, CONTEXT)[0])
    max_len = len(t.encode(question)) + 3 + 10  # ten tokens of context a window
    windows, lost = rows_of([example], [], t, max_len)
    assert all(len(w.ids) <= max_len for w in windows) and len(windows) > 3
    seen = {place for w in windows for place in w.places}
    equal(len(seen), n_context, "every token is in some window")
    whole = [w for w in windows if w.targets != [0, 0]]
    assert whole, "some window holds the answer"
    for w in whole:
        first, last = (target - w.begin for target in w.targets)
        equal(CONTEXT[w.places[first][0] : w.places[last][1]], "green letter", "the place inside its window")
    equal(lost, "", "no answer is lost")


def test_an_answer_that_no_window_holds_is_counted():
    t = tiny.tokenizer()
    long = CONTEXT[CONTEXT.index("cat") : CONTEXT.index(" today")]
    windows, lost = rows_of([Answered("the", CONTEXT, long, CONTEXT.index("cat")), Answered("the", CONTEXT, "cat", 8)],
                            [], t,
                            14)
    assert lost.startswith("1 of 2 answers fit into no window of 14 tokens"), lost
    assert all(w.targets == [0, 0] for w in windows if w.example == 0)


def test_the_best_window_answers():
    t = tiny.tokenizer()
    example = Answered("the", CONTEXT, "cat", 8)
    windows, _ = rows_of([example], [], t, 16)
    logits = [torch.zeros(len(w.ids), 2) for w in windows]
    chosen = windows[2]
    logits[2][chosen.begin + 1] = 5.0
    begin, end = chosen.places[1]
    equal(answering.answers(None, logits, windows, [example]), [CONTEXT[begin:end]],
          "the window with the highest score")
    equal(answering.answers(None, [], [], [example]), [""], "nothing read, nothing answered")


def test_a_question_that_leaves_no_room():
    with pytest.raises(UserError, match="no room is left for its context"):
        rows_of([Answered("the cat and the dog and the bird", CONTEXT, "cat", 8)], [], tiny.tokenizer(), 9)
