"""The language whose answers can be judged: the gold rule, the demonstrations, and that neither ever changes."""

import hashlib
import random

import pytest
import torch

from common.command import UserError
from rlhf import language
from rlhf.language import ANIMALS, ASKED, EOS, EOS_ID, HELD_OUT, NEGATIVE, PAD_ID, POSITIVE, WORDS, decode, encode, gold
from tests.explain import close, equal


def of(asked: str, *answers: str) -> torch.Tensor:
    """The gold score of answers to the same question, padded to one length."""
    rows = [encode(answer) for answer in answers]
    longest = max(map(len, rows))
    mask = torch.tensor([[True] * len(row) + [False] * (longest - len(row)) for row in rows])
    ids = torch.tensor([row + [PAD_ID] * (longest - len(row)) for row in rows])
    return gold(torch.tensor(encode(asked) * len(rows)), ids, mask)


BY_HAND = {  # a question about the fox; the terms in the order of the rule
    "the fox is clever . <eos>": 1 + 0.75 - 0.9,
    "the fox is lazy . <eos>": 1 - 0.75 - 0.9,
    "it is clever . <eos>": 0.75 - 1.0,
    "the owl is clever . <eos>": -1 + 0.75 - 0.9,
    "the owl is clever . the owl is kind . <eos>": -2 + 1.5 - 0.75 - 0.4,
    "the owl and the bear and the cat <eos>": -2 - 0.6,
    "the fox is clever and clever . <eos>": 1 + 0.75 - 0.75 - 0.7,
    "the fox is lazy and lazy . <eos>": 1 - 1.5 - 0.75 - 0.7,
    "the fox is clever .": 1 + 0.75 - 0.9 - 1.5,
    "<eos>": -1.4,
    "the fox is very clever and kind . it is very calm and brave . <eos>": 1 + 3.0 - 0.1,
    "clever brave kind gentle quick <eos>": 3.0 - 0.9,
    "lazy cruel rude greedy slow <eos>": -3.0 - 0.9,
    "fox fox fox fox fox fox fox fox fox <eos>": 1 - 4.5 - 0.5,
    " ".join(["the fox is kind ."] * 5): 1 + 0.75 - 4.5 - 1.1 - 1.5,
}


@pytest.mark.parametrize("answer", BY_HAND)
def test_gold_by_hand(answer):
    close(of("fox", answer), torch.tensor([BY_HAND[answer]]), "a term of the gold score, its weight or its limit")


def test_the_best_answer_scores_four():
    best = "the fox is very clever and kind . it is calm and brave . <eos>"
    close(of("fox", best), torch.tensor([4.0]), "1 + 4 x .75, fourteen words, no repetition")


def slow_gold(asked: str, words: list[str]) -> float:
    """The rule once more, word by word."""
    ended = bool(words) and words[-1] == EOS
    said = words[:-1] if ended else words
    content = [word for word in words if word in ANIMALS + POSITIVE + NEGATIVE]
    return ((asked in said) - min(2, sum(word in ANIMALS and word != asked for word in said))
            + 0.75 * min(4, len(set(said) & set(POSITIVE))) - 0.75 * min(4, sum(word in NEGATIVE for word in said))
            - 0.75 * min(6, len(content) - len(set(content))) - 0.1 * abs(len(said) - 14) - 1.5 * (not ended))


def test_gold_equals_the_rule_word_by_word():
    draw = random.Random(5)
    answers = [draw.choices(WORDS, k=draw.randint(1, 24)) + [EOS] * draw.randint(0, 1) for _ in range(300)]
    expected = torch.tensor([slow_gold("owl", answer) for answer in answers])
    close(of("owl", *map(" ".join, answers)), expected, "some answer is judged by another rule", atol=1e-5)


def test_what_stands_behind_the_answer_is_not_judged():
    said = encode("the fox is kind . <eos>")
    mask = torch.arange(12) < len(said)
    for fill in (PAD_ID, EOS_ID, encode("owl")[0]):
        ids = torch.tensor([said + [fill] * (12 - len(said))])
        close(gold(torch.tensor(encode("fox")), ids, mask.unsqueeze(0)), of("fox", "the fox is kind . <eos>"),
              "padding entered the gold score")


def test_the_language_is_frozen():
    """Every figure hangs on these texts and this rule: whoever changes them measures everything anew."""
    texts = [decode(q) + " | " + decode(a) for q, a in language.demonstrations(2000, seed=0)]
    equal(texts[0], "tell about dog | the dog is rude . <eos>", "the first demonstration")
    equal(hashlib.sha256("\n".join(texts).encode()).hexdigest()[:16], "d65652a83990a90b", "2,000 demonstrations")
    scores = torch.cat([of(text.split()[2], text.split(" | ")[1]) for text in texts])
    close(torch.stack([scores.mean(), scores.std()]), torch.tensor([-0.5446, 1.6088]), "gold score of demonstrations",
          atol=1e-4)


def test_the_mixture_of_the_demonstrations():
    shown = language.demonstrations(20_000, seed=1)
    off = sum(not set(question[2:]) & set(answer) for question, answer in shown) / len(shown)
    adjectives = [word for _, answer in shown for word in decode(answer).split() if word in POSITIVE + NEGATIVE]
    unkind = sum(word in NEGATIVE for word in adjectives) / len(adjectives)
    assert abs(off - 0.25) < 0.01, f"a quarter speaks of another animal, came {off}"
    assert abs(unkind - 0.55) < 0.01, f"55 % of the adjectives are unkind, came {unkind}"
    equal({answer[-1] for _, answer in shown}, {EOS_ID}, "every demonstration ends")
    assert max(len(answer) for _, answer in shown) <= language.MAX_NEW, "an answer can be as long as a demonstration"
    equal({decode(question[2:]) for question, _ in shown}, set(ASKED), "who is asked for")


def test_a_third_of_the_animals_is_never_asked_for():
    equal(sorted(ASKED + HELD_OUT), sorted(ANIMALS), "every animal is on one side")
    equal(3 * len(HELD_OUT), len(ANIMALS), "a third")
    asked = {decode(q) for q in language.prompts(500, torch.Generator().manual_seed(0))}
    equal(asked, {f"tell about {animal}" for animal in ASKED}, "prompts of the training")
    held_out = {decode(q) for q in language.prompts(500, torch.Generator().manual_seed(0), HELD_OUT)}
    equal(held_out, {f"tell about {animal}" for animal in HELD_OUT}, "prompts held out")


def test_words_and_numbers():
    equal(len(WORDS), 46, "words")
    equal(len(set(WORDS)), 46, "each of them once")
    assert PAD_ID != EOS_ID, "PAD = EOS would hide the end of an answer"
    equal(decode(encode("the fox is kind . <eos>")), "the fox is kind . <eos>", "there and back")
    with pytest.raises(UserError, match="'zebra'"):
        encode("the zebra is kind")
    with pytest.raises(UserError, match="'kind' is no animal"):
        language.prompt("kind")
