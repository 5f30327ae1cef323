"""Scores of written texts: worked by hand, against brute force, and what sacrebleu and rouge_score printed."""

from fractions import Fraction
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minit5.scores import chrf, common_length, exact_match, rouge_l
from tests.explain import equal

SCORES = [exact_match, chrf, rouge_l]
LETTERS = st.text("abc가나다 ", max_size=12)
TEXTS = st.lists(LETTERS, min_size=1, max_size=4)
PAIRS = st.lists(st.tuples(LETTERS, LETTERS), min_size=1, max_size=4)
WORDS = st.lists(st.sampled_from(["나는", "the", "a"]), max_size=7)
quickly = settings(max_examples=100, deadline=None, database=None)


def near(came: float, expected: float, mistake: str) -> None:
    """Equal up to the rounding of float64."""
    equal(came, pytest.approx(expected, rel=1e-12, abs=1e-12), mistake)


# ---- exact match


@pytest.mark.parametrize("written, reference, expected", [
    ("a house", "a house", 1.0), (" a\n  house\t", "a house", 1.0), ("학교에  갔다 ", "학교에 갔다", 1.0),
    ("A house", "a house", 0.0), ("a house.", "a house", 0.0), ("ahouse", "a house", 0.0), ("house a", "a house", 0.0),
    ("", " \n", 1.0), ("", "a", 0.0), ("a", "a house", 0.0), ("학교에 갔다", "학교에 간다", 0.0)])
def test_exact_match_by_hand(written, reference, expected):
    equal(exact_match([written], [reference]), expected, "only blanks are made alike: no capitals, marks or order")


def test_exact_match_is_a_share_of_the_list():
    equal(exact_match(["a", "b", "c", "d"], ["a", "x", "c", "y"]), 0.5, "equal pairs, divided by all pairs")
    equal(exact_match(["a", "b"], ["b", "a"]), 0.0, "a text belongs to the reference at its own place")


# ---- chrF


@pytest.mark.parametrize("written, reference, p, r", [
    ("ab", "abc", (1 + 1) / 2, (2 / 3 + 1 / 2) / 2),  # nobody wrote three letters, so n = 3 is left out
    ("abc", "ab", (2 / 3 + 1 / 2) / 2, (1 + 1) / 2),
    ("a b\tc\n", "abc", 1, 1),
    ("aaa", "a", 1 / 3, 1),  # the reference has one a, so one is right
    ("a", "aaa", 1, 1 / 3),
    ("A", "a", 0, 0),
    ("abcdefgh", "abcdefgx", *[(7 / 8 + 6 / 7 + 5 / 6 + 4 / 5 + 3 / 4 + 2 / 3) / 6] * 2),  # n ends at 6
    # but for 갔 and 간 the same: 6 of 7 letters, 4 of 6 pairs (나는 는학 학교 교에), 3 of 5 runs of three ...
    ("나는 학교에 갔다", "나는 학교에 간다", *[(6 / 7 + 4 / 6 + 3 / 5 + 2 / 4 + 1 / 3 + 0 / 2) / 6] * 2)])
def test_chrf_by_hand(written, reference, p, r):
    expected = 5 * p * r / (4 * p + r) if p else 0.0
    near(chrf([written], [reference]), expected, "F of the mean precision and the mean recall, which counts double")


def test_chrf_counts_over_the_whole_list():
    """"a" for "a" and "bb" for "cc": 1 of 3 letters, 0 of 1 pair of letters. The mean of the scores would be 1/2."""
    near(chrf(["a", "bb"], ["a", "cc"]), (1 / 3 + 0) / 2, "n-grams of all pairs are counted together")


def test_chrf_counts_no_match_with_the_reference_of_another_text():
    equal(chrf(["aa", "bb"], ["bb", "aa"]), 0.0, "n-grams are compared within a pair")


# corpus_chrf([written], [[reference]]).score of sacrebleu 2.6.0 (nrefs:1|case:mixed|eff:yes|nc:6|nw:0|space:no)
BY_SACREBLEU = [
    ("the cat sat on the mat", "the cat sat on the mat", 100.0),
    ("the cat is on a mat", "the cat sat on the mat", 35.54112138153725),
    ("A house, old and small.", "a small old house", 45.02823323657322),
    ("나는 어제 학교에 갔다", "나는 어제 학교에 갔습니다", 67.96762956160171),
    ("고양이가 집에서 잔다", "강아지가 집에서 잡니다 .", 19.141122015909243),
    ("", "nothing was written", 0.0),
    ("something was written", "", 0.0),
    ("a", "a", 100.0),
    ("a", "banana", 19.999999999999996),
    ("banana", "a", 50.0),
    ("가", "나", 0.0),
    ("na na na na", "banana", 53.66165102153507),
    ("T5가 wrote  한국어\tand English\n", "T5 wrote English and 한국어", 50.802315496551856),
]
LIST_BY_SACREBLEU = 46.350207260444584  # all of them as one list


@pytest.mark.parametrize("written, reference, expected", BY_SACREBLEU)
def test_chrf_as_sacrebleu_prints_it(written, reference, expected):
    near(100 * chrf([written], [reference]), expected, "the published score, blanks and short texts included")


def test_chrf_of_a_list_as_sacrebleu_prints_it():
    written, references, _ = zip(*BY_SACREBLEU)
    near(100 * chrf(written, references), LIST_BY_SACREBLEU,
         "what is written for a reference without n-grams of that length does not count, in a list either")


def chrf_slowly(pairs: list[tuple[str, str]]) -> float:
    """Fractions, and each n-gram of the reference crossed out by one that was written."""
    precisions, recalls = [], []
    for n in range(1, 7):
        n_written = n_reference = n_common = 0
        for pair in pairs:
            ours, theirs = ([run for i in range(len(text)) if len(run := text[i : i + n]) == n]
                            for text in (text.replace(" ", "") for text in pair))
            n_written += len(ours) if theirs else 0
            n_reference += len(theirs)
            for run in ours:
                if run in theirs:
                    theirs.remove(run)
                    n_common += 1
        if n_written and n_reference:
            precisions.append(Fraction(n_common, n_written))
            recalls.append(Fraction(n_common, n_reference))
    if not sum(precisions):
        return 0.0
    p, r = sum(precisions) / len(precisions), sum(recalls) / len(recalls)
    return float(1 / (Fraction(1, 5) / p + Fraction(4, 5) / r))  # a weighted harmonic mean


@quickly
@given(PAIRS)
def test_chrf_equals_a_slow_count(pairs):
    near(chrf(*zip(*pairs)), chrf_slowly(pairs), "n-grams of letters, counted as often as both texts have them")


@quickly
@given(st.text("ab", min_size=1, max_size=9).flatmap(
    lambda a: st.tuples(st.just(a), st.text("ab", min_size=len(a), max_size=len(a)))))
def test_chrf_of_equally_long_texts_is_symmetric(pair):
    a, b = pair
    near(chrf([a], [b]), chrf([b], [a]), "precision and recall have the same denominators here")


@pytest.mark.parametrize("part, whole", [("ab", "abc"), ("학교에", "학교에 갔다")])
def test_chrf_forgives_what_is_too_much_more_than_what_is_missing(part, whole):
    assert chrf([whole], [part]) > chrf([part], [whole]), "likely mistake: beta weighs precision, or texts are swapped"


# ---- ROUGE-L


@pytest.mark.parametrize("written, reference, expected", [
    ("police kill the gunman", "police killed the gunman", 3 / 4),  # Lin 2004, section 3.1: S2, S3 and S4 there
    ("the gunman kill police", "police killed the gunman", 2 / 4),
    ("the gunman police killed", "police killed the gunman", 2 / 4),
    ("a b", "a x b y", 2 * 2 / (2 + 4)),  # P = 1, R = 1/2
    ("The END", "the end", 1.0), ("the end", "THE End", 1.0),
    ("the end.", "the end", 2 * 1 / (2 + 2)),
    ("나는 학교에 갔다", "나는 어제 학교에 갔다", 2 * 3 / (3 + 4)),
    ("학교에 나는", "나는\t학교에\n", 2 * 1 / (2 + 2)),
    ("", "a", 0.0), ("a", " ", 0.0), ("", "", 0.0)])
def test_rouge_l_by_hand(written, reference, expected):
    near(rouge_l([written], [reference]), expected, "F1 of the words that both have in the same order, gaps allowed")


def test_rouge_l_is_a_mean_over_the_pairs():
    near(rouge_l(["a", "a b c d"], ["a", "a x y z"]), (1 + 1 / 4) / 2, "each pair weighs the same, long or short")


# fmeasure of rougeL by rouge_score 0.1.2, without stemming, on texts of letters a to z alone
@pytest.mark.parametrize("written, reference, expected", [
    ("the old dog sees a small cat", "a cat sees the old dog near the house", 0.375),
    ("A bird follows", "the small BIRD follows a red bird", 0.4),
    ("the the the", "the", 0.5)])
def test_rouge_l_as_rouge_score_prints_it(written, reference, expected):
    near(rouge_l([written], [reference]), expected, "the published score, where words are the same ones")


def longest_in_both(a: list[str], b: list[str]) -> int:
    """Every choice of words of a, the long ones first, until one is a choice of words of b."""
    return next(n for n in range(len(a), -1, -1) if set(combinations(a, n)) & set(combinations(b, n)))


@quickly
@given(WORDS, WORDS)
def test_the_common_subsequence_equals_brute_force(a, b):
    equal(common_length(a, b), longest_in_both(a, b), "gaps are allowed on both sides; each word is used once")


# ---- all of them


@quickly
@given(TEXTS)
def test_a_list_scores_one_against_itself(texts):
    texts = [f"a{text}" for text in texts]  # an empty text shares nothing, not even with itself
    equal([score(texts, texts) for score in SCORES], [1.0, 1.0, 1.0], "equal texts are the best that there is")


@quickly
@given(st.lists(st.text("abc ", max_size=12), min_size=1, max_size=4), st.data())
def test_texts_without_a_common_letter_score_zero(written, data):
    n = len(written)
    references = data.draw(st.lists(st.text("가나다 ", min_size=1, max_size=12).map(lambda text: text + "라"),
                                    min_size=n, max_size=n))
    equal([score(written, references) for score in SCORES], [0.0, 0.0, 0.0], "there is nothing in common")


@quickly
@given(PAIRS)
def test_scores_lie_between_zero_and_one_and_blanks_do_not_matter(pairs):
    written, references = zip(*pairs)
    spaced = ["\n " + text.replace(" ", " \t ") + "  " for text in written]
    for score in SCORES:
        came = score(written, references)
        assert 0 <= came <= 1 + 1e-12, f"{score.__name__}: expected a share, came {came}"
        equal(score(spaced, references), came, f"{score.__name__}: one blank is as good as three, or as a tab")


@quickly
@given(PAIRS)
def test_which_side_is_the_reference_does_not_matter(pairs):
    written, references = zip(*pairs)
    for score in (exact_match, rouge_l):
        near(score(written, references), score(references, written), f"{score.__name__} is symmetric")


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("written, references", [([], []), (["a"], []), ([], ["a"]), (["a"], ["a", "b"]),
                                                 (["a", "b"], ["a"])])
def test_lists_that_do_not_fit_are_refused(score, written, references):
    with pytest.raises(ValueError, match=f"came {len(written)} and {len(references)}"):
        score(written, references)
