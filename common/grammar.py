"""Sentences from templates, and how improbable each of them is.

A template is a text with slots: "{name} bought {food} and {food2}." A word for each slot is drawn from its list; a slot
that comes twice gets the same word both times, and `food`, `food2`, `food3` are different words of one list. A
template may hold several texts, such as a sentence and its translation: they share their words.

Every choice is noted with its probability, so each text comes with -log P(text): a model of this language cannot do
better on average. Its mean over many texts is the entropy of the grammar (Shannon 1948, section 6), and what a
language model loses beyond it is the model's own.
"""

import math
import random
import re
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import accumulate
from string import Formatter
from typing import Any, NamedTuple

from common.tokenizer import JOINT

Template = tuple[str, ...]


class Korean(str):
    """A Korean word that knows its particles: those behind a consonant differ from those behind a vowel.

    >>> rice, milk = Korean("밥"), Korean("우유")
    >>> f"{rice:을/를} {milk:을/를} {milk}"
    '밥을 우유를 우유'
    """

    def __format__(self, particles: str) -> str:
        if not particles:
            return str(self)
        behind_consonant, behind_vowel = particles.split("/")
        final = (ord(self[-1]) - 0xAC00) % 28  # a syllable's number in Unicode says how it ends: 0 a vowel, 8 an ㄹ
        return self + (behind_vowel if final == 0 or (final == 8 and behind_vowel.endswith("로")) else behind_consonant)


class English(str):
    """An English word that knows its article.

    >>> f"{English('film'):a}, {English('apple'):a}, {English('apple')}"
    'a film, an apple, apple'
    """

    def __format__(self, article: str) -> str:
        sounds_like_a_vowel = self[0] in "aeiou" and not self.startswith("use")  # "a useless film"
        return f"{'an' if sounds_like_a_vowel else 'a'} {self}" if article else str(self)


class Word(NamedTuple):
    """A thing in the languages of the world: `{food.ko:을/를}`, `{food.fr}`; `{food}` alone is English."""

    en: English
    ko: Korean
    fr: str = ""  # with its article: "le fromage"
    de: str = ""

    def __format__(self, spec: str) -> str:
        return format(self.en, spec)

    @property
    def fr_bare(self) -> str:
        return re.sub(r"^(?:le |la |l'|les )", "", self.fr)


class Draw:
    """Choices by chance that note their probability: `nats` is -log P of all that was drawn since the last `begin`."""

    def __init__(self, seed: int | str) -> None:
        self._random = random.Random(seed)
        self.begin()

    def begin(self) -> None:
        self.nats = 0.0

    def one(self, options: Sequence[Any]) -> Any:
        """One of them; an option that stands there twice is twice as probable."""
        chosen = options[int(self._random.random() * len(options))]
        self.nats -= math.log(options.count(chosen) / len(options))
        return chosen

    def some(self, options: Sequence[Any], n: int) -> list[Any]:
        """n different ones, in a random order."""
        left = list(options)
        chosen = []
        for _ in range(n):
            chosen.append(self.one(left))
            left.remove(chosen[-1])
        return chosen

    def weighted(self, options: Mapping[Any, float]) -> Any:
        """One of the keys, as probable as its value says."""
        total = sum(options.values())
        left = self._random.random() * total
        chosen = next(key for key, end in zip(options, accumulate(options.values())) if left < end)
        self.nats -= math.log(options[chosen] / total)
        return chosen


@cache
def slots_of(template: Template) -> tuple[str, ...]:
    """The slots of a template in the order in which they first occur.

    >>> slots_of(("{name} saw {name2.ko}.", "Then {name} left."))
    ('name', 'name2')
    """
    fields = [field for text in template for _, field, _, _ in Formatter().parse(text) if field]
    return tuple(dict.fromkeys(field.split(".")[0] for field in fields))


def values(template: Template, lists: Mapping[str, Sequence[Any]], draw: Draw) -> dict[str, Any]:
    """A word for each slot."""
    chosen: dict[str, Any] = {}
    for slot in slots_of(template):
        name = slot.rstrip("23456789")
        taken = [word for other, word in chosen.items() if other.rstrip("23456789") == name]
        chosen[slot] = draw.one([word for word in lists[name] if word not in taken] if taken else lists[name])
    return chosen


def fill(template: Template, lists: Mapping[str, Sequence[Any]], draw: Draw) -> Template:
    """The texts of a template, with words in their slots."""
    chosen = values(template, lists, draw)
    return tuple(text.format(**chosen) for text in template)


def with_joints(template: Template) -> Template:
    """The same template with a JOINT between a word and the Korean particle behind it (see common/tokenizer.py).

    A vocabulary that is learned from such texts has a piece for 학교 and one for 에서, and none that reaches across.

    >>> [text.replace(JOINT, "|") for text in with_joints(("{place}에서 {food:을/를}",))]
    ['{place}|에서 {food:|을/|를}']
    """
    return tuple(re.sub(r":(\w+)/(\w+)(?=\})", rf":{JOINT}\1/{JOINT}\2", re.sub(r"\}(?=[가-힣])", f"}}{JOINT}", text))
                 for text in template)


def entropy(templates: Sequence[Template], lists: Mapping[str, Sequence[Any]]) -> float:
    """The entropy in nats of a text: one of the templates, each as probable as another, with words in its slots.

    Every list has each word once here. Then log(number of templates) + the mean over them of the sum over the slots of
    log(number of words to choose from).
    """
    of_words = [math.log(fillings(template, lists)) for template in templates]
    return math.log(len(templates)) + sum(of_words) / len(of_words)


def fillings(template: Template, lists: Mapping[str, Sequence[Any]]) -> int:
    """How many texts a template makes.

    >>> fillings(("{food} and {food2} for {name}",), {"food": ["rice", "fish", "soup"], "name": ["Anna", "Ben"]})
    12
    """
    names = [slot.rstrip("23456789") for slot in slots_of(template)]
    return math.prod(len(lists[name]) - names[:i].count(name) for i, name in enumerate(names))
