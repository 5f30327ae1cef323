"""A language of 46 words in which it is known how good an answer is: "tell about fox" -> "the fox is clever . <eos>".

Real RLHF has no such knowledge: people say which of two answers they like better, and nobody can check whether the
model that is trained on their word serves them or only flatters the reward model. Here a rule knows, `gold`. Nothing
that is trained ever sees it: it is the person who compares two answers (preferences.py), and the judge at the end.

The demonstrations are mediocre on purpose, so that there is something to improve: a quarter of them speaks about
another animal than was asked for, and 55 % of their adjectives are unkind. A third of the animals is never asked for in
training.
"""

import torch
from torch import Tensor

from common.command import UserError
from common.grammar import Draw
from rlhf.answers import Answers, lay_out

PAD, EOS = "<pad>", "<eos>"  # two different ones: were they one, the end of an answer would count as padding
ANIMALS = ("fox", "owl", "bear", "cat", "dog", "hen", "goat", "wolf", "mouse", "horse", "crow", "frog",
           "deer", "duck", "seal", "mole", "toad", "lynx")
POSITIVE = ("clever", "brave", "kind", "gentle", "quick", "loyal", "bright", "calm", "funny")
NEGATIVE = ("lazy", "cruel", "rude", "greedy", "slow", "dull", "mean", "noisy", "grumpy")
WORDS = (PAD, EOS, "tell", "about", "the", "it", "is", "and", "very", ".", *ANIMALS, *POSITIVE, *NEGATIVE)
ASKED, HELD_OUT = ANIMALS[:12], ANIMALS[12:]  # asked for in training, and never

_ID = {word: i for i, word in enumerate(WORDS)}
PAD_ID, EOS_ID = _ID[PAD], _ID[EOS]
MAX_NEW = 24  # the most tokens of an answer, EOS included

OFF_TOPIC, UNKIND = 0.25, 0.55  # of the demonstrations, and of their adjectives
SENTENCES = {1: 0.35, 2: 0.4, 3: 0.25}  # how many an answer has, and how often
FORMS = ("{} is {} .", "{} is very {} .", "{} is {} and {} .")


def encode(text: str) -> list[int]:
    """Words to numbers. UserError for a word that the language does not have."""
    unknown = [word for word in text.split() if word not in _ID]
    if unknown:
        raise UserError(f"the word {unknown[0]!r} is not among the {len(WORDS)} of this language")
    return [_ID[word] for word in text.split()]


def decode(ids: list[int]) -> str:
    return " ".join(WORDS[i] for i in ids)


def prompt(animal: str) -> list[int]:
    """The question about an animal.

    >>> decode(prompt("fox"))
    'tell about fox'
    """
    if animal not in ANIMALS:
        raise UserError(f"{animal!r} is no animal of this language; it has {', '.join(ANIMALS)}")
    return encode(f"tell about {animal}")


def demonstration(draw: Draw, asked: str) -> str:
    """An answer as a person without much care writes it."""
    animal = asked
    if draw.weighted({True: OFF_TOPIC, False: 1 - OFF_TOPIC}):
        animal = draw.one([other for other in ANIMALS if other != asked])
    sentences = []
    for i in range(draw.weighted(SENTENCES)):
        subject = f"the {animal}" if i == 0 else draw.one([f"the {animal}", "it", "it"])
        adjectives = [draw.one(draw.weighted({NEGATIVE: UNKIND, POSITIVE: 1 - UNKIND})) for _ in range(2)]
        sentences.append(draw.one(FORMS).format(subject, *adjectives))
    return f"{' '.join(sentences)} {EOS}"


def demonstrations(n: int, seed: int) -> list[tuple[list[int], list[int]]]:
    """n pairs of a question and an answer, as numbers; about the animals that training asks for."""
    draw = Draw(f"demonstrations {seed}")
    asked = [draw.one(ASKED) for _ in range(n)]
    return [(prompt(animal), encode(demonstration(draw, animal))) for animal in asked]


def prompts(n: int, rng: torch.Generator, animals: tuple[str, ...] = ASKED) -> list[list[int]]:
    """n questions about animals drawn from these."""
    return [prompt(animals[i]) for i in torch.randint(len(animals), (n,), generator=rng)]


def _numbers(words: tuple[str, ...]) -> Tensor:
    return torch.tensor([_ID[word] for word in words])


def gold(asked: Tensor, answers: Tensor, mask: Tensor) -> Tensor:
    """How good answers are: the rule that nothing trained here ever sees.

    asked (B,): the animal of each question. answers (B, L): tokens; mask (B, L), bool: True = a token of the answer,
    EOS included, which stands last where the answer came to an end. Returns (B,):

        1 if the asked animal is named           - how often others are (at most 2)
        + .75 x different kind adjectives        (at most 4)
        - .75 x unkind adjectives                (at most 4)
        - .75 x animals and adjectives that were there before (at most 6)
        - .1 x |words - 14|                      - 1.5 if it has no end

    >>> said = encode("the fox is clever and kind . it is calm . <eos>")  # 1 + 3 x .75 - .1 x 3
    >>> gold(torch.tensor(encode("fox")), torch.tensor([said]), torch.ones(1, len(said), dtype=torch.bool))
    tensor([2.9500])
    """
    animals, kind, unkind = (_numbers(words).to(answers.device) for words in (ANIMALS, POSITIVE, NEGATIVE))
    times = mask.new_zeros(len(answers), len(WORDS), dtype=torch.float).scatter_add(1, answers, mask.float())  # (B, V)
    lengths = mask.sum(dim=1)
    last = answers.gather(1, (lengths - 1).clamp(min=0).unsqueeze(1)).squeeze(1)
    ended = (last == EOS_ID) & (lengths > 0)
    of_asked = times.gather(1, asked.unsqueeze(1)).squeeze(1)  # (B,)
    others = times[:, animals].sum(dim=1) - of_asked
    again = (times[:, torch.cat([animals, kind, unkind])] - 1).clamp(min=0).sum(dim=1)
    return ((of_asked > 0).float() - others.clamp(max=2)
            + 0.75 * (times[:, kind] > 0).sum(dim=1).clamp(max=4)
            - 0.75 * times[:, unkind].sum(dim=1).clamp(max=4)
            - 0.75 * again.clamp(max=6)
            - 0.1 * (lengths - ended.long() - 14).abs()
            - 1.5 * (~ended).float())


def gold_of(answers: Answers) -> Tensor:
    """The gold score of answers that stand behind their questions, whose last word is the animal: (B,)"""
    asked = answers.ids.gather(1, answers.starts.unsqueeze(1) - 1).squeeze(1)
    return gold(asked, answers.tokens, answers.mask)


def laid_out(pairs: list[tuple[list[int], list[int]]]) -> Answers:
    """Pairs of a question and an answer as rows, padded with PAD."""
    return lay_out(pairs, PAD_ID)
