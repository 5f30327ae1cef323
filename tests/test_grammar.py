"""Templates, particles, and the probability of what is drawn (common/grammar.py)."""

import itertools
import math
from collections import Counter

import pytest

from common.grammar import Draw, English, Korean, Word, entropy, fill, fillings, slots_of, with_joints
from common.tokenizer import JOINT
from tests.explain import equal

LISTS = {"food": ["rice", "fish", "soup"], "name": ["Anna", "Ben"]}
TEMPLATES = (("{name} eats {food}.",), ("{food} and {food2} for {name}", "{food2}!"), ("Hello.",))


@pytest.mark.parametrize(("word", "pair", "expected"), [
    ("밥", "을/를", "밥을"), ("우유", "을/를", "우유를"), ("서울", "으로/로", "서울로"),
    ("부산", "으로/로", "부산으로"),
    ("제주", "으로/로", "제주로"), ("민수", "이랑/랑", "민수랑"), ("지훈", "과/와", "지훈과"), ("물", "은/는", "물은")])
def test_particles(word, pair, expected):
    equal(format(Korean(word), pair), expected,
          "the form behind a consonant is taken behind a vowel, or ㄹ 로 forgotten")


def test_articles_and_languages():
    apple = Word(English("apple"), Korean("사과"), "la pomme", "Apfel")
    equal(f"{apple.en:a} {apple} {apple.ko:을/를} {apple.fr} {apple.fr_bare}", "an apple apple 사과를 la pomme pomme",
          "an article, a particle, or the French article that is taken off")
    equal([Word(English("x"), Korean("가"), fr).fr_bare for fr in ("l'ail", "le lait", "les œufs", "lait")],
          ["ail", "lait", "œufs", "lait"], "only a French article is taken off")


def test_a_slot_keeps_its_word_and_numbered_slots_differ():
    draw = Draw(0)
    for _ in range(200):
        first, second = fill(TEMPLATES[1], LISTS, draw)
        food, _, food2, _, name = first.split()
        assert food != food2, "food and food2 are different words of one list"
        assert name in LISTS["name"]
        equal(second, f"{food2}!", "a slot has the same word wherever it stands")


def every_text(template, lists):
    """All texts of a template, by brute force: every choice of words in which numbered slots differ."""
    slots = slots_of(template)
    for words in itertools.product(*(lists[slot.rstrip("23456789")] for slot in slots)):
        chosen = dict(zip(slots, words))
        names = [(slot.rstrip("23456789"), word) for slot, word in chosen.items()]
        if len(set(names)) == len(names):
            yield tuple(text.format(**chosen) for text in template)


def test_fillings_and_entropy_by_brute_force():
    equal([fillings(t, LISTS) for t in TEMPLATES], [len(set(every_text(t, LISTS))) for t in TEMPLATES],
          "the second word of a list has one less to choose from")
    p = Counter()
    for template in TEMPLATES:
        texts = list(every_text(template, LISTS))
        p.update({text: 1 / len(TEMPLATES) / len(texts) for text in texts})
    expected = -sum(q * math.log(q) for q in p.values())
    assert entropy(TEMPLATES, LISTS) == pytest.approx(expected, rel=1e-12)


def test_nats_are_the_probability_of_what_was_drawn():
    draw = Draw(1)
    drawn = Counter()
    nats = {}
    total = 0.0
    n = 20_000
    for _ in range(n):
        draw.begin()
        text = fill(draw.one(TEMPLATES), LISTS, draw)
        drawn[text] += 1
        nats[text] = draw.nats
        total += draw.nats
    assert sum(math.exp(-x) for x in nats.values()) == pytest.approx(1.0), "the texts are all there are, P sums to 1"
    for text, times in drawn.items():
        p = math.exp(-nats[text])
        assert abs(times / n - p) < 5 * math.sqrt(p / n), f"{text} comes {times} times of {n}, P = {p}"
    assert total / n == pytest.approx(entropy(TEMPLATES, LISTS), rel=0.01), "the mean of -log P is the entropy"


def test_choices_that_stand_twice_and_weights():
    draw = Draw(2)
    equal(draw.one(["a", "a", "a"]), "a", "one of three")
    assert draw.nats == 0.0, "what is certain has no information"
    seen = Counter()
    for _ in range(4_000):
        draw.begin()
        choice = draw.weighted({"x": 1, "y": 3})
        assert draw.nats == pytest.approx(-math.log({"x": 0.25, "y": 0.75}[choice]))
        seen[choice] += 1
    assert abs(seen["y"] / 4_000 - 0.75) < 0.035
    draw.begin()
    equal(sorted(draw.some("abc", 3)), ["a", "b", "c"], "different ones")
    assert draw.nats == pytest.approx(math.log(6)), "3 · 2 · 1 orders"


def test_the_same_seed_draws_the_same():
    def texts(seed):
        draw = Draw(seed)
        return [fill(draw.one(TEMPLATES), LISTS, draw) for _ in range(50)]

    equal(texts("a"), texts("a"), "a draw depends on its seed alone")
    assert texts("a") != texts("b")


def test_joints_stand_between_word_and_particle_and_nowhere_else():
    lists = {"place": [Word(English("school"), Korean("학교"))], "food": [Word(English("rice"), Korean("밥"))]}
    template = ("{place.ko}에서 {food.ko:을/를} 먹고 {place.ko:으로/로} 간다. {food} {food.en}s",)
    plain, joined = fill(template, lists, Draw(0)), fill(with_joints(template), lists, Draw(0))
    equal(joined[0].replace(JOINT, ""), plain[0], "without the joints it is the same text")
    equal(joined[0].replace(JOINT, "|"), "학교|에서 밥|을 먹고 학교|로 간다. rice rices",
          "joints only before Korean particles")
