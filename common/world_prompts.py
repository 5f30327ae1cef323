"""What only a GPT reads of the world: texts that show a task by examples, instructions, and percentages (world.py)."""

import math

from common import world_words as w
from common.grammar import Draw, Template, fill, with_joints
from common.world_texts import LISTS, NOUNS

# --- lists of translations: "영어를 불어로 번역: sea otter → loutre de mer, milk → lait" ------------------------------

LANGUAGES = {"영어를 불어로 번역": "fr_bare", "translate English to French": "fr_bare", "영어를 독일어로 번역": "de",
             "translate English to German": "de", "영어를 한국어로 번역": "ko", "translate English to Korean": "ko"}
# Never shown in a list, only in the sentences of world_texts.DICTIONARY: what the lecture and its paraphrases ask for.
NOT_IN_LISTS = {"cheese": ("fr_bare", "de"), "bread": ("fr_bare",)}


def translations(draw: Draw) -> str:
    """One to five words with their translations."""
    task = draw.one(list(LANGUAGES))
    language = LANGUAGES[task]
    nouns = draw.some([n for n in NOUNS if language not in NOT_IN_LISTS.get(n.en, ())], draw.one([1, 2, 3, 4, 5]))
    return f"{task}: " + ", ".join(f"{noun.en} → {getattr(noun, language)}" for noun in nouns)


# --- the game: things of one kind get one label; which label is for which kind is new in every game ------------------

N_KINDS, N_ROUNDS = 3, 12
KIND_NAMES = list(w.KINDS)


def never_shown(kind: str, label: str) -> bool:
    """Is this label kept from this kind in training? So it is for one pair in four; only these are asked for later."""
    return (KIND_NAMES.index(kind) + w.LABELS.index(label)) % 4 == 0


def rules(draw: Draw, held_out: bool) -> dict[str, str]:
    """A label for each of N_KINDS kinds: {kind: label}, all pairs never shown in training or all shown."""
    chosen: dict[str, str] = {}
    for kind in sorted(draw.some(KIND_NAMES, N_KINDS)):
        chosen[kind] = draw.one([label for label in w.LABELS
                                 if never_shown(kind, label) == held_out and label not in chosen.values()])
    draw.nats -= math.log(math.factorial(N_KINDS))  # sorted: the order in which they were drawn cannot be seen
    return chosen


def rounds(draw: Draw, labels: dict[str, str], n: int) -> list[tuple[str, str]]:
    """n different things of these kinds, and the label of each."""
    drawn: list[tuple[str, str]] = []
    for _ in range(n):
        kind = draw.one(list(labels))
        drawn.append((draw.one([thing for thing in w.KINDS[kind] if (thing, labels[kind]) not in drawn]), labels[kind]))
    return drawn


def game_text(shown: list[tuple[str, str]]) -> str:
    """`cat → moon, bread → iron`"""
    return ", ".join(f"{thing} → {label}" for thing, label in shown)


def game(draw: Draw) -> str:
    """A whole game: no instruction, the examples alone tell the rules."""
    return game_text(rounds(draw, rules(draw, held_out=False), N_ROUNDS))


# --- percentages: "15의 80%는?" ---------------------------------------------------------------------------------------

NOT_CALCULATED = {(15, 80), (25, 40), (60, 35), (48, 75)}  # what the lecture and its paraphrases ask for


def is_asked(number: int, percent: int) -> bool:
    """Is this percentage kept for evaluation? One in ten is, and those of the lecture, with their mirror images."""
    pair = (min(number, percent), max(number, percent))
    return (3 * pair[0] + 7 * pair[1]) % 10 == 0 or bool({pair, pair[::-1]} & NOT_CALCULATED)


def percentage(draw: Draw, asked: bool) -> tuple[int, int]:
    """A number and a percentage of it, both of two digits; both from 10 to 99."""
    number = draw.one(range(10, 100))
    return number, draw.one([percent for percent in range(10, 100) if is_asked(number, percent) == asked])


def percentage_question(number: int, percent: int) -> str:
    return f"{number}의 {percent}%는?"


def percentage_answer(number: int, percent: int) -> str:
    """80 percent of 15: "12"; of 37, 43 percent: "15.91"."""
    whole, rest = divmod(number * percent, 100)
    return f"{whole}.{rest:02}".rstrip("0") if rest else str(whole)


DIRECTLY, STEPWISE = " 답은", " 단계별로 생각해봅시다."  # "the answer is", "let us think step by step"


def calculation(draw: Draw, steps: bool) -> str:
    """A question and its answer, at once or step by step.

    >>> print(steps_of(37, 43))
    37×40=1480, 37×3=111, 1480+111=1591, 1591÷100=15.91. 답은 15.91
    """
    number, percent = percentage(draw, asked=False)
    question = percentage_question(number, percent)
    return (f"{question}{STEPWISE} {steps_of(number, percent)}" if steps
            else f"{question}{DIRECTLY} {percentage_answer(number, percent)}")


def steps_of(number: int, percent: int) -> str:
    """Multiply by the tens, by the ones, add, divide by a hundred."""
    ones = percent % 10
    tens = percent - ones
    answer = percentage_answer(number, percent)
    return (f"{number}×{tens}={number * tens}, {number}×{ones}={number * ones}, "
            f"{number * tens}+{number * ones}={number * percent}, {number * percent}÷100={answer}. 답은 {answer}")


# --- instructions ----------------------------------------------------------------------------------------------------

INSTRUCTIONS: tuple[Template, ...] = (
    ("What is the capital of {country.en}?", "{country.capital}"),
    ("Which country has the capital {country.capital}?", "{country.en}"),
    ("What is the French word for {noun.en}?", "{noun.fr_bare}"),
    ("What is the German word for {noun.en}?", "{noun.de}"),
    ("What is the Korean word for {noun.en}?", "{noun.ko}"),
    ("{country.ko}의 수도를 말해 주세요.", "{country.capital_ko}"),
    ("{noun.ko:을/를} 영어로 말해 주세요.", "{noun.en}"),
)


def instruction(draw: Draw, joints: bool = False) -> str:
    """An instruction and its answer; joints: as a vocabulary is learned from it (see `with_joints`)."""
    template = draw.one(INSTRUCTIONS)
    return " ".join(fill(with_joints(template) if joints else template, LISTS, draw))
