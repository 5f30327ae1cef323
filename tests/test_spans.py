"""Span corruption: what is taken out can be put back, counts are the formula's, no choice is likelier than another."""

from collections import Counter
from itertools import combinations
from math import comb

import numpy as np
import pytest

from common.batches import random_state
from common.command import UserError
from minit5.spans import Span, corrupt, count_spans, divide, draw_spans, reassemble, spans_of
from tests.explain import equal
from tests.test_masking import within_five_sigma

END, SENTINELS = 1, list(range(1200, 1000, -1))  # sentinels above the pieces, which are 2 to 999 here
KINDS = [(0.15, 3.0), (0.15, 1.0), (0.5, 1.0), (0.5, 3.9), (0.3, 2.5), (0.9, 2.0), (0.01, 3.0), (0.99, 1.5)]


def words(text: str) -> list[str]:
    return text.split()


@pytest.fixture(scope="module")
def drawn():
    """10,000 random texts of 4 to 300 tokens: (tokens, noise, mean span, spans), by turns of all kinds."""
    made = []
    for i in range(10_000):
        rng = random_state(7, i)
        noise, mean_span = KINDS[i % len(KINDS)]
        tokens = rng.integers(2, 1000, rng.integers(4, 301)).tolist()
        made.append((tokens, noise, mean_span, draw_spans(len(tokens), noise, mean_span, rng)))
    return made


# ---- how much is taken out


@pytest.mark.parametrize(("length", "noise", "mean_span", "expected"), [
    (100, 0.15, 3.0, (15, 5)), (128, 0.15, 3.0, (19, 6)),  # 19.2 tokens, 6.33 spans
    (568, 0.15, 3.0, (85, 28)),  # Google's program cuts texts into 568, so that inputs have 512 tokens
    (4, 0.15, 3.0, (1, 1)), (10, 0.01, 3.0, (1, 1)),  # one of each at least
    (10, 0.15, 1.0, (2, 2)), (30, 0.15, 3.0, (4, 1)),  # round(1.5) and round(4.5): halves go to the even number
    (20, 0.5, 4.0, (10, 2)),  # round(2.5)
    (10, 0.99, 10 / 3, (9, 2)),  # something is left, and it separates two spans, not three
    (10, 0.7, 1.0, (7, 4)), (2, 0.5, 1.0, (1, 1)), (5, 0.6, 1.0, (3, 3))])
def test_counts_by_hand(length, noise, mean_span, expected):
    equal(count_spans(length, noise, mean_span), expected, "round(noise * length) tokens in round(tokens / mean_span) "
          "spans, at least one; one token is left at least, and one between two spans")


def test_a_text_of_googles_length_becomes_an_input_of_512():
    source, target = corrupt(range(568), draw_spans(568, 0.15, 3.0, random_state(0)), SENTINELS, END)
    equal((len(source), len(target)), (512, 114 + 1), "Google's random_spans_helper: 512 and 114; here a last sentinel "
          "comes to the target")


def test_the_share_and_the_mean_are_those_asked_for(drawn):
    for tokens, noise, mean_span, spans in drawn:
        n, n_out = len(tokens), sum(end - start for start, end in spans)
        equal((n_out, len(spans)), count_spans(n, noise, mean_span), "as many tokens and spans as counted")
        if 1 <= noise * n <= n - 1:
            assert abs(n_out - noise * n) <= 0.5, f"expected {noise:.0%} of {n} tokens to be taken out, came {n_out}"
        if mean_span <= n_out <= n / 2:  # else there is no room for so many spans, or for one so long
            assert abs(len(spans) - n_out / mean_span) <= 0.5, \
                f"expected spans of {mean_span} on average, came {len(spans)} of {n_out} tokens"


def test_about_15_percent_in_spans_of_about_3():
    """As a run has it, with windows of any length: roundings go both ways."""
    counted = [(n, *count_spans(n, 0.15, 3.0)) for n in range(20, 520)]
    n, n_out, n_spans = (sum(column) for column in zip(*counted))
    assert abs(n_out / n - 0.15) < 1e-3, f"expected 15 % of the tokens, came {n_out / n:.2%}"
    assert abs(n_out / n_spans - 3) < 0.02, f"expected spans of 3 tokens, came {n_out / n_spans:.3f}"


@pytest.mark.parametrize(("length", "mean_span"), [(3, 3.0), (1, 1.0), (1, 3.0), (0, 3.0), (4, 4.5), (5, 5.0)])
def test_a_text_not_longer_than_a_span(length, mean_span):
    for refuse in (lambda: count_spans(length, 0.15, mean_span),
                   lambda: draw_spans(length, 0.15, mean_span, random_state(0))):
        with pytest.raises(UserError) as caught:
            refuse()
        line = str(caught.value)
        assert f"has {length} tokens" in line and f"span of {mean_span:g}" in line and "\n" not in line, f"came {line}"


@pytest.mark.parametrize("mean_span", [1.0, 1.5, 3.0, 7.9])
def test_the_shortest_texts_that_are_enough(mean_span):
    for length in range(int(mean_span) + 1, 15):
        for noise in (0.01, 0.15, 0.5, 0.9, 0.99):
            for seed in range(5):
                spans = draw_spans(length, noise, mean_span, random_state(seed))
                assert 0 < sum(end - start for start, end in spans) < length, f"{length} tokens: {spans}"


# ---- where the spans lie


def test_spans_lie_apart_in_order_and_inside(drawn):
    for tokens, noise, mean_span, spans in drawn:
        told = f"noise {noise}, mean span {mean_span}, {len(tokens)} tokens: {spans}"
        assert all(start < end for start, end in spans), f"an empty span: {told}"
        assert spans[0][0] >= 0 and spans[-1][1] <= len(tokens), f"a span outside the text: {told}"
        assert all(end < start for (_, end), (start, _) in zip(spans, spans[1:])), \
            f"spans that touch are one span with two sentinels: {told}"


def all_choices(length: int, n_out: int, n_spans: int) -> list[tuple[Span, ...]]:
    """Every way to take n_out tokens out in n_spans spans, found by trying all sets of n_out places."""
    found = []
    for places in combinations(range(length), n_out):
        starts = [i for i in places if i - 1 not in places]
        ends = [i + 1 for i in places if i + 1 not in places]
        if len(starts) == n_spans:
            found.append(tuple(zip(starts, ends)))
    return found


def equally_often(counts: Counter, choices: list, mistake: str) -> None:
    """Pearson's sum of (came - expected)² / expected has the mean n - 1 and the variance 2 (n - 1)."""
    strange = set(counts) - set(choices)
    assert not strange, f"came {sorted(strange)[:3]}, which should be impossible"
    lacking = set(choices) - set(counts)
    assert not lacking, f"never came: {sorted(lacking)[:3]} of {len(choices)}; likely mistake: {mistake}"
    expected, degrees = counts.total() / len(choices), len(choices) - 1
    off = sum((counts[choice] - expected) ** 2 / expected for choice in choices)
    assert off <= degrees + 5 * (2 * degrees) ** 0.5, (
        f"expected each of {len(choices)} choices about {expected:.0f} times, came {min(counts.values())} to "
        f"{max(counts.values())} times; likely mistake: {mistake}")


@pytest.mark.parametrize(("length", "noise", "mean_span", "n_choices"), [
    (9, 0.45, 2.0, 45),  # 4 tokens in 2 spans: 3 ways to divide 4, 15 to place two spans around the 5 that are left
    (8, 0.5, 1.5, 30), (8, 0.3, 2.0, 7), (6, 0.7, 1.4, 3), (7, 0.5, 1.0, 1), (4, 0.15, 3.0, 4), (10, 0.5, 1.3, 60),
    (5, 0.4, 1.0, 6), (6, 0.99, 2.0, 4)])
def test_every_choice_is_equally_likely(length, noise, mean_span, n_choices):
    choices = all_choices(length, *count_spans(length, noise, mean_span))
    equal(len(choices), n_choices, "the enumeration, counted by hand")
    rng = random_state(3)
    counts = Counter(tuple(draw_spans(length, noise, mean_span, rng)) for _ in range(100 * n_choices))
    equally_often(counts, choices, "every choice of that many tokens and spans is equally likely, those at the ends of "
                  "the text as well")


def ways(length: int, n_out: int, n_spans: int, out: int | None = None) -> int:
    """How many choices there are; with `out`, how many of them take that place out."""
    states = Counter({(0, 0, False): 1})  # tokens taken out so far, spans so far, was the last token taken out
    for place in range(length):
        new = Counter()
        for (n, k, last), times in states.items():
            if n < n_out:
                new[n + 1, k + (not last), True] += times
            if place != out:
                new[n, k, False] += times
        states = new
    return states[n_out, n_spans, True] + states[n_out, n_spans, False]


@pytest.mark.parametrize(("length", "noise", "mean_span", "places"), [
    (40, 0.15, 3.0, range(40)), (30, 0.5, 2.0, range(30)), (25, 0.4, 1.0, range(25)),
    (128, 0.15, 3.0, [0, 1, 2, 10, 64, 126, 127])])
def test_each_place_is_taken_out_as_often_as_counting_says(length, noise, mean_span, places):
    """Far from the ends all alike; the first and the last place with k / (left + 1), 5 % and not 15 % in a window."""
    n_out, k = count_spans(length, noise, mean_span)
    left, every = length - n_out, ways(length, n_out, k)
    equal(every, comb(n_out - 1, k - 1) * comb(left + 1, k), "ways to divide what is out, and to place the spans")
    rng, draws = random_state(5), 3000
    taken = Counter(place for _ in range(draws) for span in draw_spans(length, noise, mean_span, rng)
                    for place in range(*span))
    for place in places:
        share = ways(length, n_out, k, out=place) / every
        within_five_sigma(taken[place], draws, share, f"place {place} of {length}", "every choice should be as likely "
                          "as another, so the ends are taken out as counted: neither never nor always")
    equal(ways(length, n_out, k, out=0) / every, k / (left + 1), "the closed form for the first place, and the last")


@pytest.mark.parametrize(("n", "parts"), [(6, 3), (7, 2), (7, 6), (5, 1), (4, 4), (1, 1)])
def test_every_sum_is_equally_likely(n, parts):
    sums = [tuple(np.diff([0, *cuts, n]).tolist()) for cuts in combinations(range(1, n), parts - 1)]
    rng = random_state(2)
    counts = Counter(tuple(divide(n, parts, rng).tolist()) for _ in range(200 * len(sums)))
    equally_often(counts, sums, f"{parts} numbers from 1 on with the sum {n}: draw all cuts at once, without "
                  "repetition, and not one number after the other")


def test_spans_depend_on_the_generator_alone():
    first, again = (draw_spans(200, 0.15, 3.0, random_state(4)) for _ in range(2))
    np.random.seed(1)
    equal(draw_spans(200, 0.15, 3.0, random_state(4)), first, "draw from the generator that is handed in")
    equal(again, first, "the same generator, the same spans")
    rng = random_state(4)
    assert draw_spans(200, 0.15, 3.0, rng) != draw_spans(200, 0.15, 3.0, rng), "the generator should move on"
    equal({type(i) for span in first for i in span}, {int}, "plain numbers, which can be kept and compared")


# ---- input and target


def slowly(tokens: list[int], spans: list[Span]) -> tuple[list[int], list[int]]:
    """Input and target, one place after the other."""
    number = {place: k for k, span in enumerate(spans) for place in range(*span)}
    source, target = [], []
    for place, token in enumerate(tokens):
        k = number.get(place)
        if k is None:
            source.append(token)
            continue
        if number.get(place - 1) != k:
            source.append(SENTINELS[k])
            target.append(SENTINELS[k])
        target.append(token)
    return [*source, END], [*target, SENTINELS[len(spans)], END]


def test_input_and_target_of_ten_thousand_texts(drawn):
    for tokens, _, _, spans in drawn:
        before = list(tokens)
        source, target = corrupt(tokens, spans, SENTINELS, END)
        equal((source, target), slowly(tokens, spans), "gap by gap: a sentinel there, and before its span here")
        equal(reassemble(source, target, SENTINELS), tokens, "each sentinel of the input becomes its span")
        equal(tokens, before, "the text must not be changed")


def test_lengths_are_those_counted(drawn):
    for tokens, noise, mean_span, spans in drawn:
        n_out, k = count_spans(len(tokens), noise, mean_span)
        source, target = corrupt(tokens, spans, SENTINELS, END)
        equal((len(source), len(target)), (len(tokens) - n_out + k + 1, n_out + k + 2),
              "input: what is left, the sentinels, the end; target: what is out, the sentinels, a last one, the end")


def test_sentinels_come_in_order_once_on_each_side_and_a_last_one(drawn):
    for tokens, _, _, spans in drawn:
        source, target = corrupt(tokens, spans, SENTINELS, END)
        gaps, named = ([i for i in side if i in range(1001, 1201)] for side in (source, target))
        equal(gaps, SENTINELS[: len(spans)], "in the input <X>, <Y>, <Z> ... from left to right, each once")
        equal(named, SENTINELS[: len(spans) + 1], "in the target the same, and one more behind the last span")
        equal((source[-1], target[-2:]), (END, [SENTINELS[len(spans)], END]), "the end token ends both")
        equal((source.count(END), target.count(END)), (1, 1), "one end on each side")


@pytest.mark.parametrize(("text", "spans", "source", "target"), [
    # Raffel et al. 2020, figure 2
    ("Thank you for inviting me to your party last week", [(2, 4), (8, 9)],
     "Thank you <X> me to your party <Y> week </s>", "<X> for inviting <Y> last <Z> </s>"),
    # table 3, "random spans"
    ("Thank you for inviting me to your party last week .", [(2, 5), (6, 9)],
     "Thank you <X> to <Y> week . </s>", "<X> for inviting me <Y> your party last <Z> </s>"),
    # the documentation of T5 in `transformers`
    ("The cute dog walks in the park", [(1, 3), (5, 6)],
     "The <X> walks in <Y> park </s>", "<X> cute dog <Y> the <Z> </s>"),
    ("the first and the last", [(0, 2), (4, 5)], "<X> and the <Y> </s>", "<X> the first <Y> last <Z> </s>"),
    ("나는 오늘 학교에 간다", [(1, 2)], "나는 <X> 학교에 간다 </s>", "<X> 오늘 <Y> </s>"),
    ("nothing is out", [], "nothing is out </s>", "<X> </s>")])
def test_worked_examples(text, spans, source, target):
    marks = ["<X>", "<Y>", "<Z>"]
    equal(corrupt(words(text), spans, marks, "</s>"), (words(source), words(target)), "input and target of the paper")
    equal(reassemble(words(source), words(target), marks), words(text), "and back")


@pytest.mark.parametrize("n_sentinels", [0, 1, 2])
def test_more_spans_than_sentinels(n_sentinels):
    with pytest.raises(UserError) as caught:
        corrupt(range(9), [(0, 1), (2, 4)], SENTINELS[:n_sentinels], END)
    line = str(caught.value)
    assert "2 spans" in line and "3 sentinels" in line and "\n" not in line, f"how many it takes: {line}"
    assert f"has {n_sentinels or 'none'}" in line, f"expected how many there are in the line, came {line}"


def test_as_many_sentinels_as_spans_and_one():
    source, target = corrupt(range(10, 14), [(0, 1), (2, 4)], [99, 98, 97], END)
    equal((source, target), ([99, 11, 98, END], [99, 10, 98, 12, 13, 97, END]), "the last of all ends the target")


# ---- what a model wrote


@pytest.mark.parametrize(("written", "expected", "mistake"), [
    ("<X> for inviting <Y> last <Z> </s>", {"<X>": "for inviting", "<Y>": "last", "<Z>": "</s>"}, "each its own span"),
    ("for <X> inviting", {"<X>": "inviting"}, "what stands before the first sentinel belongs to none"),
    ("<X> for <X> last <Y> week", {"<X>": "for", "<Y>": "week"}, "of a sentinel that comes twice the first counts"),
    ("<X> <Y> last", {"<X>": "", "<Y>": "last"}, "a span may be empty"),
    ("<Y> last <X> for", {"<X>": "for", "<Y>": "last"}, "in any order"),
    ("for inviting", {}, "no sentinel, no span"), ("", {}, "nothing at all")])
def test_spans_by_their_sentinels(written, expected, mistake):
    equal(spans_of(words(written), ["<X>", "<Y>", "<Z>"]), {x: words(span) for x, span in expected.items()}, mistake)


@pytest.mark.parametrize(("written", "expected"), [
    ("<Y> last <X> for inviting", "Thank you for inviting me last week"),
    ("<X> for inviting", "Thank you for inviting me <Y> week"), ("<X> <Y> last", "Thank you me last week"),
    ("<X> a <X> b <Y> c", "Thank you a me c week"), ("", "Thank you <X> me <Y> week")])
def test_a_text_with_what_a_model_wrote(written, expected):
    equal(reassemble(words("Thank you <X> me <Y> week </s>"), words(written), ["<X>", "<Y>", "<Z>"]), words(expected),
          "each sentinel of the input becomes its span, in the order of the input; one that is lacking stays")
